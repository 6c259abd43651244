"""What the model is told about one event: ids, scaled values, gap and calendar.

It deliberately does not know any cutoff: an event is encoded alike for all who see it. Only whether another
one comes before it, and how long before, is a matter of the stretch that it stands in.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate

import numpy as np
from jaxtyping import Bool, Float32, Float64, Int32, Int64
from numpy import ndarray

from holdfast.encoding.scaling import (
    day_table,
    days_between,
    hour_table,
    in_calendar,
    log_of,
    standardised,
)
from holdfast.encoding.spec import EncodingSpec
from holdfast.histories import CodedColumn, Histories, stacked
from holdfast.native import inner, native
from holdfast.vocabulary import PADDING_ID, UNKNOWN_ID, Vocabulary


@dataclass(frozen=True, slots=True, kw_only=True)
class Events:
    """Events as model inputs: a stretch of them after the other, each with padding behind it.

    Attributes:
        ids: Event types and categorical ids.
        values: Per numeric field its scaled value and a missing flag; then the scaled days since
            the row before, a flag for a stretch's first event, and the calendar.
        days: Days since the spec's origin.
        num_unknown: How many of the events before a place have a value that training never saw.
    """

    ids: Int64[ndarray, "place id_column"]
    values: Float32[ndarray, "place value_column"]
    days: Float32[ndarray, " place"]
    num_unknown: Int64[ndarray, " place_plus_1"]


def encode_stretches(
    histories: Histories,
    numeric: Float32[ndarray, "field event"],
    spec: EncodingSpec,
    *,
    starts: Int64[ndarray, " stretch"],
    ends: Int64[ndarray, " stretch"],
    widths: Int64[ndarray, " stretch"],
) -> Events:
    """Encode stretches of events, one after the other.

    What lies before a stretch is unknown to serving too: the first gap of each is missing by definition.

    Args:
        histories: Flat columns.
        numeric: Their numeric fields (:func:`numeric_fields`).
        spec: The fitted encoding.
        starts: First event of every stretch.
        ends: One past its last event.
        widths: To how many places it is padded, with zeros.
    """
    fields, num = spec.schema.categorical_fields, len(histories.occurred_at_us)
    codes, tables, table_ends = coded(
        [histories.event_type, *(histories.categorical[name] for name in fields)],
        [spec.event_type, *(spec.categorical[name] for name in fields)],
        num=num,
    )
    num_places = int(widths.sum())
    ids = np.empty((num_places, len(codes)), dtype=np.int64)
    values = np.empty((num_places, spec.event_value_size), dtype=np.float32)
    days = np.empty(num_places, dtype=np.float32)
    num_unknown = np.empty(num_places + 1, dtype=np.int64)
    is_whole = np.ones(1, dtype=bool)
    _write_events(
        np.ascontiguousarray(histories.occurred_at_us),
        numeric,
        codes,
        tables,
        table_ends,
        starts,
        ends,
        widths,
        spec.origin_us,
        spec.event_means,
        spec.event_stds,
        hour_table(),
        day_table(),
        is_whole,
        ids,
        values,
        days,
        num_unknown,
    )
    assert is_whole[0], "padding must never cut a history"
    return Events(ids=ids, values=values, days=days, num_unknown=num_unknown)


def encode_events(
    histories: Histories, numeric: Float32[ndarray, "field event"], spec: EncodingSpec
) -> Events:
    """Encode every event once, whichever cutoffs will see it, with a row of padding behind the last one.

    That row makes a rectangle of histories a single gather: empty places point at it.

    Args:
        histories: Flat columns.
        numeric: Their numeric fields (:func:`numeric_fields`).
        spec: The fitted encoding.
    """
    num = len(histories.occurred_at_us)
    starts, ends, widths = np.array([[0], [num], [num + 1]], dtype=np.int64)
    return encode_stretches(histories, numeric, spec, starts=starts, ends=ends, widths=widths)


def numeric_fields(histories: Histories, names: Sequence[str]) -> Float32[ndarray, "field event"]:
    """Return the numeric fields as one array."""
    columns = [histories.numeric[name] for name in names]
    return stacked(columns, len(histories.occurred_at_us), np.float32)


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


@inner
def _write_line(
    line: Float64[ndarray, " event"],
    mean: float,
    std: float,
    values: Float32[ndarray, "place value_column"],
    place: int,
    column: int,
) -> None:
    """Write scaled values from a place of a column on, and beside them which are missing.

    Scaled where they stand, one behind the other, the compiler takes several at once; ``line`` is lost.
    """
    for event in range(len(line)):
        values[place + event, column + 1] = np.isnan(line[event])
    for event in range(len(line)):
        line[event] = standardised(log_of(line[event]), mean, std)
    for event in range(len(line)):
        values[place + event, column] = line[event]


@native("is_whole", "ids", "values", "days", "num_unknown")
def _write_events(
    time_us: Int64[ndarray, " event"],
    numeric: Float32[ndarray, "field event"],
    codes: Int32[ndarray, "id_column event"],
    tables: Int64[ndarray, " entry"],
    table_ends: Int64[ndarray, " id_column"],
    starts: Int64[ndarray, " stretch"],
    ends: Int64[ndarray, " stretch"],
    widths: Int64[ndarray, " stretch"],
    origin_us: int,
    means: Float64[ndarray, " field_plus_1"],
    stds: Float64[ndarray, " field_plus_1"],
    hours: Float32[ndarray, "hour 2"],
    days_of_cycle: Float32[ndarray, "day 4"],
    is_whole: Bool[ndarray, "1"],
    ids: Int64[ndarray, "place id_column"],
    values: Float32[ndarray, "place value_column"],
    days: Float32[ndarray, " place"],
    num_unknown: Int64[ndarray, " place_plus_1"],
) -> None:
    """Write all of :class:`Events`, and whether every stretch had places enough."""
    num_fields, num_id_columns = numeric.shape[0], codes.shape[0]
    calendar = 2 * num_fields + 2
    line = np.empty(widths.max() if len(widths) else 0)
    first, unknown = 0, 0
    for stretch in range(len(starts)):
        start, num, width = starts[stretch], ends[stretch] - starts[stretch], widths[stretch]
        is_whole[0] &= num <= width
        num = min(num, width)
        for event in range(num):
            row, place = start + event, first + event
            num_unknown[place] = unknown
            is_unknown = False
            for column in range(num_id_columns):
                code = codes[column, row]
                # The id of a missing value stands last in its table: it is not unknown, but has the same id.
                begin = table_ends[column - 1] if column else 0
                found = tables[begin + code if code >= 0 else table_ends[column] - 1]
                is_unknown |= code >= 0 and found == UNKNOWN_ID
                ids[place, column] = found
            unknown += is_unknown
            days[place] = days_between(origin_us, time_us[row])
            hour, day = in_calendar(time_us[row])
            for column in range(2):
                values[place, calendar + column] = hours[hour, column]
            for column in range(4):
                values[place, calendar + 2 + column] = days_of_cycle[day, column]
        for field in range(num_fields):
            for event in range(num):
                line[event] = numeric[field, start + event]
            _write_line(line[:num], means[field], stds[field], values, first, 2 * field)
        # What lies before the first event of a stretch is not known: its gap is a missing value.
        for event in range(num):
            gap = days_between(time_us[start + event - 1], time_us[start + event])
            line[event] = gap if event else np.nan
        _write_line(line[:num], means[-1], stds[-1], values, first, 2 * num_fields)
        for place in range(first + num, first + width):
            num_unknown[place] = unknown
            days[place] = 0.0
            ids[place, :] = PADDING_ID
            values[place, :] = 0.0
        first += width
    num_unknown[first] = unknown
