"""A caller's rows or tables to Histories: grouped by customer, in order of time.

It deliberately does not know the wire nor the model: unsorted events are sorted here (ties
keep their order), and values are checked by :mod:`holdfast.faults`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, tzinfo
from typing import Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import numpy as np
from jaxtyping import Int64
from numpy import ndarray

from holdfast.arguments import list_of
from holdfast.columns import codes_of, columns_of, keys_of, numbers_of, times_of
from holdfast.errors import DataError
from holdfast.histories import ALWAYS_US, AttributeVersions, CodedColumn, Histories
from holdfast.schema import Schema
from holdfast.vocabulary import MISSING_CODE, Dictionary

EVENT_COLUMNS = ("customer_id", "occurred_at", "event_type")
CUSTOMER_COLUMNS = ("customer_id",)
VALID_FROM = "valid_from"


@dataclass(frozen=True, slots=True, kw_only=True)
class Tabled:
    """Histories with the customers they belong to.

    Attributes:
        histories: One history per customer.
        customer_ids: The ids as they were given, in the order of the histories.
    """

    histories: Histories
    customer_ids: Sequence[Any]


def read_tables(
    events: Any,
    schema: Schema,
    *,
    customers: Any = None,
    customer_ids: Sequence[Any] | None = None,
    time_zone: str | None = None,
) -> Tabled:
    """Group events by customer.

    Args:
        events: Table or rows with ``customer_id``, ``occurred_at`` (datetimes with a zone, or
            integers that are UTC microseconds), ``event_type``, and declared fields; a declared
            field without a column is missing throughout. See :func:`holdfast.columns.columns_of`
            for the forms that are understood.
        schema: What the model expects.
        customers: Table or rows with ``customer_id``, declared attributes, and ``valid_from``
            where a customer has several versions; None without attributes.
        customer_ids: Who is wanted, in which order. By default everyone in ``customers`` and
            then everyone else in ``events``, by first appearance.
        time_zone: IANA name of the zone of datetimes that have none.

    Returns:
        One history per wanted customer, those without events included.

    Raises:
        DataError: Naming table, row, column, value and limit.
    """
    zone = _zone_of(time_zone)
    fields = [field.name for field in schema.fields]
    attributes = [attribute.name for attribute in schema.attributes]
    table = columns_of(events, where="events", order=(*EVENT_COLUMNS, *fields))
    table = table or {name: [] for name in EVENT_COLUMNS}
    _check_names("events", table, needed=EVENT_COLUMNS, declared=fields)
    versions = columns_of(
        [] if customers is None else customers, where="customers", order=(*CUSTOMER_COLUMNS, *attributes)
    )
    versions = versions or {name: [] for name in CUSTOMER_COLUMNS}
    _check_names("customers", versions, needed=CUSTOMER_COLUMNS, declared=(*attributes, VALID_FROM))
    event_keys = keys_of(table["customer_id"], where="events.customer_id")
    version_keys = keys_of(versions["customer_id"], where="customers.customer_id")
    _check_kinds(event_keys, version_keys)
    if customer_ids is None:
        wanted = list(dict.fromkeys([*version_keys, *event_keys]))
    else:
        wanted = keys_of(list_of("customer_ids", customer_ids, what="ids"), where="customer_ids")
    index = {key: position for position, key in enumerate(wanted)}
    if len(index) != len(wanted):
        raise DataError("customer_ids", len(wanted), f"every customer must stand once; {len(index)} do")
    customer = _positions(event_keys, index, where="events.customer_id")
    times = times_of(table["occurred_at"], where="events.occurred_at", zone=zone)
    order, offsets = _grouped(customer, times, num=len(wanted))
    types = codes_of(table["event_type"], where="events.event_type", may_miss=False)
    histories = Histories(
        offsets=offsets,
        occurred_at_us=times[order],
        event_type=types.take(order),
        categorical={name: _codes(table, name, order, "events") for name in schema.categorical_fields},
        numeric={name: _numbers(table, name, order, "events") for name in schema.numeric_fields},
        attributes=_versions_of(versions, version_keys, index, schema, zone),
    )
    return Tabled(histories=histories, customer_ids=wanted)


def _versions_of(
    table: Mapping[str, Any], keys: list[Any], index: Mapping[Any, int], schema: Schema, zone: tzinfo | None
) -> AttributeVersions:
    customer = _positions(keys, index, where="customers.customer_id")
    if VALID_FROM in table:
        where = f"customers.{VALID_FROM}"
        times = times_of(table[VALID_FROM], where=where, zone=zone, missing_us=ALWAYS_US)
    else:
        times = np.full(len(keys), ALWAYS_US)
    order, offsets = _grouped(customer, times, num=len(index))
    is_twice = np.zeros(len(order), dtype=bool)
    is_twice[1:] = (np.diff(customer[order]) == 0) & (np.diff(times[order]) == 0)
    if is_twice.any():
        row = order[np.argmax(is_twice)]
        limit = f"a customer's versions must differ in {VALID_FROM}"
        raise DataError(f"customers.customer_id[{row}]", keys[row], limit)
    return AttributeVersions(
        offsets=offsets,
        valid_from_us=times[order],
        categorical={n: _codes(table, n, order, "customers") for n in schema.categorical_attributes},
        numeric={n: _numbers(table, n, order, "customers") for n in schema.numeric_attributes},
    )


def _grouped(
    customer: Int64[ndarray, " row"], times: Int64[ndarray, " row"], *, num: int
) -> tuple[Int64[ndarray, " row"], Int64[ndarray, " customer_plus_1"]]:
    """Return the stable order by customer and time, and where every customer begins."""
    order = np.lexsort((times, customer))
    counts = np.bincount(customer, minlength=num)
    return order, np.concatenate([np.zeros(1, dtype=np.int64), np.cumsum(counts, dtype=np.int64)])


def _check_kinds(event_keys: list[Any], version_keys: list[Any]) -> None:
    """Refuse ids that are text in one table and numbers in the other: they would never meet."""
    kinds = [{isinstance(key, str) for key in keys} for keys in (event_keys, version_keys)]
    if all(kinds) and not kinds[0] & kinds[1]:
        shown = {"events": event_keys[0], "customers": version_keys[0]}
        raise DataError("customer_id", shown, "it must be of one type in both tables")


def _positions(keys: list[Any], index: Mapping[Any, int], *, where: str) -> Int64[ndarray, " row"]:
    positions = np.fromiter((index.get(key, -1) for key in keys), dtype=np.int64, count=len(keys))
    if (positions < 0).any():
        row = int(np.argmax(positions < 0))
        raise DataError(f"{where}[{row}]", keys[row], "it must be one of customer_ids")
    return positions


def _codes(table: Mapping[str, Any], name: str, order: ndarray, where: str) -> CodedColumn:
    if name not in table:
        missing = np.full(len(order), MISSING_CODE, dtype=np.int32)
        return CodedColumn(codes=missing, dictionary=Dictionary(()))
    return codes_of(table[name], where=f"{where}.{name}").take(order)


def _numbers(table: Mapping[str, Any], name: str, order: ndarray, where: str) -> ndarray:
    if name not in table:
        return np.full(len(order), np.nan, dtype=np.float32)
    values: ndarray = numbers_of(table[name], where=f"{where}.{name}")[order]
    return values


def _check_names(
    where: str, table: Mapping[str, Any], *, needed: Sequence[str], declared: Sequence[str]
) -> None:
    for name in needed:
        if name not in table:
            raise DataError(f"{where}.{name}", sorted(table), "this column is needed")
    for name in table:
        if name not in needed and name not in declared:
            raise DataError(f"{where}.{name}", name, f"the model declares {list(declared)}")


def _zone_of(name: str | None) -> tzinfo | None:
    if name is None:
        return None
    if name == "UTC":
        return UTC
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError, TypeError) as error:
        raise DataError("time_zone", name, "it must be the IANA name of a time zone") from error
