"""Which customers of some histories cannot be scored, and what is wrong with each.

It deliberately does not know where the histories come from: a request and a table pass the
same checks, in compiled loops over all customers, so that nothing unchecked reaches the encoding.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import numpy as np
from jaxtyping import Bool, Float32, Int32, Int64
from numpy import ndarray

from holdfast.errors import HistoryError
from holdfast.histories import (
    ALWAYS_US,
    AttributeVersions,
    CodedColumn,
    Histories,
    stacked_codes,
    stacked_values,
)
from holdfast.native import inner, native
from holdfast.vocabulary import MISSING_CODE

EARLIEST_US = 31_536_000_000_000
"""1971-01-01: what is really in seconds or milliseconds falls into 1970 and is caught."""
LATEST_US = 7_258_118_400_000_000
"""2200-01-01."""
TIME_LIMIT = "it must be in microseconds since 1970 UTC, from 1971 up to 2200"

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def find_faults(histories: Histories) -> Mapping[int, HistoryError]:
    """Return the first fault of every customer that has one.

    Args:
        histories: Columns of equal lengths; their values may be anything.

    Returns:
        Errors by position of the customer: times out of range or not ascending, codes outside
        their dictionary, values that are not finite (NaN stands for missing and is none).
    """
    errors: dict[int, HistoryError] = {}
    versions = histories.attributes
    codes, sizes = _coded(histories.categorical, num=len(histories.occurred_at_us))
    version_codes, version_sizes = _coded(versions.categorical, num=len(versions.valid_from_us))
    values = stacked_values(histories.numeric, tuple(histories.numeric), num=len(histories.occurred_at_us))
    version_values = stacked_values(
        versions.numeric, tuple(versions.numeric), num=len(versions.valid_from_us)
    )
    found = np.full((2, histories.num_customers, 2), _NO_FAULT, dtype=np.int64)
    _search(
        np.ascontiguousarray(histories.offsets),
        np.ascontiguousarray(histories.occurred_at_us),
        np.ascontiguousarray(histories.event_type.codes),
        len(histories.event_type.dictionary),
        codes,
        sizes,
        values,
        np.ascontiguousarray(versions.offsets),
        np.ascontiguousarray(versions.valid_from_us),
        version_codes,
        version_sizes,
        version_values,
        found[0],
        found[1],
    )
    if (found == _NO_FAULT).all():
        return errors
    for faults, rows in zip(found, (_events(histories), _versions(versions)), strict=True):
        for customer in np.flatnonzero(faults[:, 0] != _NO_FAULT).tolist():
            check, row = faults[customer].tolist()
            errors.setdefault(customer, rows.error(check, row, first=int(rows.offsets[customer])))
    return errors


def _coded(
    columns: Mapping[str, CodedColumn], *, num: int
) -> tuple[Int32[ndarray, "column row"], Int64[ndarray, " column"]]:
    """Return codes as one array, and how many each dictionary has."""
    codes, dictionaries = stacked_codes(columns, tuple(columns), num=num)
    return codes, np.array([len(dictionary) for dictionary in dictionaries], dtype=np.int64)


def is_plausible(time_us: Int64[ndarray, " row"]) -> Bool[ndarray, " row"]:
    """Return which times lie in the range that is taken."""
    return (time_us >= EARLIEST_US) & (time_us < LATEST_US)


def without(histories: Histories, faults: Mapping[int, HistoryError]) -> tuple[Histories, ndarray]:
    """Return the histories of the customers without a fault, and their positions."""
    kept = np.setdiff1d(np.arange(histories.num_customers), np.fromiter(faults, dtype=np.int64))
    return (histories.take(kept) if faults else histories), kept


_NO_FAULT, _RANGE, _ORDER, _TYPE, _FIRST_COLUMN = range(-1, 4)
"""What may be wrong with a row: its time in two ways, its type, then the columns, those of codes first."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Rows:
    """Events, or versions of attributes, in the words of a message about them.

    Attributes:
        offsets: Rows of every customer.
        times_field: What the times are called.
        times: Those of all rows.
        event_type: Types of events, which are never missing; None of versions.
        coded: Columns of codes, by name.
        values: Columns of numbers, by name.
    """

    offsets: Int64[ndarray, " customer_plus_1"]
    times_field: str
    times: Int64[ndarray, " row"]
    event_type: CodedColumn | None
    coded: Mapping[str, CodedColumn]
    values: Mapping[str, Float32[ndarray, " row"]]

    def error(self, check: int, row: int, *, first: int) -> HistoryError:
        """Return a fault in words; ``first`` is the first row of its customer."""
        if check < _TYPE:
            descends = "times must ascend, and this one is before the one in front of it"
            limit = TIME_LIMIT if check == _RANGE else descends
            return HistoryError(f"{self.times_field}[{row - first}]", _shown(self.times[row].item()), limit)
        if check == _TYPE:
            assert self.event_type is not None, "versions have no type"
            return _outside(f"event_type[{row - first}]", self.event_type, row, lowest=0)
        coded, number = list(self.coded.items()), check - _FIRST_COLUMN
        if number < len(coded):
            name, column = coded[number]
            return _outside(f"{name}[{row - first}]", column, row, lowest=MISSING_CODE)
        name, values = list(self.values.items())[number - len(coded)]
        limit = "it must be finite, or NaN where it is missing"
        return HistoryError(f"{name}[{row - first}]", values[row].item(), limit)


def _outside(field: str, column: CodedColumn, row: int, *, lowest: int) -> HistoryError:
    limit = f"its dictionary has codes from {lowest} to {len(column.dictionary) - 1}"
    return HistoryError(field, column.codes[row].item(), limit)


def _events(histories: Histories) -> _Rows:
    return _Rows(
        offsets=histories.offsets,
        times_field="occurred_at_us",
        times=histories.occurred_at_us,
        event_type=histories.event_type,
        coded={f"fields[{name}].codes": column for name, column in histories.categorical.items()},
        values={f"fields[{name}].values": values for name, values in histories.numeric.items()},
    )


def _versions(versions: AttributeVersions) -> _Rows:
    return _Rows(
        offsets=versions.offsets,
        times_field="valid_from_us",
        times=versions.valid_from_us,
        event_type=None,
        coded={f"attributes[{name}].codes": column for name, column in versions.categorical.items()},
        values={f"attributes[{name}].values": values for name, values in versions.numeric.items()},
    )


@native("found", "version_found")
def _search(
    offsets: Int64[ndarray, " customer_plus_1"],
    times: Int64[ndarray, " event"],
    types: Int32[ndarray, " event"],
    num_types: int,
    codes: Int32[ndarray, "column event"],
    sizes: Int64[ndarray, " column"],
    values: Float32[ndarray, "value_column event"],
    version_offsets: Int64[ndarray, " customer_plus_1"],
    valid_from: Int64[ndarray, " version"],
    version_codes: Int32[ndarray, "attribute version"],
    version_sizes: Int64[ndarray, " attribute"],
    version_values: Float32[ndarray, "value_attribute version"],
    found: Int64[ndarray, "customer 2"],
    version_found: Int64[ndarray, "customer 2"],
) -> None:
    """Write which check every customer's first fault fails, and in which row: of events, and of versions."""
    # A time that is in order although no clock shows it.
    _search_times(offsets, times, EARLIEST_US, found)
    _search_types(offsets, types, num_types, found)
    _search_columns(offsets, codes, sizes, values, found)
    _search_times(version_offsets, valid_from, ALWAYS_US, version_found)
    _search_columns(version_offsets, version_codes, version_sizes, version_values, version_found)


@inner
def _search_times(
    offsets: Int64[ndarray, " customer_plus_1"],
    times: Int64[ndarray, " row"],
    always_us: int,
    found: Int64[ndarray, "customer 2"],
) -> None:
    for customer in range(len(offsets) - 1):
        for row in range(offsets[customer], offsets[customer + 1]):
            time_us, fault = times[row], _NO_FAULT
            if not EARLIEST_US <= time_us < LATEST_US and time_us != always_us:
                fault = _RANGE
            elif row > offsets[customer] and time_us < times[row - 1]:
                fault = _ORDER
            if fault != _NO_FAULT:
                found[customer, 0] = fault
                found[customer, 1] = row
                break


@inner
def _search_types(
    offsets: Int64[ndarray, " customer_plus_1"],
    types: Int32[ndarray, " event"],
    num_types: int,
    found: Int64[ndarray, "customer 2"],
) -> None:
    for customer in range(len(offsets) - 1):
        if found[customer, 0] != _NO_FAULT:
            continue
        for row in range(offsets[customer], offsets[customer + 1]):
            if not 0 <= types[row] < num_types:
                found[customer, 0] = _TYPE
                found[customer, 1] = row
                break


@inner
def _search_columns(
    offsets: Int64[ndarray, " customer_plus_1"],
    codes: Int32[ndarray, "column row"],
    sizes: Int64[ndarray, " column"],
    values: Float32[ndarray, "value_column row"],
    found: Int64[ndarray, "customer 2"],
) -> None:
    """Note the first fault of customers that have none yet, column by column; backwards, the first stays."""
    num_coded = codes.shape[0]
    for customer in range(len(offsets) - 1):
        if found[customer, 0] != _NO_FAULT:
            continue
        for column in range(num_coded + values.shape[0] - 1, -1, -1):
            for row in range(offsets[customer + 1] - 1, offsets[customer] - 1, -1):
                if column < num_coded:
                    is_bad = not MISSING_CODE <= codes[column, row] < sizes[column]
                else:
                    is_bad = np.isinf(values[column - num_coded, row])
                if is_bad:
                    found[customer, 0] = _FIRST_COLUMN + column
                    found[customer, 1] = row


def _shown(time_us: int) -> object:
    if not EARLIEST_US <= time_us < LATEST_US:
        return time_us
    return (_EPOCH + timedelta(microseconds=time_us)).isoformat()
