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
from holdfast.histories import ALWAYS_US, AttributeVersions, CodedColumn, Histories, stacked
from holdfast.native import native
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
    for rows in (_events(histories), _versions(histories.attributes)):
        found = np.full((len(rows.offsets) - 1, 2), _NO_FAULT, dtype=np.int64)
        rows.search(found)
        for customer in np.flatnonzero(found[:, 0] != _NO_FAULT).tolist():
            check, row = found[customer].tolist()
            errors.setdefault(customer, rows.error(check, row, first=int(rows.offsets[customer])))
    return errors


def is_plausible(time_us: Int64[ndarray, " row"]) -> Bool[ndarray, " row"]:
    """Return which times lie in the range that is taken."""
    return (time_us >= EARLIEST_US) & (time_us < LATEST_US)


def without(histories: Histories, faults: Mapping[int, HistoryError]) -> tuple[Histories, ndarray]:
    """Return the histories of the customers without a fault, and their positions."""
    kept = np.setdiff1d(np.arange(histories.num_customers), np.fromiter(faults, dtype=np.int64))
    return (histories.take(kept) if faults else histories), kept


_NO_FAULT, _RANGE, _ORDER, _FIRST_COLUMN = range(-1, 3)
"""What may be wrong with a row: its time in two ways, then the columns, those of codes first."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Rows:
    """Events, or versions of attributes, as everything that is checked of them.

    Attributes:
        offsets: Rows of every customer.
        times_field: What the times are called.
        times: Ascending within a customer, as they should be.
        always_us: A time that is in order although no clock shows it.
        coded: By name, codes and the lowest that is allowed.
        values: By name, numbers.
    """

    offsets: Int64[ndarray, " customer_plus_1"]
    times_field: str
    times: Int64[ndarray, " row"]
    always_us: int
    coded: Mapping[str, tuple[CodedColumn, int]]
    values: Mapping[str, Float32[ndarray, " row"]]

    def search(self, found: Int64[ndarray, "customer 2"]) -> None:
        """Write which check every customer's first fault fails, and in which row."""
        num, columns = len(self.times), [column for column, _ in self.coded.values()]
        codes = stacked((column.codes for column in columns), num, np.int32)
        lowest = np.array([lowest for _, lowest in self.coded.values()], dtype=np.int64)
        sizes = np.array([len(column.dictionary) for column in columns], dtype=np.int64)
        values = stacked(self.values.values(), num, np.float32)
        offsets = np.ascontiguousarray(self.offsets)
        _search_times(offsets, np.ascontiguousarray(self.times), self.always_us, found)
        _search_columns(offsets, codes, lowest, sizes, values, found)

    def error(self, check: int, row: int, *, first: int) -> HistoryError:
        """Return a fault in words; ``first`` is the first row of its customer."""
        if check < _FIRST_COLUMN:
            descends = "times must ascend, and this one is before the one in front of it"
            limit = TIME_LIMIT if check == _RANGE else descends
            return HistoryError(f"{self.times_field}[{row - first}]", _shown(self.times[row].item()), limit)
        coded, number = list(self.coded.items()), check - _FIRST_COLUMN
        if number < len(coded):
            name, (column, lowest) = coded[number]
            limit = f"its dictionary has codes from {lowest} to {len(column.dictionary) - 1}"
            return HistoryError(f"{name}[{row - first}]", column.codes[row].item(), limit)
        name, values = list(self.values.items())[number - len(coded)]
        limit = "it must be finite, or NaN where it is missing"
        return HistoryError(f"{name}[{row - first}]", values[row].item(), limit)


def _events(histories: Histories) -> _Rows:
    columns = {f"fields[{name}].codes": (c, MISSING_CODE) for name, c in histories.categorical.items()}
    return _Rows(
        offsets=histories.offsets,
        times_field="occurred_at_us",
        times=histories.occurred_at_us,
        always_us=EARLIEST_US,
        coded={"event_type": (histories.event_type, 0), **columns},
        values={f"fields[{name}].values": values for name, values in histories.numeric.items()},
    )


def _versions(versions: AttributeVersions) -> _Rows:
    return _Rows(
        offsets=versions.offsets,
        times_field="valid_from_us",
        times=versions.valid_from_us,
        always_us=ALWAYS_US,
        coded={f"attributes[{n}].codes": (c, MISSING_CODE) for n, c in versions.categorical.items()},
        values={f"attributes[{name}].values": values for name, values in versions.numeric.items()},
    )


@native("found")
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


@native("found")
def _search_columns(
    offsets: Int64[ndarray, " customer_plus_1"],
    codes: Int32[ndarray, "column row"],
    lowest: Int64[ndarray, " column"],
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
                    is_bad = codes[column, row] < lowest[column] or codes[column, row] >= sizes[column]
                else:
                    is_bad = np.isinf(values[column - num_coded, row])
                if is_bad:
                    found[customer, 0] = _FIRST_COLUMN + column
                    found[customer, 1] = row


def _shown(time_us: int) -> object:
    if not EARLIEST_US <= time_us < LATEST_US:
        return time_us
    return (_EPOCH + timedelta(microseconds=time_us)).isoformat()
