"""What the model is told about a cutoff: recency, tenure, gaps and windowed sums.

It deliberately sees nothing but the events of :mod:`holdfast.encoding.windows`. Sums are
differences of int64 prefix sums, so a cutoff's features do not depend on the other customers.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float32, Float64, Int64
from numpy import ndarray

from holdfast.encoding.events import Events
from holdfast.encoding.scaling import clip_scaled, signed_log
from holdfast.encoding.spec import EncodingSpec
from holdfast.encoding.tallies import TypeTallies, tally_types
from holdfast.encoding.windows import Windows
from holdfast.histories import Histories, search_sorted
from holdfast.schema import MICROSECONDS_PER_DAY
from holdfast.vocabulary import FIRST_REAL_ID, MISSING_CODE

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


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """Cutoffs and what they see.

    Attributes:
        time_us: The cutoffs, UTC microseconds.
        windows: What they see; its trailing windows are those of the spec.
        version: Row of the attributes that hold at every cutoff.
        has_version: Whether there are any.
    """

    time_us: Int64[ndarray, " readout"]
    windows: Windows
    version: Int64[ndarray, " readout"]
    has_version: Bool[ndarray, " readout"]

    @classmethod
    def of(cls, histories: Histories, time_us: Int64[ndarray, " readout"], windows: Windows) -> "Asked":
        """Find the version of the attributes that holds at every cutoff."""
        versions = histories.attributes
        first = versions.offsets.take(windows.customer)
        last = versions.offsets.take(windows.customer + 1)
        version = search_sorted(versions.valid_from_us, first, last, time_us) - 1
        return cls(time_us=time_us, windows=windows, version=version, has_version=version >= first)


def readout_values(
    histories: Histories, events: Events, asked: Asked, spec: EncodingSpec
) -> Float32[ndarray, "readout feature"]:
    """Return the scaled features of every cutoff.

    Args:
        histories: Flat columns.
        events: The same, encoded.
        asked: The cutoffs.
        spec: The fitted encoding.

    Returns:
        One row per cutoff, one column per :func:`feature_names`.
    """
    raw = raw_readout_values(histories, events, asked, spec)
    logs = signed_log(raw)
    rows = np.empty((logs.shape[1], logs.shape[0]))
    np.subtract(logs.T, spec.readout.means, out=rows)
    rows /= spec.readout.stds
    clip_scaled(rows)
    # A missing value is the mean.
    np.copyto(rows, 0.0, where=np.isnan(rows))
    return rows.astype(np.float32)


def raw_readout_values(
    histories: Histories, events: Events, asked: Asked, spec: EncodingSpec
) -> Float64[ndarray, "feature readout"]:
    """Return the same features in their own units, a row for each; NaN where a value is missing.

    Fitting needs them unscaled; see :func:`readout_values` for the arguments.
    """
    windows, num_types = asked.windows, len(spec.readout.counted_types)
    tallies = tally_types(events.type_ids[:-1], spec.count_lines, num_types, (windows.begins, windows.end))
    age_us, is_there = _ages(histories.occurred_at_us, tallies, asked)
    never = float(spec.history_days)
    ages = np.where(is_there, age_us / MICROSECONDS_PER_DAY, never)
    parts = [
        _rhythm(events, age_us, ages[0], is_there[0], windows),
        _windowed_sums(events, tallies, windows, spec),
        ages[_NUM_PLACES:],
        _last_values(histories, asked, spec),
        _attribute_values(histories, asked, spec),
    ]
    return np.concatenate(parts, axis=0)


def readout_ids(
    histories: Histories, events: Events, asked: Asked, spec: EncodingSpec
) -> Int64[ndarray, "readout readout_id_column"]:
    """Return the ids of the last event types, newest first (0 beyond the history), and attributes."""
    num_last, attributes = spec.readout.num_last_types, spec.schema.categorical_attributes
    found = np.empty((len(asked.time_us), num_last + len(attributes)), dtype=np.int64)
    windows, padding = asked.windows, len(events.type_ids) - 1
    rows = windows.end[:, None] - np.arange(1, num_last + 1)
    found[:, :num_last] = events.type_ids.take(np.where(rows >= windows.start[:, None], rows, padding))
    for position, name in enumerate(attributes, start=num_last):
        column = histories.attributes.categorical[name]
        codes = np.where(asked.has_version, _at(column.codes, asked.version), MISSING_CODE)
        found[:, position] = spec.attribute_vocabularies[name].ids(codes, column.dictionary)
    return found


def _at(column: ndarray, rows: ndarray) -> ndarray:
    """Return ``column[rows]``; anything (never read) where rows lie outside."""
    if not len(column):
        return np.zeros(rows.shape, dtype=column.dtype)
    return column.take(rows, mode="clip")


# The places in a history whose ages are asked for, before those of the last event of every type.
_NEWEST, _OLDEST, _BEFORE_NEWEST = range(3)
_NUM_PLACES = 3


def _ages(event_us: ndarray, tallies: TypeTallies, asked: Asked) -> tuple[ndarray, ndarray]:
    """Return how long ago the events at some places were, [place, readout], and which are there."""
    start, end = asked.windows.start, asked.windows.end
    last = tallies.last_before(end)
    rows = np.empty((_NUM_PLACES + len(last), len(end)), dtype=np.int64)
    np.subtract(end, 1, out=rows[_NEWEST])
    rows[_OLDEST] = start
    np.subtract(end, 2, out=rows[_BEFORE_NEWEST])
    rows[_NUM_PLACES:] = last
    return asked.time_us - _at(event_us, rows), rows >= start


def _rhythm(
    events: Events, age_us: ndarray, recency: ndarray, has_events: ndarray, windows: Windows
) -> ndarray:
    num = windows.end - windows.start
    num_gaps = np.maximum(num - 1, 1)
    tenure = np.where(has_events, age_us[_OLDEST] / MICROSECONDS_PER_DAY, 0.0)
    first_gap = np.minimum(windows.start + 1, windows.end)
    squares = events.squared_gaps.take(windows.end) - events.squared_gaps.take(first_gap)
    rhythm = np.empty((len(RHYTHM_NAMES), len(num)))
    rhythm[0], rhythm[1] = recency, tenure
    np.divide(num, tenure + 1.0, out=rhythm[2])
    gap_mean, gap_std, gap_last, over_gap = rhythm[3:]
    np.divide(age_us[_OLDEST] - age_us[_NEWEST], MICROSECONDS_PER_DAY, out=gap_mean)
    np.divide(age_us[_BEFORE_NEWEST] - age_us[_NEWEST], MICROSECONDS_PER_DAY, out=gap_last)
    gap_mean /= num_gaps
    np.divide(squares, num_gaps, out=gap_std)
    gap_std /= MINUTES_PER_DAY**2
    gap_std -= gap_mean * gap_mean
    np.sqrt(np.maximum(gap_std, 0.0), out=gap_std)
    # Of fewer than two events there is no gap: what stands here then is a neighbour's.
    np.copyto(rhythm[3:-1], np.nan, where=num < 2)
    # One day on either side keeps the ratio finite for customers with several events in a day.
    np.divide(recency + 1.0, gap_mean + 1.0, out=over_gap)
    return rhythm


def _windowed_sums(events: Events, tallies: TypeTallies, windows: Windows, spec: EncodingSpec) -> ndarray:
    """Return per window the number of events, of events by type, and the sums of the fields."""
    begins, end = windows.begins, windows.end
    first_field = 1 + len(spec.readout.counted_types)
    sums = np.empty((len(begins), first_field + len(events.totals), len(end)))
    np.subtract(end, begins, out=sums[:, 0])
    by_type = tallies.num_before(end)[:, None] - tallies.num_before(begins)
    sums[:, 1:first_field] = by_type.transpose(1, 0, 2)
    units = events.totals.take(end, axis=1)[:, None] - events.totals.take(begins, axis=1)
    np.multiply(units.transpose(1, 0, 2), spec.quantum_by_field[:, None], out=sums[:, first_field:])
    return sums.reshape(sums.shape[0] * sums.shape[1], len(end))


def _last_values(histories: Histories, asked: Asked, spec: EncodingSpec) -> ndarray:
    fields, windows = spec.schema.numeric_fields, asked.windows
    has_events = windows.end > windows.start
    values = np.empty((len(fields), len(has_events)))
    for position, name in enumerate(fields):
        values[position] = _at(histories.numeric[name], windows.end - 1)
    np.copyto(values, np.nan, where=~has_events)
    return values


def _attribute_values(histories: Histories, asked: Asked, spec: EncodingSpec) -> ndarray:
    names = spec.schema.numeric_attributes
    values = np.empty((2 * len(names), len(asked.time_us)))
    for position, name in enumerate(names):
        values[2 * position] = _at(histories.attributes.numeric[name], asked.version)
    np.copyto(values[::2], np.nan, where=~asked.has_version)
    values[1::2] = np.isnan(values[::2])
    return values
