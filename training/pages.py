"""Reads a store a part at a time and gives back the memory, so that a large one does not come to lie in it.

The system keeps what was read as long as nobody else needs the room: to read it again costs next
to nothing. It deliberately does not know what the columns mean.
"""

import mmap
from collections.abc import Iterator
from itertools import pairwise

import numpy as np
from jaxtyping import Int64
from numpy import ndarray

from holdfast.encoding import Cutoffs
from holdfast.histories import Histories

READOUTS_AT_ONCE = 2_048
"""Cutoffs whose customers' events are held at a time: bounds the memory, whatever is asked. Encoding the
long histories of 20,000 customers at once took two gigabytes."""

EVENTS_AT_ONCE = 4_000_000
"""Events that are looked at at a time where all of a store are."""


def in_parts(
    histories: Histories, customer: Int64[ndarray, " readout"], cutoff_us: Int64[ndarray, " readout"]
) -> Iterator[tuple[Histories, Cutoffs]]:
    """Yield a bounded number of cutoffs at a time, in the order given, one segment each.

    Args:
        histories: The whole store.
        customer: Positions in it; any order.
        cutoff_us: Their cutoffs in UTC microseconds.

    Yields:
        The histories of the part's customers, in memory of their own, and its cutoffs in these.
    """
    for start in range(0, len(customer), READOUTS_AT_ONCE):
        part = slice(start, start + READOUTS_AT_ONCE)
        people, position = np.unique(customer[part], return_inverse=True)
        own = histories.take(people)
        release_pages(histories)
        yield own, Cutoffs.one_each(position.astype(np.int64), cutoff_us[part])


def customers_in_parts(
    histories: Histories, *, most_events: int = EVENTS_AT_ONCE
) -> Iterator[Int64[ndarray, " customer"]]:
    """Yield all customers, neighbours together; what was read of a part is unmapped before the next.

    Args:
        histories: The whole store.
        most_events: Events of a part, about; one customer's are never split.

    Yields:
        Positions in the store, ascending.
    """
    offsets = histories.offsets
    starts = np.searchsorted(offsets, np.arange(offsets[0], offsets[-1], most_events))
    bounds = np.unique(np.append(starts, [0, histories.num_customers]))
    for first, last in pairwise(bounds.tolist()):
        yield np.arange(first, last, dtype=np.int64)
        release_pages(histories)


def release_pages(histories: Histories) -> None:
    """Unmap what was read of memory-mapped histories; those in memory of their own are left alone."""
    events, attributes = histories, histories.attributes
    coded = [events.event_type, *events.categorical.values(), *attributes.categorical.values()]
    plain = [events.offsets, events.occurred_at_us, attributes.offsets, attributes.valid_from_us]
    numeric = [*events.numeric.values(), *attributes.numeric.values()]
    for column in (*(column.codes for column in coded), *plain, *numeric):
        release(column)


def release(column: ndarray) -> None:
    """Unmap what was read of one column."""
    base: object = column
    while isinstance(base, ndarray):
        base = base.base
    if isinstance(base, mmap.mmap) and hasattr(mmap, "MADV_DONTNEED"):
        base.madvise(mmap.MADV_DONTNEED)
