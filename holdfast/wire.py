"""Histories to the columns of a ScoreRequest and back: client and server share it.

It deliberately does not know the network, nor what the server answers
(:mod:`holdfast.results`).
"""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float32, Int64
from numpy import ndarray

from holdfast.errors import DataError, HistoryError, RequestError
from holdfast.faults import EARLIEST_US, LATEST_US, find_faults, without
from holdfast.histories import ALWAYS_US, AttributeVersions, CodedColumn, Histories
from holdfast.schema import Schema
from holdfast.v1 import scoring_pb2 as pb
from holdfast.vocabulary import MISSING_CODE, Dictionary

MICROSECONDS_PER_SECOND = 1_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What a server takes.

    Attributes:
        max_customers: Most customers of one request.
        max_events_per_customer: Most events of one customer, used or not.
        max_events: Most events of one request.
        max_message_bytes: Largest request in bytes.
    """

    max_customers: int = 1_024
    max_events_per_customer: int = 100_000
    max_events: int = 1_048_576
    max_message_bytes: int = 32 * 1_024 * 1_024


@dataclass(frozen=True, slots=True, kw_only=True)
class Received:
    """What a request says, checked.

    Attributes:
        histories: The customers that can be scored.
        positions: Where they stand in the request.
        errors: Why the others cannot, by position in the request.
    """

    histories: Histories
    positions: Int64[ndarray, " customer"]
    errors: Mapping[int, HistoryError]


def write_request(
    histories: Histories, customer_ids: Sequence[str], *, as_of_us: int, schema: Schema
) -> pb.ScoreRequest:
    """Return the request that asks about some histories.

    Args:
        histories: Flat columns.
        customer_ids: One per customer.
        as_of_us: The cutoff, UTC microseconds.
        schema: Which columns are sent.

    Returns:
        The request, with neither model nor fingerprint set.

    Raises:
        DataError: A text is no valid Unicode.
    """
    request = pb.ScoreRequest()
    request.as_of.seconds, micros = divmod(as_of_us, MICROSECONDS_PER_SECOND)
    request.as_of.nanos = micros * 1_000
    versions = histories.attributes
    types = _compact(histories.event_type)
    fields = {name: _compact(histories.categorical[name]) for name in schema.categorical_fields}
    attributes = {name: _compact(versions.categorical[name]) for name in schema.categorical_attributes}
    try:
        request.event_types.extend(types.dictionary.values)
        for name, column in fields.items():
            request.field_dictionaries[name].values.extend(column.dictionary.values)
        for name, column in attributes.items():
            request.attribute_dictionaries[name].values.extend(column.dictionary.values)
        for customer_id in customer_ids:
            request.customers.add(customer_id=customer_id)
    except UnicodeEncodeError as error:
        raise DataError("text", error.object, "it must be valid Unicode, without lone surrogates") from error
    numbers = {name: histories.numeric[name] for name in schema.numeric_fields}
    attribute_numbers = {name: versions.numeric[name] for name in schema.numeric_attributes}
    for position, customer in enumerate(request.customers):
        rows = slice(histories.offsets[position], histories.offsets[position + 1])
        customer.occurred_at_us.extend(histories.occurred_at_us[rows].tolist())
        customer.event_type.extend(types.codes[rows].tolist())
        _write_columns(customer.fields.add, fields, numbers, rows)
        rows = slice(versions.offsets[position], versions.offsets[position + 1])
        customer.valid_from_us.extend(versions.valid_from_us[rows].tolist())
        _write_columns(customer.attributes.add, attributes, attribute_numbers, rows)
    return request


def _write_columns(
    add: Callable[..., pb.Column],
    coded: Mapping[str, CodedColumn],
    numbers: Mapping[str, ndarray],
    rows: slice,
) -> None:
    if rows.start == rows.stop:
        return
    for name, column in coded.items():
        add(name=name, codes=column.codes[rows].tolist())
    for name, values in numbers.items():
        add(name=name, values=values[rows].tolist())


def _compact(column: CodedColumn) -> CodedColumn:
    """Return the column with a dictionary of what it uses: a batch is sent in many requests."""
    used = np.unique(column.codes)
    used = used[used >= 0]
    if len(used) == len(column.dictionary):
        return column
    codes = np.where(column.codes >= 0, np.searchsorted(used, column.codes), MISSING_CODE)
    dictionary = Dictionary(column.dictionary.values[code] for code in used)
    return CodedColumn(codes=codes.astype(np.int32), dictionary=dictionary)


def read_as_of_us(request: Any) -> int:
    """Return the cutoff of a request in UTC microseconds, rounded down.

    Args:
        request: A ScoreRequest, or any other message with its ``as_of``.

    Raises:
        RequestError: It is missing or out of range.
    """
    if not request.HasField("as_of"):
        raise RequestError("as_of", None, "every request must name its point in time")
    as_of_us: int = request.as_of.seconds * MICROSECONDS_PER_SECOND + request.as_of.nanos // 1_000
    if not 0 <= request.as_of.nanos < 1_000_000_000:
        raise RequestError("as_of.nanos", request.as_of.nanos, "it must lie in [0, 1000000000)")
    if not EARLIEST_US <= as_of_us < LATEST_US:
        raise RequestError("as_of", request.as_of.seconds, "it must lie between 1971 and 2200")
    return as_of_us


def read_customers(request: pb.ScoreRequest, schema: Schema, *, limits: Limits) -> Received:
    """Check a request and return its histories; nothing is computed from unchecked values.

    Args:
        request: As it came.
        schema: What the model expects.
        limits: What this server takes.

    Returns:
        The histories of the sound customers, and an error for each of the others.

    Raises:
        RequestError: The request as a whole is malformed.
    """
    if len(request.customers) > limits.max_customers:
        limit = f"a request may have at most {limits.max_customers}"
        raise RequestError("customers", len(request.customers), limit)
    num_events = sum(len(customer.occurred_at_us) for customer in request.customers)
    if num_events > limits.max_events:
        limit = f"all customers of a request together may have at most {limits.max_events} events"
        raise RequestError("customers", f"{num_events} events", limit)
    fields = _kinds(schema.categorical_fields, schema.numeric_fields)
    attributes = _kinds(schema.categorical_attributes, schema.numeric_attributes)
    field_dictionaries = _dictionaries("field_dictionaries", request.field_dictionaries, fields)
    attribute_dictionaries = _dictionaries(
        "attribute_dictionaries", request.attribute_dictionaries, attributes
    )
    events, versions = _Columns("fields", fields), _Columns("attributes", attributes)
    types: list[int] = []
    errors: dict[int, HistoryError] = {}
    positions: list[int] = []
    for position, customer in enumerate(request.customers):
        try:
            _check_length(customer, limits=limits)
            times, valid_from = customer.occurred_at_us[:], customer.valid_from_us[:]
            if not valid_from and len(customer.attributes):
                valid_from = [ALWAYS_US]
            fields_found = events.check(customer.fields, len(times))
            attributes_found = versions.check(customer.attributes, len(valid_from))
        except HistoryError as error:
            # Without the frames that it passed: they hold the whole request.
            errors[position] = error.with_traceback(None)
            continue
        events.add(times, fields_found)
        versions.add(valid_from, attributes_found)
        types += customer.event_type[:]
        positions.append(position)
    # A code beyond int32 lies outside every dictionary, and must not wrap into one.
    type_codes = np.minimum(np.array(types, dtype=np.int64), np.iinfo(np.int32).max).astype(np.int32)
    histories = Histories(
        offsets=events.offsets(),
        occurred_at_us=events.times(),
        event_type=CodedColumn(codes=type_codes, dictionary=Dictionary(request.event_types)),
        categorical=events.coded(field_dictionaries),
        numeric=events.numbers(),
        attributes=AttributeVersions(
            offsets=versions.offsets(),
            valid_from_us=versions.times(),
            categorical=versions.coded(attribute_dictionaries),
            numeric=versions.numbers(),
        ),
    )
    faults = find_faults(histories)
    errors |= {positions[index]: error for index, error in faults.items()}
    histories, kept = without(histories, faults)
    return Received(histories=histories, positions=np.array(positions, dtype=np.int64)[kept], errors=errors)


class _Columns:
    """Collects the columns of all customers in lists, each of which becomes an array once.

    An array per customer and column would cost as much again as reading the numbers.
    """

    def __init__(self, where: str, kinds: Mapping[str, bool]) -> None:
        self._where = where
        self._kinds = kinds
        self._ends = [0]
        self._times: list[int] = []
        self._values: dict[str, list[Any]] = {name: [] for name in kinds}

    def check(self, given: Iterable[pb.Column], num: int) -> Mapping[str, list[Any]]:
        """Return a customer's columns by name.

        Raises:
            HistoryError: A name, a kind or a length is wrong.
        """
        columns: dict[str, list[Any]] = {}
        for column in given:
            name = column.name
            if name not in self._kinds:
                raise HistoryError(self._where, name, f"the model declares {sorted(self._kinds)}")
            if name in columns:
                raise HistoryError(self._where, name, "a column must stand once")
            codes, values = column.codes[:], column.values[:]
            part, found, other = ("codes", codes, values) if self._kinds[name] else ("values", values, codes)
            if other:
                wrong = "values" if self._kinds[name] else "codes"
                limit = f"this column takes {part}: it is {'categorical' if self._kinds[name] else 'numeric'}"
                raise HistoryError(f"{self._where}[{name}].{wrong}", len(other), limit)
            if len(found) != num:
                raise HistoryError(f"{self._where}[{name}].{part}", len(found), f"there are {num} times")
            columns[name] = found
        return columns

    def add(self, times: list[int], columns: Mapping[str, list[Any]]) -> None:
        """Append a customer's columns; one that is not there is missing throughout."""
        self._times += times
        self._ends.append(len(self._times))
        for name, is_categorical in self._kinds.items():
            column = columns.get(name)
            missing = MISSING_CODE if is_categorical else math.nan
            self._values[name] += [missing] * len(times) if column is None else column

    def offsets(self) -> Int64[ndarray, " customer_plus_1"]:
        """Return where every customer begins."""
        return np.array(self._ends, dtype=np.int64)

    def times(self) -> Int64[ndarray, " row"]:
        """Return the times of all customers."""
        return np.array(self._times, dtype=np.int64)

    def coded(self, dictionaries: Mapping[str, Dictionary]) -> Mapping[str, CodedColumn]:
        """Return the categorical columns with their dictionaries."""
        return {
            name: CodedColumn(codes=np.array(self._values[name], dtype=np.int32), dictionary=dictionary)
            for name, dictionary in dictionaries.items()
        }

    def numbers(self) -> Mapping[str, Float32[ndarray, " row"]]:
        """Return the numeric columns."""
        return {
            name: np.array(self._values[name], dtype=np.float32)
            for name, is_categorical in self._kinds.items()
            if not is_categorical
        }


def _check_length(customer: pb.Customer, *, limits: Limits) -> None:
    num = len(customer.occurred_at_us)
    if num > limits.max_events_per_customer:
        limit = f"a customer may have at most {limits.max_events_per_customer} events"
        raise HistoryError("occurred_at_us", num, limit)
    if len(customer.event_type) != num:
        raise HistoryError(
            "event_type", len(customer.event_type), f"there are {num} values of occurred_at_us"
        )


def _kinds(categorical: Iterable[str], numeric: Iterable[str]) -> Mapping[str, bool]:
    """Return by declared name whether the column is categorical."""
    return dict.fromkeys(categorical, True) | dict.fromkeys(numeric, False)


def _dictionaries(
    where: str, given: Mapping[str, pb.Dictionary], kinds: Mapping[str, bool]
) -> Mapping[str, Dictionary]:
    categorical = [name for name, is_categorical in kinds.items() if is_categorical]
    for name in given:
        if name not in categorical:
            raise RequestError(where, name, f"the model's categorical columns are {categorical}")
    return {name: Dictionary(given[name].values if name in given else ()) for name in categorical}
