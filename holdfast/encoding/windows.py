"""Which events a cutoff sees: the only place where time decides what is history.

It deliberately does not know what the events contain.
"""

from dataclasses import dataclass, replace

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

    @property
    def per_segment(self) -> Int64[ndarray, " segment"]:
        """The number of cutoffs of every segment."""
        per_segment: ndarray = self.offsets[1:] - self.offsets[:-1]
        return per_segment

    @property
    def num_segments(self) -> int:
        """The number of segments."""
        return len(self.customer)


@dataclass(frozen=True, slots=True, kw_only=True)
class Windows:
    """Rows of the flat event columns that cutoffs and segments see.

    Attributes:
        customer: Position of every cutoff's customer in the histories.
        begins: First rows of the trailing windows that were asked for, then of the history.
        end: One past the last row of every cutoff's history.
        first: First row of the cutoff's customer.
        last: One past the last row of the cutoff's customer.
        segment_start: First row of every segment: the history of its last cutoff begins there.
        segment_end: One past its last row.
        visible: How many events of its segment a cutoff sees.
        num_used: Events of its history.
        num_truncated: The customer's events before that.
        num_after: The customer's events after the cutoff.
    """

    customer: Int64[ndarray, " readout"]
    begins: Int64[ndarray, "window_plus_1 readout"]
    end: Int64[ndarray, " readout"]
    first: Int64[ndarray, " readout"]
    last: Int64[ndarray, " readout"]
    segment_start: Int64[ndarray, " segment"]
    segment_end: Int64[ndarray, " segment"]
    visible: Int64[ndarray, " readout"]
    num_used: Int64[ndarray, " readout"]
    num_truncated: Int64[ndarray, " readout"]
    num_after: Int64[ndarray, " readout"]

    @property
    def start(self) -> Int64[ndarray, " readout"]:
        """First row of every cutoff's history."""
        start: ndarray = self.begins[-1]
        return start


def windows_of(
    histories: Histories,
    cutoffs: Cutoffs,
    *,
    max_events: int,
    history_days: int,
    trailing_days: tuple[int, ...] = (),
) -> Windows:
    """Find the last ``max_events`` events of ``(t - history_days, t]`` for every cutoff ``t``.

    Args:
        histories: Flat event columns.
        cutoffs: Cutoffs grouped into segments.
        max_events: Most events of a history.
        history_days: Length of a history in days.
        trailing_days: Lengths of windows ``(t - days, t]`` within the history, in days.

    Returns:
        The rows; a cutoff without events has ``start == end``.
    """
    num, num_segments = len(cutoffs.time_us), len(cutoffs.customer)
    # Of one block, because every array costs about as much to make as a short one to fill.
    rows = np.empty((len(trailing_days) + 5, num), dtype=np.int64)
    counts = np.empty((4, num), dtype=np.int64)
    segments = np.empty((2, num_segments), dtype=np.int64)
    _find_windows(
        histories.offsets,
        np.ascontiguousarray(histories.occurred_at_us),
        cutoffs.customer,
        cutoffs.offsets,
        cutoffs.time_us,
        np.array([*trailing_days, history_days], dtype=np.int64),
        max_events,
        rows,
        counts,
        segments,
    )
    return Windows(
        customer=rows[0],
        first=rows[1],
        last=rows[2],
        end=rows[3],
        begins=rows[4:],
        segment_start=segments[0],
        segment_end=segments[1],
        visible=counts[0],
        num_used=counts[1],
        num_truncated=counts[2],
        num_after=counts[3],
    )


@native("rows", "counts", "segments")
def _find_windows(
    offsets: Int64[ndarray, " customer_plus_1"],
    event_us: Int64[ndarray, " event"],
    customers: Int64[ndarray, " segment"],
    segment_offsets: Int64[ndarray, " segment_plus_1"],
    cutoff_us: Int64[ndarray, " readout"],
    days: Int64[ndarray, " window"],
    max_events: int,
    rows: Int64[ndarray, "bound readout"],
    counts: Int64[ndarray, "4 readout"],
    segments: Int64[ndarray, "2 segment"],
) -> None:
    """Write customer, its first and last row, end of the history, where every window begins, and counts."""
    for segment in range(len(customers)):
        first, last = offsets[customers[segment]], offsets[customers[segment] + 1]
        for readout in range(segment_offsets[segment], segment_offsets[segment + 1]):
            rows[0, readout] = customers[segment]
            rows[1, readout] = first
            rows[2, readout] = last
            # The end, then the windows from the longest one, the history, on: each bounds the next.
            low = first
            for bound in range(len(days), -1, -1):
                span_us = (days[bound - 1] if bound else 0) * MICROSECONDS_PER_DAY
                high = last
                while low < high:
                    middle = (low + high) >> 1
                    if event_us[middle] <= cutoff_us[readout] - span_us:
                        low = middle + 1
                    else:
                        high = middle
                rows[3 + bound, readout] = low
            end = rows[3, readout]
            for bound in range(1, len(days) + 1):
                rows[3 + bound, readout] = max(rows[3 + bound, readout], end - max_events)
        final = segment_offsets[segment + 1] - 1
        segment_start = rows[3 + len(days), final]
        segments[0, segment] = segment_start
        segments[1, segment] = rows[3, final]
        for readout in range(segment_offsets[segment], segment_offsets[segment + 1]):
            begin, end = rows[3 + len(days), readout], rows[3, readout]
            counts[0, readout] = max(end - segment_start, 0)
            counts[1, readout] = end - begin
            counts[2, readout] = begin - first
            counts[3, readout] = last - end


def without_unseen(histories: Histories, cutoffs: Cutoffs, windows: Windows) -> tuple[Histories, Windows]:
    """Leave out the events that no cutoff sees, where they are the larger part.

    A customer may have many more events than a history takes; encoding them all would be work
    for nothing, while moving a column costs about as much as encoding it.

    Args:
        histories: Flat event columns.
        cutoffs: Cutoffs grouped into segments.
        windows: What they see.

    Returns:
        Histories with the events of one segment after the other instead of the customers', and
        the windows in their rows; or both as they were.
    """
    seen_from = (
        np.minimum.reduceat(windows.start, cutoffs.offsets[:-1]) if len(windows.start) else windows.start
    )
    rows_seen = windows.segment_end - seen_from
    if 2 * int(rows_seen.sum()) > len(histories.occurred_at_us):
        return histories, windows
    rows, offsets = ragged_range(seen_from, windows.segment_end)
    per_segment = offsets[:-1] - seen_from
    per_readout = per_segment.repeat(cutoffs.per_segment)
    moved = replace(
        windows,
        begins=windows.begins + per_readout,
        end=windows.end + per_readout,
        first=windows.first + per_readout,
        last=windows.last + per_readout,
        segment_start=windows.segment_start + per_segment,
        segment_end=windows.segment_end + per_segment,
    )
    return histories.take_events(rows, offsets), moved
