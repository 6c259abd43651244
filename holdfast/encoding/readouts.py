"""What the model is told about a cutoff: recency, tenure, gaps and windowed sums.

It deliberately sees nothing but the events of :mod:`holdfast.encoding.windows`, one customer's at a time.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float32, Float64, Int32, Int64
from numpy import ndarray

from holdfast.encoding.events import coded
from holdfast.encoding.scaling import signed_log, standardise
from holdfast.encoding.spec import EncodingSpec
from holdfast.encoding.windows import Windows
from holdfast.histories import Histories, search_sorted, stacked
from holdfast.native import native
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


def feature_names(spec: EncodingSpec) -> tuple[str, ...]:
    """Return the name of every column of ``readout_values``, in order."""
    types = [spec.event_type.values[i - FIRST_REAL_ID] for i in spec.readout.counted_types]
    summed = ["num_events", *(f"num_{t}" for t in types), *(f"{f}_sum" for f in spec.schema.numeric_fields)]
    spans = [*(f"{w}d" for w in spec.readout.windows_days), "all"]
    names = list(RHYTHM_NAMES)
    names += [f"{column}_{span}" for span in spans for column in summed]
    names += [f"days_since_{t}" for t in types]
    names += [f"{field}_last" for field in spec.schema.numeric_fields]
    for attribute in spec.schema.numeric_attributes:
        names += [attribute, f"{attribute}_is_missing"]
    return tuple(names)


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """Cutoffs and what they see.

    Attributes:
        time_us: The cutoffs, UTC microseconds.
        windows: What they see; its trailing windows are those of the spec.
        version: Row of the attributes that hold at every cutoff; -1 where none does yet.
    """

    time_us: Int64[ndarray, " readout"]
    windows: Windows
    version: Int64[ndarray, " readout"]

    @classmethod
    def of(cls, histories: Histories, time_us: Int64[ndarray, " readout"], windows: Windows) -> "Asked":
        """Find the version of the attributes that holds at every cutoff."""
        versions = histories.attributes
        first = versions.offsets.take(windows.customer)
        behind = search_sorted(
            versions.valid_from_us, first, versions.offsets.take(windows.customer + 1), time_us
        )
        return cls(time_us=time_us, windows=windows, version=np.where(behind > first, behind - 1, -1))


def readout_values(
    raw: Float64[ndarray, "readout feature"], spec: EncodingSpec
) -> Float32[ndarray, "readout feature"]:
    """Return the features of every cutoff (:func:`raw_readouts`) as model inputs."""
    scaled = np.empty(raw.shape, dtype=np.float32)
    standardise(signed_log(raw), spec.readout.means, spec.readout.stds, 1, scaled)
    return scaled


def raw_readouts(
    histories: Histories,
    numeric: Float32[ndarray, "field event"],
    event_ids: Int64[ndarray, "event_plus_1 id_column"],
    asked: Asked,
    spec: EncodingSpec,
) -> tuple[Float64[ndarray, "readout feature"], Int64[ndarray, "readout readout_id_column"]]:
    """Return what every cutoff is told, in its own units.

    Args:
        histories: Flat columns.
        numeric: Their numeric fields (:func:`holdfast.encoding.events.numeric_fields`).
        event_ids: The events' ids.
        asked: The cutoffs.
        spec: The fitted encoding.

    Returns:
        One row per cutoff: one column per :func:`feature_names`, NaN where a value is missing; and the
        ids of the last event types, newest first (0 beyond the history), and of the attributes.
    """
    windows, num, num_types = asked.windows, len(asked.time_us), len(spec.readout.counted_types)
    names, num_last = spec.schema.numeric_attributes, spec.readout.num_last_types
    num_summed = 1 + num_types + len(numeric)
    first_attribute = NUM_RHYTHM + len(windows.begins) * num_summed + num_types + len(numeric)
    raw = np.empty((num, first_attribute + 2 * len(names)))
    ids = np.empty((num, num_last + len(spec.schema.categorical_attributes)), dtype=np.int64)
    history_days, last = float(spec.history_days), first_attribute - len(numeric)
    event_us, ends, begins = histories.occurred_at_us, windows.end, windows.begins
    _write_rhythm(event_us, asked.time_us, begins[-1], ends, history_days, raw)
    _write_sums(
        event_us,
        numeric,
        event_ids,
        asked.time_us,
        begins,
        ends,
        spec.count_lines,
        num_types,
        spec.quantum_by_field,
        history_days,
        raw,
    )
    _write_newest(numeric, event_ids, begins[-1], ends, num_last, last, raw, ids)
    versions = histories.attributes
    codes, tables, table_ends = coded(
        [versions.categorical[name] for name in spec.schema.categorical_attributes],
        [spec.attribute_vocabularies[name] for name in spec.schema.categorical_attributes],
        num=len(versions.valid_from_us),
    )
    values = stacked((versions.numeric[name] for name in names), len(versions.valid_from_us), np.float32)
    _write_attributes(asked.version, codes, tables, table_ends, values, num_last, first_attribute, raw, ids)
    return raw, ids


@native("raw", "ids")
def _write_attributes(
    version: Int64[ndarray, " readout"],
    codes: Int32[ndarray, "id_attribute version"],
    tables: Int64[ndarray, " entry"],
    table_ends: Int64[ndarray, " id_attribute"],
    values: Float32[ndarray, "attribute version"],
    first_id: int,
    first_column: int,
    raw: Float64[ndarray, "readout feature"],
    ids: Int64[ndarray, "readout readout_id_column"],
) -> None:
    """Write the attributes as they were at every cutoff."""
    for readout in range(len(version)):
        row = version[readout]
        for column in range(codes.shape[0]):
            code = codes[column, row] if row >= 0 else MISSING_CODE
            start = table_ends[column - 1] if column else 0
            # The id of a missing value stands last in its table.
            ids[readout, first_id + column] = tables[start + code if code >= 0 else table_ends[column] - 1]
        for column in range(values.shape[0]):
            value = values[column, row] if row >= 0 else np.nan
            raw[readout, first_column + 2 * column] = value
            raw[readout, first_column + 2 * column + 1] = np.isnan(value)


@native("raw")
def _write_rhythm(
    event_us: Int64[ndarray, " event"],
    cutoff_us: Int64[ndarray, " readout"],
    starts: Int64[ndarray, " readout"],
    ends: Int64[ndarray, " readout"],
    history_days: float,
    raw: Float64[ndarray, "readout feature"],
) -> None:
    """Write the features of :data:`RHYTHM_NAMES`."""
    for readout in range(len(cutoff_us)):
        cutoff, start, end = cutoff_us[readout], starts[readout], ends[readout]
        num = end - start
        recency, tenure = history_days, 0.0
        if num:
            recency = (cutoff - event_us[end - 1]) / MICROSECONDS_PER_DAY
            tenure = (cutoff - event_us[start]) / MICROSECONDS_PER_DAY
        # Of fewer than two events there is no gap.
        mean, std, newest = np.nan, np.nan, np.nan
        if num > 1:
            squared_minutes = 0
            for row in range(start + 1, end):
                minutes = (event_us[row] - event_us[row - 1]) // MICROSECONDS_PER_MINUTE
                # The sum over 4,096 gaps of ten years stays far below 2**63.
                squared_minutes += minutes * minutes
            mean = (event_us[end - 1] - event_us[start]) / MICROSECONDS_PER_DAY / (num - 1)
            variance = squared_minutes / (num - 1) / MINUTES_PER_DAY**2 - mean * mean
            std = np.sqrt(max(variance, 0.0))
            newest = (event_us[end - 1] - event_us[end - 2]) / MICROSECONDS_PER_DAY
        raw[readout, 0] = recency
        raw[readout, 1] = tenure
        raw[readout, 2] = num / (tenure + 1.0)
        raw[readout, 3] = mean
        raw[readout, 4] = std
        raw[readout, 5] = newest
        # One day on either side keeps the ratio finite for customers with several events in a day.
        raw[readout, 6] = (recency + 1.0) / (mean + 1.0)


@native("raw")
def _write_sums(
    event_us: Int64[ndarray, " event"],
    numeric: Float32[ndarray, "field event"],
    event_ids: Int64[ndarray, "event_plus_1 id_column"],
    cutoff_us: Int64[ndarray, " readout"],
    begins: Int64[ndarray, "window readout"],
    ends: Int64[ndarray, " readout"],
    count_lines: Int64[ndarray, " type_id"],
    num_types: int,
    quanta: Float64[ndarray, " field"],
    history_days: float,
    raw: Float64[ndarray, "readout feature"],
) -> None:
    """Write sums over windows and the types' ages: every history is walked once, from its newest event."""
    num_windows, num_fields = begins.shape[0], len(quanta)
    num_summed = 1 + num_types + num_fields
    first_age = NUM_RHYTHM + num_windows * num_summed
    # Types that are not counted share one place more, which nobody reads.
    counts = np.zeros(num_types + 1, dtype=np.int64)
    sums = np.zeros(num_fields, dtype=np.int64)
    for readout in range(len(cutoff_us)):
        counts[:] = 0
        sums[:] = 0
        raw[readout, first_age : first_age + num_types] = history_days
        row = ends[readout]
        for window in range(num_windows):
            while row > begins[window, readout]:
                row -= 1
                line = count_lines[event_ids[row, 0]]
                if line < num_types and not counts[line]:
                    raw[readout, first_age + line] = (
                        cutoff_us[readout] - event_us[row]
                    ) / MICROSECONDS_PER_DAY
                counts[line] += 1
                for field in range(num_fields):
                    # Whole quanta: sums of integers are exact, whatever the order.
                    units = np.rint(np.float64(numeric[field, row]) / quanta[field])
                    units = min(max(units, -MAX_FIXED_POINT), MAX_FIXED_POINT)
                    sums[field] += np.int64(0.0 if np.isnan(numeric[field, row]) else units)
            column = NUM_RHYTHM + window * num_summed
            raw[readout, column] = ends[readout] - row
            for line in range(num_types):
                raw[readout, column + 1 + line] = counts[line]
            for field in range(num_fields):
                raw[readout, column + 1 + num_types + field] = sums[field] * quanta[field]


@native("raw", "last_types")
def _write_newest(
    numeric: Float32[ndarray, "field event"],
    event_ids: Int64[ndarray, "event_plus_1 id_column"],
    starts: Int64[ndarray, " readout"],
    ends: Int64[ndarray, " readout"],
    num_last: int,
    first_column: int,
    raw: Float64[ndarray, "readout feature"],
    last_types: Int64[ndarray, "readout readout_id_column"],
) -> None:
    """Write the fields of the newest event, and the last event types."""
    for readout in range(len(ends)):
        start, end = starts[readout], ends[readout]
        for field in range(numeric.shape[0]):
            raw[readout, first_column + field] = numeric[field, end - 1] if end > start else np.nan
        for place in range(num_last):
            row = end - 1 - place
            last_types[readout, place] = event_ids[row, 0] if row >= start else PADDING_ID
