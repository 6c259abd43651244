"""Fits the model on a task's training cutoffs, and what follows its weights on the validation cutoffs.

It deliberately never touches the test window.
"""

import logging
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytorch_lightning as pl
import torch
from numpy import ndarray
from pytorch_lightning.callbacks import Callback, EarlyStopping, ModelCheckpoint, WeightAveraging
from torch.optim.swa_utils import get_ema_multi_avg_fn
from torch.utils.data import ConcatDataset, DataLoader, Sampler

from holdfast.errors import ConfigError
from holdfast.histories import search_sorted
from training.advice import DataFigures, advice
from training.batches import (
    BatchingConfig,
    MicroBatch,
    PoolDataset,
    micro_batches,
    weightless,
)
from training.blend.experts import BlendConfig
from training.blend.fitting import finish
from training.fit_encoding import EncodingSettings, fit_encoding
from training.fitted import FILE_NAME, FittedModel
from training.followers import Company, alone
from training.labels import Labels
from training.losses import LossWeights
from training.model import ModelConfig, SequenceModel, fit_target_scales
from training.module import OptimiserConfig, TrainingModule
from training.predict import encoded_chunks
from training.prefetch import Prefetched
from training.readout_table import ReadoutTable
from training.settling import settled_model
from training.sharded import ShardedModule, is_sharded
from training.task import Readouts, Task

ENCODING_SAMPLE = 20_000
VALIDATION_SAMPLE = 5_000
"""Readouts that the encoding is fitted on and that the validation loss is taken over, at most."""

CHECKPOINT_NAME = "last.ckpt"
WEIGHED_FOLDER = "weighed"
"""Of the first of two fits, within the folder of the run."""

_log = logging.getLogger(__name__)

TrainerFactory = Callable[..., pl.Trainer]


@dataclass(frozen=True, slots=True, kw_only=True)
class FitConfig:
    """Everything that is chosen about fitting, beside the trainer."""

    model: ModelConfig
    optimiser: OptimiserConfig
    batching: BatchingConfig
    weights: LossWeights
    encoding: EncodingSettings
    blend: BlendConfig
    seed: int

    def __post_init__(self) -> None:
        """Refuse to pretrain what learns nothing there.

        Raises:
            ConfigError: Naming the key.
        """
        learns = self.model.use_next_event and self.weights.next_event > 0
        if self.optimiser.pretraining_steps and not learns:
            limit = "pretraining needs model.use_next_event and a positive loss.next_event"
            raise ConfigError("optimiser.pretraining_steps", self.optimiser.pretraining_steps, limit)


def fit(
    task: Task,
    config: FitConfig,
    *,
    trainer: TrainerFactory,
    folder: Path,
    resume: bool = False,
    company: Company = alone,
) -> FittedModel:
    """Fit encoding, weights, experts, blend and calibration.

    With ``task.fit_on == "both"`` twice: up to the validation cutoff, to weigh the experts on the
    validation window; then on every window before the test cutoff, with those weights. The level
    that the first fit had to be corrected by is not carried over: it belongs to one date, and on
    Online Retail II, asked one window earlier, it made the log loss .69 where none gave .55.

    Args:
        task: Store and splits.
        config: What is chosen.
        trainer: Makes the Lightning trainer from callbacks and limits.
        folder: Of the run; checkpoints lie in its ``checkpoints``.
        resume: Go on from the last checkpoint there, if there is one, or from what was fitted.
        company: Brings the other processes of a trainer that has several to :func:`fit_weights`.

    Returns:
        The model with averaged weights, in evaluation mode on the CPU.
    """

    def fit_once(task: Task, folder: Path) -> FittedModel:
        checkpoint = folder / "checkpoints" / CHECKPOINT_NAME
        start = checkpoint if resume and checkpoint.exists() else None
        with company(fit_on=task.fit_on, folder=folder, checkpoint=start):
            weighed = fit_weights(task, config, trainer=trainer, folder=folder, checkpoint=start)
        return finish(
            weighed.model.cpu().eval(),
            task,
            train=weighed.train,
            validation=weighed.validation,
            config=config.blend,
            seed=config.seed,
        )

    if resume and (folder / FILE_NAME).is_file():
        return FittedModel.load(folder)
    if task.fit_on != "both":
        return fit_once(task, folder)
    first = folder / WEIGHED_FOLDER
    if resume and (first / FILE_NAME).is_file():
        weighed = FittedModel.load(first)
    else:
        first.mkdir(parents=True, exist_ok=True)
        weighed = fit_once(replace(task, fit_on="train"), first)
        weighed.save(first)
    final = fit_once(replace(task, fit_on="refit"), folder)
    if final.blend is None or weighed.blend is None:
        return final
    return replace(final, blend=replace(final.blend, weights=weighed.blend.weights))


@dataclass(frozen=True, slots=True, kw_only=True)
class Weighted:
    """A network with its weights, and the readouts that they were and were not fitted on."""

    model: SequenceModel
    train: Readouts
    validation: Readouts | None


def fit_weights(
    task: Task, config: FitConfig, *, trainer: TrainerFactory, folder: Path, checkpoint: Path | None
) -> Weighted:
    """Fit encoding and weights; every process of a trainer that has several calls this alike.

    Args:
        task: Store and splits; fitted once, on ``task.fit_split``.
        config: What is chosen.
        trainer: Makes the Lightning trainer from callbacks and limits.
        folder: Of the run; checkpoints lie in its ``checkpoints``.
        checkpoint: To go on from, or None.
    """
    pl.seed_everything(config.seed, workers=True, verbose=False)
    train = task.readouts(task.fit_split, seed=config.seed)
    # Refitted weights have seen the validation window: it can neither judge nor calibrate them.
    has_validation = task.fit_on == "train"
    validation = task.readouts(task.splits.validation, seed=config.seed) if has_validation else None
    config = replace(config, optimiser=settled_schedule(task, config, train))
    num_steps = config.optimiser.total_steps
    model = build_model(task, config, train)
    data = PoolData(task, config, model, train=train, validation=validation)
    with quiet():
        maker = trainer(
            callbacks=callbacks(config.optimiser, folder),
            max_epochs=1,
            max_steps=num_steps,
            val_check_interval=max(1, num_steps // config.optimiser.validations),
            num_sanity_val_steps=0,
            log_every_n_steps=min(10, num_steps),
            use_distributed_sampler=False,
            enable_model_summary=False,
        )
        kind = ShardedModule if is_sharded(maker.strategy) else TrainingModule
        module = kind(model, config.optimiser, config.weights, seed=config.seed)
        maker.fit(module, datamodule=data, ckpt_path=checkpoint, weights_only=True)
    model = module.whole_model()
    return Weighted(model=model, train=train, validation=validation)


def settled_schedule(task: Task, config: FitConfig, train: Readouts) -> OptimiserConfig:
    """Decide the number of steps from the number of different training histories, and say so in the log.

    Cutoffs of a customer between which nothing happened show the same history twice, and do not
    bear more passes: CDNOW has ten cutoffs for every event. A history counts as its newest cutoff does.
    """
    histories = task.histories
    first, last = histories.offsets[train.customer], histories.offsets[train.customer + 1]
    ends = search_sorted(histories.occurred_at_us, first, last, train.cutoff_us)
    weights = task.fit_split.weights(train.cutoff_us)
    distinct, which = np.unique(ends, return_inverse=True)
    most = np.zeros(len(distinct), dtype=np.float64)
    np.maximum.at(most, which, weights)
    num_histories = round(most.sum() / task.asked_share)
    per_customer = np.unique(train.customer, return_counts=True)[1]
    mean = np.minimum(per_customer, config.batching.readouts_per_customer).mean()
    readouts_per_step = float(mean) * min(config.batching.pool_customers, len(per_customer))
    settled = config.optimiser.settled(num_histories=num_histories, readouts_per_step=readouts_per_step)
    assert settled.num_steps is not None
    _log.info(
        "%d steps of %.0f cutoffs; training has %d cutoffs that show %d different histories",
        settled.num_steps,
        readouts_per_step,
        round(len(train) / task.asked_share),
        num_histories,
    )
    figures = DataFigures.of(task, train, max_events=config.encoding.max_events)
    for line in advice(figures, settled, has_own_steps=config.optimiser.num_steps is not None):
        _log.info("%s", line)
    return settled


def build_model(task: Task, config: FitConfig, train: Readouts) -> SequenceModel:
    """Fit encoding and scales on training readouts and build the network, seeded."""
    sample = train.sample(ENCODING_SAMPLE, np.random.default_rng([config.seed, 3]))
    spec = fit_encoding(
        task.histories, task.schema, config.encoding, customer=sample.customer, cutoff_us=sample.cutoff_us
    )
    settled = settled_model(config.model, train)
    scales = fit_target_scales(task.schema, train.labels, use_tied_amounts=config.model.use_tied_amounts)
    torch.manual_seed(config.seed)
    return SequenceModel(spec, settled, scales)


def callbacks(optimiser: OptimiserConfig, folder: Path) -> list[Callback]:
    """Return what accompanies every fit: averaging, checkpoints, and stopping early on request."""
    wanted: list[Callback] = [
        ModelCheckpoint(
            dirpath=folder / "checkpoints",
            filename=Path(CHECKPOINT_NAME).stem,
            every_n_train_steps=optimiser.checkpoint_every_steps,
            enable_version_counter=False,
        )
    ]
    if optimiser.ema_decay:
        # In place and for all weights at once, which Lightning's own callback for it does not do.
        average = get_ema_multi_avg_fn(optimiser.ema_decay)
        wanted.append(WeightAveraging(use_buffers=False, multi_avg_fn=average))
    if optimiser.early_stopping_patience is not None:
        wanted.append(EarlyStopping("validation/loss", patience=optimiser.early_stopping_patience))
    return wanted


class RemainingSteps(Sampler[int]):
    """The steps that a run has still to take, in order.

    Its length is that of the whole run: Lightning counts the steps of a resumed run as already
    fetched and compares with the length, but leaves it to the sampler to begin behind them.
    """

    def __init__(self, start: int, num_steps: int) -> None:
        """Keep the bounds."""
        self._start, self._num_steps = start, num_steps

    def __iter__(self) -> Iterator[int]:
        """Yield step numbers: every step's pool follows from its number alone."""
        return iter(range(self._start, self._num_steps))

    def __len__(self) -> int:
        """Return the number of steps of the whole run."""
        return self._num_steps


class PoolData(pl.LightningDataModule):
    """Training pools from the step where the trainer stands, and fixed validation batches."""

    def __init__(
        self,
        task: Task,
        config: FitConfig,
        model: SequenceModel,
        *,
        train: Readouts,
        validation: Readouts | None,
    ) -> None:
        """Keep what batches are made of.

        Args:
            task: Store, labeller and splits.
            config: Sizes and seed.
            model: For its encoding.
            train: Training readouts: their customers are drawn.
            validation: Validation readouts: a sample of them gives the validation loss.
        """
        super().__init__()
        self._task, self._config, self._model = task, config, model
        self._train = train
        self._is_whole = task.asked_share == 1.0
        self._customers = (
            np.unique(train.customer) if self._is_whole else task.customers(task.fit_split, seed=config.seed)
        )
        rng = np.random.default_rng([config.seed, 4])
        self._validation = None if validation is None else validation.sample(VALIDATION_SAMPLE, rng)

    def train_dataloader(self) -> DataLoader[list[MicroBatch]]:
        """Return the pools of the steps that are still to be taken."""
        assert self.trainer is not None
        share = {"rank": self.trainer.global_rank, "num_ranks": self.trainer.world_size}
        pools: PoolDataset | ConcatDataset[list[MicroBatch]] = self.pools(**share)
        if self._config.optimiser.pretraining_steps:
            pools = ConcatDataset([self._unlabelled_pools(**share), pools])
        steps = RemainingSteps(self.trainer.global_step, self._config.optimiser.total_steps)
        if self.trainer.strategy.root_device.type == "cpu":
            # A thread beside it would only take a core from the step.
            return DataLoader(pools, batch_size=None, sampler=steps)
        ahead = Prefetched(pools, finish=lambda pool: [batch.pinned() for batch in pool])
        return DataLoader(ahead, batch_size=None, sampler=steps)

    def pools(self, *, rank: int = 0, num_ranks: int = 1) -> PoolDataset:
        """Return the pools of all steps on labels, or one process's share of each."""
        task, split, num_steps = self._task, self._task.fit_split, self._config.optimiser.num_steps
        assert num_steps is not None
        table = ReadoutTable(self._train, num_customers=task.histories.num_customers)
        # What does not change from draw to draw was labelled already.
        is_known = split.is_fixed and self._is_whole
        return self._pools(
            num_steps,
            customers=self._customers,
            draw=table.draw if is_known else lambda people, rng: split.draw(task.labeller, people, rng),
            label=table.label if is_known else self._label,
            weigh=split.weights,
            rank=rank,
            num_ranks=num_ranks,
        )

    def _unlabelled_pools(self, *, rank: int, num_ranks: int) -> PoolDataset:
        """Return pools of all customers at the last instant that training may see, where no label counts."""
        until_us = self._task.fit_split.observed_until_us
        histories = self._task.histories
        first, last = histories.offsets[:-1], histories.offsets[1:]
        seen = search_sorted(histories.occurred_at_us, first, last, np.full(len(first), until_us))
        return self._pools(
            self._config.optimiser.pretraining_steps,
            customers=np.flatnonzero(seen > first),
            draw=lambda people, _: (np.arange(len(people)), np.full(len(people), until_us)),
            label=self._label,
            weigh=lambda cutoff_us: np.zeros(len(cutoff_us), dtype=np.float32),
            rank=rank,
            num_ranks=num_ranks,
        )

    def _label(self, customer: ndarray, cutoff_us: ndarray) -> Labels:
        until_us = self._task.fit_split.observed_until_us
        return self._task.labeller.label(customer, cutoff_us, observed_until_us=until_us)

    def _pools(self, num_steps: int, **chosen: Any) -> PoolDataset:
        return PoolDataset(
            self._task.histories,
            self._model.spec,
            config=self._config.batching,
            num_steps=num_steps,
            seed=self._config.seed,
            **chosen,
        )

    def val_dataloader(self) -> DataLoader[MicroBatch] | list[MicroBatch]:
        """Return the validation batches, the same every time; none where there is no validation."""
        if self._validation is None:
            return []
        customer, cutoff_us = self._validation.customer, self._validation.cutoff_us
        batches: list[MicroBatch] = []
        start = 0
        for encoded in encoded_chunks(self._task.histories, self._model.spec, customer, cutoff_us):
            rows = np.arange(start, start + len(encoded.readout_days))
            labels = self._validation.labels.take(rows)
            weights = np.ones(len(rows), dtype=np.float32)
            batches += micro_batches(encoded, labels, self._config.batching.event_budget, weights=weights)
            start += len(rows)
        assert self.trainer is not None
        # Every process has as many, because all of them meet at each or at the end.
        num_ranks = self.trainer.world_size
        batches += [weightless(batches[0])] * (-len(batches) % num_ranks)
        own = batches[self.trainer.global_rank :: num_ranks]
        return DataLoader(own, batch_size=None)  # type: ignore[arg-type]  # a list is a map-style data set

    def transfer_batch_to_device(
        self,
        batch: MicroBatch | list[MicroBatch],
        device: torch.device,
        dataloader_idx: int,  # noqa: ARG002 (the hook's)
    ) -> MicroBatch | list[MicroBatch]:
        """Move the inputs of micro-batches; their labels follow in the loss."""
        if isinstance(batch, MicroBatch):
            return batch.to(device)
        return [part.to(device) for part in batch]


@contextmanager
def quiet() -> Iterator[None]:
    """Silence Lightning's advice that does not apply here."""
    loggers = [logging.getLogger(name) for name in ("pytorch_lightning", "lightning_fabric", "lightning")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.WARNING)
    with warnings.catch_warnings():
        # Batches are gathered in this process from memory-mapped columns: workers would copy them.
        warnings.filterwarnings("ignore", message=".*does not have many workers.*")
        # States are never changed in place.
        warnings.filterwarnings("ignore", message="FSDP2-wrapped module .* returned a view tensor.*")
        # Refitted weights have no validation batches, on purpose.
        warnings.filterwarnings("ignore", message=".*Total length of `list` across ranks is zero.*")
        warnings.filterwarnings("ignore", message=".*Checkpoint directory .* exists and is not empty.*")
        # Lightning offers to save the weights from before the step; resuming needs those after it.
        warnings.filterwarnings("ignore", message=".*no pre-optimization state was saved.*")
        warnings.filterwarnings("ignore", message=".*LeafSpec.* is deprecated.*")
        # The whole run is one epoch; a run resumed in the middle of it begins with the next step's pool.
        warnings.filterwarnings(
            "ignore", message=".*resuming from a checkpoint that ended before the epoch ended.*"
        )
        try:
            yield
        finally:
            for logger, level in zip(loggers, levels, strict=True):
                logger.setLevel(level)
