"""What a caller gives a client beside tables, checked before anything is opened or sent.

It deliberately does not know what a server makes of it: whether a model has a horizon, say, is for
the server to tell.
"""

import math
from collections.abc import Iterable
from typing import Any

import numpy as np

from holdfast.errors import ConfigError, DataError

LARGEST = 2**31 - 1
"""What fits into every whole number of an interface."""


def check_text(name: str, value: object, *, limit: str) -> None:
    """Refuse what is no text.

    Raises:
        ConfigError: Naming argument, value and limit.
    """
    if not isinstance(value, str):
        raise ConfigError(name, value, limit)
    try:
        value.encode()
    except UnicodeEncodeError as error:
        # Half of a surrogate pair is text to Python alone.
        raise ConfigError(name, value, f"{limit}, in valid Unicode") from error


def check_whole(name: str, value: Any, *, least: int, most: int = LARGEST) -> None:
    """Refuse what is no whole number of a range.

    Raises:
        ConfigError: Naming argument, value and limit.
    """
    if not _is_whole(value, least, most):
        limit = f"at least {least}" if most == LARGEST else f"between {least} and {most}"
        raise ConfigError(name, value, f"it must be a whole number, {limit}")


def check_seconds(name: str, value: Any) -> None:
    """Refuse what is no time to wait for.

    Raises:
        ConfigError: Naming argument, value and limit.
    """
    if not (_is_number(value) and value > 0):
        raise ConfigError(name, value, "it must be a number of seconds greater than 0")


def check_seconds_left(name: str, value: object) -> None:
    """Refuse what is no number; that none are left is no mistake, and the deadline says so.

    Raises:
        DataError: Naming argument, value and limit.
    """
    if not _is_number(value):
        raise DataError(name, value, "it must be a number of seconds")


def check_choice(name: str, value: object) -> None:
    """Refuse what is neither true nor false: text such as "no" would be taken for yes.

    Raises:
        DataError: Naming argument, value and limit.
    """
    if not isinstance(value, bool | np.bool_):
        raise DataError(name, value, "it must be True or False")


def list_of(name: str, values: Any, *, what: str) -> list[Any]:
    """Return what was given as a list.

    Raises:
        DataError: It holds no values, or is a text.
    """
    if isinstance(values, str | bytes) or not isinstance(values, Iterable):
        raise DataError(name, values, f"it must be a list of {what}")
    return list(values)


def horizons_of(horizons_days: Any) -> tuple[int, ...]:
    """Return horizons that can be asked for.

    Raises:
        DataError: One of them is no whole number of days.
    """
    horizons = list_of("horizons_days", horizons_days, what="days")
    for index, days in enumerate(horizons):
        if not _is_whole(days, 1, LARGEST):
            limit = "it must be a whole number of days, at least 1"
            raise DataError(f"horizons_days[{index}]", days, limit)
    return tuple(int(days) for days in horizons)


def _is_whole(value: Any, least: int, most: int) -> bool:
    is_integer = isinstance(value, int | np.integer) and not isinstance(value, bool)
    return is_integer and bool(least <= value <= most)


def _is_number(value: Any) -> bool:
    if isinstance(value, float | np.floating):
        return not math.isnan(value)
    return isinstance(value, int | np.integer) and not isinstance(value, bool)
