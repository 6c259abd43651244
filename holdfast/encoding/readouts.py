"""What the model is told about a cutoff: recency, tenure, gaps and windowed sums.

It deliberately sees nothing but the events of :mod:`holdfast.encoding.windows`. Sums are
differences of int64 prefix sums, so a cutoff's features do not depend on the other customers.
"""

import numpy as np
from jaxtyping import Float32, Float64, Int32, Int64
from numpy import ndarray

from holdfast.encoding.events import coded_ids
from holdfast.encoding.scaling import fixed_point, signed_log, standardised
from holdfast.encoding.spec import EncodingSpec
from holdfast.encoding.tallies import TypeTallies, tally_types
from holdfast.encoding.windows import Windows
from holdfast.histories import Histories, prefix_sum, search_sorted
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
    return standardised(signed_log(raw), spec.readout.means, spec.readout.stds)


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
    begins = _window_starts(histories.occurred_at_us, time_us, windows, spec.readout.windows_days)
    tallies = tally_types(
        ids[:, 0], np.array(spec.readout.counted_types, dtype=np.int64), (begins, windows.end)
    )
    parts = [
        _rhythm(histories.occurred_at_us, time_us, windows, spec),
        _windowed_sums(histories, tallies, begins, windows, spec),
        _days_since_types(histories.occurred_at_us, tallies, time_us, windows, spec),
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
    num_last = spec.readout.num_last_types
    attributes = spec.schema.categorical_attributes
    found = np.empty((len(time_us), num_last + len(attributes)), dtype=np.int32)
    rows = windows.end[:, None] - np.arange(1, num_last + 1)
    is_there = rows >= windows.start[:, None]
    found[:, :num_last] = np.where(is_there, _at(ids[:, 0], rows, is_there), PADDING_ID)
    if attributes:
        version, has_version = _attribute_version(histories, customer, time_us)
    for position, name in enumerate(attributes, start=num_last):
        column = coded_ids(histories.attributes.categorical[name], spec.attribute_vocabularies[name])
        found[:, position] = np.where(has_version, _at(column, version, has_version), UNKNOWN_ID)
    return found


def _at(column: ndarray, rows: ndarray, is_there: ndarray) -> ndarray:
    """Return ``column[rows]`` where it is there; anything (never read) elsewhere."""
    if not len(column):
        return np.zeros(rows.shape, dtype=column.dtype)
    return column.take(np.where(is_there, rows, 0))


def _rhythm(event_us: ndarray, time_us: ndarray, windows: Windows, spec: EncodingSpec) -> ndarray:
    num = windows.end - windows.start
    has_events, has_gap = num > 0, num > 1
    newest = np.where(has_events, _at(event_us, windows.end - 1, has_events), time_us)
    oldest = np.where(has_events, _at(event_us, windows.start, has_events), time_us)
    before = np.where(has_gap, _at(event_us, windows.end - 2, has_gap), newest)
    never = float(spec.history_days)
    recency = np.where(has_events, (time_us - newest) / MICROSECONDS_PER_DAY, never)
    tenure = (time_us - oldest) / MICROSECONDS_PER_DAY
    num_gaps = np.maximum(num - 1, 1)
    gap_mean = (newest - oldest) / MICROSECONDS_PER_DAY / num_gaps
    squares = _squared_gaps_before(event_us)
    first_gap = np.minimum(windows.start + 1, windows.end)
    mean_square = (squares.take(windows.end) - squares.take(first_gap)) / num_gaps / MINUTES_PER_DAY**2
    gap_std = np.sqrt(np.maximum(mean_square - gap_mean**2, 0.0))
    gap_last = (newest - before) / MICROSECONDS_PER_DAY
    # One day on either side keeps the ratio finite for customers with several events in a day.
    over_gap = (recency + 1.0) / (gap_mean + 1.0)
    rate = num / (tenure + 1.0)
    gaps = np.where(has_gap, np.stack([gap_mean, gap_std, gap_last, over_gap]), np.nan)
    return np.concatenate([np.stack([recency, tenure, rate]), gaps]).T


def _squared_gaps_before(event_us: ndarray) -> ndarray:
    """Return the prefix sum of the squared gaps, in minutes, between every event and the row before it."""
    minutes = np.zeros(len(event_us), dtype=np.int64)
    np.subtract(event_us[1:], event_us[:-1], out=minutes[1:])
    minutes //= MICROSECONDS_PER_MINUTE
    # Whole minutes squared: the sum over 4,096 gaps of ten years stays far below 2**63.
    minutes *= minutes
    return prefix_sum(minutes)


def _windowed_sums(
    histories: Histories, tallies: TypeTallies, begins: ndarray, windows: Windows, spec: EncodingSpec
) -> ndarray:
    """Return per window the number of events, of events by type, and the sums of the fields."""
    fields = spec.schema.numeric_fields
    first_field = 1 + len(spec.readout.counted_types)
    sums = np.empty((len(windows.end), len(begins), first_field + len(fields)))
    sums[:, :, 0] = (windows.end - begins).T
    num_end, num_begin = tallies.num_before(windows.end), tallies.num_before(begins)
    sums[:, :, 1:first_field] = (num_end[:, None] - num_begin).transpose(2, 1, 0)
    for position, name in enumerate(fields, start=first_field):
        before = prefix_sum(fixed_point(histories.numeric[name], spec.quanta[name]))
        sums[:, :, position] = ((before.take(windows.end) - before.take(begins)) * spec.quanta[name]).T
    return sums.reshape(len(sums), sums.shape[1] * sums.shape[2])


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
    return np.concatenate([found.reshape(num, len(time_us)), windows.start[None]], axis=0)


def _days_since_types(
    event_us: ndarray, tallies: TypeTallies, time_us: ndarray, windows: Windows, spec: EncodingSpec
) -> ndarray:
    found = tallies.last_before(windows.end)
    is_seen = found >= windows.start
    age_us = time_us - _at(event_us, found, is_seen)
    return np.where(is_seen, age_us / MICROSECONDS_PER_DAY, float(spec.history_days)).T


def _last_values(histories: Histories, windows: Windows, spec: EncodingSpec) -> ndarray:
    fields = spec.schema.numeric_fields
    has_events = windows.end > windows.start
    values = np.empty((len(has_events), len(fields)))
    for position, name in enumerate(fields):
        last = _at(histories.numeric[name], windows.end - 1, has_events)
        values[:, position] = np.where(has_events, last, np.nan)
    return values


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
