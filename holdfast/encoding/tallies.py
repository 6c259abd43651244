"""How many events of every counted type lie before a row, and which of them came last.

It deliberately does not know customers or time: rows come in, integers go out, and integers do
not depend on company.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Int32, Int64
from numpy import ndarray


@dataclass(frozen=True, slots=True, kw_only=True)
class TypeTallies:
    """Running counts and last rows by type, kept only at the rows that are asked about.

    A request asks about a tenth as many rows as it has events. Between two rows asked about, one
    cell per type is enough, so that nothing as large as events times types is ever built.

    Attributes:
        cell: By row, how many of the rows asked about are not after it.
        num: Events of a type in all cells up to and with this one.
        last: Row of the last of them; -1 where there is none.
    """

    cell: Int64[ndarray, " event_plus_1"]
    num: Int64[ndarray, "type cell"]
    last: Int64[ndarray, "type cell"]

    def num_before(self, rows: Int64[ndarray, "*asked"]) -> Int64[ndarray, "type *asked"]:
        """Return how many events of every type lie before rows that were asked about."""
        return self.num.take(self.cell.take(rows) - 1, axis=1)

    def last_before(self, rows: Int64[ndarray, "*asked"]) -> Int64[ndarray, "type *asked"]:
        """Return the last row of every type before rows that were asked about; -1 where there is none."""
        return self.last.take(self.cell.take(rows) - 1, axis=1)


def tally_types(
    type_ids: Int32[ndarray, " event"],
    counted: Int64[ndarray, " type"],
    asked: tuple[Int64[ndarray, "..."], ...],
) -> TypeTallies:
    """Count events by type up to every row that will be asked about.

    Args:
        type_ids: Event types of all rows.
        counted: Distinct ids of the types that are counted.
        asked: Rows between 0 and the number of events, in any order.

    Returns:
        The tallies; only rows in ``asked`` may be looked up.
    """
    num_events, num_types = len(type_ids), len(counted)
    cell = np.zeros(num_events + 1, dtype=np.int64)
    for rows in asked:
        cell[rows.reshape(-1)] = 1
    np.cumsum(cell, out=cell)
    num_cells = int(cell[-1]) + 1
    # Types that are not counted share one line more, which is dropped.
    line = np.full(max(type_ids.max(initial=0), counted.max(initial=0)) + 1, num_types, dtype=np.int64)
    line[counted] = np.arange(num_types)
    place = line.take(type_ids)
    place *= num_cells
    place += cell[:-1]
    shape = (num_types + 1, num_cells)
    num = np.bincount(place, minlength=shape[0] * shape[1]).reshape(shape)[:num_types]
    last = np.full(shape[0] * shape[1], -1, dtype=np.int64)
    # Not last[place] = rows: the order of assignments to the same element is not promised.
    np.maximum.at(last, place, np.arange(num_events, dtype=np.int64))
    last = last.reshape(shape)[:num_types]
    return TypeTallies(
        cell=cell, num=np.cumsum(num, axis=1), last=np.maximum.accumulate(last, axis=1, out=last)
    )
