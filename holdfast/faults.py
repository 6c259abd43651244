"""Which customers of some histories cannot be scored, and what is wrong with each.

It deliberately does not know where the histories come from: a request and a table pass the
same checks, all vectorised over customers, so that nothing unchecked reaches the encoding.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import numpy as np
from jaxtyping import Bool, Int64, Shaped
from numpy import ndarray

from holdfast.errors import HistoryError
from holdfast.histories import ALWAYS_US, CodedColumn, Histories

EARLIEST_US = 31_536_000_000_000
"""1971-01-01: what is really in seconds or milliseconds falls into 1970 and is caught."""
LATEST_US = 7_258_118_400_000_000
"""2200-01-01."""
TIME_LIMIT = "it must be in microseconds since 1970 UTC, from 1971 up to 2200"

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Check:
    """One rule over one flat column: the rows of ``is_bad`` break it."""

    field: str
    offsets: Int64[ndarray, " customer_plus_1"]
    is_bad: Bool[ndarray, " row"]
    values: Shaped[ndarray, " row"]
    limit: str


def find_faults(histories: Histories) -> Mapping[int, HistoryError]:
    """Return the first fault of every customer that has one.

    Args:
        histories: Columns of equal lengths; their values may be anything.

    Returns:
        Errors by position of the customer: times out of range or not ascending, codes outside
        their dictionary, values that are not finite (NaN stands for missing and is none).
    """
    errors: dict[int, HistoryError] = {}
    for check in _checks(histories):
        if not check.is_bad.any():
            continue
        rows = np.flatnonzero(check.is_bad)
        customers = np.searchsorted(check.offsets, rows, side="right") - 1
        for customer, first in zip(*np.unique(customers, return_index=True), strict=True):
            row = int(rows[first])
            field = f"{check.field}[{row - check.offsets[customer]}]"
            error = HistoryError(field, _shown(check, row), check.limit)
            errors.setdefault(int(customer), error)
    return errors


def is_plausible(time_us: Int64[ndarray, " row"]) -> Bool[ndarray, " row"]:
    """Return which times lie in the range that is taken."""
    return (time_us >= EARLIEST_US) & (time_us < LATEST_US)


def without(histories: Histories, faults: Mapping[int, HistoryError]) -> tuple[Histories, ndarray]:
    """Return the histories of the customers without a fault, and their positions."""
    kept = np.setdiff1d(np.arange(histories.num_customers), np.fromiter(faults, dtype=np.int64))
    return (histories.take(kept) if faults else histories), kept


def _checks(histories: Histories) -> Iterator[_Check]:
    offsets, times = histories.offsets, histories.occurred_at_us
    yield _Check(
        field="occurred_at_us", offsets=offsets, is_bad=~is_plausible(times), values=times, limit=TIME_LIMIT
    )
    yield _order("occurred_at_us", offsets, times)
    yield _coded("event_type", offsets, histories.event_type, lowest=0)
    for name, column in histories.categorical.items():
        yield _coded(f"fields[{name}].codes", offsets, column, lowest=-1)
    for name, values in histories.numeric.items():
        yield _finite(f"fields[{name}].values", offsets, values)
    versions = histories.attributes
    offsets, times = versions.offsets, versions.valid_from_us
    is_bad = ~is_plausible(times) & (times != ALWAYS_US)
    yield _Check(field="valid_from_us", offsets=offsets, is_bad=is_bad, values=times, limit=TIME_LIMIT)
    yield _order("valid_from_us", offsets, times)
    for name, column in versions.categorical.items():
        yield _coded(f"attributes[{name}].codes", offsets, column, lowest=-1)
    for name, values in versions.numeric.items():
        yield _finite(f"attributes[{name}].values", offsets, values)


def _order(field: str, offsets: ndarray, times: ndarray) -> _Check:
    is_bad = np.zeros(len(times), dtype=bool)
    is_bad[1:] = times[1:] < times[:-1]
    # A customer's first row follows another customer's last one, which says nothing.
    is_bad[offsets[:-1][offsets[:-1] < len(times)]] = False
    limit = "times must ascend, and this one is before the one in front of it"
    return _Check(field=field, offsets=offsets, is_bad=is_bad, values=times, limit=limit)


def _coded(field: str, offsets: ndarray, column: CodedColumn, *, lowest: int) -> _Check:
    is_bad = (column.codes < lowest) | (column.codes >= len(column.dictionary))
    limit = f"its dictionary has codes from {lowest} to {len(column.dictionary) - 1}"
    return _Check(field=field, offsets=offsets, is_bad=is_bad, values=column.codes, limit=limit)


def _finite(field: str, offsets: ndarray, values: ndarray) -> _Check:
    limit = "it must be finite, or NaN where it is missing"
    return _Check(field=field, offsets=offsets, is_bad=np.isinf(values), values=values, limit=limit)


def _shown(check: _Check, row: int) -> object:
    value = check.values[row].item()
    if not check.field.endswith("_us") or not EARLIEST_US <= value < LATEST_US:
        return value
    return (_EPOCH + timedelta(microseconds=value)).isoformat()
