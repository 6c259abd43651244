"""A history in numbers: its rhythm, counts and sums over windows, and when somebody came back.

It deliberately sees nothing but the events of :mod:`holdfast.encoding.windows`, one customer's at a time, and
does not know what the columns are called: :mod:`holdfast.encoding.readouts` does.
"""

import numpy as np
from jaxtyping import Float32, Float64, Int32, Int64
from numpy import ndarray

from holdfast.native import inner
from holdfast.schema import MICROSECONDS_PER_DAY
from holdfast.vocabulary import PADDING_ID

MICROSECONDS_PER_MINUTE = 60_000_000
MINUTES_PER_DAY = 1_440

MAX_FIXED_POINT = 2.0**50
"""Values in whole quanta are held within this, so that 4,096 of them fit into an int64."""

NUM_RHYTHM = 7
"""Columns of a history's rhythm."""

NUM_RETURNS = 3
"""Columns of every target that awaits silence."""

ID, LINE, NUM_PLAIN_ROLES = 0, 1, 2
"""Rows of what is known of every code of an event type: its id; its place among the counted types, one past
the last for those that are not counted; then, by target that awaits silence, whether it ends that."""


@inner
def write_aggregates(
    event_us: Int64[ndarray, " event"],
    event_types: Int32[ndarray, " event"],
    numeric: Float32[ndarray, "field event"],
    cutoff_us: Int64[ndarray, " readout"],
    bounds: Int64[ndarray, "window_plus_1 readout"],
    roles: Int64[ndarray, "role code"],
    num_types: int,
    num_last: int,
    max_events: int,
    quanta: Float64[ndarray, " field"],
    history_days: int,
    raw: Float64[ndarray, "readout feature"],
    ids: Int64[ndarray, "readout readout_id_column"],
) -> None:
    """Write the first columns of all readouts, in the order of ``feature_names``, and the last types' ids.

    Args:
        event_us: Flat, like the next two.
        event_types: Codes.
        numeric: NaN is missing.
        cutoff_us: Of every readout.
        bounds: Where every readout's history ends, then where its windows begin, the whole history last.
        roles: Of every code of an event type; see :data:`NUM_PLAIN_ROLES`.
        num_types: How many types are counted one by one.
        num_last: How many of the last types are given.
        max_events: Most events of a history.
        quanta: By field, the unit of its sums.
        history_days: Recency where there is no event.
        raw: NaN where a value is missing.
        ids: The newest type first.
    """
    num_windows, num_fields = bounds.shape[0] - 1, numeric.shape[0]
    num_summed = 1 + num_types + num_fields
    last_field = NUM_RHYTHM + num_windows * num_summed + num_types
    # Types that are not counted share one place more, which nobody reads.
    counts = np.zeros(num_types + 1, dtype=np.int64)
    units = np.empty(max_events, dtype=np.int64)
    for readout in range(len(cutoff_us)):
        start, end, told = bounds[-1, readout], bounds[0, readout], raw[readout]
        own_us, own_types, begins = event_us[start:end], event_types[start:end], bounds[1:, readout]
        _write_rhythm(own_us, cutoff_us[readout], history_days, told)
        _write_counts(
            own_us,
            own_types,
            cutoff_us[readout],
            start,
            begins,
            roles[LINE],
            num_summed,
            history_days,
            counts,
            told,
        )
        for field in range(num_fields):
            values, column = numeric[field, start:end], NUM_RHYTHM + 1 + num_types + field
            _write_sums(values, quanta[field], start, begins, units, column, num_summed, told)
            told[last_field + field] = values[-1] if len(values) else np.nan
        _write_returns(own_us, own_types, cutoff_us[readout], roles, last_field + num_fields, told)
        for place in range(num_last):
            row = len(own_types) - 1 - place
            ids[readout, place] = roles[ID, own_types[row]] if row >= 0 else PADDING_ID


@inner
def _write_rhythm(
    event_us: Int64[ndarray, " event"],
    cutoff_us: int,
    history_days: int,
    told: Float64[ndarray, " feature"],
) -> None:
    """Write recency, tenure, events per day, mean, deviation and last of the gaps, recency over the mean."""
    num = len(event_us)
    recency, tenure = float(history_days), 0.0
    if num:
        recency = (cutoff_us - event_us[num - 1]) / MICROSECONDS_PER_DAY
        tenure = (cutoff_us - event_us[0]) / MICROSECONDS_PER_DAY
    # Of fewer than two events there is no gap.
    mean, std, newest = np.nan, np.nan, np.nan
    if num > 1:
        squared_minutes = 0
        for row in range(1, num):
            # Unsigned, since times ascend: to round down costs less then.
            gap_us = np.uint64(event_us[row] - event_us[row - 1])
            minutes = int(gap_us // np.uint64(MICROSECONDS_PER_MINUTE))
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
def _write_counts(
    event_us: Int64[ndarray, " event"],
    event_types: Int32[ndarray, " event"],
    cutoff_us: int,
    start: int,
    begins: Int64[ndarray, " window"],
    lines: Int64[ndarray, " code"],
    num_summed: int,
    history_days: int,
    counts: Int64[ndarray, " line"],
    told: Float64[ndarray, " feature"],
) -> None:
    """Write counts over windows and the types' ages: a history is walked once, from its newest event."""
    num_types = len(counts) - 1
    first_age = NUM_RHYTHM + len(begins) * num_summed
    for line in range(num_types + 1):
        counts[line] = 0
    for line in range(num_types):
        told[first_age + line] = history_days
    row = len(event_us)
    for window in range(len(begins)):
        while row > begins[window] - start:
            row -= 1
            line = lines[event_types[row]]
            if line < num_types and not counts[line]:
                told[first_age + line] = (cutoff_us - event_us[row]) / MICROSECONDS_PER_DAY
            counts[line] += 1
        column = NUM_RHYTHM + window * num_summed
        told[column] = len(event_us) - row
        for line in range(num_types):
            told[column + 1 + line] = counts[line]


@inner
def _write_sums(
    values: Float32[ndarray, " event"],
    quantum: float,
    start: int,
    begins: Int64[ndarray, " window"],
    units: Int64[ndarray, " at_least_event"],
    column: int,
    step: int,
    told: Float64[ndarray, " feature"],
) -> None:
    """Write a field's sums over windows into every ``step``-th column, beginning with the shortest one."""
    per_quantum = 1.0 / quantum
    for event in range(len(values)):
        # Whole quanta: sums of integers are exact, whatever the order.
        whole = np.rint(np.float64(values[event]) * per_quantum)
        whole = min(max(whole, -MAX_FIXED_POINT), MAX_FIXED_POINT)
        units[event] = np.int64(0.0 if np.isnan(values[event]) else whole)
    # What lies before every event: one pass, however many windows there are.
    total = 0
    for event in range(len(values)):
        total, units[event] = total + units[event], total
    for window in range(len(begins)):
        begin = begins[window] - start
        before = units[begin] if begin < len(values) else total
        told[column + window * step] = (total - before) * quantum


@inner
def _write_returns(
    event_us: Int64[ndarray, " event"],
    event_types: Int32[ndarray, " event"],
    cutoff_us: int,
    roles: Int64[ndarray, "role code"],
    first_column: int,
    told: Float64[ndarray, " feature"],
) -> None:
    """Write, by target that awaits silence, days with an event that ends it, and the age of first and last.

    Several events of one day are one; where there is none, the history's first event takes their place.
    """
    for target in range(roles.shape[0] - NUM_PLAIN_ROLES):
        is_awaited, num_days, day_end_us = roles[NUM_PLAIN_ROLES + target], 0, 0
        first_us = event_us[0] if len(event_us) else cutoff_us
        last_us = first_us
        for row in range(len(event_us)):
            # Times ascend: another day is a later one.
            if is_awaited[event_types[row]] and (not num_days or event_us[row] >= day_end_us):
                num_days, last_us = num_days + 1, event_us[row]
                day_end_us = (last_us // MICROSECONDS_PER_DAY + 1) * MICROSECONDS_PER_DAY
                first_us = last_us if num_days == 1 else first_us
        column = first_column + NUM_RETURNS * target
        told[column] = num_days
        told[column + 1] = (cutoff_us - first_us) / MICROSECONDS_PER_DAY
        told[column + 2] = (cutoff_us - last_us) / MICROSECONDS_PER_DAY
