"""Gives back the memory through which a store was read, so that a large one does not come to lie in it.

The system keeps what was read as long as nobody else needs the room: to read it again costs next
to nothing. It deliberately does not know what the columns mean.
"""

import mmap

from numpy import ndarray

from holdfast.histories import Histories


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
