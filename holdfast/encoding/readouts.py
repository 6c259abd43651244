"""What the model is told about a cutoff: recency, tenure, gaps, windowed sums, attributes, the calendar.

It deliberately knows nothing of how events are told: :mod:`holdfast.encoding.events` does.
"""

from collections.abc import Mapping

import numpy as np
from jaxtyping import Float32, Float64, Int32, Int64
from numpy import ndarray

from holdfast.encoding.aggregates import NUM_RETURNS, NUM_RHYTHM, write_aggregates
from holdfast.encoding.scaling import day_table, hour_table, scale, write_times
from holdfast.encoding.spec import CALENDAR_SIZE, EncodingSpec
from holdfast.encoding.windows import NUM_COUNTS, Cutoffs, find_windows
from holdfast.histories import Histories, stacked_codes, stacked_values
from holdfast.native import inner, native
from holdfast.vocabulary import FIRST_REAL_ID, MISSING_CODE

RHYTHM_NAMES = (
    "recency_days",
    "tenure_days",
    "events_per_day",
    "gap_mean_days",
    "gap_std_days",
    "gap_last_days",
    "recency_over_gap",
)

RETURN_NAMES = ("num_days_for_{}", "days_since_first_for_{}", "days_since_last_for_{}")
"""Per target that awaits silence: days (of UTC) with an event that ends it, and how long ago the first and
the last one was; where there is none, the history's first event of any kind takes their place. All are 0
where a history has no event at all."""
assert (len(RHYTHM_NAMES), len(RETURN_NAMES)) == (NUM_RHYTHM, NUM_RETURNS)


def feature_names(spec: EncodingSpec) -> tuple[str, ...]:
    """Return the name of every column of ``readout_values``, in order."""
    types = [spec.event_type.values[i - FIRST_REAL_ID] for i in spec.readout.counted_types]
    summed = ["num_events", *(f"num_{t}" for t in types), *(f"{f}_sum" for f in spec.schema.numeric_fields)]
    spans = [*(f"{w}d" for w in spec.readout.windows_days), "all"]
    names = list(RHYTHM_NAMES)
    names += [f"{column}_{span}" for span in spans for column in summed]
    names += [f"days_since_{t}" for t in types]
    names += [f"{field}_last" for field in spec.schema.numeric_fields]
    for target in spec.schema.silences:
        names += [column.format(target.name) for column in RETURN_NAMES]
    for attribute in spec.schema.numeric_attributes:
        names += [attribute, f"{attribute}_is_missing"]
    return tuple(names)


def tell(
    histories: Histories,
    numeric: Float32[ndarray, "field event"],
    cutoffs: Cutoffs,
    spec: EncodingSpec,
    *,
    factors: Float64[ndarray, "2 feature"] | None = None,
) -> tuple[Mapping[str, ndarray], Float64[ndarray, "readout feature"]]:
    """Return what every cutoff is told.

    Args:
        histories: Flat columns.
        numeric: Their numeric fields (:func:`holdfast.encoding.events.numeric_fields`).
        cutoffs: Cutoffs in segments.
        spec: The fitted encoding.
        factors: Scales of the features (:func:`holdfast.encoding.spec.factors_of`); None for the spec's.

    Returns:
        The attributes of :class:`holdfast.encoding.encode.EncodedReadouts`, by name; and the features in
        their own units, one column per :func:`feature_names`, NaN where a value is missing.
    """
    factors = spec.readout.factors if factors is None else factors
    versions, schema = histories.attributes, spec.schema
    num_versions = len(versions.valid_from_us)
    codes, dictionaries = stacked_codes(versions.categorical, schema.categorical_attributes, num=num_versions)
    values = stacked_values(versions.numeric, schema.numeric_attributes, num=num_versions)
    roles, tables, table_ends = spec.told_tables((histories.event_type.dictionary, *dictionaries))
    num, num_last = len(cutoffs.time_us), spec.readout.num_last_types
    segments = np.empty((2, len(cutoffs.customer)), dtype=np.int64)
    counts = np.empty((NUM_COUNTS, num), dtype=np.int64)
    ids = np.empty((num, num_last + len(codes)), dtype=np.int64)
    raw = np.empty((num, factors.shape[1]))
    scaled = np.empty(raw.shape, dtype=np.float32)
    calendar = np.empty((num, CALENDAR_SIZE), dtype=np.float32)
    days = np.empty(num, dtype=np.float32)
    _tell(
        histories.offsets,
        np.ascontiguousarray(histories.occurred_at_us),
        np.ascontiguousarray(histories.event_type.codes),
        numeric,
        versions.offsets,
        np.ascontiguousarray(versions.valid_from_us),
        codes,
        values,
        cutoffs.customer,
        cutoffs.offsets,
        cutoffs.time_us,
        spec.spans_days,
        spec.max_events,
        spec.origin_us,
        roles,
        len(spec.readout.counted_types),
        num_last,
        tables,
        table_ends,
        spec.quantum_by_field,
        factors,
        hour_table(),
        day_table(),
        segments,
        counts,
        ids,
        raw,
        scaled,
        calendar,
        days,
    )
    told = {
        "segment_start": segments[0],
        "segment_end": segments[1],
        "readout_offsets": cutoffs.offsets,
        "readout_ids": ids,
        "readout_values": scaled,
        "readout_calendar": calendar,
        "readout_days": days,
        "readout_visible": counts[0],
        "num_used": counts[1],
        "num_truncated": counts[2],
        "num_after": counts[3],
    }
    return told, raw


@native("segments", "counts", "ids", "raw", "scaled", "calendar", "days")
def _tell(
    offsets: Int64[ndarray, " customer_plus_1"],
    event_us: Int64[ndarray, " event"],
    event_types: Int32[ndarray, " event"],
    numeric: Float32[ndarray, "field event"],
    version_offsets: Int64[ndarray, " customer_plus_1"],
    valid_from_us: Int64[ndarray, " version"],
    attribute_codes: Int32[ndarray, "id_attribute version"],
    attribute_values: Float32[ndarray, "attribute version"],
    customers: Int64[ndarray, " segment"],
    segment_offsets: Int64[ndarray, " segment_plus_1"],
    cutoff_us: Int64[ndarray, " readout"],
    spans_days: Int64[ndarray, " window"],
    max_events: int,
    origin_us: int,
    roles: Int64[ndarray, "role code"],
    num_types: int,
    num_last: int,
    tables: Int64[ndarray, " entry"],
    table_ends: Int64[ndarray, " id_attribute"],
    quanta: Float64[ndarray, " field"],
    factors: Float64[ndarray, "2 feature"],
    hours: Float32[ndarray, "hour 2"],
    days_of_cycle: Float32[ndarray, "day 4"],
    segments: Int64[ndarray, "2 segment"],
    counts: Int64[ndarray, "4 readout"],
    ids: Int64[ndarray, "readout readout_id_column"],
    raw: Float64[ndarray, "readout feature"],
    scaled: Float32[ndarray, "readout feature"],
    calendar: Float32[ndarray, "readout 6"],
    days: Float32[ndarray, " readout"],
) -> None:
    """Write all of it: one loop instead of five, since to call one costs as much as what some of them do."""
    bounds = np.empty((len(spans_days) + 1, len(cutoff_us)), dtype=np.int64)
    find_windows(
        offsets,
        event_us,
        customers,
        segment_offsets,
        cutoff_us,
        spans_days,
        max_events,
        segments,
        bounds,
        counts,
    )
    write_aggregates(
        event_us,
        event_types,
        numeric,
        cutoff_us,
        bounds,
        roles,
        num_types,
        num_last,
        max_events,
        quanta,
        spans_days[-1],
        raw,
        ids,
    )
    _write_attributes(
        version_offsets,
        valid_from_us,
        customers,
        segment_offsets,
        cutoff_us,
        attribute_codes,
        tables,
        table_ends,
        attribute_values,
        num_last,
        raw.shape[1] - 2 * attribute_values.shape[0],
        raw,
        ids,
    )
    scale(raw, factors, scaled)
    write_times(cutoff_us, origin_us, hours, days_of_cycle, calendar, days)


@inner
def _write_attributes(
    version_offsets: Int64[ndarray, " customer_plus_1"],
    valid_from_us: Int64[ndarray, " version"],
    customers: Int64[ndarray, " segment"],
    segment_offsets: Int64[ndarray, " segment_plus_1"],
    cutoff_us: Int64[ndarray, " readout"],
    codes: Int32[ndarray, "id_attribute version"],
    tables: Int64[ndarray, " entry"],
    table_ends: Int64[ndarray, " id_attribute"],
    values: Float32[ndarray, "attribute version"],
    first_id: int,
    first_column: int,
    raw: Float64[ndarray, "readout feature"],
    ids: Int64[ndarray, "readout readout_id_column"],
) -> None:
    """Write the attributes as they were at every cutoff: those of the last version that was valid."""
    for segment in range(len(customers)):
        first, last = version_offsets[customers[segment]], version_offsets[customers[segment] + 1]
        for readout in range(segment_offsets[segment], segment_offsets[segment + 1]):
            behind = last
            while behind > first and valid_from_us[behind - 1] > cutoff_us[readout]:
                behind -= 1
            row = behind - 1 if behind > first else -1
            for column in range(codes.shape[0]):
                code = codes[column, row] if row >= 0 else MISSING_CODE
                begin = table_ends[column - 1] if column else 0
                # The id of a missing value stands last in its table.
                found = tables[begin + code if code >= 0 else table_ends[column] - 1]
                ids[readout, first_id + column] = found
            for column in range(values.shape[0]):
                value = values[column, row] if row >= 0 else np.nan
                raw[readout, first_column + 2 * column] = value
                raw[readout, first_column + 2 * column + 1] = np.isnan(value)
