"""Labelled cutoffs that are the same for every draw, as a table to draw from and to look labels up in.

It deliberately computes no label: a split whose cutoffs are fixed was labelled once, before training.
"""

import numpy as np
from jaxtyping import Int64
from numpy import ndarray

from holdfast.histories import ragged_rows, search_sorted
from training.labels import Labels
from training.task import Readouts


class ReadoutTable:
    """Every eligible cutoff of a split with its labels, by customer."""

    def __init__(self, readouts: Readouts, *, num_customers: int) -> None:
        """Index the readouts.

        Args:
            readouts: Ascending by customer and time.
            num_customers: Of the store.
        """
        self._readouts = readouts
        self._offsets = np.searchsorted(readouts.customer, np.arange(num_customers + 1))

    def draw(
        self,
        customers: Int64[ndarray, " customer"],
        rng: np.random.Generator,  # noqa: ARG002 (what draws anew needs it)
    ) -> tuple[Int64[ndarray, " readout"], Int64[ndarray, " readout"]]:
        """Return every cutoff of some customers: positions among them, and times."""
        rows, offsets = ragged_rows(self._offsets, customers)
        position = np.repeat(np.arange(len(customers), dtype=np.int64), np.diff(offsets))
        return position, self._readouts.cutoff_us[rows]

    def label(self, customer: Int64[ndarray, " readout"], cutoff_us: Int64[ndarray, " readout"]) -> Labels:
        """Return the labels of cutoffs that :meth:`draw` returned."""
        first, last = self._offsets[customer], self._offsets[customer + 1]
        row = search_sorted(self._readouts.cutoff_us, first, last, cutoff_us) - 1
        return self._readouts.labels.take(row)
