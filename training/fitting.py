"""Fits the model on a task's training cutoffs, and what follows its weights on the validation cutoffs.

It deliberately never touches the test window.
"""

import logging
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import Callback, EarlyStopping, WeightAveraging
from torch.optim.swa_utils import get_ema_multi_avg_fn

from holdfast.errors import ArtifactError
from training.blend.fitting import finish
from training.checkpoints import StepCheckpoints, check_checkpoint, checkpoint_of
from training.compiled import CompiledLosses
from training.fit_config import FitConfig
from training.fit_encoding import fit_encoding
from training.fitted import FILE_NAME, FittedModel
from training.followers import Company, alone
from training.heap import KeptMemory
from training.model import SequenceModel, fit_target_scales
from training.module import OptimiserConfig, TrainingModule, weighted_sums
from training.pools import PoolData
from training.settling import settled_model, settled_schedule
from training.sharded import ShardedModule, is_sharded
from training.task import Readouts, Task

ENCODING_SAMPLE = 20_000
"""Readouts that the encoding is fitted on, at most."""

WEIGHED_FOLDER = "weighed"
"""Of the first of two fits, within the folder of the run."""

_log = logging.getLogger(__name__)

TrainerFactory = Callable[..., pl.Trainer]


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
    validation window; then on every window before the test cutoff, with those weights, and with the shape
    of amounts. The level that the first fit had to be corrected by is not carried over: it belongs to one
    date, and on Online Retail II, asked one window earlier, it made the log loss .69 where none gave .55.

    Args:
        task: Store and splits.
        config: What is chosen.
        trainer: Makes the Lightning trainer from callbacks and limits.
        folder: Of the run; checkpoints lie in its ``checkpoints``, and the model is written there.
        resume: Go on from the last checkpoint there, if there is one, or from what was fitted.
            What is damaged is told in the log and made anew.
        company: Brings the other processes of a trainer that has several to :func:`fit_weights`.

    Returns:
        The model with averaged weights, in evaluation mode on the CPU.
    """

    def fit_once(task: Task, folder: Path) -> FittedModel:
        start = _checkpoint_in(folder) if resume else None
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

    def fit_twice() -> FittedModel:
        first = folder / WEIGHED_FOLDER
        weighed = _fitted_in(first) if resume else None
        if weighed is None:
            first.mkdir(parents=True, exist_ok=True)
            weighed = fit_once(replace(task, fit_on="train"), first)
            weighed.save(first)
        final = fit_once(replace(task, fit_on="refit"), folder)
        final = replace(final, calibration=weighed.calibration.shape)
        if final.blend is None or weighed.blend is None:
            return replace(final, blend=None)
        return replace(final, blend=final.blend.weighed_as(weighed.blend, task.schema))

    fitted = _fitted_in(folder) if resume else None
    if fitted is None:
        fitted = fit_twice() if task.fit_on == "both" else fit_once(task, folder)
        fitted.save(folder)
    return fitted


def _fitted_in(folder: Path) -> FittedModel | None:
    """Return what an earlier start has fitted; None where it had not come to that, or the file is damaged."""
    if not (folder / FILE_NAME).is_file():
        return None
    try:
        return FittedModel.load(folder)
    except ArtifactError as error:
        _log.warning("%s; it is fitted anew", error)
        return None


def _checkpoint_in(folder: Path) -> Path | None:
    """Return the checkpoint to go on from; None where there is none, or it is damaged."""
    checkpoint = checkpoint_of(folder)
    if not checkpoint.exists():
        return None
    try:
        check_checkpoint(checkpoint)
    except ArtifactError as error:
        _log.warning("%s; the fit begins anew", error)
        return None
    return checkpoint


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
    validate_every = max(1, num_steps // config.optimiser.validations)
    model = build_model(task, config, train)
    data = PoolData(task, config, model, train=train, validation=validation)
    with quiet():
        maker = trainer(
            callbacks=callbacks(
                config.optimiser, folder, validate_every=validate_every if has_validation else None
            ),
            max_epochs=1,
            max_steps=num_steps,
            val_check_interval=validate_every,
            num_sanity_val_steps=0,
            log_every_n_steps=min(10, num_steps),
            use_distributed_sampler=False,
            enable_model_summary=False,
        )
        kind = ShardedModule if is_sharded(maker.strategy) else TrainingModule
        module = kind(
            model, config.optimiser, config.weights, seed=config.seed, compiled=compiled_losses(task, config)
        )
        maker.fit(module, datamodule=data, ckpt_path=checkpoint, weights_only=True)
    model = module.whole_model()
    return Weighted(model=model, train=train, validation=validation)


def build_model(task: Task, config: FitConfig, train: Readouts) -> SequenceModel:
    """Fit encoding and scales on training readouts and build the network, seeded."""
    sample = train.sample(ENCODING_SAMPLE, np.random.default_rng([config.seed, 3]))
    spec = fit_encoding(
        task.histories, task.schema, config.encoding, customer=sample.customer, cutoff_us=sample.cutoff_us
    )
    settled = settled_model(config.model, task, train, max_events=config.encoding.max_events)
    scales = fit_target_scales(task.schema, train.labels, use_tied_amounts=config.model.use_tied_amounts)
    torch.manual_seed(config.seed)
    return SequenceModel(spec, settled, scales)


def compiled_losses(task: Task, config: FitConfig) -> CompiledLosses | None:
    """Return the step's losses to be compiled for every length that the store has; None where nobody asks."""
    if config.compile is None:
        return None
    longest = min(config.encoding.max_events, int(np.diff(task.histories.offsets).max()))
    return CompiledLosses(weighted_sums, backend=config.compile, longest=longest, batching=config.batching)


def callbacks(
    optimiser: OptimiserConfig, folder: Path, *, validate_every: int | None = None
) -> list[Callback]:
    """Return what accompanies every fit: averaging, checkpoints, memory, and stopping early on request."""
    every_steps = optimiser.checkpoint_every_steps
    wanted: list[Callback] = [
        StepCheckpoints(checkpoint_of(folder), every_steps=every_steps, validate_every=validate_every),
        KeptMemory(),
    ]
    if optimiser.ema_decay:
        # In place and for all weights at once, which Lightning's own callback for it does not do.
        average = get_ema_multi_avg_fn(optimiser.ema_decay)
        wanted.append(WeightAveraging(use_buffers=False, multi_avg_fn=average))
    if optimiser.early_stopping_patience is not None:
        wanted.append(EarlyStopping("validation/loss", patience=optimiser.early_stopping_patience))
    return wanted


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
