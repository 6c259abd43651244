"""Scaled numbers against NumPy's own functions."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from holdfast.encoding.scaling import DAYS_PER_CYCLE, MAX_SCALED, in_calendar, scale, signed_log, write_times


def test_the_signed_logarithm_is_that_of_numpy() -> None:
    """Over the whole range of float32 and beyond, to a few units in the last place."""
    sizes = np.concatenate([[0.0, 1e-300, 1.0, 2.0**0.5 - 1], np.logspace(-12, 38.5, 20_001)])
    values = np.concatenate([sizes, -sizes])
    expected = np.copysign(np.log1p(np.abs(values)), values)
    np.testing.assert_allclose(signed_log(values), expected, rtol=4e-16, atol=2e-16)
    assert np.signbit(signed_log(np.array([-3.0]))).all()


def test_the_signed_logarithm_keeps_shape_and_missing_values() -> None:
    """NaN stays NaN, in any layout, and the argument stays as it was."""
    values = np.array([[np.nan, 0.0, 3.0], [-1.0, np.nan, 1e9]]).T
    logs = signed_log(values)
    assert logs.shape == (3, 2)
    np.testing.assert_array_equal(np.isnan(logs), np.isnan(values))
    np.testing.assert_allclose(logs[2], np.log1p([3.0, 1e9]))


def test_scaling_holds_extremes_and_takes_missing_values_for_the_mean() -> None:
    """Each column by its own scale."""
    values = np.array([[np.expm1(1.0), 1e300], [np.nan, -1e300], [np.expm1(3.0), np.nan]])
    scaled = np.full((3, 2), 9.0, dtype=np.float32)
    scale(values, np.array([[1.0, 0.0], [1 / 4.0, 1 / 2.0]]), scaled)
    np.testing.assert_allclose(scaled, [[0.0, MAX_SCALED], [0.0, -MAX_SCALED], [0.5, 0.0]], atol=1e-7)


@given(st.integers(-(2**61), 2**61), st.sampled_from([1, 3_600_000_000, 86_400_000_000]))
def test_hours_and_days_are_those_of_whole_numbers(time_us: int, unit: int) -> None:
    """Far beyond all that is taken, on the hour, just before it and just after."""
    for moved in (-1, 0, 1):
        at = time_us // unit * unit + moved
        hour = at // 3_600_000_000
        assert in_calendar(np.int64(at)) == (hour % 24, hour // 24 % DAYS_PER_CYCLE)


def test_compiled_calendars_are_those_of_whole_numbers() -> None:
    """Round every hour, where a quotient is closest to the next one."""
    rng = np.random.default_rng(0)
    edges = rng.integers(-(2**61) // 3_600_000_000, 2**61 // 3_600_000_000, 30_000) * 3_600_000_000
    time_us = np.concatenate([edges - 1, edges, edges + 1])
    hours, days = np.arange(48.0, dtype=np.float32).reshape(24, 2), np.zeros((DAYS_PER_CYCLE, 4), np.float32)
    days[:, 0] = np.arange(DAYS_PER_CYCLE)
    calendar, since = np.empty((len(time_us), 6), np.float32), np.empty(len(time_us), np.float32)
    write_times(time_us, 0, hours, days, calendar, since)
    np.testing.assert_array_equal(calendar[:, 0], time_us // 3_600_000_000 % 24 * 2)
    np.testing.assert_array_equal(calendar[:, 2], time_us // 86_400_000_000 % DAYS_PER_CYCLE)
