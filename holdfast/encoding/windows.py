"""Which events a cutoff sees: the only place where time decides what is history.

It deliberately does not know what the events contain.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Int64
from numpy import ndarray

from holdfast.histories import Histories, search_sorted
from holdfast.schema import MICROSECONDS_PER_DAY


@dataclass(frozen=True, slots=True, kw_only=True)
class Cutoffs:
    """Cutoffs grouped into segments: the cutoffs of one segment share one pass over its events.

    Attributes:
        customer: Position in the histories, per segment; a customer may have several segments.
        offsets: Cutoffs of segment ``i`` are rows ``offsets[i]`` to ``offsets[i + 1]``.
        time_us: UTC microseconds, ascending within a segment.
    """

    customer: Int64[ndarray, " segment"]
    offsets: Int64[ndarray, " segment_plus_1"]
    time_us: Int64[ndarray, " readout"]

    @classmethod
    def one_each(cls, customer: Int64[ndarray, " readout"], time_us: Int64[ndarray, " readout"]) -> "Cutoffs":
        """Return one segment per cutoff: how serving and evaluation ask."""
        return cls(customer=customer, offsets=np.arange(len(customer) + 1, dtype=np.int64), time_us=time_us)

    @property
    def num_segments(self) -> int:
        """The number of segments."""
        return len(self.customer)


@dataclass(frozen=True, slots=True, kw_only=True)
class Windows:
    """Rows of the flat event columns that cutoffs and segments see.

    Attributes:
        start: First row of every cutoff's history.
        end: One past its last row.
        first: First row of the cutoff's customer.
        last: One past the last row of the cutoff's customer.
        segment_start: First row of every segment: the history of its last cutoff begins there.
        segment_end: One past its last row.
    """

    start: Int64[ndarray, " readout"]
    end: Int64[ndarray, " readout"]
    first: Int64[ndarray, " readout"]
    last: Int64[ndarray, " readout"]
    segment_start: Int64[ndarray, " segment"]
    segment_end: Int64[ndarray, " segment"]


def windows_of(histories: Histories, cutoffs: Cutoffs, *, max_events: int, history_days: int) -> Windows:
    """Find the last ``max_events`` events of ``(t - history_days, t]`` for every cutoff ``t``.

    Args:
        histories: Flat event columns.
        cutoffs: Cutoffs grouped into segments.
        max_events: Most events of a history.
        history_days: Length of a history in days.

    Returns:
        The rows; a cutoff without events has ``start == end``.
    """
    per_segment = np.diff(cutoffs.offsets)
    customer = np.repeat(cutoffs.customer, per_segment)
    first, last = histories.offsets[customer], histories.offsets[customer + 1]
    oldest = cutoffs.time_us - history_days * MICROSECONDS_PER_DAY
    # One search answers both bounds: half of its queries are the cutoffs, half the oldest times.
    found = search_sorted(
        histories.occurred_at_us,
        np.concatenate([first, first]),
        np.concatenate([last, last]),
        np.concatenate([cutoffs.time_us, oldest]),
    )
    end, start = found[: len(first)], found[len(first) :]
    start = np.maximum(start, end - max_events)
    final = cutoffs.offsets[1:] - 1
    return Windows(
        start=start, end=end, first=first, last=last, segment_start=start[final], segment_end=end[final]
    )
