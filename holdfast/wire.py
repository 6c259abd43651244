"""Histories to the columns of a ScoreRequest and back: client and server share it.

It deliberately does not know the network, nor what the server answers
(:mod:`holdfast.results`).
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float32, Int32, Int64
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
        max_message_bytes: Largest request in bytes.
    """

    max_customers: int = 1_024
    max_events_per_customer: int = 100_000
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


@dataclass(frozen=True, slots=True, kw_only=True)
class _Rows:
    """One customer's columns as arrays; a numeric or categorical column by its name."""

    times: Int64[ndarray, " row"]
    columns: Mapping[str, ndarray]


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


def read_as_of_us(request: pb.ScoreRequest) -> int:
    """Return the cutoff of a request in UTC microseconds, rounded down.

    Raises:
        RequestError: It is missing or out of range.
    """
    if not request.HasField("as_of"):
        raise RequestError("as_of", None, "every request must name its point in time")
    as_of_us = request.as_of.seconds * MICROSECONDS_PER_SECOND + request.as_of.nanos // 1_000
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
    fields = _kinds(schema.categorical_fields, schema.numeric_fields)
    attributes = _kinds(schema.categorical_attributes, schema.numeric_attributes)
    field_dictionaries = _dictionaries("field_dictionaries", request.field_dictionaries, fields)
    attribute_dictionaries = _dictionaries(
        "attribute_dictionaries", request.attribute_dictionaries, attributes
    )
    errors: dict[int, HistoryError] = {}
    events, versions, types, positions = [], [], [], []
    for position, customer in enumerate(request.customers):
        try:
            event_rows, event_types = _read_events(customer, fields, limits=limits)
            version_rows = _read_versions(customer, attributes)
        except HistoryError as error:
            errors[position] = error
            continue
        events.append(event_rows)
        types.append(event_types)
        versions.append(version_rows)
        positions.append(position)
    histories = Histories(
        offsets=_offsets(events),
        occurred_at_us=_joined([rows.times for rows in events], np.int64),
        event_type=CodedColumn(codes=_joined(types, np.int32), dictionary=Dictionary(request.event_types)),
        categorical=_coded(events, schema.categorical_fields, field_dictionaries),
        numeric=_numbers(events, schema.numeric_fields),
        attributes=AttributeVersions(
            offsets=_offsets(versions),
            valid_from_us=_joined([rows.times for rows in versions], np.int64),
            categorical=_coded(versions, schema.categorical_attributes, attribute_dictionaries),
            numeric=_numbers(versions, schema.numeric_attributes),
        ),
    )
    faults = find_faults(histories)
    errors |= {positions[index]: error for index, error in faults.items()}
    histories, kept = without(histories, faults)
    return Received(histories=histories, positions=np.array(positions, dtype=np.int64)[kept], errors=errors)


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


def _read_events(
    customer: pb.Customer, kinds: Mapping[str, bool], *, limits: Limits
) -> tuple[_Rows, Int32[ndarray, " event"]]:
    num = len(customer.occurred_at_us)
    if num > limits.max_events_per_customer:
        limit = f"a customer may have at most {limits.max_events_per_customer} events"
        raise HistoryError("occurred_at_us", num, limit)
    if len(customer.event_type) != num:
        raise HistoryError(
            "event_type", len(customer.event_type), f"there are {num} values of occurred_at_us"
        )
    columns = _read_columns("fields", customer.fields, kinds, num)
    times = np.array(customer.occurred_at_us, dtype=np.int64)
    # A code beyond int32 lies outside every dictionary, and must not wrap into one.
    types = np.minimum(np.array(customer.event_type, dtype=np.int64), np.iinfo(np.int32).max).astype(np.int32)
    return _Rows(times=times, columns=columns), types


def _read_versions(customer: pb.Customer, kinds: Mapping[str, bool]) -> _Rows:
    times = np.array(customer.valid_from_us, dtype=np.int64)
    if not len(times) and len(customer.attributes):
        times = np.array([ALWAYS_US], dtype=np.int64)
    return _Rows(times=times, columns=_read_columns("attributes", customer.attributes, kinds, len(times)))


def _read_columns(
    where: str, given: Sequence[pb.Column], kinds: Mapping[str, bool], num: int
) -> Mapping[str, ndarray]:
    columns: dict[str, ndarray] = {}
    for column in given:
        name = column.name
        if name not in kinds:
            raise HistoryError(where, name, f"the model declares {sorted(kinds)}")
        if name in columns:
            raise HistoryError(where, name, "a column must stand once")
        if len(column.values if kinds[name] else column.codes):
            part, kind = ("values", "categorical") if kinds[name] else ("codes", "numeric")
            limit = f"this column is {kind} and takes {'codes' if kinds[name] else 'values'}"
            raise HistoryError(f"{where}[{name}].{part}", len(getattr(column, part)), limit)
        found = column.codes if kinds[name] else column.values
        if len(found) != num:
            part = "codes" if kinds[name] else "values"
            raise HistoryError(f"{where}[{name}].{part}", len(found), f"there are {num} times")
        columns[name] = np.array(found, dtype=np.int32 if kinds[name] else np.float32)
    return columns


def _offsets(parts: Sequence[_Rows]) -> Int64[ndarray, " customer_plus_1"]:
    return np.cumsum([0, *(len(rows.times) for rows in parts)], dtype=np.int64)


def _joined(parts: Sequence[ndarray], dtype: type) -> ndarray:
    return np.concatenate([np.empty(0, dtype=dtype), *parts])


def _coded(
    parts: Sequence[_Rows], names: Sequence[str], dictionaries: Mapping[str, Dictionary]
) -> Mapping[str, CodedColumn]:
    return {
        name: CodedColumn(
            codes=_joined([_column(rows, name, MISSING_CODE, np.int32) for rows in parts], np.int32),
            dictionary=dictionaries[name],
        )
        for name in names
    }


def _numbers(parts: Sequence[_Rows], names: Sequence[str]) -> Mapping[str, Float32[ndarray, " row"]]:
    return {
        name: _joined([_column(rows, name, np.nan, np.float32) for rows in parts], np.float32)
        for name in names
    }


def _column(rows: _Rows, name: str, missing: float, dtype: type) -> ndarray:
    column = rows.columns.get(name)
    return np.full(len(rows.times), missing, dtype=dtype) if column is None else column
