"""What the model is told about one event: ids, scaled values, gap and calendar.

It deliberately does not know any cutoff: an event is encoded alike for all who see it.
"""

import numpy as np
from jaxtyping import Bool, Float32, Int32, Int64
from numpy import ndarray

from holdfast.encoding.scaling import calendar, scaled
from holdfast.encoding.spec import EncodingSpec
from holdfast.histories import CodedColumn, Histories
from holdfast.schema import MICROSECONDS_PER_DAY
from holdfast.vocabulary import UNKNOWN_ID, Vocabulary


def event_ids(histories: Histories, spec: EncodingSpec) -> Int32[ndarray, "event column"]:
    """Return the ids of event type and categorical fields of every event."""
    fields = spec.schema.categorical_fields
    ids = np.empty((len(histories.event_type.codes), 1 + len(fields)), dtype=np.int32)
    ids[:, 0] = coded_ids(histories.event_type, spec.event_type)
    for position, name in enumerate(fields, start=1):
        ids[:, position] = coded_ids(histories.categorical[name], spec.categorical[name])
    return ids


def coded_ids(column: CodedColumn, vocabulary: Vocabulary) -> Int32[ndarray, " row"]:
    """Return the vocabulary's ids of a coded column."""
    return vocabulary.ids(column.codes, column.dictionary)


def is_unknown(
    histories: Histories, ids: Int32[ndarray, "event column"], spec: EncodingSpec
) -> Bool[ndarray, " event"]:
    """Return which events carry a value that training never saw; a missing value is not one."""
    unknown: ndarray = ids[:, 0] == UNKNOWN_ID
    for position, name in enumerate(spec.schema.categorical_fields, start=1):
        unknown |= (ids[:, position] == UNKNOWN_ID) & (histories.categorical[name].codes >= 0)
    return unknown


def event_values(
    histories: Histories, rows: Int64[ndarray, " row"], starts: Int64[ndarray, " segment"], spec: EncodingSpec
) -> Float32[ndarray, "row value"]:
    """Return the numeric inputs of some events.

    Args:
        histories: Flat columns.
        rows: Rows of the events, segment after segment.
        starts: Where in ``rows`` a segment with events begins.
        spec: The fitted encoding.

    Returns:
        Per numeric field its scaled value and a missing flag; then the scaled days since the
        previous event of the segment, a flag for the segment's first event, and the calendar.
    """
    time_us = histories.occurred_at_us.take(rows)
    values = np.empty((len(rows), spec.event_value_size), dtype=np.float32)
    column = 0
    for name in spec.schema.numeric_fields:
        raw = histories.numeric[name].take(rows).astype(np.float64)
        values[:, column] = scaled(raw, spec.numeric[name])
        values[:, column + 1] = np.isnan(raw)
        column += 2
    gap_days = np.empty(len(rows))
    np.divide(time_us[1:] - time_us[:-1], MICROSECONDS_PER_DAY, out=gap_days[1:])
    # What lies before a segment is unknown to serving too: the first gap is missing by definition.
    gap_days[starts] = np.nan
    values[:, column] = scaled(gap_days, spec.gap)
    values[:, column + 1] = 0.0
    values[starts, column + 1] = 1.0
    calendar(time_us, out=values[:, column + 2 :])
    return values


def days_since_origin(time_us: Int64[ndarray, " row"], spec: EncodingSpec) -> Float32[ndarray, " row"]:
    """Return times in days on the model's time axis (float32: exact to a minute for 40 years)."""
    return ((time_us - spec.origin_us) / MICROSECONDS_PER_DAY).astype(np.float32)
