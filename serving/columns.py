"""The bytes of customers in a ScoreRequest to columns, in compiled loops (https://protobuf.dev/programming-guides/encoding).

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
from holdfast.native import native
from holdfast.v1 import scoring_pb2 as pb
from holdfast.vocabulary import MISSING_CODE


def _tag(kind: type, field: str) -> int:
    """Return the byte in front of a field that has a length: a text, a message, packed numbers."""
    number: int = kind.DESCRIPTOR.fields_by_name[field].number  # type: ignore[attr-defined]
    return number << 3 | 2


_ID, _TIMES, _TYPES, _VALID_FROM, _FIELD, _ATTRIBUTE, _UNKNOWN = range(7)
_PART_OF_TAG = np.full(256, _UNKNOWN, dtype=np.int64)
"""What follows each byte that a field of a customer may begin with."""
for _part, _field in enumerate(
    ("customer_id", "occurred_at_us", "event_type", "valid_from_us", "fields", "attributes")
):
    _PART_OF_TAG[_tag(pb.Customer, _field)] = _part
_NAME, _VALUES, _CODES = (_tag(pb.Column, name) for name in ("name", "values", "codes"))

_ABSENT = -1
_MOST_BITS = 28
"""Of a number that is read here: what is larger lies outside every dictionary."""


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
        _outline(data, bounds, _PART_OF_TAG, spans, counts, flags)
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

    @classmethod
    def joined(cls, parts: Sequence["Customers"]) -> "Customers":
        """Return the customers of all parts, in order."""
        if len(parts) == 1:
            return parts[0]
        starts = [0, *accumulate(len(part.data) for part in parts[:-1])]
        placed = list(zip(parts, starts, strict=True))
        # What is absent stays below 0.
        spans = [np.where(part.spans < 0, _ABSENT, part.spans + start) for part, start in placed]
        return cls(
            data=np.concatenate([part.data for part in parts]),
            bounds=np.concatenate([part.bounds + start for part, start in placed], axis=1),
            spans=np.concatenate(spans, axis=1),
            counts=np.concatenate([part.counts for part in parts], axis=1),
        )

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
        return [bytes(data[start:end]) for start, end in self.spans[_ID].tolist()]

    def read_times(self) -> tuple[Int64[ndarray, " customer_plus_1"], Int64[ndarray, " event"]]:
        """Return the offsets of the customers' events, and their times."""
        offsets = prefix_sum(self.counts[0])
        found = np.empty(offsets[-1], dtype=np.int64)
        _read_times(self.data, self.spans[_TIMES], offsets, found)
        return offsets, found

    def read_valid_from(self) -> tuple[Int64[ndarray, " customer_plus_1"], Int64[ndarray, " version"]]:
        """Return the offsets of the versions of their attributes, and since when each holds."""
        offsets = prefix_sum(self.counts[1])
        # Attributes without a time are one version that has always held.
        found = np.full(offsets[-1], ALWAYS_US, dtype=np.int64)
        _read_times(self.data, self.spans[_VALID_FROM], offsets, found)
        return offsets, found

    def read_types(self, offsets: Int64[ndarray, " customer_plus_1"]) -> Int32[ndarray, " event"]:
        """Return the codes of the events' types.

        Raises:
            NotPlainError: There is another number of them than of events.
        """
        # Every event has a type: nothing sent is as many as no events.
        spans = np.maximum(self.spans[_TYPES : _TYPES + 1], 0)
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
        wanted = _ATTRIBUTE if of_attributes else _FIELD
        _list_columns(self.data, self.bounds, _PART_OF_TAG, wanted, places, columns)
        spans = np.full((len(name_ends), len(self), 2), _ABSENT, dtype=np.int64)
        is_plain = np.ones(1, dtype=np.int64)
        _find_columns(self.data, columns, names, name_ends, len(categorical), spans, is_plain)
        values = np.full((len(numeric), offsets[-1]), np.nan, dtype=np.float32)
        _read_values(self.data, spans[len(categorical) :], offsets, values, is_plain)
        if not is_plain[0]:
            raise NotPlainError
        return _numbers(self.data, spans[: len(categorical)], offsets, is_signed=True), values


@cache
def _names(columns: tuple[str, ...]) -> tuple[UInt8[ndarray, " byte"], Int64[ndarray, " column"]]:
    """Return the bytes of all names, one behind the other, and where each ends."""
    encoded = [name.encode() for name in columns]
    return np.frombuffer(b"".join(encoded), dtype=np.uint8), np.cumsum([len(one) for one in encoded])


def _numbers(
    data: ndarray, spans: Int64[ndarray, "column customer 2"], offsets: ndarray, *, is_signed: bool
) -> Int32[ndarray, "column row"]:
    found = np.full((len(spans), offsets[-1]), MISSING_CODE, dtype=np.int32)
    is_plain = np.ones(1, dtype=np.int64)
    _read_numbers(data, spans, offsets, is_signed, found, is_plain)
    if not is_plain[0]:
        raise NotPlainError
    return found


@native("spans", "counts", "flags")
def _outline(
    data: UInt8[ndarray, " byte"],
    bounds: Int64[ndarray, "2 customer"],
    part_of_tag: Int64[ndarray, "256"],
    spans: Int64[ndarray, "4 customer 2"],
    counts: Int64[ndarray, "4 customer"],
    flags: Int64[ndarray, "2"],
) -> None:
    """Write where the parts of every customer lie, each behind its length, and what there is to count.

    The flags, 1 at first: whether all is plain, and whether no customer_id needs a look at its encoding.
    """
    spans[:] = _ABSENT
    counts[:] = 0
    for customer in range(bounds.shape[1]):
        place, end = bounds[0, customer], bounds[1, customer]
        while place < end:
            part = part_of_tag[data[place]]
            size, shift, group = np.int64(0), 0, np.int64(128)
            while group > 127 and place + 1 < end and shift < _MOST_BITS:
                place += 1
                group = np.int64(data[place])
                size |= (group & 127) << shift
                shift += 7
            place += 1
            is_counted = part >= _FIELD
            is_new = is_counted or spans[part, customer, 0] < 0
            if group > 127 or size > end - place or part == _UNKNOWN or not is_new:
                flags[0] = 0
                return
            if is_counted:
                counts[part - _FIELD + 2, customer] += 1
            else:
                spans[part, customer, 0] = place
                spans[part, customer, 1] = place + size
            place += size
        for place in range(spans[_ID, customer, 0], spans[_ID, customer, 1]):
            flags[1] &= data[place] < 128
        num_bytes = spans[_TIMES, customer, 1] - spans[_TIMES, customer, 0]
        version_bytes = spans[_VALID_FROM, customer, 1] - spans[_VALID_FROM, customer, 0]
        counts[0, customer] = num_bytes >> 3
        counts[1, customer] = max(version_bytes >> 3, min(counts[3, customer], 1))
        flags[0] &= (num_bytes | version_bytes) & 7 == 0


@native("columns")
def _list_columns(
    data: UInt8[ndarray, " byte"],
    bounds: Int64[ndarray, "2 customer"],
    part_of_tag: Int64[ndarray, "256"],
    wanted: int,
    places: Int64[ndarray, " customer_plus_1"],
    columns: Int64[ndarray, "column 3"],
) -> None:
    """Write customer, begin and end of every field or attribute; :func:`_outline` has checked the form."""
    for customer in range(bounds.shape[1]):
        place, number = bounds[0, customer], places[customer]
        while number < places[customer + 1]:
            part = part_of_tag[data[place]]
            size, shift, group = np.int64(0), 0, np.int64(128)
            while group > 127:
                place += 1
                group = np.int64(data[place])
                size |= (group & 127) << shift
                shift += 7
            place += 1
            if part == wanted:
                columns[number, 0] = customer
                columns[number, 1] = place
                columns[number, 2] = place + size
                number += 1
            place += size


@native("spans", "is_plain")
def _find_columns(
    data: UInt8[ndarray, " byte"],
    columns: Int64[ndarray, "sent 3"],
    names: UInt8[ndarray, " name_byte"],
    name_ends: Int64[ndarray, " column"],
    num_coded: int,
    spans: Int64[ndarray, "column customer 2"],
    is_plain: Int64[ndarray, "1"],
) -> None:
    """Write where the numbers of every column lie: behind its name, a tag and their length, up to its end."""
    for sent in range(columns.shape[0]):
        customer, place, end = columns[sent, 0], columns[sent, 1], columns[sent, 2]
        # In front of a name of 128 bytes or more stands a longer length, which is left to others.
        size = np.int64(data[place + 1]) if place + 1 < end and data[place] == _NAME else np.int64(128)
        place += 2
        found, name_start = -1, 0
        for column in range(len(name_ends)):
            is_same = size < 128 and size == name_ends[column] - name_start and place + size <= end
            for i in range(size if is_same else 0):
                is_same &= data[place + i] == names[name_start + i]
            if is_same:
                found = column
            name_start = name_ends[column]
        place += size
        # A column without numbers may end here.
        length, shift, group = np.int64(0), 0, np.int64(0)
        if place < end and found >= 0:
            found = found if data[place] == (_CODES if found < num_coded else _VALUES) else -1
            group = np.int64(128)
            while group > 127 and place + 1 < end and shift < _MOST_BITS:
                place += 1
                group = np.int64(data[place])
                length |= (group & 127) << shift
                shift += 7
            place += 1
        if found < 0 or group > 127 or place + length != end or spans[found, customer, 0] >= 0:
            is_plain[0] = 0
            return
        spans[found, customer, 0] = place
        spans[found, customer, 1] = end


@native("found")
def _read_times(
    data: UInt8[ndarray, " byte"],
    spans: Int64[ndarray, "customer 2"],
    offsets: Int64[ndarray, " customer_plus_1"],
    found: Int64[ndarray, " row"],
) -> None:
    for customer in range(spans.shape[0]):
        row = offsets[customer]
        for place in range(spans[customer, 0], spans[customer, 1], 8):
            number = np.int64(0)
            for i in range(8):
                number |= np.int64(data[place + i]) << (8 * i)
            found[row] = number
            row += 1


@native("found", "is_plain")
def _read_values(
    data: UInt8[ndarray, " byte"],
    spans: Int64[ndarray, "column customer 2"],
    offsets: Int64[ndarray, " customer_plus_1"],
    found: Float32[ndarray, "column row"],
    is_plain: Int64[ndarray, "1"],
) -> None:
    for column in range(spans.shape[0]):
        for customer in range(spans.shape[1]):
            start, end = spans[column, customer, 0], spans[column, customer, 1]
            row = offsets[customer]
            if start >= 0 and end - start != 4 * (offsets[customer + 1] - row):
                is_plain[0] = 0
                return
            for place in range(start, end, 4):
                number = np.int64(0)
                for i in range(4):
                    number |= np.int64(data[place + i]) << (8 * i)
                found[column, row] = np.uint32(number).view(np.float32)
                row += 1


@native("found", "is_plain")
def _read_numbers(
    data: UInt8[ndarray, " byte"],
    spans: Int64[ndarray, "column customer 2"],
    offsets: Int64[ndarray, " customer_plus_1"],
    is_signed: bool,  # noqa: FBT001 (compiled loops take arguments by position)
    found: Int32[ndarray, "column row"],
    is_plain: Int64[ndarray, "1"],
) -> None:
    """Write numbers of a variable number of bytes; signed ones are 0, -1, 1, -2, ... in protobuf's zigzag."""
    for column in range(spans.shape[0]):
        for customer in range(spans.shape[1]):
            place, end = spans[column, customer, 0], spans[column, customer, 1]
            row, last_row = offsets[customer], offsets[customer + 1]
            is_sent = place >= 0
            while place < end and row < last_row:
                number, shift, group = np.int64(0), 0, np.int64(128)
                while group > 127 and place < end and shift < _MOST_BITS:
                    group = np.int64(data[place])
                    number |= (group & 127) << shift
                    shift += 7
                    place += 1
                if group > 127:
                    is_plain[0] = 0
                    return
                found[column, row] = (number >> 1) ^ -(number & 1) if is_signed else number
                row += 1
            if is_sent and (row < last_row or place < end):
                is_plain[0] = 0
                return
