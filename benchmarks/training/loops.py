"""The training loop as a run has it, timed from a callback; and the same model trained the naive way.

It deliberately leaves out nothing of a step: loading, loss, gradients, clipping, optimiser, averaging.
"""

import logging
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytorch_lightning as pl
import torch
from torch.utils.data import DataLoader, Dataset

from benchmarks.training.workload import Workload
from holdfast.encoding import Cutoffs, encode
from holdfast.encoding.padding import pad_many
from training.batches import MicroBatch, PoolDataset, draw_some
from training.fit_config import FitConfig
from training.fitting import build_model, callbacks
from training.model import SequenceModel
from training.module import PoolSizes, TrainingModule
from training.pools import PoolData

MANY_STEPS = 100_000
"""More than any measurement takes: the clock ends it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rate:
    """What a loop did in some time.

    Attributes:
        events: Events of the histories that it computed.
        labels: Cutoffs with a label, or sequences with one.
        seconds: All of the time.
        step_seconds: The part of it that is no loading.
        num_steps: Optimiser steps.
    """

    events: int
    labels: int
    seconds: float
    step_seconds: float = float("nan")
    num_steps: int = 0

    @property
    def events_per_second(self) -> float:
        """Events over seconds."""
        return self.events / self.seconds

    @property
    def labels_per_second(self) -> float:
        """Labels over seconds."""
        return self.labels / self.seconds


class Clock(pl.Callback):
    """Times a run from a step on, and ends it after so many seconds."""

    def __init__(self, *, warm_up_steps: int, seconds: float) -> None:
        """Set the clock."""
        self._left, self._seconds = warm_up_steps, seconds
        self._events = self._labels = self._num_steps = 0
        self._began = self._step_began = time.perf_counter()
        self._elapsed = self._stepped = 0.0

    def on_train_batch_start(self, *_: Any) -> None:
        """Note where loading ends."""
        self._step_began = time.perf_counter()

    def on_train_batch_end(
        self, trainer: pl.Trainer, module: Any, outputs: Any, batch: list[MicroBatch], index: int
    ) -> None:
        """Count what the step held."""
        del module, outputs, index
        now = time.perf_counter()
        if self._left > 0:
            self._left -= 1
            self._began = now
            return
        sizes = PoolSizes.of(batch)
        self._events += sizes.num_events
        self._labels += sizes.num_readouts
        self._num_steps += 1
        self._stepped += now - self._step_began
        self._elapsed = now - self._began
        trainer.should_stop = self._elapsed >= self._seconds

    @property
    def rate(self) -> Rate:
        """What was done since the warm-up."""
        return Rate(
            events=self._events,
            labels=self._labels,
            seconds=self._elapsed,
            step_seconds=self._stepped,
            num_steps=self._num_steps,
        )


class Loop:
    """One model on one workload, ready to be trained for a while, again and again."""

    def __init__(self, workload: Workload, model: str, width: int, folder: Path) -> None:
        """Build the model and its data.

        Args:
            workload: The data.
            model: A configuration of ``conf/model``.
            width: Its width.
            folder: For checkpoints, which nothing reads.
        """
        self.config: FitConfig = workload.fit_config(model, width, num_steps=MANY_STEPS)
        self._folder = folder
        task, train = workload.task, workload.train
        self.model: SequenceModel = build_model(task, self.config, train)
        self.module = TrainingModule(
            self.model, self.config.optimiser, self.config.weights, seed=self.config.seed
        )
        self._workload = workload
        self.pools = self.pools_of(self.config.batching.pool_customers)
        self._naive = NaiveBatches(workload, self.model, self.config)

    def pools_of(self, num_customers: int, *, compiled: bool = False) -> PoolDataset:
        """Return the pools of all steps with so many customers each, for a plain step or a compiled one."""
        batching = replace(self.config.batching, pool_customers=num_customers)
        config = replace(self.config, batching=batching, compile="inductor" if compiled else None)
        work = self._workload
        return PoolData(work.task, config, self.model, train=work.train, validation=None).pools()

    def train(self, *, warm_up_steps: int, seconds: float) -> Rate:
        """Train as a run does."""
        return self._fit(lambda: DataLoader(self.pools, batch_size=None), warm_up_steps, seconds)

    def train_naively(self, *, warm_up_steps: int, seconds: float) -> Rate:
        """Train on batches that are put together customer by customer."""
        return self._fit(lambda: DataLoader(self._naive, batch_size=None), warm_up_steps, seconds)

    def _fit(self, loader: Callable[[], DataLoader[Any]], warm_up_steps: int, seconds: float) -> Rate:
        clock = Clock(warm_up_steps=warm_up_steps, seconds=seconds)
        logging.getLogger("pytorch_lightning").setLevel(logging.ERROR)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            pl.Trainer(
                accelerator="cpu",
                devices=1,
                deterministic=True,
                max_epochs=1,
                log_every_n_steps=10,
                logger=False,
                enable_progress_bar=False,
                enable_model_summary=False,
                callbacks=[*callbacks(self.config.optimiser, self._folder), clock],
            ).fit(self.module, train_dataloaders=loader())
        return clock.rate


class NaiveBatches(Dataset[list[MicroBatch]]):
    """Optimiser steps as they are often written: a batch of customers, one cutoff and one pass each.

    Every customer is read and encoded alone, and the batch is padded to its longest history. A batch
    has as many customers as fit the budget at the greatest length.
    """

    def __init__(self, workload: Workload, model: SequenceModel, config: FitConfig) -> None:
        """Keep what batches are made of."""
        self._task, self._spec = workload.task, model.spec
        self._customers = np.unique(workload.train.customer)
        self._size = max(1, config.batching.event_budget // model.spec.max_events)
        self._seed = config.seed

    def __len__(self) -> int:
        """Return more than is asked for."""
        return MANY_STEPS

    def __getitem__(self, step: int) -> list[MicroBatch]:
        """Draw customers and a cutoff of each, and put them together one by one."""
        task, split = self._task, self._task.fit_split
        rng = np.random.default_rng([self._seed, step])
        people = np.sort(rng.choice(self._customers, self._size, replace=False))
        position, cutoff_us = split.draw(task.labeller, people, rng)
        position, cutoff_us = draw_some(position, cutoff_us, 1, rng)
        labels = task.labeller.label(people[position], cutoff_us, observed_until_us=split.observed_until_us)
        first, alone = np.zeros(1, dtype=np.int64), []
        for customer, time_us in zip(people[position], cutoff_us, strict=True):
            cutoffs = Cutoffs.one_each(first, np.array([time_us]))
            alone.append(encode(task.histories.take(np.array([customer])), cutoffs, self._spec))
        lengths = [int(encoded.lengths[0]) for encoded in alone]
        length = max(1, *lengths)
        padded = [pad_many(encoded, first, length=length, num_readouts=1) for encoded in alone]
        inputs = {name: np.concatenate([arrays[name] for arrays in padded]) for name in padded[0]}
        return [
            MicroBatch(
                inputs={name: torch.from_numpy(array) for name, array in inputs.items()},
                labels=labels,
                weights=torch.from_numpy(split.weights(cutoff_us)[:, None]),
                num_readouts=len(alone),
                num_events=sum(lengths),
                num_padded=len(alone) * length,
            )
        ]
