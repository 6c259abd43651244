"""Numbers to model inputs: signed logarithm, standardisation, fixed-point sums, calendar.

It deliberately does not know which columns it scales. Everything here is elementwise on
contiguous float64 or exact in int64, so a value's encoding does not depend on its company.
"""

from functools import cache

import numpy as np
from jaxtyping import Complex64, Complex128, Float32, Float64, Int64
from numpy import ndarray

MAX_SCALED = 8.0
"""Scaled values are clipped to this many standard deviations."""

MAX_FIXED_POINT = 2.0**50
"""Fixed-point values are clipped here, so that 4,096 of them fit into an int64."""

MICROSECONDS_PER_HOUR = 3_600_000_000
DAYS_PER_YEAR = 365.2425
DAYS_PER_CYCLE = 146_097
"""400 years: a whole number of weeks too."""


def signed_log(values: Float64[ndarray, "..."]) -> Float64[ndarray, "..."]:
    """Return ``sign(x) log(1 + |x|)``; NaN stays NaN."""
    logs: ndarray = np.abs(values)
    np.log1p(logs, out=logs)
    np.copysign(logs, values, out=logs)
    return logs


def clip_scaled(scaled: Float64[ndarray, "..."]) -> None:
    """Hold scaled values, in place, within the range that the model knows; NaN stays NaN."""
    _hold(scaled, MAX_SCALED)


def _hold(values: Float64[ndarray, "..."], limit: float) -> None:
    # What ndarray.clip does, without the third of its time that it spends in Python.
    np.maximum(values, -limit, out=values)
    np.minimum(values, limit, out=values)


def fixed_point(
    values: Float64[ndarray, "column row"], quanta: Float64[ndarray, " column"]
) -> Int64[ndarray, "column row"]:
    """Return values, none of them missing, in whole quanta of their column.

    Sums of integers do not depend on order, so a prefix sum over many customers gives each of
    them the bits that it would have alone. Differences of prefix sums stay exact even where the
    running total wraps around, because int64 arithmetic is modular.
    """
    units = values / quanta[:, None]
    np.rint(units, out=units)
    _hold(units, MAX_FIXED_POINT)
    whole: ndarray = units.astype(np.int64)
    return whole


def _circle(places: Int64[ndarray, " row"], period: float) -> Float32[ndarray, "row 2"]:
    angles = 2 * np.pi * places / period
    return np.stack([np.sin(angles), np.cos(angles)], axis=1).astype(np.float32)


@cache
def _day_table() -> Complex128[ndarray, " day"]:
    """Return day of week and day of year of every day of 400 years, which is when both repeat.

    A table instead of sines per event: cheaper, and the same bits everywhere. Two sines
    and cosines are moved as the two halves of one number, which saves passes over the events.
    """
    day = np.arange(DAYS_PER_CYCLE, dtype=np.int64)
    # 1970-01-01, day 0 of the time axis, was a Thursday: weekday 3 with Monday as 0.
    weekday = _circle((day + 3) % 7, 7.0)
    day_of_year = (day - np.floor(day / DAYS_PER_YEAR) * DAYS_PER_YEAR).astype(np.int64)
    pairs: ndarray = np.concatenate([weekday, _circle(day_of_year, DAYS_PER_YEAR)], axis=1)
    return pairs.view(np.complex128)[:, 0]


@cache
def _hour_table() -> Complex64[ndarray, " hour"]:
    """Return the hours of a day, likewise."""
    return _circle(np.arange(24, dtype=np.int64), 24.0).view(np.complex64)[:, 0]


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
    day = hour // 24
    hour -= day * 24
    found = np.empty((len(time_us), 6), dtype=np.float32) if out is None else out
    found[:, :2].view(np.complex64)[:, 0] = _hour_table().take(hour)
    found[:, 2:].view(np.complex128)[:, 0] = _day_table().take(day, mode="wrap")
    return found
