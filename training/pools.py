"""What a trainer draws from: the pools of the steps that are left, and fixed validation batches.

It deliberately does not know how a step is taken.
"""

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytorch_lightning as pl
import torch
from numpy import ndarray
from torch.utils.data import ConcatDataset, DataLoader, Sampler

from holdfast.histories import search_sorted
from training.batches import MicroBatch, PoolDataset, micro_batches, weightless
from training.fit_config import FitConfig
from training.labels import Labels
from training.model import SequenceModel
from training.predict import encoded_chunks
from training.prefetch import Prefetched
from training.readout_table import ReadoutTable
from training.resident import ResidentEvents, resident_events
from training.task import Readouts, Task

VALIDATION_SAMPLE = 5_000
"""Readouts that the validation loss is taken over, at most."""


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
        self._resident: ResidentEvents | None = None
        self._is_whole = task.asked_share == 1.0
        self._customers = (
            np.unique(train.customer) if self._is_whole else task.customers(task.fit_split, seed=config.seed)
        )
        rng = np.random.default_rng([config.seed, 4])
        self._validation = None if validation is None else validation.sample(VALIDATION_SAMPLE, rng)

    def train_dataloader(self) -> DataLoader[list[MicroBatch]]:
        """Return the pools of the steps that are still to be taken."""
        assert self.trainer is not None
        device = self.trainer.strategy.root_device
        on_cpu = device.type == "cpu"
        self._resident = self._events_on(device)
        share: dict[str, Any] = {"rank": self.trainer.global_rank, "num_ranks": self.trainer.world_size}
        share |= {"resident": self._resident}
        pools: PoolDataset | ConcatDataset[list[MicroBatch]] = self.pools(**share)
        if self._config.optimiser.pretraining_steps:
            pools = ConcatDataset([self._unlabelled_pools(**share), pools])
        steps = RemainingSteps(self.trainer.global_step, self._config.optimiser.total_steps)
        if on_cpu:
            # A thread beside it would only take a core from the step.
            return DataLoader(pools, batch_size=None, sampler=steps)
        ahead = Prefetched(pools, finish=lambda pool: [batch.pinned() for batch in pool])
        return DataLoader(ahead, batch_size=None, sampler=steps)

    def _events_on(self, device: torch.device) -> ResidentEvents | None:
        """Put the events on the device where that is wanted; every process has a copy on its own."""
        wanted = self._config.batching.resident
        until_us, spec = self._task.fit_split.observed_until_us, self._model.spec
        return resident_events(self._task.histories, spec, wanted=wanted, until_us=until_us, device=device)

    def pools(
        self,
        *,
        rank: int = 0,
        num_ranks: int = 1,
        resident: ResidentEvents | None = None,
    ) -> PoolDataset:
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
            resident=resident,
        )

    def _unlabelled_pools(self, **share: Any) -> PoolDataset:
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
            **share,
        )

    def _label(self, customer: ndarray, cutoff_us: ndarray) -> Labels:
        until_us = self._task.fit_split.observed_until_us
        return self._task.labeller.label(customer, cutoff_us, observed_until_us=until_us)

    def _pools(self, num_steps: int, *, resident: ResidentEvents | None, **chosen: Any) -> PoolDataset:
        return PoolDataset(
            self._task.histories,
            self._model.spec,
            config=self._config.batching,
            num_steps=num_steps,
            seed=self._config.seed,
            # A compiler wants few shapes.
            is_packed=self._config.compile is None,
            seen=None if resident is None else resident.seen,
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
        return [part.to(device, self._resident) for part in batch]

    def teardown(self, stage: str) -> None:  # noqa: ARG002 (the hook's)
        """Let go of the events on the device: a second fit wants the room."""
        self._resident = None
