"""What is asked of a data set: its store, its targets, its splits and the labels of each.

It deliberately does not know the model: baselines and networks answer the same task.
"""

from dataclasses import dataclass, field

import numpy as np
from jaxtyping import Int64
from numpy import ndarray

from holdfast.histories import Histories
from holdfast.schema import Schema
from training.cutoffs import FitOn
from training.data_config import DataConfig
from training.labels import Labeller, Labels
from training.outcomes import Outcomes, outcomes_of
from training.splits import Split, Splits, check_learnable, raise_none_eligible, temporal_splits
from training.store import HistoryStore

MOST_CUSTOMERS = 250_000
"""Customers whose cutoffs are held in memory at once: a random sample of more, the same for a seed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Readouts:
    """Labelled cutoffs of one split, ascending by customer and time.

    Attributes:
        customer: Positions in the store.
        cutoff_us: UTC microseconds.
        labels: What came after them.
    """

    customer: Int64[ndarray, " readout"]
    cutoff_us: Int64[ndarray, " readout"]
    labels: Labels

    def __len__(self) -> int:
        """Return the number of cutoffs."""
        return len(self.customer)

    def take(self, rows: ndarray) -> "Readouts":
        """Return some of them."""
        return Readouts(
            customer=self.customer[rows], cutoff_us=self.cutoff_us[rows], labels=self.labels.take(rows)
        )

    def sample(self, most: int, rng: np.random.Generator) -> "Readouts":
        """Return at most ``most`` of them, at random, in their order."""
        if len(self) <= most:
            return self
        return self.take(np.sort(rng.choice(len(self), most, replace=False)))


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """A store with its temporal split.

    Attributes:
        name: Of the data set.
        schema: Its declarations.
        histories: All customers, memory-mapped.
        labeller: The only one who looks past a cutoff.
        splits: Train, validation, test, refit.
        fit_on: Which windows weights are fitted on, see :class:`training.data_config.CutoffsConfig`.
    """

    name: str
    schema: Schema
    histories: Histories
    labeller: Labeller
    splits: Splits
    fit_on: FitOn = "train"
    _drawn: dict[tuple[Split, int], Readouts] = field(
        default_factory=dict, init=False, repr=False, compare=False
    )

    @property
    def fit_split(self) -> Split:
        """The split that the final weights are fitted on."""
        return self.splits.train if self.fit_on == "train" else self.splits.refit

    @classmethod
    def of(cls, config: DataConfig, store: HistoryStore) -> "Task":
        """Lay out the task that a data set's configuration asks of its store.

        Raises:
            ConfigError: The splits overlap or lie outside of the data.
        """
        return cls(
            name=config.name,
            schema=store.schema,
            histories=store.histories,
            labeller=Labeller(store.histories, store.schema, table=store.labels),
            splits=temporal_splits(
                store.schema,
                config.cutoffs.train,
                validation_us=config.validation_us,
                test_us=config.test_us,
                observed_from_us=store.index.observed_from_us,
                observed_until_us=store.index.observed_until_us,
            ),
            fit_on=config.cutoffs.fit_on,
        )

    def readouts(self, split: Split, *, seed: int = 0) -> Readouts:
        """Draw and label every eligible cutoff of a split, once: many steps of a run ask for the same.

        Of more than :data:`MOST_CUSTOMERS` customers a random sample is asked about, so that memory is
        bounded. Pools of training draw from everybody all the same.

        Args:
            split: One of ``splits``.
            seed: For policies that draw at random, and of the sample.

        Returns:
            Labelled cutoffs.

        Raises:
            ConfigError: Nobody is eligible, or only one class is there to learn from or judge by.
        """
        if (split, seed) in self._drawn:
            return self._drawn[split, seed]
        customers = self._asked(seed)
        position, cutoff_us = split.draw(self.labeller, customers, np.random.default_rng([seed, 2]))
        customer = customers[position]
        if not len(customer):
            raise_none_eligible(
                self.labeller, name=split.name, times_us=getattr(split.candidates, "times_us", ())
            )
        labels = self.labeller.label(customer, cutoff_us, observed_until_us=split.observed_until_us)
        check_learnable(labels, self.schema, name=split.name)
        drawn = Readouts(customer=customer, cutoff_us=cutoff_us, labels=labels)
        return self._drawn.setdefault((split, seed), drawn)

    @property
    def asked_share(self) -> float:
        """The share of customers whose cutoffs :meth:`readouts` draws."""
        return min(1.0, MOST_CUSTOMERS / max(1, self.histories.num_customers))

    def customers(self, split: Split, *, seed: int = 0) -> Int64[ndarray, " customer"]:
        """Return every customer with an eligible cutoff, ascending: a part of them at a time."""
        found = []
        for start in range(0, self.histories.num_customers, MOST_CUSTOMERS):
            end = min(start + MOST_CUSTOMERS, self.histories.num_customers)
            part = np.arange(start, end, dtype=np.int64)
            position, _ = split.draw(self.labeller, part, np.random.default_rng([seed, 2]))
            found.append(np.unique(part[position]))
        return np.concatenate(found)

    def _asked(self, seed: int) -> Int64[ndarray, " customer"]:
        num = self.histories.num_customers
        if num <= MOST_CUSTOMERS:
            return np.arange(num, dtype=np.int64)
        rng = np.random.default_rng([seed, 6])
        return np.sort(rng.choice(num, MOST_CUSTOMERS, replace=False, shuffle=False)).astype(np.int64)

    def outcomes(self, readouts: Readouts, split: Split) -> Outcomes:
        """Return what came after the cutoffs of a split, in the form that predictions are compared with."""
        until_us = split.observed_until_us
        return outcomes_of(self.schema, readouts.labels, readouts.cutoff_us, observed_until_us=until_us)
