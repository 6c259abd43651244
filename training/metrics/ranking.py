"""Values in ascending order with equal ones grouped: what every rank metric starts from.

It deliberately does not know what the values predict.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64, Int64, Real
from numpy import ndarray


@dataclass(frozen=True, slots=True, kw_only=True)
class Ranking:
    """An order in which ties are groups, so that no metric depends on how ties were sorted.

    Attributes:
        order: Positions by ascending value.
        starts: First place of every group of equal values.
    """

    order: Int64[ndarray, " readout"]
    starts: Int64[ndarray, " group"]

    @classmethod
    def of(cls, values: Real[ndarray, " readout"]) -> "Ranking":
        """Sort values; NaN is not allowed."""
        order = np.argsort(values, kind="stable")
        is_new = np.ones(len(values), dtype=bool)
        is_new[1:] = np.diff(values[order]) > 0
        return cls(order=order, starts=np.flatnonzero(is_new))

    def totals(self, addends: Float64[ndarray, "*replicate readout"]) -> Float64[ndarray, "*replicate group"]:
        """Return the sum of addends over every group, in ascending order of the groups."""
        ordered = addends[..., self.order]
        if len(self.starts) == len(self.order):
            return ordered
        return np.add.reduceat(ordered, self.starts, axis=-1)

    def mid_ranks(
        self, weights: Float64[ndarray, "*replicate readout"]
    ) -> Float64[ndarray, "*replicate group"]:
        """Return every group's mean rank, from 1, where a weight of 2 stands for two readouts."""
        total = self.totals(weights)
        return np.cumsum(total, axis=-1) - (total - 1.0) / 2.0

    def of_members(
        self, per_group: Float64[ndarray, "*replicate group"]
    ) -> Float64[ndarray, "*replicate readout"]:
        """Return the value of every readout's group, in the readouts' own order."""
        sizes = np.diff(np.append(self.starts, len(self.order)))
        group = np.empty(len(self.order), dtype=np.int64)
        group[self.order] = np.repeat(np.arange(len(self.starts)), sizes)
        return per_group[..., group]

    def equal_mass_bins(self, num_bins: int) -> Int64[ndarray, " readout"]:
        """Return a bin for every readout: about as many in each, equal values never apart."""
        num = len(self.order)
        ranks = self.of_members(self.mid_ranks(np.ones(num)))
        return np.minimum((ranks - 0.5) / num * num_bins, num_bins - 1).astype(np.int64)

    def bin_totals(
        self, addends: Float64[ndarray, "*replicate readout"], num_bins: int
    ) -> Float64[ndarray, "*replicate bin"]:
        """Return the sum of addends over every bin of equal mass that is not empty."""
        bins = self.equal_mass_bins(num_bins)[self.order]
        starts = np.flatnonzero(np.diff(bins, prepend=-1))
        return np.add.reduceat(addends[..., self.order], starts, axis=-1)


def ratio(
    numerator: Float64[ndarray, " replicate"], denominator: Float64[ndarray, " replicate"]
) -> Float64[ndarray, " replicate"]:
    """Return the quotient, NaN where the denominator is 0: a metric that is not defined there."""
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(denominator != 0, np.divide(numerator, denominator), np.nan)
