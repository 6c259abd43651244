"""Customers' events as flat columns with offsets: the one form that encoding accepts.

It deliberately does not know where the columns come from (a memory-mapped store, a request,
a table), and never changes them.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Bool, Float32, Int32, Int64, Shaped
from numpy import ndarray

from holdfast.native import native
from holdfast.vocabulary import Dictionary

ALWAYS_US = np.iinfo(np.int64).min
"""``valid_from`` of an attribute version that has always been valid."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CodedColumn:
    """A text column as codes into a dictionary; code -1 is a missing value."""

    codes: Int32[ndarray, " row"]
    dictionary: Dictionary

    def take(self, rows: ndarray) -> "CodedColumn":
        """Return the column at ``rows``, with the same dictionary."""
        return CodedColumn(codes=self.codes[rows], dictionary=self.dictionary)


@dataclass(frozen=True, slots=True, eq=False)
class Block(Mapping[str, ndarray]):
    """Columns by name that are the rows of one array already, so that nobody has to bring them together.

    Attributes:
        names: In order.
        rows: One column each.
    """

    names: tuple[str, ...]
    rows: Shaped[ndarray, "column row"]

    def __getitem__(self, name: str) -> Shaped[ndarray, " row"]:
        """Return a column."""
        column: ndarray = self.rows[_place(self.names, name)]
        return column

    def __iter__(self) -> Iterator[str]:
        """Yield the names."""
        return iter(self.names)

    def __len__(self) -> int:
        """Return the number of columns."""
        return len(self.names)


@dataclass(frozen=True, slots=True, eq=False)
class CodedBlock(Mapping[str, CodedColumn]):
    """The same of coded columns.

    Attributes:
        codes: Columns of codes.
        dictionaries: What they mean, by column.
    """

    codes: Block
    dictionaries: tuple[Dictionary, ...]

    def __getitem__(self, name: str) -> CodedColumn:
        """Return a column."""
        dictionary = self.dictionaries[_place(self.codes.names, name)]
        return CodedColumn(codes=self.codes[name], dictionary=dictionary)

    def __iter__(self) -> Iterator[str]:
        """Yield the names."""
        return iter(self.codes.names)

    def __len__(self) -> int:
        """Return the number of columns."""
        return len(self.codes.names)


def _place(names: tuple[str, ...], name: str) -> int:
    try:
        return names.index(name)
    except ValueError as error:
        raise KeyError(name) from error


@dataclass(frozen=True, slots=True, kw_only=True)
class AttributeVersions:
    """Versions of the customers' attributes, flat with offsets, ascending by ``valid_from``.

    The version that holds at a cutoff ``t`` is the last one with ``valid_from_us <= t``;
    where there is none, every attribute is missing.

    Attributes:
        offsets: Versions of customer ``i`` are rows ``offsets[i]`` to ``offsets[i + 1]``.
        valid_from_us: UTC microseconds; :data:`ALWAYS_US` for one that always held.
        categorical: Coded columns by attribute name.
        numeric: float32 columns by attribute name; NaN is missing.
    """

    offsets: Int64[ndarray, " customer_plus_1"]
    valid_from_us: Int64[ndarray, " version"]
    categorical: Mapping[str, CodedColumn]
    numeric: Mapping[str, Float32[ndarray, " version"]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Histories:
    """Events of several customers, each customer's sorted by time (ties as they were given).

    Attributes:
        offsets: Events of customer ``i`` are rows ``offsets[i]`` to ``offsets[i + 1]``.
        occurred_at_us: UTC microseconds, ascending within a customer.
        event_type: Coded event types; never missing.
        categorical: Coded columns by field name.
        numeric: float32 columns by field name; NaN is missing, infinities are not allowed.
        attributes: The customers' attributes.
    """

    offsets: Int64[ndarray, " customer_plus_1"]
    occurred_at_us: Int64[ndarray, " event"]
    event_type: CodedColumn
    categorical: Mapping[str, CodedColumn]
    numeric: Mapping[str, Float32[ndarray, " event"]]
    attributes: AttributeVersions

    @property
    def num_customers(self) -> int:
        """The number of customers, those without events included."""
        return len(self.offsets) - 1

    @property
    def num_events(self) -> int:
        """The number of events over all customers."""
        return int(self.offsets[-1] - self.offsets[0])

    def take(self, customers: Int64[ndarray, " taken"]) -> "Histories":
        """Gather some customers, in the order given, by one vectorised gather per column.

        Args:
            customers: Positions; the same one may stand several times.

        Returns:
            Their histories in memory of their own.
        """
        versions, version_offsets = ragged_rows(self.attributes.offsets, customers)
        return replace(
            self.take_events(*ragged_rows(self.offsets, customers)),
            attributes=AttributeVersions(
                offsets=version_offsets,
                valid_from_us=self.attributes.valid_from_us[versions],
                categorical={n: c.take(versions) for n, c in self.attributes.categorical.items()},
                numeric={n: c[versions] for n, c in self.attributes.numeric.items()},
            ),
        )

    def take_events(
        self, rows: Int64[ndarray, " row"], offsets: Int64[ndarray, " part_plus_1"]
    ) -> "Histories":
        """Gather some events by row; ``offsets`` say whose they are, attributes stay as they are."""
        return replace(
            self,
            offsets=offsets,
            occurred_at_us=self.occurred_at_us[rows],
            event_type=self.event_type.take(rows),
            categorical={name: column.take(rows) for name, column in self.categorical.items()},
            numeric={name: column[rows] for name, column in self.numeric.items()},
        )


def stacked_values(
    columns: Mapping[str, Float32[ndarray, " row"]], names: tuple[str, ...], *, num: int
) -> Float32[ndarray, "column row"]:
    """Return columns of ``num`` values as one array: a compiled loop takes any number of them then."""
    if isinstance(columns, Block) and columns.names == names:
        return columns.rows
    return _stacked([columns[name] for name in names], num, np.float32)


def stacked_codes(
    columns: Mapping[str, CodedColumn], names: tuple[str, ...], *, num: int
) -> tuple[Int32[ndarray, "column row"], tuple[Dictionary, ...]]:
    """Return columns of ``num`` codes as one array, and what they mean."""
    if isinstance(columns, CodedBlock) and columns.codes.names == names:
        return columns.codes.rows, columns.dictionaries
    found = [columns[name] for name in names]
    codes = _stacked([column.codes for column in found], num, np.int32)
    return codes, tuple(column.dictionary for column in found)


def _stacked(columns: Sequence[ndarray], num: int, dtype: type[np.generic]) -> Shaped[ndarray, "column row"]:
    found = np.empty((len(columns), num), dtype=dtype)
    for row, column in zip(found, columns, strict=True):
        row[:] = column
    return found


def ragged_rows(
    offsets: Int64[ndarray, " customer_plus_1"], customers: Int64[ndarray, " taken"]
) -> tuple[Int64[ndarray, " row"], Int64[ndarray, " taken_plus_1"]]:
    """Return the flat rows of some customers and the offsets of the gathered rows."""
    return ragged_range(offsets[customers], offsets[customers + 1])


def ragged_range(
    starts: Int64[ndarray, " part"], ends: Int64[ndarray, " part"]
) -> tuple[Int64[ndarray, " row"], Int64[ndarray, " part_plus_1"]]:
    """Return ``concatenate([arange(s, e) for s, e in zip(starts, ends)])`` and its offsets.

    Args:
        starts: First row of every part.
        ends: One past the last row of every part; never below its start.

    Returns:
        The rows, and the offset of every part among them.
    """
    lengths = ends - starts
    offsets = prefix_sum(lengths)
    rows = (starts - offsets[:-1]).repeat(lengths)
    rows += np.arange(offsets[-1], dtype=np.int64)
    return rows, offsets


def prefix_sum(values: Int64[ndarray, " row"] | Bool[ndarray, " row"]) -> Int64[ndarray, " row_plus_1"]:
    """Return how much lies before every row, and in all rows as the last element."""
    sums = np.zeros(len(values) + 1, dtype=np.int64)
    values.cumsum(out=sums[1:])
    return sums


def search_sorted(
    values: Int64[ndarray, " event"],
    starts: Int64[ndarray, " range"],
    ends: Int64[ndarray, " range"],
    queries: Int64[ndarray, "*several range"],
) -> Int64[ndarray, "*several range"]:
    """Return, per query, the first row of its own range whose value is greater than the query.

    ``values`` is ascending within every range ``[starts, ends)``, not as a whole, so
    ``np.searchsorted`` alone does not fit.

    Args:
        values: Flat column.
        starts: First row of every range.
        ends: One past the last row of every range.
        queries: What to compare with; one per range, or several on axes in front.

    Returns:
        Rows in ``[starts, ends]``.
    """
    found = np.empty(queries.shape, dtype=np.int64)
    several = queries.reshape(-1, len(starts)) if len(starts) else queries.reshape(0, 0)
    _search(
        np.ascontiguousarray(values),
        np.ascontiguousarray(starts),
        np.ascontiguousarray(ends),
        np.ascontiguousarray(several),
        found.reshape(several.shape),
    )
    return found


@native("found")
def _search(
    values: Int64[ndarray, " event"],
    starts: Int64[ndarray, " range"],
    ends: Int64[ndarray, " range"],
    queries: Int64[ndarray, "several range"],
    found: Int64[ndarray, "several range"],
) -> None:
    for line in range(queries.shape[0]):
        for place in range(queries.shape[1]):
            query = queries[line, place]
            # Never beyond the own range: the pages of other customers may not be in memory.
            low, high = starts[place], ends[place]
            while low < high:
                middle = (low + high) >> 1
                if values[middle] <= query:
                    low = middle + 1
                else:
                    high = middle
            found[line, place] = low
