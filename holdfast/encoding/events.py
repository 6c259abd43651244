"""What the model is told about one event: ids, scaled values, gap and calendar.

It deliberately does not know any cutoff: an event is encoded once, alike for all who see it.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float32, Int64
from numpy import ndarray

from holdfast.encoding.scaling import calendar, clip_scaled, fixed_point, signed_log
from holdfast.encoding.spec import EncodingSpec
from holdfast.histories import CodedColumn, Histories, prefix_sum
from holdfast.schema import MICROSECONDS_PER_DAY
from holdfast.vocabulary import PADDING_ID, UNKNOWN_ID, Vocabulary

MICROSECONDS_PER_MINUTE = 60_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Events:
    """All events of some histories as model inputs, with a row of padding behind the last one.

    That row makes a rectangle of histories a single gather: empty places point at it. Running
    totals say what lies before a row.

    Attributes:
        type_ids: Event types.
        ids: Event types and categorical ids.
        values: Per numeric field its scaled value and a missing flag; then the scaled days since
            the row before, a flag for a history's first event (not set here), and the calendar.
        days: Days since the spec's origin.
        totals: Running totals of the numeric fields in whole quanta.
        squared_gaps: Running total of the squared gaps in minutes, each to the row before.
        num_unknown: Running number of events with a value that training never saw; None where
            there is no such value at all.
    """

    type_ids: Int64[ndarray, " event_plus_1"]
    ids: Int64[ndarray, "event_plus_1 id_column"]
    values: Float32[ndarray, "event_plus_1 value_column"]
    days: Float32[ndarray, " event_plus_1"]
    totals: Int64[ndarray, "field event_plus_1"]
    squared_gaps: Int64[ndarray, " event_plus_1"]
    num_unknown: Int64[ndarray, " event_plus_1"] | None


def encode_events(histories: Histories, spec: EncodingSpec) -> Events:
    """Encode every event once, whichever cutoffs will see it."""
    time_us, num = histories.occurred_at_us, len(histories.occurred_at_us)
    fields = spec.schema.numeric_fields
    gap_us = np.zeros(num, dtype=np.int64)
    np.subtract(time_us[1:], time_us[:-1], out=gap_us[1:])
    columns = np.empty((len(fields) + 1, num))
    for position, name in enumerate(fields):
        columns[position] = histories.numeric[name]
    np.divide(gap_us, MICROSECONDS_PER_DAY, out=columns[-1])
    # No gap is missing, but with a row of its own the flags have the form of the values.
    is_missing = np.isnan(columns)
    np.copyto(columns, 0.0, where=is_missing)
    ids = _ids(histories, spec)
    return Events(
        type_ids=ids[:, 0].copy(),
        ids=ids,
        values=_values(columns, is_missing, time_us, spec),
        days=_days(time_us, spec),
        totals=_running_totals(fixed_point(columns[:-1], spec.quantum_by_field)),
        squared_gaps=_squared_gaps(gap_us),
        num_unknown=_num_unknown(histories, ids, spec),
    )


def days_since_origin(time_us: Int64[ndarray, " row"], spec: EncodingSpec) -> Float32[ndarray, " row"]:
    """Return times in days on the model's time axis (float32: exact to a minute for 40 years)."""
    return ((time_us - spec.origin_us) / MICROSECONDS_PER_DAY).astype(np.float32)


def _values(columns: ndarray, is_missing: ndarray, time_us: ndarray, spec: EncodingSpec) -> ndarray:
    num, first_of_calendar = len(time_us), 2 * len(columns)
    scaled = signed_log(columns)
    scaled -= spec.event_means
    scaled /= spec.event_stds
    clip_scaled(scaled)
    # Missing values are the mean, with a flag of their own.
    np.copyto(scaled, 0.0, where=is_missing)
    values = np.empty((num + 1, spec.event_value_size), dtype=np.float32)
    # The last pair is the gap's: its flag tells the first event of a history.
    values[:num, 0:first_of_calendar:2] = scaled.T
    values[:num, 1:first_of_calendar:2] = is_missing.T
    calendar(time_us, out=values[:num, first_of_calendar:])
    values[num] = 0.0
    return values


def _days(time_us: ndarray, spec: EncodingSpec) -> ndarray:
    days = np.zeros(len(time_us) + 1, dtype=np.float32)
    days[:-1] = days_since_origin(time_us, spec)
    return days


def _ids(histories: Histories, spec: EncodingSpec) -> ndarray:
    columns = _coded_columns(histories, spec)
    ids = np.empty((len(histories.occurred_at_us) + 1, len(columns)), dtype=np.int64)
    for position, (column, vocabulary) in enumerate(columns):
        ids[:-1, position] = vocabulary.ids(column.codes, column.dictionary)
    ids[-1] = PADDING_ID
    return ids


def _coded_columns(histories: Histories, spec: EncodingSpec) -> list[tuple[CodedColumn, Vocabulary]]:
    """Return every column of ids with its vocabulary: the event type, then the categorical fields."""
    fields = spec.schema.categorical_fields
    return [
        (histories.event_type, spec.event_type),
        *((histories.categorical[name], spec.categorical[name]) for name in fields),
    ]


def _num_unknown(histories: Histories, ids: ndarray, spec: EncodingSpec) -> ndarray | None:
    unknown = None
    for position, (column, vocabulary) in enumerate(_coded_columns(histories, spec)):
        if not vocabulary.knows_all(column.dictionary):
            # A missing value has the same id, but it is not an unknown one.
            own = (ids[:-1, position] == UNKNOWN_ID) & (column.codes >= 0)
            unknown = own if unknown is None else unknown | own
    return None if unknown is None else prefix_sum(unknown)


def _running_totals(units: ndarray) -> ndarray:
    totals = np.zeros((len(units), units.shape[1] + 1), dtype=np.int64)
    units.cumsum(axis=1, out=totals[:, 1:])
    return totals


def _squared_gaps(gap_us: ndarray) -> ndarray:
    minutes = gap_us // MICROSECONDS_PER_MINUTE
    # Whole minutes squared: the sum over 4,096 gaps of ten years stays far below 2**63.
    minutes *= minutes
    return prefix_sum(minutes)
