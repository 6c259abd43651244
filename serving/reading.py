"""What several requests ask, read in one go: one set of histories, and who is at fault.

It deliberately decides nothing that :mod:`holdfast.wire` and :mod:`holdfast.faults` decide: where
anything is not plainly sound, each request is read number by number, and refused there.

NumPy reads the columns of all customers of all requests at once: a few nanoseconds per event
instead of a hundred, and the fixed cost of a request is shared by those who wait with it.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import accumulate
from typing import Any

import numpy as np
from jaxtyping import Int32, Int64
from numpy import ndarray

from holdfast.errors import HistoryError
from holdfast.faults import find_faults, without
from holdfast.histories import ALWAYS_US, AttributeVersions, CodedColumn, Histories
from holdfast.schema import Schema
from holdfast.v1 import scoring_pb2 as pb
from holdfast.vocabulary import Dictionary
from holdfast.wire import Limits
from serving.asking import Asked, AskedBytes
from serving.joining import in_one_dictionary, joined

_ALWAYS = np.int64(ALWAYS_US).astype("<i8").tobytes()
_MISSING_CODE = b"\x01"
"""-1 as protobuf writes an sint32."""
_MISSING_VALUE = np.float32(math.nan).astype("<f4").tobytes()
_VALUES, _CODES = (
    bytes((pb.Column.DESCRIPTOR.fields_by_name[name].number << 3 | 2,)) for name in ("values", "codes")
)
"""What stands in front of the numbers of a column."""
_NO_WORDS = Dictionary(())
_WIDEST = 4
"""Bytes of the longest number that is read here: what is larger lies outside every dictionary."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Read:
    """What was asked, read and checked.

    Attributes:
        histories: Of those who can be scored.
        rows: Where they stand among all who were asked about.
        faults: Why the others cannot be scored, by row.
    """

    histories: Histories
    rows: Int64[ndarray, " customer"]
    faults: Mapping[int, HistoryError]


def read_together(asked: Sequence[Asked], schema: Schema, *, limits: Limits) -> Read:
    """Read what several requests ask; the customers of the first one come first.

    Args:
        asked: At least one.
        schema: What the model expects.
        limits: What this server takes of a request.

    Returns:
        Histories of which every value has been checked.

    Raises:
        RequestError: A request as a whole is malformed.
    """
    plain = [one for one in asked if isinstance(one, AskedBytes) and one.is_plain]
    if len(plain) == len(asked):
        histories = _read_plain(plain, schema, limits)
        if histories is not None and not find_faults(histories):
            return Read(histories=histories, rows=_count(histories.num_customers), faults={})
    if len(asked) == 1:
        return _read_alone(asked[0], schema, limits)
    # Each for itself, since a message must speak of the caller's own columns and dictionaries.
    parts, rows, start = [], [], 0
    faults: dict[int, HistoryError] = {}
    for one in asked:
        read = read_together([one], schema, limits=limits)
        parts.append(read.histories)
        rows.append(read.rows + start)
        faults |= {start + row: error for row, error in read.faults.items()}
        start += len(one.num_events)
    return Read(histories=joined(parts), rows=np.concatenate(rows), faults=faults)


def _read_alone(asked: Asked, schema: Schema, limits: Limits) -> Read:
    """Read number by number."""
    received = asked.read(schema, limits=limits)
    found = find_faults(received.histories)
    histories, kept = without(received.histories, found)
    faults = {int(received.positions[row]): error for row, error in found.items()}
    return Read(histories=histories, rows=received.positions[kept], faults={**received.errors, **faults})


def _count(num: int) -> Int64[ndarray, " num"]:
    return np.arange(num, dtype=np.int64)


def _read_plain(asked: Sequence[AskedBytes], schema: Schema, limits: Limits) -> Histories | None:
    """Return the histories, or None where anything is not as it should be."""
    coded_fields, coded_attributes = schema.categorical_fields, schema.categorical_attributes
    field_words = [_words(one.view.field_dictionaries, coded_fields) for one in asked]
    attribute_words = [_words(one.view.attribute_dictionaries, coded_attributes) for one in asked]
    fields = _Columns(coded_fields, schema.numeric_fields)
    attributes = _Columns(coded_attributes, schema.numeric_attributes)
    most_bytes = 8 * limits.max_events_per_customer
    types: list[bytes] = []
    for one in asked:
        for customer in one.customers:
            times, versioned = _bytes(customer.occurred_at_us), customer.attributes
            valid_from = _bytes(customer.valid_from_us) or (_ALWAYS if versioned else b"")
            types.append(_bytes(customer.event_type))
            is_sound = fields.add(times, customer.fields) and attributes.add(valid_from, versioned)
            if not is_sound or len(times) > most_bytes:
                return None
        fields.end_request()
        attributes.end_request()
    offsets, version_offsets = fields.offsets(), attributes.offsets()
    type_codes = _numbers(types, offsets)
    found = fields.coded(offsets, field_words)
    found_attributes = attributes.coded(version_offsets, attribute_words)
    if type_codes is None or found is None or found_attributes is None:
        return None
    type_words = [Dictionary(one.view.event_types) for one in asked]
    return Histories(
        offsets=offsets,
        occurred_at_us=fields.times(),
        event_type=in_one_dictionary(type_codes, type_words, fields.rows_by_request),
        categorical=found,
        numeric=fields.values(),
        attributes=AttributeVersions(
            offsets=version_offsets,
            valid_from_us=attributes.times(),
            categorical=found_attributes,
            numeric=attributes.values(),
        ),
    )


class _Columns:
    """The bytes of the columns of all customers, joined only once."""

    def __init__(self, categorical: tuple[str, ...], numeric: tuple[str, ...]) -> None:
        self.rows_by_request: list[int] = []
        self._num_rows = 0
        self._times: list[bytes] = []
        self._codes: dict[str, list[bytes]] = {name: [] for name in categorical}
        self._values: dict[str, list[bytes]] = {name: [] for name in numeric}
        self._by_head = _columns_by_head(categorical, numeric)
        self._parts = [*self._codes.values(), *self._values.values()]
        self._whole = (1 << len(self._parts)) - 1

    def add(self, times: bytes, columns: Iterable[bytes]) -> bool:
        """Append a customer's columns; False where they are not as they should be."""
        num, rest = divmod(len(times), 8)
        self._times.append(times)
        self._num_rows += num
        seen = 0
        by_head, parts = self._by_head, self._parts
        for column in columns:
            start = column[1] + 3 if len(column) > 1 else 1
            known = by_head.get(column[:start])
            if known is None:
                return False
            place, size, bit = known
            found: bytes | None = column[start + 1 :]
            # The commonest length takes one byte.
            if start >= len(column) or column[start] > 127 or column[start] != len(column) - start - 1:
                found = _payload(column, start)
            if found is None or seen & bit or (size and len(found) != size * num):
                return False
            seen |= bit
            parts[place].append(found)
        if seen != self._whole:
            num_codes = len(self._codes)
            for place, part in enumerate(parts):
                if not seen >> place & 1:
                    part.append(num * (_MISSING_CODE if place < num_codes else _MISSING_VALUE))
        return not rest

    def end_request(self) -> None:
        """Note that the customers of a request are complete."""
        self.rows_by_request.append(self._num_rows)
        self._num_rows = 0

    def offsets(self) -> Int64[ndarray, " customer_plus_1"]:
        return np.array([0, *accumulate(len(times) >> 3 for times in self._times)], dtype=np.int64)

    def times(self) -> Int64[ndarray, " row"]:
        return np.frombuffer(b"".join(self._times), dtype="<i8")

    def values(self) -> Mapping[str, ndarray]:
        return {name: np.frombuffer(b"".join(parts), dtype="<f4") for name, parts in self._values.items()}

    def coded(
        self, offsets: Int64[ndarray, " customer_plus_1"], words: Sequence[Mapping[str, Dictionary] | None]
    ) -> Mapping[str, CodedColumn] | None:
        """Return the categorical columns, or None where one has not a number per row or unknown words."""
        known = [one for one in words if one is not None]
        if len(known) < len(words):
            return None
        found = {}
        for name, parts in self._codes.items():
            numbers = _numbers(parts, offsets)
            if numbers is None:
                return None
            # The zigzag of protobuf: 0, -1, 1, -2, ...
            codes = (numbers >> 1) ^ -(numbers & 1)
            found[name] = in_one_dictionary(codes, [one[name] for one in known], self.rows_by_request)
        return found


@cache
def _columns_by_head(
    categorical: tuple[str, ...], numeric: tuple[str, ...]
) -> Mapping[bytes, tuple[int, int, int]]:
    """Return place, bytes of a number and bit of every column, by what its bytes begin with.

    That is its name and, where there is a number in it, the tag of what is in it.
    """
    found = {}
    every = [*((name, _CODES, 0) for name in categorical), *((name, _VALUES, 4) for name in numeric)]
    for place, (name, tag, size) in enumerate(every):
        head = pb.Column(name=name).SerializeToString()
        found[head + tag] = found[head] = (place, size, 1 << place)
    return found


def _payload(column: bytes, start: int) -> bytes | None:
    """Return the bytes behind the length that stands at ``start``; None where there is more, or less."""
    if start > len(column):
        return b""
    size = shift = 0
    while start < len(column):
        byte = column[start]
        start += 1
        size |= (byte & 127) << shift
        if byte < 128:
            return column[start:] if start + size == len(column) else None
        shift += 7
    return None


def _bytes(chunks: Any) -> bytes:
    """Return a column that may have been sent in pieces."""
    if len(chunks) == 1:
        whole: bytes = chunks[0]
        return whole
    return b"".join(chunks)


def _words(given: Any, categorical: Sequence[str]) -> Mapping[str, Dictionary] | None:
    """Return the dictionaries of all columns; None where there is one of something else."""
    if not categorical:
        return None if len(given) else {}
    words, num_given = {}, 0
    for name in categorical:
        is_given = name in given
        num_given += is_given
        words[name] = Dictionary(given[name].values) if is_given else _NO_WORDS
    return words if num_given == len(given) else None


def _numbers(
    parts: Sequence[bytes], offsets: Int64[ndarray, " customer_plus_1"]
) -> Int32[ndarray, " row"] | None:
    """Return the variable-length numbers of all customers.

    Args:
        parts: Every customer's bytes.
        offsets: How many numbers there must be.

    Returns:
        One number per row; None where a customer has another number of them, or one is too large.
    """
    joined_bytes = b"".join(parts)
    found = np.frombuffer(joined_bytes, dtype=np.uint8)
    bounds = np.array([0, *accumulate(map(len, parts))], dtype=np.int64)
    if joined_bytes.isascii():
        return found.astype(np.int32) if np.array_equal(bounds, offsets) else None
    is_last = found < 128
    # How many numbers have ended before every byte, and where each of them began.
    ended = np.concatenate([[0], np.cumsum(is_last)])
    starts = np.flatnonzero(np.concatenate([[True], is_last[:-1]]))
    width = np.diff(starts, append=len(found))
    ends = bounds[1:][np.diff(bounds) > 0] - 1
    if not (np.array_equal(ended[bounds], offsets) and is_last[ends].all()) or width.max() > _WIDEST:
        return None
    shift = 7 * (np.arange(len(found)) - np.repeat(starts, width))
    groups = (found & 127).astype(np.int32) << shift.astype(np.int32)
    return np.add.reduceat(groups, starts, dtype=np.int32)
