"""Groups: everybody is in exactly the group whose name says so."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from builders import small_schema
from training.evaluation.groups import MISSING, OTHERS, by_size, by_value, groupings
from training.evaluation.standing import Standing


def test_quartiles_by_hand() -> None:
    """Whole numbers leave no gap between ranges, and the smallest number alone is that number."""
    assert by_size("orders", np.array([1.0, 1.0, 1.0, 2.0, 3.0, 9.0])).names == ("1", "2", "3", "over 3")
    grouping = by_size("orders", np.repeat([1.0, 2.0, 3.0, 7.0, 20.0, 300.0], [4, 2, 2, 2, 2, 4]))
    assert grouping.names == ("up to 2", "3 to 5", "6 to 90", "over 90")
    assert np.bincount(grouping.member).tolist() == [6, 2, 4, 4]


def test_missing_numbers_are_a_group() -> None:
    """Fractions keep their edges on both sides; what is not known is said."""
    grouping = by_size("age", np.array([20.5, 30.0, 40.0, 50.0, np.nan]))
    assert grouping.names == ("up to 28", "28 to 35", "35 to 42", "over 42", MISSING)
    assert grouping.member.tolist() == [0, 1, 2, 3, 4]


def test_numbers_all_alike_or_all_missing() -> None:
    """One group, which is no division."""
    assert by_size("orders", np.ones(5)).names == ("all",)
    assert by_size("age", np.full(5, np.nan)).names == (MISSING,)


@given(arrays(np.float64, st.integers(1, 60), elements=st.integers(-500, 100_000).map(float)))
def test_everybody_is_where_the_name_says(values: np.ndarray) -> None:
    """Ranges hold exactly the numbers that they name, and none is empty."""
    grouping = by_size("n", values)
    assert sorted(set(grouping.member.tolist())) == list(range(len(grouping.names)))
    for value, at in zip(values, grouping.member, strict=True):
        words = grouping.names[at].replace(",", "").split(" ")
        if words[0] == "up":
            assert value <= float(words[2])
        elif words[0] == "over":
            assert value > float(words[1])
        elif len(words) == 3:
            assert float(words[0]) <= value <= float(words[2])
        elif words != ["all"]:
            assert value == float(words[0])


def test_values_by_frequency() -> None:
    """The six most frequent have groups, the others share one, and missing is not other."""
    values = np.array([*"aaabbbccddeeffgh", None], dtype=object)
    grouping = by_value("country", values)
    assert grouping.names == (*"abcdef", OTHERS, MISSING)
    assert grouping.member[-3:].tolist() == [6, 6, 7]
    assert by_value("country", values[:-2]).names == (*"abcdef", "g")


@pytest.mark.parametrize("has_others", [False, True])
def test_divisions(*, has_others: bool) -> None:
    """All events and the last type are shown only where there are others than activity."""
    steps = np.arange(40)
    standing = Standing(
        days_since_activity=steps + 0.5,
        tenure_days=steps + 50.5,
        num_activity=steps + 1,
        num_events=steps + 1 + has_others,
        last_type=np.array(["purchase", "visit"] * 20, dtype=object),
        spent=steps * 10.0,
        numeric={"age": np.full(40, 30.0)},
        categorical={"region": np.array(["north", None] * 20, dtype=object)},
    )
    titles = [grouping.title for grouping in groupings(standing, small_schema())]
    assert titles == [
        "days since the last activity",
        "activity events so far",
        "days since the first event",
        *(["events of any type so far", "last event"] if has_others else []),
        "spent in the last 180 days, EUR",
        "region",
    ]
