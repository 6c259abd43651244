"""Customers of a ScoreRequest as they were sent, and their columns: :mod:`serving.wire_loops` reads them.

It deliberately decides nothing: what is not exactly as protobuf's own libraries write it is not plain, and
:mod:`holdfast.wire` has the last word on it.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from itertools import accumulate

import numpy as np
from jaxtyping import Float32, Int32, Int64, UInt8
from numpy import ndarray

from holdfast.histories import ALWAYS_US, prefix_sum
from holdfast.vocabulary import MISSING_CODE
from serving import wire_loops as loops


class NotPlainError(Exception):
    """Something has to be read number by number."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Customers:
    """Customers of one or several requests as they were sent, and where in that their parts lie.

    Attributes:
        data: The bytes of them all.
        bounds: Where each begins and ends: there may be others between them.
        spans: Where id, times, types and times of versions of each lie; (-1, -1) where one is absent.
        counts: How many events each has, how many versions, and how many fields and attributes it sends.
    """

    data: UInt8[ndarray, " byte"]
    bounds: Int64[ndarray, "2 customer"]
    spans: Int64[ndarray, "4 customer 2"]
    counts: Int64[ndarray, "4 customer"]

    @classmethod
    def of(cls, customers: Sequence[bytes]) -> "Customers":
        """Find the parts of some customers.

        Raises:
            NotPlainError: There is anything that no library of protobuf writes for this message.
        """
        num = len(customers)
        data = np.frombuffer(b"".join(customers), dtype=np.uint8)
        ends = [0, *accumulate(map(len, customers))]
        bounds = np.array([ends[:-1], ends[1:]], dtype=np.int64)
        spans, counts = np.empty((4, num, 2), dtype=np.int64), np.empty((4, num), dtype=np.int64)
        flags = np.ones(2, dtype=np.int64)
        loops.outline(data, bounds, loops.PART_OF_TAG, spans, counts, flags)
        is_plain, is_ascii = flags.tolist()
        if not is_plain:
            raise NotPlainError
        found = cls(data=data, bounds=bounds, spans=spans, counts=counts)
        if not is_ascii:
            found._check_ids()
        return found

    def _check_ids(self) -> None:
        try:
            for customer_id in self.customer_ids():
                customer_id.decode()
        except UnicodeDecodeError as error:
            raise NotPlainError from error

    def part(self, start: int, end: int) -> "Customers":
        """Return customers ``start`` to ``end``; their bytes are not copied."""
        return Customers(
            data=self.data,
            bounds=self.bounds[:, start:end].copy(),
            spans=self.spans[:, start:end].copy(),
            counts=self.counts[:, start:end].copy(),
        )

    def __len__(self) -> int:
        """Return how many customers there are."""
        return int(self.bounds.shape[1])

    @property
    def num_events(self) -> Int64[ndarray, " customer"]:
        """How many events each has."""
        num: ndarray = self.counts[0]
        return num

    def customer_ids(self) -> list[bytes]:
        """Return who they are; empty where nothing was sent."""
        data = self.data.data
        return [bytes(data[start:end]) for start, end in self.spans[loops.ID].tolist()]

    def read_times(self) -> tuple[Int64[ndarray, " customer_plus_1"], Int64[ndarray, " event"]]:
        """Return the offsets of the customers' events, and their times."""
        offsets = prefix_sum(self.counts[0])
        found = np.empty(offsets[-1], dtype=np.int64)
        loops.read_times(self.data, self.spans[loops.TIMES], offsets, found)
        return offsets, found

    def read_valid_from(self) -> tuple[Int64[ndarray, " customer_plus_1"], Int64[ndarray, " version"]]:
        """Return the offsets of the versions of their attributes, and since when each holds."""
        offsets = prefix_sum(self.counts[1])
        # Attributes without a time are one version that has always held.
        found = np.full(offsets[-1], ALWAYS_US, dtype=np.int64)
        loops.read_times(self.data, self.spans[loops.VALID_FROM], offsets, found)
        return offsets, found

    def read_types(self, offsets: Int64[ndarray, " customer_plus_1"]) -> Int32[ndarray, " event"]:
        """Return the codes of the events' types.

        Raises:
            NotPlainError: There is another number of them than of events.
        """
        # Every event has a type: nothing sent is as many as no events.
        spans = np.maximum(self.spans[loops.TYPES : loops.TYPES + 1], 0)
        types: ndarray = _numbers(self.data, spans, offsets, is_signed=False)[0]
        return types

    def read_columns(
        self,
        offsets: Int64[ndarray, " customer_plus_1"],
        categorical: tuple[str, ...],
        numeric: tuple[str, ...],
        *,
        of_attributes: bool,
    ) -> tuple[Int32[ndarray, "categorical row"], Float32[ndarray, "numeric row"]]:
        """Return the codes and the values of all columns; a column that a customer has not is missing.

        Args:
            offsets: Rows of every customer: events, or versions of attributes.
            categorical: Names of the columns of codes.
            numeric: Names of the columns of values.
            of_attributes: Whether attributes are read, not fields.

        Raises:
            NotPlainError: A column has another name, stands twice, or has another number of rows.
        """
        names, name_ends = _names(categorical + numeric)
        places = prefix_sum(self.counts[3 if of_attributes else 2])
        columns = np.empty((places[-1], 3), dtype=np.int64)
        wanted = loops.ATTRIBUTE if of_attributes else loops.FIELD
        loops.list_columns(self.data, self.bounds, loops.PART_OF_TAG, wanted, places, columns)
        spans = np.full((len(name_ends), len(self), 2), loops.ABSENT, dtype=np.int64)
        is_plain = np.ones(1, dtype=np.int64)
        loops.find_columns(self.data, columns, names, name_ends, len(categorical), spans, is_plain)
        values = np.full((len(numeric), offsets[-1]), np.nan, dtype=np.float32)
        loops.read_values(self.data, spans[len(categorical) :], offsets, values, is_plain)
        if not is_plain[0]:
            raise NotPlainError
        return _numbers(self.data, spans[: len(categorical)], offsets, is_signed=True), values


@cache
def _names(columns: tuple[str, ...]) -> tuple[UInt8[ndarray, " byte"], Int64[ndarray, " column"]]:
    """Return the bytes of all names, one behind the other, and where each ends."""
    encoded = [name.encode() for name in columns]
    # The type is named, because of no name at all NumPy would make floating point.
    ends = np.array([*accumulate(map(len, encoded))], dtype=np.int64)
    return np.frombuffer(b"".join(encoded), dtype=np.uint8), ends


def _numbers(
    data: ndarray, spans: Int64[ndarray, "column customer 2"], offsets: ndarray, *, is_signed: bool
) -> Int32[ndarray, "column row"]:
    found = np.full((len(spans), offsets[-1]), MISSING_CODE, dtype=np.int32)
    is_plain = np.ones(1, dtype=np.int64)
    loops.read_numbers(data, spans, offsets, is_signed, found, is_plain)
    if not is_plain[0]:
        raise NotPlainError
    return found
