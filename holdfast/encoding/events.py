"""What the model is told about one event: ids, scaled values, gap and calendar.

It deliberately does not know any cutoff: an event is encoded alike for all who see it. Only whether another
one comes before it, and how long before, is a matter of the stretch that it stands in.
"""

from collections.abc import Sequence
from dataclasses import dataclass

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
    write_calendar,
)
from holdfast.encoding.spec import CALENDAR_SIZE, EncodingSpec
from holdfast.histories import Histories, stacked_codes, stacked_values
from holdfast.native import inner, native
from holdfast.vocabulary import PADDING_ID, UNKNOWN_ID

_FLAG = int(np.array([0.0, 1.0], dtype=np.float32).view(np.int64)[0])
"""The bits of a 0 and of the 1 behind it: a flag that is set, without the value before it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Events:
    """Events as model inputs: a stretch of them after the other, each with padding behind it.

    Attributes:
        ids: Event types and categorical ids.
        values: Per numeric field its scaled value and a missing flag; then the scaled days since
            the row before, a flag for a stretch's first event, and the calendar.
        days: Days since the spec's origin.
        num_unknown: How many events of every stretch have a value that training never saw.
    """

    ids: Int64[ndarray, "place id_column"]
    values: Float32[ndarray, "place value_column"]
    days: Float32[ndarray, " place"]
    num_unknown: Int64[ndarray, " stretch"]


def encode_stretches(
    histories: Histories,
    numeric: Float32[ndarray, "field event"],
    spec: EncodingSpec,
    *,
    starts: Int64[ndarray, " stretch"],
    ends: Int64[ndarray, " stretch"],
    widths: Int64[ndarray, " stretch"],
    num_places: int,
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
        num_places: The sum of these.

    Raises:
        AssertionError: A stretch has more events than places.
    """
    codes, dictionaries = stacked_codes(
        histories.categorical, spec.schema.categorical_fields, num=len(histories.occurred_at_us)
    )
    tables, table_ends = spec.field_tables((histories.event_type.dictionary, *dictionaries))
    ids = np.empty((num_places, 1 + len(codes)), dtype=np.int64)
    values = np.empty((num_places, spec.event_value_size), dtype=np.float32)
    days = np.empty(num_places, dtype=np.float32)
    num_unknown = np.empty(len(starts), dtype=np.int64)
    _write_events(
        np.ascontiguousarray(histories.occurred_at_us),
        numeric,
        np.ascontiguousarray(histories.event_type.codes),
        codes,
        tables,
        table_ends,
        starts,
        ends,
        widths,
        spec.origin_us,
        spec.event_factors,
        hour_table(),
        day_table(),
        ids,
        values,
        days,
        num_unknown,
    )
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
    return encode_stretches(
        histories, numeric, spec, starts=starts, ends=ends, widths=widths, num_places=num + 1
    )


def numeric_fields(histories: Histories, names: Sequence[str]) -> Float32[ndarray, "field event"]:
    """Return the numeric fields as one array."""
    return stacked_values(histories.numeric, tuple(names), num=len(histories.occurred_at_us))


@native("ids", "values", "days", "num_unknown")
def _write_events(
    time_us: Int64[ndarray, " event"],
    numeric: Float32[ndarray, "field event"],
    event_types: Int32[ndarray, " event"],
    codes: Int32[ndarray, "field event"],
    tables: Int64[ndarray, " entry"],
    table_ends: Int64[ndarray, " id_column"],
    starts: Int64[ndarray, " stretch"],
    ends: Int64[ndarray, " stretch"],
    widths: Int64[ndarray, " stretch"],
    origin_us: int,
    factors: Float64[ndarray, "2 field_plus_1"],
    hours: Float32[ndarray, "hour 2"],
    days_of_cycle: Float32[ndarray, "day 4"],
    ids: Int64[ndarray, "place id_column"],
    values: Float32[ndarray, "place value_column"],
    days: Float32[ndarray, " place"],
    num_unknown: Int64[ndarray, " stretch"],
) -> None:
    """Write all of :class:`Events`."""
    for stretch in range(len(starts)):
        assert ends[stretch] - starts[stretch] <= widths[stretch], "padding must never cut a history"
    _write_ids(event_types, codes, tables, table_ends, starts, ends, widths, ids, num_unknown)
    _write_values(time_us, numeric, starts, ends, widths, factors, values)
    _write_times(time_us, starts, ends, widths, origin_us, hours, days_of_cycle, values, days)
    _write_padding(starts, ends, widths, ids, values, days)


@inner
def _write_ids(
    event_types: Int32[ndarray, " event"],
    codes: Int32[ndarray, "field event"],
    tables: Int64[ndarray, " entry"],
    table_ends: Int64[ndarray, " id_column"],
    starts: Int64[ndarray, " stretch"],
    ends: Int64[ndarray, " stretch"],
    widths: Int64[ndarray, " stretch"],
    ids: Int64[ndarray, "place id_column"],
    num_unknown: Int64[ndarray, " stretch"],
) -> None:
    """Write ids, and how many events of every stretch have a value that training never saw."""
    num_unknown[:] = 0
    # Mostly there is none: then no event is looked at again.
    is_unknown = np.zeros(len(ids) if _has_unknown(tables, table_ends) else 0, dtype=np.bool_)
    for column in range(ids.shape[1]):
        table = tables[table_ends[column - 1] if column else 0 : table_ends[column]]
        own = codes[column - 1] if column else event_types
        _write_column(own, table, starts, ends, widths, ids[:, column])
        if len(is_unknown):
            _mark_unknown(own, table, starts, ends, widths, is_unknown)
    if len(is_unknown):
        first = 0
        for stretch in range(len(starts)):
            for place in range(first, first + widths[stretch]):
                num_unknown[stretch] += is_unknown[place]
            first += widths[stretch]


@inner
def _has_unknown(tables: Int64[ndarray, " entry"], table_ends: Int64[ndarray, " id_column"]) -> bool:
    """Return whether training never saw some value of a dictionary; missing values are none."""
    num_unknown = 0
    for entry in range(len(tables)):
        num_unknown += tables[entry] == UNKNOWN_ID
    # The id of a missing value stands last in each table.
    return num_unknown > len(table_ends)


@inner
def _longest(widths: Int64[ndarray, " stretch"]) -> int:
    longest = 0
    for stretch in range(len(widths)):
        longest = max(longest, widths[stretch])
    return longest


@inner
def _write_column(
    codes: Int32[ndarray, " event"],
    table: Int64[ndarray, " code_plus_1"],
    starts: Int64[ndarray, " stretch"],
    ends: Int64[ndarray, " stretch"],
    widths: Int64[ndarray, " stretch"],
    ids: Int64[ndarray, " place"],
) -> None:
    """Write the ids of one column."""
    first = 0
    for stretch in range(len(starts)):
        start, num, width = starts[stretch], ends[stretch] - starts[stretch], widths[stretch]
        own, found = codes[start : start + num], ids[first : first + width]
        for event in range(num):
            # The id of a missing value stands last in the table.
            found[event] = table[own[event] if own[event] >= 0 else len(table) - 1]
        first += width


@inner
def _mark_unknown(
    codes: Int32[ndarray, " event"],
    table: Int64[ndarray, " code_plus_1"],
    starts: Int64[ndarray, " stretch"],
    ends: Int64[ndarray, " stretch"],
    widths: Int64[ndarray, " stretch"],
    is_unknown: Bool[ndarray, " place"],
) -> None:
    """Mark the places whose id stands for what training never saw: a missing value is not unknown."""
    first = 0
    for stretch in range(len(starts)):
        start, num = starts[stretch], ends[stretch] - starts[stretch]
        own, found = codes[start : start + num], is_unknown[first : first + num]
        for event in range(num):
            found[event] |= own[event] >= 0 and table[own[event]] == UNKNOWN_ID
        first += widths[stretch]


@inner
def _write_times(
    time_us: Int64[ndarray, " event"],
    starts: Int64[ndarray, " stretch"],
    ends: Int64[ndarray, " stretch"],
    widths: Int64[ndarray, " stretch"],
    origin_us: int,
    hours: Float32[ndarray, "hour 2"],
    days_of_cycle: Float32[ndarray, "day 4"],
    values: Float32[ndarray, "place value_column"],
    days: Float32[ndarray, " place"],
) -> None:
    """Write the calendar into the last columns of the values, and days."""
    calendar = values.shape[1] - CALENDAR_SIZE
    longest = _longest(widths)
    hour, day = np.empty(longest, dtype=np.int64), np.empty(longest, dtype=np.int64)
    first = 0
    for stretch in range(len(starts)):
        start, num = starts[stretch], ends[stretch] - starts[stretch]
        own, found, found_days = time_us[start : start + num], values[first:], days[first:]
        # One thing after the other, so that the compiler takes several events at once.
        for event in range(num):
            found_days[event] = days_between(origin_us, own[event])
        for event in range(num):
            hour[event], day[event] = in_calendar(own[event])
        for event in range(num):
            write_calendar(hours, days_of_cycle, hour[event], day[event], found, event, calendar)
        first += widths[stretch]


@inner
def _write_values(
    time_us: Int64[ndarray, " event"],
    numeric: Float32[ndarray, "field event"],
    starts: Int64[ndarray, " stretch"],
    ends: Int64[ndarray, " stretch"],
    widths: Int64[ndarray, " stretch"],
    factors: Float64[ndarray, "2 field_plus_1"],
    values: Float32[ndarray, "place value_column"],
) -> None:
    """Write scaled values, then the scaled gap, each with a flag of what is missing."""
    longest = _longest(widths)
    line, pair = np.empty(longest), np.empty(longest, dtype=np.int64)
    # A value and its flag are written at once, since writing to every other place is what takes the time. The
    # value is the lower half: ONNX Runtime runs on no machine that has it the other way round.
    pairs = values.view(np.int64)
    first, gap = 0, len(numeric)
    for stretch in range(len(starts)):
        start, num = starts[stretch], ends[stretch] - starts[stretch]
        for column in range(gap + 1):
            if column < gap:
                own = numeric[column, start : start + num]
                for event in range(num):
                    line[event] = own[event]
            else:
                times = time_us[start : start + num]
                for event in range(1, num):
                    line[event] = days_between(times[event - 1], times[event])
                if num:
                    # What lies before a stretch is not known.
                    line[0] = np.nan
            found, mean, factor = pairs[first:, column], factors[0, column], factors[1, column]
            # Each step for all events, so that the compiler takes several at once.
            for event in range(num):
                scaled = np.float32(standardised(log_of(line[event]), mean, factor))
                pair[event] = np.int64(scaled.view(np.uint32)) | (_FLAG if np.isnan(line[event]) else 0)
            for event in range(num):
                found[event] = pair[event]
        first += widths[stretch]


@inner
def _write_padding(
    starts: Int64[ndarray, " stretch"],
    ends: Int64[ndarray, " stretch"],
    widths: Int64[ndarray, " stretch"],
    ids: Int64[ndarray, "place id_column"],
    values: Float32[ndarray, "place value_column"],
    days: Float32[ndarray, " place"],
) -> None:
    first = 0
    for stretch in range(len(starts)):
        for place in range(first + ends[stretch] - starts[stretch], first + widths[stretch]):
            days[place] = 0.0
            for column in range(ids.shape[1]):
                ids[place, column] = PADDING_ID
            for column in range(values.shape[1]):
                values[place, column] = 0.0
        first += widths[stretch]
