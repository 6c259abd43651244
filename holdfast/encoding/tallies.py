"""How many events of every counted type lie before a row, and which of them came last.

It deliberately does not know customers or time: rows come in, integers go out, and integers do
not depend on company.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Int64
from numpy import ndarray


@dataclass(frozen=True, slots=True, kw_only=True)
class TypeTallies:
    """Running counts and last rows by type, kept only at the rows that are asked about.

    A request asks about a tenth as many rows as it has events. Between two rows asked about, one
    cell per type is enough, so that nothing as large as events times types is ever built.

    Attributes:
        cell: By row, how many of the rows asked about are not after it.
        num: Events of a type in all cells before this one.
        last: Row of the last of them; -1 where there is none.
    """

    cell: Int64[ndarray, " event_plus_1"]
    num: Int64[ndarray, "type cell"]
    last: Int64[ndarray, "type cell"]

    def num_before(self, rows: Int64[ndarray, "*asked"]) -> Int64[ndarray, "type *asked"]:
        """Return how many events of every type lie before rows that were asked about."""
        return self.num.take(self.cell.take(rows), axis=1)

    def last_before(self, rows: Int64[ndarray, "*asked"]) -> Int64[ndarray, "type *asked"]:
        """Return the last row of every type before rows that were asked about; -1 where there is none."""
        return self.last.take(self.cell.take(rows), axis=1)


def tally_types(
    type_ids: Int64[ndarray, " event"],
    lines: Int64[ndarray, " type_id"],
    num_counted: int,
    asked: tuple[Int64[ndarray, "..."], ...],
) -> TypeTallies:
    """Count events by type up to every row that will be asked about.

    Args:
        type_ids: Event types of all rows.
        lines: By type, its place among the counted ones; ``num_counted`` for all others.
        num_counted: How many types are counted.
        asked: Rows between 0 and the number of events, in any order.

    Returns:
        The tallies; only rows in ``asked`` may be looked up.
    """
    num_events = len(type_ids)
    cell = np.zeros(num_events + 1, dtype=np.int64)
    for rows in asked:
        cell[rows] = 1
    cell.cumsum(out=cell)
    # Types that are not counted share one line more, which is dropped. An event counts from the
    # cell behind its own on.
    shape = (num_counted + 1, int(cell[-1]) + 2)
    place = (lines * shape[1] + 1).take(type_ids)
    place += cell[:-1]
    num = np.bincount(place, minlength=shape[0] * shape[1]).reshape(shape)[:num_counted]
    last = np.empty(shape[0] * shape[1], dtype=np.int64)
    last.fill(-1)
    # Where places repeat, the last value given stays: the latest row, because rows ascend.
    last[place] = np.arange(num_events, dtype=np.int64)
    last = last.reshape(shape)[:num_counted]
    return TypeTallies(cell=cell, num=num.cumsum(axis=1), last=np.maximum.accumulate(last, axis=1, out=last))
