"""Compiled loops over the bytes of customers in a ScoreRequest (https://protobuf.dev/programming-guides/encoding).

It deliberately knows no request and no schema: what is not exactly as protobuf's own libraries write it is
marked as not plain, and left.
"""

import numpy as np
from jaxtyping import Int64, UInt8
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

ABSENT = -1
MOST_BITS = 28
"""Of a number that is read here: what is larger lies outside every dictionary."""


@inner
def length_at(data: UInt8[ndarray, " byte"], place: int, end: int) -> tuple[int, int]:
    """Return the length that is written from a place on, and the place behind it; -1 where it has no end."""
    length, shift, group = 0, 0, 128
    while group > 127 and place < end and shift < MOST_BITS:
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
        part, place = length_at(data, place, end)
        if place < 0:
            return
        wire_type, size = part & 7, 0
        if wire_type == VARINT:
            while place < end and data[place] > 127:
                place += 1
            size = 1
        elif wire_type == LENGTH_DELIMITED:
            size, place = length_at(data, place, end)
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
                length, inner = length_at(data, inner + 1, place + size)
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
            size, place = length_at(data, place + 1, end)
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
