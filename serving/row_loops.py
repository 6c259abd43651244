"""Compiled loops over the columns of customers in a ScoreRequest, once it is known where their parts lie.

It deliberately knows no request and no schema, only names: what is not exactly as protobuf's own libraries
write it is marked as not plain, and left.
"""

import numpy as np
from jaxtyping import Float32, Int32, Int64, UInt8
from numpy import ndarray

from holdfast.histories import ALWAYS_US
from holdfast.native import inner, native
from holdfast.v1 import scoring_pb2 as pb
from holdfast.vocabulary import MISSING_CODE
from serving.wire_loops import ATTRIBUTE, FIELD, MOST_BITS, TIMES, TYPES, VALID_FROM, length_at, tag

_NAME, _VALUES, _CODES = (tag(pb.Column, name) for name in ("name", "values", "codes"))


@native(
    "offsets",
    "times",
    "types",
    "codes",
    "values",
    "version_offsets",
    "valid_from",
    "version_codes",
    "version_values",
    "is_plain",
)
def read_rows(
    data: UInt8[ndarray, " byte"],
    bounds: Int64[ndarray, "2 customer"],
    part_of_tag: Int64[ndarray, "256"],
    spans: Int64[ndarray, "4 customer 2"],
    counts: Int64[ndarray, "4 customer"],
    names: UInt8[ndarray, " name_byte"],
    name_ends: Int64[ndarray, " column"],
    attribute_names: UInt8[ndarray, " attribute_name_byte"],
    attribute_ends: Int64[ndarray, " attribute"],
    offsets: Int64[ndarray, " customer_plus_1"],
    times: Int64[ndarray, " event"],
    types: Int32[ndarray, " event"],
    codes: Int32[ndarray, "field event"],
    values: Float32[ndarray, "numeric_field event"],
    version_offsets: Int64[ndarray, " customer_plus_1"],
    valid_from: Int64[ndarray, " version"],
    version_codes: Int32[ndarray, "attribute version"],
    version_values: Float32[ndarray, "numeric_attribute version"],
    is_plain: Int64[ndarray, "1"],
) -> None:
    """Write all columns of all customers, whose parts :func:`outline` has found, and whether they are plain.

    A column that a customer has not is missing; attributes without a time are one version that always held.
    """
    _write_offsets(counts[0], offsets)
    _write_offsets(counts[1], version_offsets)
    _read_times(data, spans[TIMES], offsets, times)
    for version in range(len(valid_from)):
        valid_from[version] = ALWAYS_US
    _read_times(data, spans[VALID_FROM], version_offsets, valid_from)
    for customer in range(spans.shape[1]):
        # Every event has a type: nothing sent is as many as no events.
        begin, end = max(spans[TYPES, customer, 0], 0), max(spans[TYPES, customer, 1], 0)
        own = types[offsets[customer] : offsets[customer + 1]]
        is_plain[0] &= _read_numbers(data, begin, end, 0, own)
    _read_columns(
        data, bounds, part_of_tag, FIELD, counts[2], names, name_ends, offsets, codes, values, is_plain
    )
    _read_columns(
        data,
        bounds,
        part_of_tag,
        ATTRIBUTE,
        counts[3],
        attribute_names,
        attribute_ends,
        version_offsets,
        version_codes,
        version_values,
        is_plain,
    )


@inner
def _write_offsets(counts: Int64[ndarray, " customer"], offsets: Int64[ndarray, " customer_plus_1"]) -> None:
    """Write how much lies before every customer, and in all as the last element."""
    offsets[0] = 0
    for customer in range(len(counts)):
        offsets[customer + 1] = offsets[customer] + counts[customer]


@inner
def _read_times(
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


@inner
def _read_columns(
    data: UInt8[ndarray, " byte"],
    bounds: Int64[ndarray, "2 customer"],
    part_of_tag: Int64[ndarray, "256"],
    wanted: int,
    counts: Int64[ndarray, " customer"],
    names: UInt8[ndarray, " name_byte"],
    name_ends: Int64[ndarray, " column"],
    offsets: Int64[ndarray, " customer_plus_1"],
    codes: Int32[ndarray, "coded row"],
    values: Float32[ndarray, "numeric row"],
    is_plain: Int64[ndarray, "1"],
) -> None:
    """Write the fields, or the attributes, of all customers, as they are sent."""
    num_coded = codes.shape[0]
    for row in range(codes.shape[1]):
        for column in range(num_coded):
            codes[column, row] = MISSING_CODE
        for column in range(values.shape[0]):
            values[column, row] = np.nan
    is_given = np.empty(len(name_ends), dtype=np.bool_)
    for customer in range(bounds.shape[1]):
        for column in range(len(name_ends)):
            is_given[column] = False
        place, number = bounds[0, customer], 0
        first, last = offsets[customer], offsets[customer + 1]
        while number < counts[customer]:
            part = part_of_tag[data[place]]
            size, place = length_at(data, place + 1, bounds[1, customer])
            end = place + size
            if part == wanted:
                number += 1
                column, begin = _find_column(data, place, end, names, name_ends, num_coded)
                if column < 0 or is_given[column]:
                    is_plain[0] = 0
                    return
                is_given[column] = True
                if column < num_coded:
                    is_plain[0] &= _read_numbers(data, begin, end, 1, codes[column, first:last])
                else:
                    is_plain[0] &= _read_values(data, begin, end, values[column - num_coded, first:last])
            place = end


@inner
def _find_column(
    data: UInt8[ndarray, " byte"],
    place: int,
    end: int,
    names: UInt8[ndarray, " name_byte"],
    name_ends: Int64[ndarray, " column"],
    num_coded: int,
) -> tuple[int, int]:
    """Return which column stands between two places, -1 for none, and where its numbers begin.

    They lie behind its name, a tag and their length, up to the end.
    """
    # In front of a name of 128 bytes or more stands a longer length, which is left to others.
    size = int(data[place + 1]) if place + 1 < end and data[place] == _NAME else 128
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
        length, place = length_at(data, place + 1, end)
    return found if place >= 0 and place + length == end else -1, place


@inner
def _read_values(
    data: UInt8[ndarray, " byte"], place: int, end: int, found: Float32[ndarray, " row"]
) -> bool:
    """Write values, four bytes each, and return whether there are as many as there should be."""
    if end - place != 4 * len(found):
        return False
    for row in range(len(found)):
        number = np.int64(0)
        for i in range(4):
            number |= np.int64(data[place + 4 * row + i]) << (8 * i)
        found[row] = np.uint32(number).view(np.float32)
    return True


@inner
def _read_numbers(
    data: UInt8[ndarray, " byte"],
    place: int,
    end: int,
    zigzag: int,
    found: Int32[ndarray, " row"],
) -> bool:
    """Write numbers of a variable number of bytes, and return whether there are as many as there should be.

    With a zigzag of 1 they stand for 0, -1, 1, -2, ..., with one of 0 for themselves.
    """
    row = 0
    while place < end and row < len(found):
        # As in length_at, which costs more than it does where it is called for every number.
        number, shift, group = np.int64(0), 0, np.int64(128)
        while group > 127 and place < end and shift < MOST_BITS:
            group = np.int64(data[place])
            number |= (group & 127) << shift
            shift += 7
            place += 1
        if group > 127:
            return False
        found[row] = (number >> 1) ^ -(number & 1) if zigzag else number
        row += 1
    return row == len(found) and place == end
