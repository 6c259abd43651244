"""Which events a cutoff sees: the only place where time decides what is history.

It deliberately does not know what the events contain.
"""

from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Int64
from numpy import ndarray

from holdfast.histories import Histories, ragged_range, search_sorted
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
    """

    customer: Int64[ndarray, " readout"]
    begins: Int64[ndarray, "window_plus_1 readout"]
    end: Int64[ndarray, " readout"]
    first: Int64[ndarray, " readout"]
    last: Int64[ndarray, " readout"]
    segment_start: Int64[ndarray, " segment"]
    segment_end: Int64[ndarray, " segment"]

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
    customer = cutoffs.customer.repeat(cutoffs.per_segment)
    first, last = histories.offsets.take(customer), histories.offsets.take(customer + 1)
    # One search answers all bounds: the cutoffs themselves, the windows, the oldest times.
    days = np.array([0, *trailing_days, history_days], dtype=np.int64)
    asked = cutoffs.time_us - (days * MICROSECONDS_PER_DAY)[:, None]
    found = search_sorted(histories.occurred_at_us, first, last, asked)
    end, begins = found[0], found[1:]
    # No window reaches further back than the history does.
    np.maximum(begins, np.maximum(begins[-1], end - max_events), out=begins)
    final = cutoffs.offsets[1:] - 1
    return Windows(
        customer=customer,
        begins=begins,
        end=end,
        first=first,
        last=last,
        segment_start=begins[-1].take(final),
        segment_end=end.take(final),
    )


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
