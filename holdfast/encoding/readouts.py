"""What the model is told about a cutoff: recency, tenure, gaps and windowed sums.

It deliberately sees nothing but the events of :mod:`holdfast.encoding.windows`. Sums are
differences of int64 prefix sums, so a cutoff's features do not depend on the other customers.
"""

import numpy as np
from jaxtyping import Float32, Float64, Int32, Int64
from numpy import ndarray

from holdfast.encoding.events import coded_ids
from holdfast.encoding.scaling import bounded, fixed_point, signed_log
from holdfast.encoding.spec import EncodingSpec
from holdfast.encoding.windows import Windows
from holdfast.histories import Histories, search_sorted
from holdfast.schema import MICROSECONDS_PER_DAY
from holdfast.vocabulary import FIRST_REAL_ID, PADDING_ID, UNKNOWN_ID

MICROSECONDS_PER_MINUTE = 60_000_000
MINUTES_PER_DAY = 1_440

RHYTHM_NAMES = (
    "recency_days",
    "tenure_days",
    "events_per_day",
    "gap_mean_days",
    "gap_std_days",
    "gap_last_days",
    "recency_over_gap",
)


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


def readout_values(
    histories: Histories,
    ids: Int32[ndarray, "event column"],
    customer: Int64[ndarray, " readout"],
    time_us: Int64[ndarray, " readout"],
    windows: Windows,
    spec: EncodingSpec,
) -> Float32[ndarray, "readout feature"]:
    """Return the scaled features of every cutoff.

    Args:
        histories: Flat columns.
        ids: Ids of every event, event type first.
        customer: Position of every cutoff's customer.
        time_us: The cutoffs.
        windows: What they see.
        spec: The fitted encoding.

    Returns:
        One row per cutoff, one column per :func:`feature_names`.
    """
    raw = raw_readout_values(histories, ids, customer, time_us, windows, spec)
    mean = np.array([scale.mean for scale in spec.readout.scales])
    std = np.array([scale.std for scale in spec.readout.scales])
    return bounded((signed_log(raw) - mean) / std)


def raw_readout_values(
    histories: Histories,
    ids: Int32[ndarray, "event column"],
    customer: Int64[ndarray, " readout"],
    time_us: Int64[ndarray, " readout"],
    windows: Windows,
    spec: EncodingSpec,
) -> Float64[ndarray, "readout feature"]:
    """Return the same features in their own units; NaN where a value is missing.

    Fitting needs them unscaled; see :func:`readout_values` for the arguments.
    """
    types = np.array(spec.readout.counted_types, dtype=np.int32)
    is_type = ids[:, :1] == types
    parts = [
        _rhythm(histories.occurred_at_us, time_us, windows, spec),
        _windowed_sums(histories, is_type, time_us, windows, spec),
        _days_since_types(histories.occurred_at_us, is_type, time_us, windows, spec),
        _last_values(histories, windows, spec),
        _attribute_values(histories, customer, time_us, spec),
    ]
    return np.concatenate(parts, axis=1)


def readout_ids(
    histories: Histories,
    ids: Int32[ndarray, "event column"],
    customer: Int64[ndarray, " readout"],
    time_us: Int64[ndarray, " readout"],
    windows: Windows,
    spec: EncodingSpec,
) -> Int32[ndarray, "readout id_column"]:
    """Return the ids of the last event types, newest first (0 beyond the history), and attributes."""
    columns = []
    for back in range(1, spec.readout.num_last_types + 1):
        row = windows.end - back
        is_there = row >= windows.start
        columns.append(np.where(is_there, _at(ids[:, 0], row, is_there), PADDING_ID).astype(np.int32))
    version, has_version = _attribute_version(histories, customer, time_us)
    for name in spec.schema.categorical_attributes:
        column = coded_ids(histories.attributes.categorical[name], spec.attribute_vocabularies[name])
        columns.append(np.where(has_version, _at(column, version, has_version), UNKNOWN_ID).astype(np.int32))
    return np.stack(columns, axis=1) if columns else np.empty((len(time_us), 0), dtype=np.int32)


def _at(column: ndarray, rows: ndarray, is_there: ndarray) -> ndarray:
    """Return ``column[rows]`` where it is there; anything (never read) elsewhere."""
    if not len(column):
        return np.zeros((len(rows), *column.shape[1:]), dtype=column.dtype)
    return column[np.where(is_there, rows, 0)]


def _rhythm(event_us: ndarray, time_us: ndarray, windows: Windows, spec: EncodingSpec) -> ndarray:
    num = windows.end - windows.start
    has_events, has_gap = num > 0, num > 1
    newest = np.where(has_events, _at(event_us, windows.end - 1, has_events), time_us)
    oldest = np.where(has_events, _at(event_us, windows.start, has_events), time_us)
    before = np.where(has_gap, _at(event_us, windows.end - 2, has_gap), newest)
    never = float(spec.history_days)
    recency = np.where(has_events, (time_us - newest) / MICROSECONDS_PER_DAY, never)
    tenure = (time_us - oldest) / MICROSECONDS_PER_DAY
    span = (newest - oldest) / MICROSECONDS_PER_DAY
    gap_mean = np.where(has_gap, span / np.maximum(num - 1, 1), np.nan)
    # Whole minutes squared: the sum over 4,096 gaps of ten years stays far below 2**63.
    minutes = np.diff(event_us, prepend=event_us[:1]) // MICROSECONDS_PER_MINUTE
    squares = _prefix((minutes * minutes)[:, None])[:, 0]
    first_gap = np.minimum(windows.start + 1, windows.end)
    mean_square = (squares[windows.end] - squares[first_gap]) / np.maximum(num - 1, 1) / MINUTES_PER_DAY**2
    gap_std = np.where(has_gap, np.sqrt(np.maximum(mean_square - np.nan_to_num(gap_mean) ** 2, 0.0)), np.nan)
    gap_last = np.where(has_gap, (newest - before) / MICROSECONDS_PER_DAY, np.nan)
    # One day on either side keeps the ratio finite for customers with several events in a day.
    over_gap = np.where(has_gap, (recency + 1.0) / (np.nan_to_num(gap_mean) + 1.0), np.nan)
    rate = num / (tenure + 1.0)
    return np.stack([recency, tenure, rate, gap_mean, gap_std, gap_last, over_gap], axis=1)


def _windowed_sums(
    histories: Histories, is_type: ndarray, time_us: ndarray, windows: Windows, spec: EncodingSpec
) -> ndarray:
    fields = spec.schema.numeric_fields
    num_types = is_type.shape[1]
    summed = np.empty((len(is_type), 1 + num_types + len(fields)), dtype=np.int64)
    summed[:, 0] = 1
    summed[:, 1 : 1 + num_types] = is_type
    for position, name in enumerate(fields, start=1 + num_types):
        summed[:, position] = fixed_point(histories.numeric[name], spec.quanta[name])
    prefix = _prefix(summed)
    units = np.array([1.0] * (1 + num_types) + [spec.quanta[name] for name in fields])
    begins = _window_starts(histories.occurred_at_us, time_us, windows, spec.readout.windows_days)
    sums = (prefix[windows.end] - prefix[begins]) * units
    return np.ascontiguousarray(sums.transpose(1, 0, 2)).reshape(len(time_us), len(begins) * len(units))


def _window_starts(
    event_us: ndarray, time_us: ndarray, windows: Windows, windows_days: tuple[int, ...]
) -> ndarray:
    """Return [window + 1, readout]: first rows of the trailing windows, then of the history."""
    lengths_us = np.array(windows_days, dtype=np.int64)[:, None] * MICROSECONDS_PER_DAY
    num = len(windows_days)
    found = search_sorted(
        event_us,
        np.tile(windows.start, num),
        np.tile(windows.end, num),
        (time_us - lengths_us).reshape(-1),
    )
    return np.concatenate([found.reshape(num, -1), windows.start[None]], axis=0)


def _days_since_types(
    event_us: ndarray, is_type: ndarray, time_us: ndarray, windows: Windows, spec: EncodingSpec
) -> ndarray:
    if not is_type.shape[1]:
        return np.empty((len(time_us), 0))
    row = np.arange(len(is_type), dtype=np.int64)[:, None]
    latest = np.maximum.accumulate(np.where(is_type, row, -1), axis=0)
    has_events = (windows.end > windows.start)[:, None]
    found = np.where(has_events, _at(latest, windows.end - 1, has_events[:, 0]), -1)
    is_seen = has_events & (found >= windows.start[:, None])
    age_us = time_us[:, None] - _at(event_us, found.reshape(-1), is_seen.reshape(-1)).reshape(found.shape)
    return np.where(is_seen, age_us / MICROSECONDS_PER_DAY, float(spec.history_days))


def _last_values(histories: Histories, windows: Windows, spec: EncodingSpec) -> ndarray:
    has_events = windows.end > windows.start
    columns = [
        np.where(has_events, _at(histories.numeric[name], windows.end - 1, has_events), np.nan).astype(
            np.float64
        )
        for name in spec.schema.numeric_fields
    ]
    return np.stack(columns, axis=1) if columns else np.empty((len(has_events), 0))


def _attribute_version(histories: Histories, customer: ndarray, time_us: ndarray) -> tuple[ndarray, ndarray]:
    """Return the row of the version that holds at every cutoff, and whether there is one."""
    versions = histories.attributes
    first, last = versions.offsets[customer], versions.offsets[customer + 1]
    row = search_sorted(versions.valid_from_us, first, last, time_us) - 1
    return row, row >= first


def _attribute_values(
    histories: Histories, customer: ndarray, time_us: ndarray, spec: EncodingSpec
) -> ndarray:
    if not spec.schema.numeric_attributes:
        return np.empty((len(time_us), 0))
    row, is_there = _attribute_version(histories, customer, time_us)
    columns = []
    for name in spec.schema.numeric_attributes:
        column = histories.attributes.numeric[name]
        value = np.where(is_there, _at(column, row, is_there), np.nan).astype(np.float64)
        columns += [value, np.isnan(value).astype(np.float64)]
    return np.stack(columns, axis=1)


def _prefix(values: Int64[ndarray, "event column"]) -> Int64[ndarray, "event_plus_1 column"]:
    prefix = np.zeros((len(values) + 1, values.shape[1]), dtype=np.int64)
    np.cumsum(values, axis=0, out=prefix[1:])
    return prefix
