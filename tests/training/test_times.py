"""Instants from text and from columns of every time type."""

from datetime import UTC, date, datetime

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast.errors import ConfigError
from training.times import EARLIEST_US, LATEST_US, TIME_PROBLEMS, check_time_zone, parse_instant, read_times


def microseconds(text: str) -> int:
    """Return a UTC time as Python's own arithmetic has it."""
    moment = datetime.fromisoformat(text).replace(tzinfo=UTC)
    delta = moment - datetime(1970, 1, 1, tzinfo=UTC)
    return (delta.days * 86_400 + delta.seconds) * 1_000_000 + delta.microseconds


def read(
    values: list[object], dtype: object = None, *, zone: str = "UTC"
) -> tuple[list[int | None], list[str]]:
    """Return microseconds and the names of the problems, empty where there is none."""
    frame = read_times(pl.Series("t", values, dtype=dtype), time_zone=zone).struct.unnest()
    names = ["", *TIME_PROBLEMS]
    return frame["us"].to_list(), [names[number] for number in frame["problem"]]


@pytest.mark.parametrize(
    ("text", "utc"),
    [
        ("2011-10-01T00:38:44.546+02:00", "2011-09-30T22:38:44.546"),
        ("2011-10-01 00:38:44.546 +02:00", "2011-09-30T22:38:44.546"),
        ("2011-10-01T00:38:44+0200", "2011-09-30T22:38:44"),
        ("2011-10-01T00:38:44+02", "2011-09-30T22:38:44"),
        ("2011-10-01T00:38Z", "2011-10-01T00:38:00"),
        ("2011-10-01T00:38:44.123456789Z", "2011-10-01T00:38:44.123456"),
        ("2011-10-01 00:38:44 UTC", "2011-10-01T00:38:44"),
        ("2011-10-01T00:38:44", "2011-09-30T23:38:44"),
        ("2011-10-01 00:38:44.5", "2011-09-30T23:38:44.500"),
        ("2011-10-01 00:38", "2011-09-30T23:38:00"),
        ("  2011-10-01  ", "2011-09-30T23:00:00"),
    ],
)
def test_reads_every_iso_form_of_text(text: str, utc: str) -> None:
    """Text with a zone is that instant; without one it is local to the data set's zone."""
    assert read([text], zone="Europe/London") == ([microseconds(utc)], [""])


def test_reads_a_mixture_of_forms_in_one_column() -> None:
    """Rows of one column may be written differently; none hinders another."""
    us, problems = read(
        ["2024-05-01", "x", "2024-05-01T10:00:00Z", None, "2024-05-01 09:00", "2024-05-01T12:00+02:00"]
    )
    day = microseconds("2024-05-01T00:00:00")
    hours = [None if value is None else (value - day) / 3_600_000_000 for value in us]
    assert hours == [0, None, 10, None, 9, 10]
    assert problems == ["", "unreadable time", "", "no time", "", ""]


@pytest.mark.parametrize(
    ("values", "dtype", "problem"),
    [
        ([None], pl.String, "no time"),
        (["   "], pl.String, "no time"),
        ([None], pl.Datetime("us"), "no time"),
        (["2011-02-30"], pl.String, "unreadable time"),
        (["yesterday"], pl.String, "unreadable time"),
        (["1317422324"], pl.String, "unreadable time"),
        (["0001-01-01"], pl.String, "time outside the years 1900 to 2199"),
        (["2200-01-01T00:00:00Z"], pl.String, "time outside the years 1900 to 2199"),
        ([date(1899, 12, 31)], pl.Date, "time outside the years 1900 to 2199"),
        (["2011-03-27T01:30:00"], pl.String, "local time skipped by the clock"),
        ([datetime(2011, 3, 27, 1, 30)], pl.Datetime("ms"), "local time skipped by the clock"),  # noqa: DTZ001 (local)
    ],
)
def test_names_why_a_time_is_missing(values: list[object], dtype: object, problem: str) -> None:
    """Missing, unreadable, far and non-existent times are told apart and give no instant."""
    assert read(values, dtype, zone="Europe/London") == ([None], [problem])


@pytest.mark.parametrize("unit", ["ms", "us", "ns"])
def test_times_far_beyond_any_calendar_do_not_overflow(unit: str) -> None:
    """The extremes of every unit are outside, not wrapped around into some other year."""
    series = pl.Series([-(2**63) + 1, 2**63 - 1, 0]).cast(pl.Int64).cast(pl.Datetime(unit, "UTC"))
    frame = read_times(series, time_zone="UTC").struct.unnest()
    outside = TIME_PROBLEMS.index("time outside the years 1900 to 2199") + 1
    # In nanoseconds an int64 ends in 2262 and begins in 1677.
    assert frame["problem"].to_list() == [outside, outside, 0]
    assert frame["us"].to_list() == [None, None, 0]


def test_bounds_are_half_open() -> None:
    """1900-01-01 is taken and 2200-01-01 is not, to the microsecond."""
    series = pl.Series([EARLIEST_US - 1, EARLIEST_US, LATEST_US - 1, LATEST_US]).cast(
        pl.Datetime("us", "UTC")
    )
    us = read_times(series, time_zone="UTC").struct["us"].to_list()
    assert us == [None, EARLIEST_US, LATEST_US - 1, None]


def test_an_ambiguous_local_time_is_the_earlier_instant() -> None:
    """Where clocks go back a local time comes twice; the first one is taken, from text and from datetimes."""
    local = datetime(2011, 10, 30, 1, 30)  # noqa: DTZ001 (local)
    expected = ([microseconds("2011-10-30T00:30:00")], [""])
    assert read(["2011-10-30T01:30:00"], zone="Europe/London") == expected
    assert read([local], pl.Datetime("us"), zone="Europe/London") == expected


def test_a_day_that_skips_midnight_begins_an_hour_later() -> None:
    """A date stands for the first instant of its day, also where clocks skip midnight."""
    expected = [microseconds("2018-11-04T03:00:00")]
    assert read([date(2018, 11, 4)], zone="America/Sao_Paulo")[0] == expected
    assert read(["2018-11-04"], zone="America/Sao_Paulo")[0] == expected
    assert [parse_instant("x", "2018-11-04", time_zone="America/Sao_Paulo")] == expected


@given(st.datetimes(min_value=datetime(1900, 1, 2), max_value=datetime(2199, 12, 30)))  # noqa: DTZ001 (made UTC)
def test_a_column_and_a_single_value_agree(moment: datetime) -> None:
    """The reader of tables and the reader of configurations give the same instant for the same text."""
    text = moment.isoformat() + "Z"
    expected = microseconds(moment.isoformat())
    assert parse_instant("x", text, time_zone="Asia/Tokyo") == expected
    assert read([text], zone="Asia/Tokyo") == ([expected], [""])
    local = moment.isoformat()
    us, problems = read([local], zone="Asia/Tokyo")
    if problems == [""]:
        assert us == [parse_instant("x", local, time_zone="Asia/Tokyo")]


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("soon", "it must be a time"),
        ("", "it must be a time"),
        ("2011-03-27T01:30:00", "does not exist in Europe/London"),
        ("1899-12-31T23:00:00Z", "1900 to 2199"),
    ],
)
def test_refuses_a_single_value_with_its_path(text: str, why: str) -> None:
    """A cutoff that is no instant is refused by the name of its key."""
    with pytest.raises(ConfigError, match=why) as caught:
        parse_instant("data.cutoffs.test[0]", text, time_zone="Europe/London")
    assert caught.value.field == "data.cutoffs.test[0]"


@pytest.mark.parametrize("name", ["Europe/Londres", "", "../etc/passwd", "BST"])
def test_refuses_a_name_that_is_no_zone(name: str) -> None:
    """A misspelt zone is refused before anything is read."""
    with pytest.raises(ConfigError, match="time zone database"):
        check_time_zone("data.time_zone", name)
