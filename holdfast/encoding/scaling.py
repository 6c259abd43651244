"""Numbers to model inputs: signed logarithm, standardisation, fixed-point sums, calendar.

It deliberately does not know which column it scales. Everything here is elementwise on
contiguous float64 or exact in int64, so a value's encoding does not depend on its company.
"""

import numpy as np
from jaxtyping import Complex64, Float32, Float64, Int64
from numpy import ndarray

from holdfast.encoding.spec import NumericScale

MAX_SCALED = 8.0
"""Scaled values are clipped to this many standard deviations."""

MAX_FIXED_POINT = 2.0**50
"""Fixed-point values are clipped here, so that 4,096 of them fit into an int64."""

MICROSECONDS_PER_HOUR = 3_600_000_000
DAYS_PER_YEAR = 365.2425


def signed_log(values: Float64[ndarray, "..."]) -> Float64[ndarray, "..."]:
    """Return ``sign(x) log(1 + |x|)``; NaN stays NaN."""
    logs: ndarray = np.abs(values)
    np.log1p(logs, out=logs)
    np.copysign(logs, values, out=logs)
    return logs


def scaled(values: Float64[ndarray, " row"], scale: NumericScale) -> Float32[ndarray, " row"]:
    """Return a column as the model sees it: missing values are 0, the mean."""
    return standardised(signed_log(values), scale.mean, scale.std)


def standardised(
    logs: Float64[ndarray, "*row"],
    mean: float | Float64[ndarray, " column"],
    std: float | Float64[ndarray, " column"],
) -> Float32[ndarray, "*row"]:
    """Return ``(logs - mean) / std`` clipped, with missing values (NaN) as 0, the mean.

    The steps overwrite ``logs``: fresh memory for each would cost more than its arithmetic.
    """
    logs -= mean
    logs /= std
    np.maximum(logs, -MAX_SCALED, out=logs)
    np.minimum(logs, MAX_SCALED, out=logs)
    clipped = logs.astype(np.float32)
    np.putmask(clipped, np.isnan(clipped), 0.0)
    return clipped


def fixed_point(values: Float32[ndarray, " event"], quantum: float) -> Int64[ndarray, " event"]:
    """Return values in whole quanta; missing ones count nothing.

    Sums of integers do not depend on order, so a prefix sum over many customers gives each of
    them the bits that it would have alone. Differences of prefix sums stay exact even where the
    running total wraps around, because int64 arithmetic is modular.
    """
    units = values.astype(np.float64)
    units /= quantum
    np.rint(units, out=units)
    np.putmask(units, np.isnan(units), 0.0)
    np.maximum(units, -MAX_FIXED_POINT, out=units)
    np.minimum(units, MAX_FIXED_POINT, out=units)
    return units.astype(np.int64)


def _circle(size: int, period: float) -> Complex64[ndarray, " size"]:
    angles = 2 * np.pi * np.arange(size) / period
    pairs: ndarray = np.stack([np.sin(angles), np.cos(angles)], axis=1).astype(np.float32)
    return pairs.view(np.complex64)[:, 0]


# Tables instead of a sine per event: cheaper, and the same bits everywhere. A sine
# and its cosine are moved as the two halves of one complex number: that halves the passes.
_HOURS_PER_WEEK = 168
_WEEK_HOURS = np.arange(_HOURS_PER_WEEK)
# 1970-01-01, hour 0 of the time axis, was a Thursday: weekday 3 with Monday as 0.
_HOUR = _circle(24, 24.0)[_WEEK_HOURS % 24]
_WEEKDAY = _circle(7, 7.0)[(_WEEK_HOURS // 24 + 3) % 7]
_YEARDAY = _circle(366, DAYS_PER_YEAR)


def calendar(
    time_us: Int64[ndarray, " row"], *, out: Float32[ndarray, "row 6"] | None = None
) -> Float32[ndarray, "row 6"]:
    """Return sine and cosine of the hour of day, the day of week and the day of year, in UTC.

    The day of year is counted in years of 365.2425 days from 1970-01-01, which is within a day
    of the civil one until 2200.

    Args:
        time_us: UTC microseconds.
        out: Where to write; may be columns of a wider array.
    """
    # Floor division by a constant is vectorised; divmod and remainder are not.
    hour = time_us // MICROSECONDS_PER_HOUR
    hour_of_week = hour // _HOURS_PER_WEEK
    hour_of_week *= -_HOURS_PER_WEEK
    hour_of_week += hour
    day = (hour // 24).astype(np.float64)
    day_of_year = (day - np.floor(day / DAYS_PER_YEAR) * DAYS_PER_YEAR).astype(np.int64)
    found = np.empty((len(time_us), 6), dtype=np.float32) if out is None else out
    pairs = found.view(np.complex64)
    pairs[:, 0] = _HOUR.take(hour_of_week)
    pairs[:, 1] = _WEEKDAY.take(hour_of_week)
    pairs[:, 2] = _YEARDAY.take(day_of_year)
    return found
