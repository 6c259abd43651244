"""One column of a caller's table as plain NumPy, whichever library made the table.

It deliberately imports none of those libraries: Polars, pandas and Arrow columns are known by
what they can do. It does not know what a column means either.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from datetime import UTC, datetime, timedelta, tzinfo
from decimal import Decimal
from itertools import chain
from numbers import Rational, Real
from typing import Any

import numpy as np
from jaxtyping import Float32, Int64
from numpy import ndarray

from holdfast.errors import DataError
from holdfast.histories import CodedColumn
from holdfast.vocabulary import MISSING_CODE, Dictionary

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_INT64 = np.iinfo(np.int64)
_TIME_LIMIT = "it must be a datetime with a zone, or whole microseconds since 1970 UTC"
_NEEDED_LIMIT = "it must not be missing or empty"
_NAIVE_LIMIT = "it has no time zone: give it one, or say which with time_zone"
_SKIPPED_LIMIT = "clocks skip this local time; leave such rows out, as preparing did"


def columns_of(table: Any, *, where: str, order: Sequence[str]) -> Mapping[str, Any]:
    """Return the columns of a table or of rows, by name and as they are.

    Args:
        table: A Polars, pandas or Arrow table; a mapping of columns; or rows, each a mapping, a
            named tuple, or a plain tuple in the order of ``order``.
        where: What the table is called in messages.
        order: Names of the columns of plain tuples.

    Returns:
        Columns by name: of rows, a list each.

    Raises:
        DataError: It is no table, or a row has another form than the others.
    """
    if isinstance(table, Mapping):
        columns: dict[str, Any] = {str(name): column for name, column in table.items()}
    elif hasattr(table, "column_names"):
        twice = sorted({name for name in table.column_names if list(table.column_names).count(name) > 1})
        if twice:
            raise DataError(where, twice, "every column must stand once")
        columns = {name: table[name] for name in table.column_names}
    elif hasattr(table, "collect_schema") and not hasattr(table, "rows"):
        raise DataError(where, type(table).__name__, "it must be a table: collect a lazy one first")
    elif hasattr(table, "columns"):
        columns = {str(name): table[name] for name in table.columns}
    elif isinstance(table, Iterable) and not isinstance(table, str | bytes):
        columns = _columns_of_rows(list(table), where=where, order=order)
    else:
        raise DataError(where, type(table).__name__, "it must be a table or rows")
    for name, column in columns.items():
        # pandas gives a table for a name that stands twice.
        is_flat = hasattr(column, "__len__") and len(getattr(column, "shape", (0,))) == 1
        # A set has no order, and so no rows.
        if not is_flat or isinstance(column, str | bytes | Mapping | AbstractSet):
            shown = getattr(column, "shape", column)
            raise DataError(f"{where}.{name}", shown, "it must be one column of values")
    lengths = {name: len(column) for name, column in columns.items()}
    if len(set(lengths.values())) > 1:
        raise DataError(where, lengths, "all columns must be of one length")
    return columns


def _columns_of_rows(rows: Sequence[Any], *, where: str, order: Sequence[str]) -> dict[str, Any]:
    as_mappings = []
    for number, row in enumerate(rows):
        if isinstance(row, Mapping):
            as_mappings.append(row)
        elif isinstance(row, Sequence) and not isinstance(row, str | bytes):
            names = getattr(row, "_fields", order)
            if len(names) != len(row):
                raise DataError(
                    f"{where}[{number}]", row, f"a tuple must have {len(names)} values: {list(names)}"
                )
            as_mappings.append(dict(zip(names, row, strict=True)))
        else:
            raise DataError(f"{where}[{number}]", row, "a row must be a mapping or a tuple")
        if not as_mappings[-1]:
            raise DataError(f"{where}[{number}]", row, "a row must have columns")
    names = dict.fromkeys(chain.from_iterable(as_mappings))
    return {str(name): [row.get(name) for row in as_mappings] for name in names}


def values_of(column: Any) -> list[Any]:
    """Return a column as a list of Python values."""
    if isinstance(column, list):
        return column
    for method in ("to_pylist", "to_list", "tolist"):
        if hasattr(column, method):
            listed: list[Any] = getattr(column, method)()
            return listed
    return list(column)


def keys_of(column: Any, *, where: str) -> list[Any]:
    """Return a column of keys, none missing.

    Raises:
        DataError: A key is missing, empty or cannot be one; the message names the row.
    """
    keys = values_of(column)
    for key in _distinct(keys, where=where):
        if _is_missing(key) or key == "":
            raise DataError(f"{where}[{_row_of(keys, key)}]", key, _NEEDED_LIMIT)
    return keys


def codes_of(column: Any, *, where: str, may_miss: bool = True) -> CodedColumn:
    """Return a text column as codes, its dictionary in order of appearance.

    Args:
        column: Texts; None and NaN are missing.
        where: What the column is called in messages.
        may_miss: Whether a missing value is allowed, and an empty text, which is a value like any other.

    Raises:
        DataError: A value is no text, or missing or empty where it must not be; the message names the row.
    """
    values = values_of(column)
    index: dict[Any, int] = {}
    texts: list[str] = []
    for value in _distinct(values, where=where):
        is_missing = _is_missing(value)
        if not may_miss and (is_missing or value == ""):
            raise DataError(f"{where}[{_row_of(values, value)}]", value, _NEEDED_LIMIT)
        if is_missing:
            index[value] = MISSING_CODE
        elif isinstance(value, str):
            index[value] = len(texts)
            # np.str_ is a str to Python but not to protobuf.
            texts.append(str(value))
        else:
            limit = "it must be text: cast it as the training's query did"
            raise DataError(f"{where}[{_row_of(values, value)}]", value, limit)
    codes = np.fromiter(map(index.__getitem__, values), dtype=np.int32, count=len(values))
    return CodedColumn(codes=codes, dictionary=Dictionary(texts))


def numbers_of(column: Any, *, where: str) -> Float32[ndarray, " row"]:
    """Return a numeric column in float32; NaN where a value is missing.

    Raises:
        DataError: A value is no number; the message names the row.
    """
    array = _array_of(column)
    # A structure is laid out as several columns.
    if array.dtype.kind not in "fiub" or array.ndim != 1:
        values = values_of(column)
        array = np.full(len(values), np.nan)
        for row, value in enumerate(values):
            if not _is_missing(value):
                array[row] = _float(value, where=where, row=row)
    # What overflows float32 becomes infinite here and is refused with its customer later.
    with np.errstate(over="ignore"):
        return array.astype(np.float32)


def _float(value: Any, *, where: str, row: int) -> float:
    # NumPy counts durations among the numbers.
    is_number = isinstance(value, Real | Decimal)
    if not is_number or isinstance(value, np.timedelta64):
        raise DataError(f"{where}[{row}]", value, "it must be a number")
    try:
        return float(value)
    except OverflowError:
        return math.inf if value > 0 else -math.inf


def times_of(
    column: Any, *, where: str, zone: tzinfo | None, missing_us: int | None = None
) -> Int64[ndarray, " row"]:
    """Return a column of times in UTC microseconds.

    Args:
        column: Datetimes with a zone, or integers that are UTC microseconds already.
        where: What the column is called in messages.
        zone: The zone of datetimes without one. Where a clock was set back, the earlier of the
            two times is meant; where it was set forward, a time that it skipped is refused.
        missing_us: What stands for a missing time; None to refuse it.

    Returns:
        Microseconds since 1970 UTC.

    Raises:
        DataError: A time is missing, is no time, has no zone, or does not exist in it; the message
            names the row.
    """
    array = _array_of(column)
    if array.dtype.kind == "i" or (array.dtype.kind == "u" and (array <= _INT64.max).all()):
        return array.astype(np.int64)
    if array.dtype.kind == "M" and (zone is UTC or _has_zone(column)):
        times, is_missing = _in_microseconds(array, where=where).astype(np.int64), np.isnat(array)
    elif array.dtype.kind == "M" and zone is None:
        raise DataError(where, str(array.dtype), _NAIVE_LIMIT)
    else:
        is_array = array.dtype.kind == "M"
        values = _in_microseconds(array, where=where).tolist() if is_array else values_of(column)
        times = np.zeros(len(values), dtype=np.int64)
        is_missing = np.fromiter(map(_is_missing, values), dtype=bool, count=len(values))
        for row in np.flatnonzero(~is_missing):
            times[row] = _time_us(values[row], where=f"{where}[{row}]", zone=zone)
    if is_missing.any():
        if missing_us is None:
            raise DataError(f"{where}[{np.argmax(is_missing)}]", None, _NEEDED_LIMIT)
        times[is_missing] = missing_us
    return times


def _in_microseconds(array: ndarray, *, where: str) -> ndarray:
    """Return datetimes in microseconds; NumPy lets what they cannot hold come round to another date.

    Raises:
        DataError: A time lies too far away; the message names the row.
    """
    found = array.astype("datetime64[us]")
    is_other = (found.astype(array.dtype) != array) & ~np.isnat(array)
    # What was finer than microseconds has lost its end; that is no other date.
    is_other &= np.abs(array.astype("datetime64[D]") - found.astype("datetime64[D]")) > np.timedelta64(0, "D")
    if is_other.any():
        row = int(np.argmax(is_other))
        raise DataError(f"{where}[{row}]", str(array[row]), _TIME_LIMIT)
    return found


def _time_us(value: Any, *, where: str, zone: tzinfo | None) -> int:
    if isinstance(value, np.datetime64):
        value = value.astype("datetime64[us]").item()
    # NumPy's whole numbers too, but neither truth values nor durations.
    if isinstance(value, int | np.integer) and not isinstance(value, bool | np.timedelta64):
        if not _INT64.min <= value <= _INT64.max:
            raise DataError(where, int(value), _TIME_LIMIT)
        return int(value)
    if not isinstance(value, datetime):
        raise DataError(where, value, _TIME_LIMIT)
    if value.tzinfo is None:
        if zone is None:
            raise DataError(where, value, _NAIVE_LIMIT)
        local = value.replace(tzinfo=zone)
        if _is_skipped(local):
            raise DataError(where, value, f"in {zone} {_SKIPPED_LIMIT}")
        value = local
    # Exact, unlike timestamp(), which goes through a float.
    time_us: int = (value - _EPOCH) // timedelta(microseconds=1)
    return time_us


def _is_skipped(local: datetime) -> bool:
    """Say whether clocks went forward over a local time: of its two offsets (PEP 495) the first is less."""
    before, after = local.replace(fold=0).utcoffset(), local.replace(fold=1).utcoffset()
    return before is not None and after is not None and before < after


def _array_of(column: Any) -> ndarray:
    """Return a column as an array; of type object where it holds a mixture."""
    if isinstance(column, np.ma.MaskedArray):
        return _objects(column.tolist())
    if isinstance(column, ndarray):
        return column
    if not hasattr(column, "to_numpy"):
        return _objects(column)
    if getattr(getattr(column, "dtype", None), "tz", None) is not None:
        # pandas gives objects for a column with a zone, unless it is asked for UTC.
        return np.asarray(column.to_numpy(dtype="datetime64[us]"))
    if hasattr(column, "to_pylist"):
        # Arrow copies where it must only when it is told that it may.
        return np.asarray(column.to_numpy(zero_copy_only=False))
    try:
        return np.asarray(column.to_numpy())
    except Exception:  # noqa: BLE001 (a type that NumPy lacks is an error of the library's own; its values may do)
        return _objects(values_of(column))


def _objects(values: Sequence[Any]) -> ndarray:
    array = np.empty(len(values), dtype=object)
    for row, value in enumerate(values):
        array[row] = value
    return array


def _has_zone(column: Any) -> bool:
    """Say whether the column's own type names a time zone: Polars, pandas, Arrow."""
    kind = getattr(column, "dtype", None) or getattr(column, "type", None)
    return any(getattr(kind, name, None) is not None for name in ("time_zone", "tz"))


def _distinct(values: Sequence[Any], *, where: str) -> Mapping[Any, None]:
    try:
        return dict.fromkeys(values)
    except TypeError as error:
        raise DataError(where, str(error), "every value must be plain") from error


def _row_of(values: Sequence[Any], wanted: Any) -> int:
    return next(row for row, value in enumerate(values) if value is wanted or value == wanted)


def _is_missing(value: Any) -> bool:
    # pandas' NA answers neither yes nor no when compared, so that its type is asked.
    if value is None or type(value).__name__ in {"NAType", "NaTType"}:
        return True
    if isinstance(value, np.datetime64):
        return bool(np.isnat(value))
    if isinstance(value, Decimal):
        return value.is_nan()
    # Whole numbers and fractions may be too large for a float, and are never missing.
    return isinstance(value, Real) and not isinstance(value, Rational) and math.isnan(value)
