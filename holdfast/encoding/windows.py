"""Which events a cutoff sees: the only place where time decides what is history.

It deliberately does not know what the events contain.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Int64
from numpy import ndarray

from holdfast.histories import Histories, ragged_range
from holdfast.native import native
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

    @classmethod
    def of_all(cls, time_us: Int64[ndarray, " customer"]) -> "Cutoffs":
        """Return one cutoff for each of all customers, in their order."""
        numbers = np.arange(len(time_us) + 1, dtype=np.int64)
        return cls(customer=numbers[:-1], offsets=numbers, time_us=time_us)

    @property
    def num_segments(self) -> int:
        """The number of segments."""
        return len(self.customer)


@dataclass(frozen=True, slots=True, kw_only=True)
class Windows:
    """Rows of the flat event columns that cutoffs see.

    Attributes:
        start: First row of every cutoff's history.
        end: One past its last row.
    """

    start: Int64[ndarray, " readout"]
    end: Int64[ndarray, " readout"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """How many of their customers' events cutoffs see.

    Attributes:
        counts: See :data:`NUM_COUNTS`.
    """

    counts: Int64[ndarray, "4 readout"]

    @property
    def num_used(self) -> Int64[ndarray, " readout"]:
        """Events of the cutoff's history."""
        used: ndarray = self.counts[1]
        return used

    @property
    def num_truncated(self) -> Int64[ndarray, " readout"]:
        """Events before it that are older or more than a history takes."""
        truncated: ndarray = self.counts[2]
        return truncated

    @property
    def num_after(self) -> Int64[ndarray, " readout"]:
        """Events after the cutoff."""
        after: ndarray = self.counts[3]
        return after


def count_seen(
    histories: Histories, cutoffs: Cutoffs, *, max_events: int, spans_days: Int64[ndarray, "1"]
) -> Seen:
    """Count what every cutoff sees; what is given is as of :func:`windows_of`."""
    return Seen(counts=_found(histories, cutoffs, max_events, spans_days)[1])


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
    spans_days = np.array([history_days], dtype=np.int64)
    (end, start), _ = _found(histories, cutoffs, max_events, spans_days)
    return Windows(start=start, end=end)


def _found(
    histories: Histories, cutoffs: Cutoffs, max_events: int, spans_days: Int64[ndarray, " window"]
) -> tuple[Int64[ndarray, "window_plus_1 readout"], Int64[ndarray, "4 readout"]]:
    """Return what :func:`find_windows` writes: bounds and counts."""
    num = len(cutoffs.time_us)
    bounds = np.empty((len(spans_days) + 1, num), dtype=np.int64)
    counts = np.empty((NUM_COUNTS, num), dtype=np.int64)
    find_windows(
        histories.offsets,
        np.ascontiguousarray(histories.occurred_at_us),
        cutoffs.customer,
        cutoffs.offsets,
        cutoffs.time_us,
        spans_days,
        max_events,
        np.empty((2, cutoffs.num_segments), dtype=np.int64),
        bounds,
        counts,
    )
    return bounds, counts


NUM_COUNTS = 4
"""What is counted of a cutoff: events of its segment that it sees; events of its history; the customer's
events before that; and those after the cutoff."""


@native("segments", "bounds", "counts")
def find_windows(
    offsets: Int64[ndarray, " customer_plus_1"],
    event_us: Int64[ndarray, " event"],
    customers: Int64[ndarray, " segment"],
    segment_offsets: Int64[ndarray, " segment_plus_1"],
    cutoff_us: Int64[ndarray, " readout"],
    spans_days: Int64[ndarray, " window"],
    max_events: int,
    segments: Int64[ndarray, "2 segment"],
    bounds: Int64[ndarray, "window_plus_1 readout"],
    counts: Int64[ndarray, "4 readout"],
) -> None:
    """Find what cutoffs see of their customers' events: windows ``(t - days, t]``.

    Args:
        offsets: Of the customers' events.
        event_us: Ascending within a customer.
        customers: Of every segment.
        segment_offsets: Of the segments' cutoffs.
        cutoff_us: Ascending within a segment.
        spans_days: Ascending lengths of the windows; the last one is the history.
        max_events: Most events of a history.
        segments: First row of every segment, where the history of its last cutoff begins, and one past its
            last row.
        bounds: One past the last row of every cutoff's history, then where its windows begin.
        counts: See :data:`NUM_COUNTS`.
    """
    history = len(spans_days)
    for segment in range(len(customers)):
        first, last = offsets[customers[segment]], offsets[customers[segment] + 1]
        begin, final = segment_offsets[segment], segment_offsets[segment + 1]
        for readout in range(begin, final):
            # The end, then the windows from the longest one, the history, on: each bounds the next.
            low = first
            for bound in range(history, -1, -1):
                span_us = (spans_days[bound - 1] if bound else 0) * MICROSECONDS_PER_DAY
                # Halves without a branch: a processor would guess every other one wrongly.
                limit_us, num = cutoff_us[readout] - span_us, last - low
                while num > 0:
                    half = (num + 1) >> 1
                    low = low + half if event_us[low + half - 1] <= limit_us else low
                    num -= half
                bounds[bound, readout] = low
            for bound in range(1, history + 1):
                bounds[bound, readout] = max(bounds[bound, readout], bounds[0, readout] - max_events)
        segments[0, segment], segments[1, segment] = bounds[history, final - 1], bounds[0, final - 1]
        for readout in range(begin, final):
            counts[0, readout] = max(bounds[0, readout] - segments[0, segment], 0)
            counts[1, readout] = bounds[0, readout] - bounds[history, readout]
            counts[2, readout] = bounds[history, readout] - first
            counts[3, readout] = last - bounds[0, readout]


def without_unseen(
    histories: Histories, starts: Int64[ndarray, " segment"], ends: Int64[ndarray, " segment"]
) -> tuple[Histories, Int64[ndarray, " segment"], Int64[ndarray, " segment"]]:
    """Leave out the events that no segment holds, where they are the larger part.

    A customer may have many more events than a history takes; encoding them all would be work
    for nothing, while moving a column costs about as much as encoding it.

    Args:
        histories: Flat event columns.
        starts: First row of every segment.
        ends: One past its last row.

    Returns:
        Histories with the events of one segment after the other instead of the customers', and
        the segments' rows in them; or all as they were.
    """
    if 2 * int((ends - starts).sum()) > len(histories.occurred_at_us):
        return histories, starts, ends
    rows, offsets = ragged_range(starts, ends)
    return histories.take_events(rows, offsets), offsets[:-1], offsets[1:]
