"""Intervals by resampling customers: the readouts of one customer are drawn together.

It deliberately does not know which metric; it gives weights and takes numbers.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Float64, Int64
from numpy import ndarray

from holdfast.errors import ConfigError

CONFIDENCE = 0.95
IntervalKind = Literal["percentile", "basic", "squared"]
_NUMBERS_AT_ONCE = 100_000
"""Fewer than fit into a cache of a core, more than make the calls worth it."""

Metrics = Callable[[Float64[ndarray, "replicate readout"]], Mapping[str, Float64[ndarray, " replicate"]]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Estimate:
    """A number with its 95 % interval; the bounds are NaN where no interval is given."""

    value: float
    low: float
    high: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """A metric of the data and of every replicate of the bootstrap.

    Attributes:
        value: On the data itself.
        replicates: On resampled customers; the same replicate of every metric and model resamples
            the same customers, so that differences are paired.
    """

    value: float
    replicates: Float64[ndarray, " replicate"]

    def estimate(self, kind: IntervalKind = "percentile") -> Estimate:
        """Return the value with an interval from the replicates where the metric is defined.

        Args:
            kind: ``percentile``: quantiles of the replicates. The others are for sums of absolute
                errors, which every sampling raises: the replicates stand as far above the value as
                the value stands above the truth, so their distances are taken off the value
                (Davison and Hinkley 1997, eq. 5.6). ``basic``: for a difference of two of them;
                ``squared``: for one itself, on the scale of squares, where the noise of the data
                and that of resampling add up, so that an error of 0 is held too.
        """
        defined = self.replicates[~np.isnan(self.replicates)]
        if not len(defined) or np.isnan(self.value):
            return Estimate(value=self.value, low=np.nan, high=np.nan)
        tail = (1.0 - CONFIDENCE) / 2.0
        low, high = (float(bound) for bound in np.quantile(defined, [tail, 1.0 - tail]))
        if kind == "basic":
            low, high = 2 * self.value - high, 2 * self.value - low
        elif kind == "squared":
            low, high = (max(2 * self.value**2 - bound**2, 0.0) ** 0.5 for bound in (high, low))
        return Estimate(value=self.value, low=low, high=high)

    def minus(self, other: "Sample") -> "Sample":
        """Return the paired difference to another model's sample."""
        return Sample(value=self.value - other.value, replicates=self.replicates - other.replicates)


class Bootstrap:
    """How often every customer counts in every replicate."""

    def __init__(self, customer: Int64[ndarray, " readout"], *, num_replicates: int, seed: int) -> None:
        """Draw customers with replacement.

        Args:
            customer: Of every readout.
            num_replicates: How many resamples.
            seed: Of the draws.
        """
        distinct, self._position = np.unique(customer, return_inverse=True)
        rng = np.random.default_rng(seed)
        num = len(distinct)
        # One row at a time: the draws of all replicates together would not fit for many customers.
        self._counts = np.zeros((num_replicates, num), dtype=np.uint16)
        for row in self._counts:
            row[:] = np.bincount(rng.integers(0, num, num), minlength=num) if num else 0

    def samples(self, metrics: Metrics, rows: ndarray | None = None) -> dict[str, Sample]:
        """Compute metrics on the data and on every replicate.

        Args:
            metrics: From weights to metrics by name, over all replicates given at once.
            rows: Only these readouts (positions or a mask), with the customers drawn as for all.

        Returns:
            One sample per metric.
        """
        position = self._position if rows is None else self._position[rows]
        num = len(position)
        values = {name: float(column[0]) for name, column in metrics(np.ones((1, num))).items()}
        at_once = max(1, _NUMBERS_AT_ONCE // max(1, num))
        parts: dict[str, list[ndarray]] = {name: [] for name in values}
        for start in range(0, len(self._counts), at_once):
            weights = self._counts[start : start + at_once, position].astype(np.float64)
            for name, column in metrics(weights).items():
                parts[name].append(column)
        return {
            name: Sample(value=value, replicates=np.concatenate([*parts[name], np.zeros(0)]))
            for name, value in values.items()
        }


def check_num_replicates(where: str, num_replicates: int) -> None:
    """Refuse a number of replicates that gives no interval although one was asked for.

    Args:
        where: What the number is called in messages.
        num_replicates: 0 leaves intervals out.

    Raises:
        ConfigError: It is below 0, or 1.
    """
    if num_replicates < 0 or num_replicates == 1:
        limit = "it must be 0, or at least 2: one resample has no spread"
        raise ConfigError(where, num_replicates, limit)


def num_replicates_for(num_readouts: int, *, most: int = 500) -> int:
    """Return how many replicates are worth their time: fewer on many readouts, where intervals are narrow."""
    return int(np.clip(20_000_000 // max(1, num_readouts), 100, most))
