"""What the model is told about one event: ids, scaled values, gap and calendar.

It deliberately does not know any cutoff: an event is encoded once, alike for all who see it.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate

import numpy as np
from jaxtyping import Float32, Float64, Int32, Int64
from numpy import ndarray

from holdfast.encoding.scaling import day_table, hour_table, signed_log, standardise, write_calendar
from holdfast.encoding.spec import CALENDAR_SIZE, EncodingSpec
from holdfast.histories import CodedColumn, Histories, stacked
from holdfast.native import native
from holdfast.schema import MICROSECONDS_PER_DAY
from holdfast.vocabulary import PADDING_ID, UNKNOWN_ID, Vocabulary


@dataclass(frozen=True, slots=True, kw_only=True)
class Events:
    """All events of some histories as model inputs, with a row of padding behind the last one.

    That row makes a rectangle of histories a single gather: empty places point at it.

    Attributes:
        ids: Event types and categorical ids.
        values: Per numeric field its scaled value and a missing flag; then the scaled days since
            the row before, a flag for a history's first event (not set here), and the calendar.
        days: Days since the spec's origin.
        num_unknown: How many of the events before a row have a value that training never saw.
    """

    ids: Int64[ndarray, "event_plus_1 id_column"]
    values: Float32[ndarray, "event_plus_1 value_column"]
    days: Float32[ndarray, " event_plus_1"]
    num_unknown: Int64[ndarray, " event_plus_1"]


def encode_events(
    histories: Histories, numeric: Float32[ndarray, "field event"], spec: EncodingSpec
) -> Events:
    """Encode every event once, whichever cutoffs will see it.

    Args:
        histories: Flat columns.
        numeric: Their numeric fields (:func:`numeric_fields`).
        spec: The fitted encoding.
    """
    time_us, num = histories.occurred_at_us, len(histories.occurred_at_us)
    fields = spec.schema.categorical_fields
    ids, num_unknown = _ids(
        [histories.event_type, *(histories.categorical[name] for name in fields)],
        [spec.event_type, *(spec.categorical[name] for name in fields)],
        num=num,
    )
    raw = np.empty((num, len(numeric) + 1))
    values = np.empty((num + 1, spec.event_value_size), dtype=np.float32)
    days = np.empty(num + 1, dtype=np.float32)
    _write_raw(time_us, numeric, spec.origin_us, raw, values, days)
    standardise(signed_log(raw), spec.event_means, spec.event_stds, 2, values)
    write_calendar(time_us, hour_table(), day_table(), values.shape[1] - CALENDAR_SIZE, values)
    return Events(ids=ids, values=values, days=days, num_unknown=num_unknown)


def type_ids(
    histories: Histories, spec: EncodingSpec
) -> tuple[Int64[ndarray, "event_plus_1 1"], Int64[ndarray, " event_plus_1"]]:
    """Return ids and ``num_unknown`` of :class:`Events` for the type alone: readouts are told of no more."""
    return _ids([histories.event_type], [spec.event_type], num=len(histories.occurred_at_us))


def numeric_fields(histories: Histories, names: Sequence[str]) -> Float32[ndarray, "field event"]:
    """Return the numeric fields as one array."""
    columns = [histories.numeric[name] for name in names]
    return stacked(columns, len(histories.occurred_at_us), np.float32)


def _ids(
    columns: Sequence[CodedColumn], vocabularies: Sequence[Vocabulary], *, num: int
) -> tuple[Int64[ndarray, "event_plus_1 id_column"], Int64[ndarray, " event_plus_1"]]:
    codes, tables, table_ends = coded(columns, vocabularies, num=num)
    ids = np.empty((num + 1, len(codes)), dtype=np.int64)
    num_unknown = np.empty(num + 1, dtype=np.int64)
    _write_ids(codes, tables, table_ends, ids, num_unknown)
    return ids, num_unknown


def coded(
    columns: Sequence[CodedColumn], vocabularies: Sequence[Vocabulary], *, num: int
) -> tuple[Int32[ndarray, "column row"], Int64[ndarray, " entry"], Int64[ndarray, " column"]]:
    """Return columns of ``num`` codes and what they mean, for compiled loops.

    Returns:
        The codes; the ids of every code, one column's behind the other's, the id of a missing value last
        in each; and where in them each column ends.
    """
    codes = stacked([column.codes for column in columns], num, np.int32)
    tables = [vocabulary.table(c.dictionary) for c, vocabulary in zip(columns, vocabularies, strict=True)]
    ends = np.array([*accumulate(map(len, tables))], dtype=np.int64)
    return codes, np.concatenate(tables) if tables else ends, ends


@native("ids", "num_unknown")
def _write_ids(
    codes: Int32[ndarray, "column row"],
    tables: Int64[ndarray, " entry"],
    table_ends: Int64[ndarray, " column"],
    ids: Int64[ndarray, "row_plus_1 column"],
    num_unknown: Int64[ndarray, " row_plus_1"],
) -> None:
    """Write the ids of some rows, one of padding behind them, and how many rows have a value nobody knows.

    Args:
        codes: Of every column and row; -1 is missing, which is not unknown but has the same id.
        tables: See :func:`coded`.
        table_ends: See :func:`coded`.
        ids: Where to write.
        num_unknown: Where to write how many such rows lie before every row.
    """
    num, unknown = codes.shape[1], 0
    for row in range(num):
        num_unknown[row] = unknown
        is_unknown = False
        for column in range(codes.shape[0]):
            code = codes[column, row]
            if code >= 0:
                start = table_ends[column - 1] if column else 0
                found = tables[start + code]
                is_unknown |= found == UNKNOWN_ID
            else:
                found = tables[table_ends[column] - 1]
            ids[row, column] = found
        unknown += is_unknown
    num_unknown[num] = unknown
    for column in range(codes.shape[0]):
        ids[num, column] = PADDING_ID


@native("raw", "values", "days")
def _write_raw(
    time_us: Int64[ndarray, " event"],
    numeric: Float32[ndarray, "field event"],
    origin_us: int,
    raw: Float64[ndarray, "event field_plus_1"],
    values: Float32[ndarray, "event_plus_1 value_column"],
    days: Float32[ndarray, " event_plus_1"],
) -> None:
    """Write what is scaled afterwards, the flags, and the days."""
    num, num_fields = len(time_us), numeric.shape[0]
    for event in range(num):
        for field in range(num_fields):
            value = numeric[field, event]
            raw[event, field] = value
            values[event, 2 * field + 1] = np.isnan(value)
        gap_us = time_us[event] - time_us[event - 1] if event else 0
        raw[event, num_fields] = gap_us / MICROSECONDS_PER_DAY
        # Whether the event is a history's first one, segments say.
        values[event, 2 * num_fields + 1] = 0.0
        days[event] = (time_us[event] - origin_us) / MICROSECONDS_PER_DAY
    values[num, :] = 0.0
    days[num] = 0.0


def days_since_origin(time_us: Int64[ndarray, " row"], spec: EncodingSpec) -> Float32[ndarray, " row"]:
    """Return times in days on the model's time axis (float32: exact to a minute for 40 years)."""
    return ((time_us - spec.origin_us) / MICROSECONDS_PER_DAY).astype(np.float32)
