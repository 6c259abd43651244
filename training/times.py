"""Instants from ISO text and from table columns of any time type, in UTC microseconds.

It deliberately does not know what an instant means: event, cutoff and validity are read alike.

A time that carries no zone is local to the data set's zone. Where clocks go back, a local time
comes twice and the earlier instant is taken; where they go forward, it does not exist and is
refused. A date stands for the first instant of its day.
"""

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import polars as pl

from holdfast.errors import ConfigError

EARLIEST_US = -2_208_988_800_000_000
"""1900-01-01T00:00:00Z, the first instant that is taken for a time."""

LATEST_US = 7_258_118_400_000_000
"""2200-01-01T00:00:00Z, the first instant that is not."""

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
UNREADABLE_TIME = "unreadable time"
TIME_PROBLEMS = (
    "no time",
    UNREADABLE_TIME,
    "time outside the years 1900 to 2199",
    "local time skipped by the clock",
)
"""Why a time can be missing; problem ``i + 1`` of a time column is ``TIME_PROBLEMS[i]``."""

NUMBER_HINT = (
    "a number does not say its unit and zone; convert it in the SQL, for seconds since 1970 (UTC) with"
    " CAST(CAST(x AS BIGINT) * 1000000 AS TIMESTAMPTZ)"
)
FORM_HINT = "STRPTIME(x, '%d.%m.%Y %H:%M') in the SQL reads times of another form than ISO 8601"
_MISSING, _UNREADABLE, _OUTSIDE, _SKIPPED = 1, 2, 3, 4
_ZONE = "T.*(?:[zZ+-]|UTC)"
_ZONED_FORMS = ("%+", "%Y-%m-%dT%H:%M:%S%.f%#z", "%Y-%m-%dT%H:%M%#z")
_LOCAL_FORMS = ("%Y-%m-%dT%H:%M:%S%.f", "%Y-%m-%dT%H:%M")
_DATE_FORM = "%Y-%m-%d"


def check_time_zone(where: str, name: str) -> None:
    """Refuse a name that is no time zone.

    Raises:
        ConfigError: Naming the key.
    """
    try:
        ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError) as error:
        limit = "it must be a name of the time zone database, such as UTC or Europe/London"
        raise ConfigError(where, name, limit) from error


def parse_instant(where: str, text: str, *, time_zone: str) -> int:
    """Read one ISO 8601 time.

    Args:
        where: Path of the value, for messages.
        text: With or without zone; a date alone is the first instant of that day.
        time_zone: The zone of a time that carries none.

    Returns:
        UTC microseconds.

    Raises:
        ConfigError: The text is no time, does not exist in the zone or lies outside 1900 to 2199.
    """
    try:
        moment = datetime.fromisoformat(text)
    except ValueError as error:
        limit = "it must be a time such as 2011-06-12T00:00:00Z or a date such as 2011-06-12"
        raise ConfigError(where, text, limit) from error
    is_date = moment.tzinfo is None and len(text) <= len("2011-06-12")
    if moment.tzinfo is None:
        moment = _localised(where, text, moment, time_zone=time_zone, is_date=is_date)
    microseconds = (moment - EPOCH) // timedelta(microseconds=1)
    if not EARLIEST_US <= microseconds < LATEST_US:
        raise ConfigError(where, text, "it must lie within the years 1900 to 2199")
    return microseconds


def _localised(where: str, text: str, moment: datetime, *, time_zone: str, is_date: bool) -> datetime:
    # Through UTC and back a time that exists is unchanged; one that clocks skipped is not.
    local = moment.replace(tzinfo=ZoneInfo(time_zone)).astimezone(UTC)
    back = local.astimezone(ZoneInfo(time_zone)).replace(tzinfo=None)
    if back != moment and not is_date:
        raise ConfigError(where, text, f"this local time does not exist in {time_zone}: clocks skipped it")
    return local


def is_time(dtype: object) -> bool:
    """Return whether a column of this type can be read as times."""
    return isinstance(dtype, pl.Datetime | pl.String | pl.Categorical | pl.Enum) or dtype == pl.Date


def read_times(column: pl.Series, *, time_zone: str) -> pl.Series:
    """Read a column of datetimes, dates or ISO text.

    Args:
        column: Datetimes with or without zone, dates, or text in any mixture of ISO forms.
        time_zone: The zone of times that carry none.

    Returns:
        Structs of ``us`` (Int64, UTC microseconds; null where there is a problem) and ``problem``
        (UInt8: 0, or one more than the position in :data:`TIME_PROBLEMS`).
    """
    if isinstance(column.dtype, pl.Datetime):
        us, outside, skipped = _of_datetime(column, time_zone=time_zone)
        missing, unreadable = column.is_null(), None
    elif column.dtype == pl.Date:
        us, outside, skipped = _of_datetime(column.cast(pl.Datetime("ms")), time_zone=time_zone, is_date=True)
        missing, unreadable = column.is_null(), None
    else:
        text = column.cast(pl.String).str.strip_chars()
        us, outside, skipped = _of_text(text, time_zone=time_zone)
        missing = text.is_null() | (text == "")
        unreadable = us.is_null() & ~missing & ~outside & ~skipped
    problem = pl.zeros(len(column), dtype=pl.UInt8, eager=True)
    for number, holds in (
        (_MISSING, missing),
        (_UNREADABLE, unreadable),
        (_OUTSIDE, outside),
        (_SKIPPED, skipped),
    ):
        if holds is not None and holds.any():
            problem = problem.set(holds, number)
    return pl.DataFrame({"us": us, "problem": problem}).to_struct(column.name)


def _of_datetime(
    column: pl.Series, *, time_zone: str, is_date: bool = False
) -> tuple[pl.Series, pl.Series, pl.Series]:
    dtype = column.dtype
    assert isinstance(dtype, pl.Datetime)
    unit, zone = dtype.time_unit, dtype.time_zone
    raw = column.to_physical()
    inside = (raw >= _in_unit(EARLIEST_US, unit)) & (raw < _in_unit(LATEST_US, unit))
    inside = inside.fill_null(value=False)
    if not inside.all():
        # Before any conversion: far times would overflow in a finer unit.
        column = column.set(~inside, None)
    if zone is None:
        column = _utc_of_local(column, time_zone=time_zone, is_date=is_date)
    us = column.dt.cast_time_unit("us").to_physical()
    return us, ~inside & raw.is_not_null(), inside & us.is_null()


def _of_text(text: pl.Series, *, time_zone: str) -> tuple[pl.Series, pl.Series, pl.Series]:
    iso = text.str.replace(" ", "T", literal=True)
    has_zone = iso.str.contains(_ZONE).fill_null(value=False)
    us = pl.Series([], dtype=pl.Int64).extend_constant(None, len(text))
    outside = skipped = us.is_not_null()
    for form in (*_ZONED_FORMS, *_LOCAL_FORMS, _DATE_FORM):
        zone = "UTC" if form in _ZONED_FORMS else None
        is_left = us.is_null() & (has_zone if zone else ~has_zone)
        if not is_left.any():
            continue
        left = iso if is_left.all() else iso.set(~is_left, None)
        moments = left.str.to_datetime(form, strict=False, time_unit="us", time_zone=zone)
        read, is_outside, is_skipped = _of_datetime(moments, time_zone=time_zone, is_date=form == _DATE_FORM)
        us = us.zip_with(us.is_not_null(), read)
        outside, skipped = outside | is_outside, skipped | is_skipped
    return us, outside, skipped


def _in_unit(microseconds: int, unit: str) -> int:
    return {"ns": microseconds * 1_000, "us": microseconds, "ms": microseconds // 1_000}[unit]


def _utc_of_local(local: pl.Series, *, time_zone: str, is_date: bool) -> pl.Series:
    utc = local.dt.replace_time_zone(time_zone, ambiguous="earliest", non_existent="null")
    if is_date and utc.null_count() > local.null_count():
        # Some zones skip midnight itself; such a day begins an hour later.
        later = local.dt.offset_by("1h")
        later = later.dt.replace_time_zone(time_zone, ambiguous="earliest", non_existent="null")
        utc = utc.zip_with(utc.is_not_null(), later)
    return utc.dt.convert_time_zone("UTC")
