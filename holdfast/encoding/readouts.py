"""What the model is told about a cutoff: recency, tenure, gaps and windowed sums.

It deliberately sees nothing but the events of :mod:`holdfast.encoding.windows`, one customer's at a time.
"""

import numpy as np
from jaxtyping import Bool, Float32, Float64, Int32, Int64
from numpy import ndarray

from holdfast.encoding.events import coded
from holdfast.encoding.scaling import scale
from holdfast.encoding.spec import EncodingSpec
from holdfast.encoding.windows import Windows
from holdfast.histories import Histories, stacked
from holdfast.native import inner, native
from holdfast.schema import MICROSECONDS_PER_DAY
from holdfast.vocabulary import FIRST_REAL_ID, MISSING_CODE, PADDING_ID

MICROSECONDS_PER_MINUTE = 60_000_000
MINUTES_PER_DAY = 1_440

MAX_FIXED_POINT = 2.0**50
"""Values in whole quanta are held within this, so that 4,096 of them fit into an int64."""

RHYTHM_NAMES = (
    "recency_days",
    "tenure_days",
    "events_per_day",
    "gap_mean_days",
    "gap_std_days",
    "gap_last_days",
    "recency_over_gap",
)
NUM_RHYTHM = len(RHYTHM_NAMES)

RETURN_NAMES = ("num_days_for_{}", "days_since_first_for_{}", "days_since_last_for_{}")
"""Per target that awaits silence: days (of UTC) with an event that ends it, and how long ago the first and
the last one was; where there is none, the history's first event of any kind takes their place. All are 0
where a history has no event at all."""
NUM_RETURNS = len(RETURN_NAMES)


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


def readout_values(
    raw: Float64[ndarray, "readout feature"], spec: EncodingSpec
) -> Float32[ndarray, "readout feature"]:
    """Return the features of every cutoff (:func:`raw_readouts`) as model inputs."""
    scaled = np.empty(raw.shape, dtype=np.float32)
    scale(raw, spec.readout.means, spec.readout.stds, scaled)
    return scaled


def raw_readouts(
    histories: Histories,
    numeric: Float32[ndarray, "field event"],
    cutoff_us: Int64[ndarray, " readout"],
    windows: Windows,
    spec: EncodingSpec,
) -> tuple[Float64[ndarray, "readout feature"], Int64[ndarray, "readout readout_id_column"]]:
    """Return what every cutoff is told, in its own units.

    Args:
        histories: Flat columns.
        numeric: Their numeric fields (:func:`holdfast.encoding.events.numeric_fields`).
        cutoff_us: The cutoffs, UTC microseconds.
        windows: What they see; its trailing windows are those of the spec.
        spec: The fitted encoding.

    Returns:
        One row per cutoff: one column per :func:`feature_names`, NaN where a value is missing; and the
        ids of the last event types, newest first (0 beyond the history), and of the attributes.
    """
    num, num_types = len(cutoff_us), len(spec.readout.counted_types)
    names, num_last = spec.schema.numeric_attributes, spec.readout.num_last_types
    num_summed = 1 + num_types + len(numeric)
    first_return = NUM_RHYTHM + len(windows.begins) * num_summed + num_types + len(numeric)
    first_attribute = first_return + NUM_RETURNS * len(spec.schema.silences)
    raw = np.empty((num, first_attribute + 2 * len(names)))
    ids = np.empty((num, num_last + len(spec.schema.categorical_attributes)), dtype=np.int64)
    type_ids = spec.event_type.table(histories.event_type.dictionary)
    event_us = np.ascontiguousarray(histories.occurred_at_us)
    event_types = np.ascontiguousarray(histories.event_type.codes)
    _write_histories(
        event_us,
        event_types,
        numeric,
        cutoff_us,
        windows.begins,
        windows.end,
        type_ids,
        spec.count_lines.take(type_ids),
        num_types,
        spec.quantum_by_field,
        num_last,
        float(spec.history_days),
        raw,
        ids,
    )
    _write_returns(
        event_us,
        event_types,
        cutoff_us,
        windows.start,
        windows.end,
        spec.awaited_types.take(type_ids, axis=1),
        first_return,
        raw,
    )
    versions = histories.attributes
    codes, tables, table_ends = coded(
        [versions.categorical[name] for name in spec.schema.categorical_attributes],
        [spec.attribute_vocabularies[name] for name in spec.schema.categorical_attributes],
        num=len(versions.valid_from_us),
    )
    _write_attributes(
        versions.offsets,
        np.ascontiguousarray(versions.valid_from_us),
        windows.customer,
        cutoff_us,
        codes,
        tables,
        table_ends,
        stacked((versions.numeric[name] for name in names), len(versions.valid_from_us), np.float32),
        num_last,
        first_attribute,
        raw,
        ids,
    )
    return raw, ids


@native("raw", "ids")
def _write_attributes(
    version_offsets: Int64[ndarray, " customer_plus_1"],
    valid_from_us: Int64[ndarray, " version"],
    customers: Int64[ndarray, " readout"],
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
    for readout in range(len(customers)):
        first, behind = version_offsets[customers[readout]], version_offsets[customers[readout] + 1]
        while behind > first and valid_from_us[behind - 1] > cutoff_us[readout]:
            behind -= 1
        row = behind - 1 if behind > first else -1
        for column in range(codes.shape[0]):
            code = codes[column, row] if row >= 0 else MISSING_CODE
            begin = table_ends[column - 1] if column else 0
            # The id of a missing value stands last in its table.
            ids[readout, first_id + column] = tables[begin + code if code >= 0 else table_ends[column] - 1]
        for column in range(values.shape[0]):
            value = values[column, row] if row >= 0 else np.nan
            raw[readout, first_column + 2 * column] = value
            raw[readout, first_column + 2 * column + 1] = np.isnan(value)


@native("raw")
def _write_returns(
    event_us: Int64[ndarray, " event"],
    event_types: Int32[ndarray, " event"],
    cutoff_us: Int64[ndarray, " readout"],
    begins: Int64[ndarray, " readout"],
    ends: Int64[ndarray, " readout"],
    is_awaited: Bool[ndarray, "target code"],
    first_column: int,
    raw: Float64[ndarray, "readout feature"],
) -> None:
    """Write the features of :data:`RETURN_NAMES`; several events of one day are one."""
    for readout in range(len(cutoff_us)):
        for target in range(is_awaited.shape[0]):
            num_days, day = 0, 0
            first_us = event_us[begins[readout]] if ends[readout] > begins[readout] else cutoff_us[readout]
            last_us = first_us
            for row in range(begins[readout], ends[readout]):
                own_day = event_us[row] // MICROSECONDS_PER_DAY
                if is_awaited[target, event_types[row]] and (not num_days or own_day != day):
                    num_days, day, last_us = num_days + 1, own_day, event_us[row]
                    first_us = last_us if num_days == 1 else first_us
            column = first_column + NUM_RETURNS * target
            raw[readout, column] = num_days
            raw[readout, column + 1] = (cutoff_us[readout] - first_us) / MICROSECONDS_PER_DAY
            raw[readout, column + 2] = (cutoff_us[readout] - last_us) / MICROSECONDS_PER_DAY


@native("raw", "ids")
def _write_histories(
    event_us: Int64[ndarray, " event"],
    event_types: Int32[ndarray, " event"],
    numeric: Float32[ndarray, "field event"],
    cutoff_us: Int64[ndarray, " readout"],
    begins: Int64[ndarray, "window readout"],
    ends: Int64[ndarray, " readout"],
    type_ids: Int64[ndarray, " code"],
    count_lines: Int64[ndarray, " code"],
    num_types: int,
    quanta: Float64[ndarray, " field"],
    num_last: int,
    history_days: float,
    raw: Float64[ndarray, "readout feature"],
    ids: Int64[ndarray, "readout readout_id_column"],
) -> None:
    """Write all that cutoffs are told of their events; by code of a type its id, and where it is counted."""
    num_windows, num_fields = begins.shape[0], numeric.shape[0]
    # Types that are not counted share one place more, which nobody reads.
    counts = np.zeros(num_types + 1, dtype=np.int64)
    sums = np.zeros(num_fields, dtype=np.int64)
    last_field = NUM_RHYTHM + num_windows * (1 + num_types + num_fields) + num_types
    for readout in range(len(cutoff_us)):
        start, end = begins[num_windows - 1, readout], ends[readout]
        told = raw[readout]
        _write_rhythm(event_us[start:end], cutoff_us[readout], history_days, told)
        _write_sums(
            event_us,
            event_types,
            numeric,
            cutoff_us[readout],
            begins[:, readout],
            end,
            count_lines,
            quanta,
            history_days,
            counts,
            sums,
            told,
        )
        for field in range(num_fields):
            told[last_field + field] = numeric[field, end - 1] if end > start else np.nan
        for place in range(num_last):
            row = end - 1 - place
            ids[readout, place] = type_ids[event_types[row]] if row >= start else PADDING_ID


@inner
def _write_rhythm(
    event_us: Int64[ndarray, " event"],
    cutoff_us: int,
    history_days: float,
    told: Float64[ndarray, " feature"],
) -> None:
    """Write the features of :data:`RHYTHM_NAMES` of one history."""
    num = len(event_us)
    recency, tenure = history_days, 0.0
    if num:
        recency = (cutoff_us - event_us[num - 1]) / MICROSECONDS_PER_DAY
        tenure = (cutoff_us - event_us[0]) / MICROSECONDS_PER_DAY
    # Of fewer than two events there is no gap.
    mean, std, newest = np.nan, np.nan, np.nan
    if num > 1:
        squared_minutes = 0
        for row in range(1, num):
            minutes = (event_us[row] - event_us[row - 1]) // MICROSECONDS_PER_MINUTE
            # The sum over 4,096 gaps of ten years stays far below 2**63.
            squared_minutes += minutes * minutes
        mean = (event_us[num - 1] - event_us[0]) / MICROSECONDS_PER_DAY / (num - 1)
        variance = squared_minutes / (num - 1) / MINUTES_PER_DAY**2 - mean * mean
        std = np.sqrt(max(variance, 0.0))
        newest = (event_us[num - 1] - event_us[num - 2]) / MICROSECONDS_PER_DAY
    told[0] = recency
    told[1] = tenure
    told[2] = num / (tenure + 1.0)
    told[3] = mean
    told[4] = std
    told[5] = newest
    # One day on either side keeps the ratio finite for customers with several events in a day.
    told[6] = (recency + 1.0) / (mean + 1.0)


@inner
def _write_sums(
    event_us: Int64[ndarray, " event"],
    event_types: Int32[ndarray, " event"],
    numeric: Float32[ndarray, "field event"],
    cutoff_us: int,
    begins: Int64[ndarray, " window"],
    end: int,
    count_lines: Int64[ndarray, " code"],
    quanta: Float64[ndarray, " field"],
    history_days: float,
    counts: Int64[ndarray, " line"],
    sums: Int64[ndarray, " field"],
    told: Float64[ndarray, " feature"],
) -> None:
    """Write sums over windows and the types' ages: a history is walked once, from its newest event."""
    num_types, num_fields = len(counts) - 1, len(sums)
    num_summed = 1 + num_types + num_fields
    first_age = NUM_RHYTHM + len(begins) * num_summed
    counts[:] = 0
    sums[:] = 0
    told[first_age : first_age + num_types] = history_days
    row = end
    for window in range(len(begins)):
        while row > begins[window]:
            row -= 1
            line = count_lines[event_types[row]]
            if line < num_types and not counts[line]:
                told[first_age + line] = (cutoff_us - event_us[row]) / MICROSECONDS_PER_DAY
            counts[line] += 1
            for field in range(num_fields):
                # Whole quanta: sums of integers are exact, whatever the order.
                units = np.rint(np.float64(numeric[field, row]) / quanta[field])
                units = min(max(units, -MAX_FIXED_POINT), MAX_FIXED_POINT)
                sums[field] += np.int64(0.0 if np.isnan(numeric[field, row]) else units)
        column = NUM_RHYTHM + window * num_summed
        told[column] = end - row
        for line in range(num_types):
            told[column + 1 + line] = counts[line]
        for field in range(num_fields):
            told[column + 1 + num_types + field] = sums[field] * quanta[field]
