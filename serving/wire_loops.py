"""Compiled loops over the bytes of customers in a ScoreRequest (https://protobuf.dev/programming-guides/encoding).

It deliberately knows no request and no schema: what is not exactly as protobuf's own libraries write it is
marked as not plain, and left.
"""

import numpy as np
from jaxtyping import Float32, Int32, Int64, UInt8
from numpy import ndarray

from holdfast.native import inner, native
from holdfast.v1 import scoring_pb2 as pb

VARINT, LENGTH_DELIMITED, FIXED32 = 0, 2, 5
"""Wire types: a whole number; a text, a message or packed numbers; a float."""


def tag(kind: type, field: str, wire_type: int = LENGTH_DELIMITED) -> int:
    """Return the number in front of a field, which says what follows and in what form."""
    # Generated classes have a descriptor that their stubs' base type does not show.
    number: int = kind.DESCRIPTOR.fields_by_name[field].number  # type: ignore[attr-defined]
    return number << 3 | wire_type


ID, TIMES, TYPES, VALID_FROM, FIELD, ATTRIBUTE, _UNKNOWN = range(7)
PART_OF_TAG = np.full(256, _UNKNOWN, dtype=np.int64)
"""What follows each byte that a field of a customer may begin with."""
for _part, _field in enumerate(
    ("customer_id", "occurred_at_us", "event_type", "valid_from_us", "fields", "attributes")
):
    PART_OF_TAG[tag(pb.Customer, _field)] = _part
_NAME, _VALUES, _CODES = (tag(pb.Column, name) for name in ("name", "values", "codes"))

ABSENT = -1
_MOST_BITS = 28
"""Of a number that is read here: what is larger lies outside every dictionary."""


@inner
def _length(data: UInt8[ndarray, " byte"], place: int, end: int) -> tuple[int, int]:
    """Return the length that is written from a place on, and the place behind it; -1 where it has no end."""
    length, shift, group = 0, 0, 128
    while group > 127 and place < end and shift < _MOST_BITS:
        group = int(data[place])
        length |= (group & 127) << shift
        shift += 7
        place += 1
    return length, place if group < 128 else -1


@native("counts")
def count_parts(
    data: UInt8[ndarray, " byte"],
    customers_tag: int,
    part_of_tag: Int64[ndarray, "256"],
    counts: Int64[ndarray, "2"],
) -> None:
    """Write how many customers a request has, and the most fields and attributes of one of them.

    Where the bytes stop being a request the count stops too: whoever parses them will say so.
    """
    place, end = 0, len(data)
    while place < end:
        part, place = _length(data, place, end)
        if place < 0:
            return
        wire_type, size = part & 7, 0
        if wire_type == VARINT:
            while place < end and data[place] > 127:
                place += 1
            size = 1
        elif wire_type == LENGTH_DELIMITED:
            size, place = _length(data, place, end)
        elif wire_type == FIXED32:
            size = 4
        else:
            size = 8 if wire_type == 1 else end
        if place < 0 or size > end - place:
            return
        if part == customers_tag:
            counts[0] += 1
            num_columns, inner = 0, place
            while 0 <= inner < place + size:
                own = part_of_tag[data[inner]]
                length, inner = _length(data, inner + 1, place + size)
                num_columns += own >= FIELD and own != _UNKNOWN
                inner = inner + length if inner >= 0 else -1
            counts[1] = max(counts[1], num_columns)
        place += size


@native("spans", "counts", "flags")
def outline(
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
    spans[:] = ABSENT
    counts[:] = 0
    for customer in range(bounds.shape[1]):
        place, end = bounds[0, customer], bounds[1, customer]
        while place < end:
            part = part_of_tag[data[place]]
            size, place = _length(data, place + 1, end)
            is_counted = part >= FIELD
            is_new = is_counted or spans[part, customer, 0] < 0
            if place < 0 or size > end - place or part == _UNKNOWN or not is_new:
                flags[0] = 0
                return
            if is_counted:
                counts[part - FIELD + 2, customer] += 1
            else:
                spans[part, customer, 0] = place
                spans[part, customer, 1] = place + size
            place += size
        for place in range(spans[ID, customer, 0], spans[ID, customer, 1]):
            flags[1] &= data[place] < 128
        num_bytes = spans[TIMES, customer, 1] - spans[TIMES, customer, 0]
        version_bytes = spans[VALID_FROM, customer, 1] - spans[VALID_FROM, customer, 0]
        counts[0, customer] = num_bytes >> 3
        counts[1, customer] = max(version_bytes >> 3, min(counts[3, customer], 1))
        flags[0] &= (num_bytes | version_bytes) & 7 == 0


@native("columns")
def list_columns(
    data: UInt8[ndarray, " byte"],
    bounds: Int64[ndarray, "2 customer"],
    part_of_tag: Int64[ndarray, "256"],
    wanted: int,
    places: Int64[ndarray, " customer_plus_1"],
    columns: Int64[ndarray, "column 3"],
) -> None:
    """Write customer, begin and end of every field or attribute; :func:`outline` has checked the form."""
    for customer in range(bounds.shape[1]):
        place, number = bounds[0, customer], places[customer]
        while number < places[customer + 1]:
            part = part_of_tag[data[place]]
            size, place = _length(data, place + 1, bounds[1, customer])
            if part == wanted:
                columns[number, 0] = customer
                columns[number, 1] = place
                columns[number, 2] = place + size
                number += 1
            place += size


@native("spans", "is_plain")
def find_columns(
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
        length = 0
        if place < end and found >= 0:
            found = found if data[place] == (_CODES if found < num_coded else _VALUES) else -1
            length, place = _length(data, place + 1, end)
        if found < 0 or place < 0 or place + length != end or spans[found, customer, 0] >= 0:
            is_plain[0] = 0
            return
        spans[found, customer, 0] = place
        spans[found, customer, 1] = end


@native("found")
def read_times(
    data: UInt8[ndarray, " byte"],
    spans: Int64[ndarray, "customer 2"],
    offsets: Int64[ndarray, " customer_plus_1"],
    found: Int64[ndarray, " row"],
) -> None:
    """Write times, eight bytes each; customers without any leave their rows as they are."""
    for customer in range(spans.shape[0]):
        row = offsets[customer]
        for place in range(spans[customer, 0], spans[customer, 1], 8):
            number = np.int64(0)
            for i in range(8):
                number |= np.int64(data[place + i]) << (8 * i)
            found[row] = number
            row += 1


@native("found", "is_plain")
def read_values(
    data: UInt8[ndarray, " byte"],
    spans: Int64[ndarray, "column customer 2"],
    offsets: Int64[ndarray, " customer_plus_1"],
    found: Float32[ndarray, "column row"],
    is_plain: Int64[ndarray, "1"],
) -> None:
    """Write values, four bytes each; a column that a customer has not leaves its rows as they are."""
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
def read_numbers(
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
                # As in _length, which costs more than it does where it is called for every number.
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
