"""Numbers to model inputs: signed logarithm, standardisation, calendar.

It deliberately does not know which columns it scales. Everything here is elementwise, so a value's
encoding does not depend on its company.
"""

from functools import cache

import numpy as np
from jaxtyping import Float32, Float64, Int64
from numpy import ndarray

from holdfast.native import inner, native
from holdfast.schema import MICROSECONDS_PER_DAY

MAX_SCALED = 8.0
"""Scaled values are clipped to this many standard deviations."""

MICROSECONDS_PER_HOUR = 3_600_000_000
HOURS_PER_DAY = 24
DAYS_PER_YEAR = 365.2425
DAYS_PER_CYCLE = 146_097
"""400 years: a whole number of weeks too."""

# To multiply takes a fraction of what it takes to divide.
_DAYS_PER_MICROSECOND = 1 / MICROSECONDS_PER_DAY
_HOURS_PER_MICROSECOND = 1 / MICROSECONDS_PER_HOUR


def signed_log(values: Float64[ndarray, "*any"]) -> Float64[ndarray, "*any"]:
    """Return ``sign(x) log(1 + |x|)``; NaN stays NaN."""
    logs = np.empty(values.shape)
    _signed_log(np.ascontiguousarray(values).reshape(-1), logs.reshape(-1))
    return logs


@native("logs")
def _signed_log(values: Float64[ndarray, " value"], logs: Float64[ndarray, " value"]) -> None:
    for i in range(len(values)):
        logs[i] = log_of(values[i])


@inner
def log_of(value: float) -> float:
    """Return ``sign(x) log(1 + |x|)`` of one number; NaN stays NaN.

    Within 4e-16 of the true value and without a branch, so that the compiler takes several values at once;
    log1p of the C library is called for each of them, and answers with other last bits on other machines.
    """
    # log(2**e m) = e log(2) + 2 atanh(s), s = (m - 1) / (m + 1), m between sqrt(1/2) and sqrt(2) (Abramowitz
    # and Stegun, Handbook of Mathematical Functions, 4.1.27). What the series of atanh has behind its first
    # term, over s**3, is a polynomial of s**2 from Remez' exchange: off by 2e-18 of the logarithm at most.
    bits = np.float64(1.0 + abs(value)).view(np.int64)
    fraction = np.int64((bits & 0xFFFFFFFFFFFFF) | 0x3FF0000000000000).view(np.float64)
    exponent = np.float64((bits >> 52) - 1023)
    is_upper = fraction > 1.4142135623730951
    fraction = 0.5 * fraction if is_upper else fraction
    exponent = exponent + 1.0 if is_upper else exponent
    s = (fraction - 1.0) / (fraction + 1.0)
    t = s * s
    series = 0.07386217567616397 * t + 0.07658276983272538
    series = series * t + 0.09091729506683772
    series = series * t + 0.11111100392550949
    series = series * t + 0.1428571435918786
    series = series * t + 0.19999999999769416
    series = series * t + 0.3333333333333356
    log = exponent * 0.6931471805599453 + (2.0 * s + 2.0 * s * t * series)
    log = -log if value < 0.0 else log
    return value if np.isnan(value) else log


@inner
def standardised(log: float, mean: float, factor: float) -> float:
    """Return ``(x - mean) / std``, held within :data:`MAX_SCALED`; NaN, a missing value, becomes the mean."""
    value = min(max((log - mean) * factor, -MAX_SCALED), MAX_SCALED)
    # Not of the value: which of two a minimum takes where one is NaN, is not laid down.
    return 0.0 if np.isnan(log) else value


@native("scaled")
def scale(
    values: Float64[ndarray, "row column"],
    factors: Float64[ndarray, "2 column"],
    scaled: Float32[ndarray, "row column"],
) -> None:
    """Write the standardised signed logarithm of every value; factors are by column."""
    means, per_std = factors[0], factors[1]
    for row in range(values.shape[0]):
        own, found = values[row], scaled[row]
        for column in range(len(own)):
            found[column] = standardised(log_of(own[column]), means[column], per_std[column])


def _circle(places: Int64[ndarray, " row"], period: float) -> Float32[ndarray, "row 2"]:
    angles = 2 * np.pi * places / period
    return np.stack([np.sin(angles), np.cos(angles)], axis=1).astype(np.float32)


@cache
def day_table() -> Float32[ndarray, "day 4"]:
    """Return day of week and day of year of every day of 400 years, which is when both repeat.

    A table instead of sines per event: cheaper, and the same bits everywhere.
    """
    day = np.arange(DAYS_PER_CYCLE, dtype=np.int64)
    # 1970-01-01, day 0 of the time axis, was a Thursday: weekday 3 with Monday as 0.
    weekday = _circle((day + 3) % 7, 7.0)
    day_of_year = (day - np.floor(day / DAYS_PER_YEAR) * DAYS_PER_YEAR).astype(np.int64)
    return np.concatenate([weekday, _circle(day_of_year, DAYS_PER_YEAR)], axis=1)


@cache
def hour_table() -> Float32[ndarray, "hour 2"]:
    """Return the hours of a day, likewise."""
    return _circle(np.arange(24, dtype=np.int64), 24.0)


@native("calendar", "days")
def write_times(
    time_us: Int64[ndarray, " row"],
    origin_us: int,
    hours: Float32[ndarray, "hour 2"],
    days_of_cycle: Float32[ndarray, "day 4"],
    calendar: Float32[ndarray, "row 6"],
    days: Float32[ndarray, " row"],
) -> None:
    """Write points in time as model inputs: their calendar, and days on the model's time axis.

    The calendar is sine and cosine of the hour of day, the day of week and the day of year, in UTC. The
    day of year is counted in years of 365.2425 days from 1970-01-01, which is within a day of the civil
    one until 2200. Days are float32: exact to a minute for 40 years.
    """
    for row in range(len(time_us)):
        days[row] = days_between(origin_us, time_us[row])
        hour, day = in_calendar(time_us[row])
        write_calendar(hours, days_of_cycle, hour, day, calendar, row, 0)


@inner
def write_calendar(
    hours: Float32[ndarray, "hour 2"],
    days_of_cycle: Float32[ndarray, "day 4"],
    hour: int,
    day: int,
    values: Float32[ndarray, "row column"],
    row: int,
    first_column: int,
) -> None:
    """Write the calendar of an hour and a day into some columns of a row."""
    # All are read before any is written, so that the compiler moves several at once.
    hour_sine, hour_cosine = hours[hour, 0], hours[hour, 1]
    week_sine, week_cosine = days_of_cycle[day, 0], days_of_cycle[day, 1]
    year_sine, year_cosine = days_of_cycle[day, 2], days_of_cycle[day, 3]
    values[row, first_column] = hour_sine
    values[row, first_column + 1] = hour_cosine
    values[row, first_column + 2] = week_sine
    values[row, first_column + 3] = week_cosine
    values[row, first_column + 4] = year_sine
    values[row, first_column + 5] = year_cosine


@inner
def days_between(start_us: int, end_us: int) -> float:
    """Return how many days lie between two points in time."""
    return (end_us - start_us) * _DAYS_PER_MICROSECOND


@inner
def in_calendar(time_us: int) -> tuple[int, int]:
    """Return the rows of :func:`hour_table` and :func:`day_table` for a point in time.

    In floating point, where the compiler takes several numbers at once, and exact for 70,000 years: the
    number of hours is off by one at most, which the rest shows, and no hour's middle is close to a day's end.
    """
    hour = np.int64(np.floor(np.float64(time_us) * _HOURS_PER_MICROSECOND))
    rest_us = np.int64(time_us) - hour * MICROSECONDS_PER_HOUR
    hour = hour - 1 if rest_us < 0 else hour
    hour = hour + 1 if rest_us >= MICROSECONDS_PER_HOUR else hour
    day = np.floor((np.float64(hour) + 0.5) * (1 / HOURS_PER_DAY))
    cycle = np.floor((day + 0.5) * (1 / DAYS_PER_CYCLE))
    return int(hour - HOURS_PER_DAY * np.int64(day)), int(day - cycle * DAYS_PER_CYCLE)
