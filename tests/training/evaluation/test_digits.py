"""Digits: a number of any size in about four of them."""

import pytest

from training.evaluation.digits import sized


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.0, "0"),
        (0.000012345, "1.234e-05"),
        (0.00123449, "0.001234"),
        (0.5, "0.5000"),
        (12.345, "12.35"),
        (-999.96, "-1,000.0"),
        (123_456.7, "123,457"),
        (1_234_567.0, "1.235 m"),
        (45_600_000_000.0, "45.60 bn"),
        (-1.2e14, "-120,000 bn"),
        (3.4e38, "3.400e+38"),
    ],
)
def test_sizes(value: float, text: str) -> None:
    """About four digits, thousands apart, never wider than a column."""
    assert sized(value) == text


def test_numbers_that_stand_together_have_the_same_digits() -> None:
    """The size of one of them decides for all."""
    assert [sized(value, like=250.0, is_signed=True) for value in (-0.5, 0.0, 250.0)] == [
        "-0.5",
        "+0.0",
        "+250.0",
    ]
    assert sized(1.0, like=2e6) == "0.000 m"
    assert sized(3.0, like=0.0) == "3"
