"""Arguments of another kind than was said: each is named with its value and its limit."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from holdfast.arguments import (
    check_choice,
    check_seconds,
    check_seconds_left,
    check_text,
    check_whole,
    horizons_of,
    list_of,
)
from holdfast.errors import ConfigError, DataError, InputError


@pytest.mark.parametrize(
    ("check", "value", "message"),
    [
        (
            lambda value: check_text("a", value, limit="it must be a name"),
            5,
            "a: got 5, but it must be a name",
        ),
        (lambda value: check_whole("a", value, least=1), "3", "a: got '3', .* whole number, at least 1"),
        (lambda value: check_whole("a", value, least=1), 1.5, "a: got 1.5"),
        (lambda value: check_whole("a", value, least=1), True, "a: got True"),
        (lambda value: check_whole("a", value, least=1, most=9), 10, "a: got 10, .* between 1 and 9"),
        (lambda value: check_seconds("a", value), "text", "a: got 'text', .* seconds greater than 0"),
        (lambda value: check_seconds("a", value), None, "a: got None"),
        (lambda value: check_seconds("a", value), 0, "a: got 0"),
        (lambda value: check_seconds_left("a", value), "text", "a: got 'text', .* number of seconds"),
        (lambda value: check_seconds_left("a", value), True, "a: got True"),
        (lambda value: check_choice("a", value), "no", "a: got 'no', .* True or False"),
        (lambda value: list_of("a", value, what="ids"), 5, "a: got 5, .* list of ids"),
        (lambda value: list_of("a", value, what="ids"), "ab", "a: got 'ab', .* list of ids"),
        (horizons_of, ["30"], r"horizons_days\[0\]: got '30', .* whole number of days"),
        (horizons_of, 30, "horizons_days: got 30, .* list of days"),
        (horizons_of, [30, 0], r"horizons_days\[1\]: got 0, .* at least 1"),
    ],
)
def test_what_is_of_another_kind_is_named(
    check: Callable[[Any], object], value: object, message: str
) -> None:
    """No library is the first to notice."""
    with pytest.raises(InputError, match=f"^{message}"):
        check(value)


def test_what_is_meant_for_a_client_and_what_for_a_batch_are_told_apart() -> None:
    """A client is configured; what comes with a batch is data."""
    with pytest.raises(ConfigError):
        check_seconds("a", "text")
    with pytest.raises(DataError):
        check_seconds_left("a", "text")


def test_numbers_of_numpy_are_numbers() -> None:
    """Whatever they are wrapped in, horizons leave as Python's own."""
    check_whole("a", np.int32(3), least=1)
    check_seconds("a", np.float32(0.5))
    check_choice("a", np.array([True])[0])
    found = horizons_of(np.array([30, 60]))
    assert found == (30, 60)
    assert {type(days) for days in found} == {int}
