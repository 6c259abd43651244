"""Facts: counts of the data part, by hand."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from builders import DAY, START_US, small_schema
from training.outcomes import Outcomes
from training.report.facts import length_counts, split_facts


def test_lengths_by_hand() -> None:
    """Powers of two end the ranges; customers without events do not count."""
    lengths = [0, 1, 1, 2, 3, 4, 5, 8, 9, 16]
    counts = length_counts(np.cumsum([0, *lengths]))
    assert counts == (("1", 2), ("2", 1), ("3 to 4", 2), ("5 to 8", 2), ("9 to 16", 2))


def test_no_lengths() -> None:
    """Nobody, and nobody with an event."""
    assert length_counts(np.zeros(1, dtype=np.int64)) == ()
    assert length_counts(np.zeros(5, dtype=np.int64)) == ()


@given(st.lists(st.integers(0, 5_000), min_size=1, max_size=50))
def test_every_customer_with_an_event_is_in_one_range(lengths: list[int]) -> None:
    """Ranges join without a gap, and hold exactly the lengths that they name."""
    counts = length_counts(np.cumsum([0, *lengths]))
    for name, count in counts:
        first, *last = (int(part.replace(",", "")) for part in name.split(" to "))
        assert count == sum(first <= length <= (last[0] if last else first) for length in lengths)
    assert sum(count for _, count in counts) == sum(length > 0 for length in lengths)


def test_split_by_hand() -> None:
    """Rates per target and horizon over what is known, and how much is not."""
    gone = np.array([[1, 1, np.nan], [1, 0, np.nan], [0, 0, np.nan], [0, 0, np.nan]], dtype=np.float32)
    facts = split_facts(
        small_schema(),
        name="validation",
        customer=np.array([0, 0, 1, 2]),
        cutoff_us=START_US + np.array([0, 7, 0, 0]) * DAY,
        outcomes=Outcomes(
            happened={"churn": gone},
            values={"spend": np.float32([10, 20, np.nan, 0]), "orders": np.float32([1, 2, 3, 4])},
        ),
    )
    assert facts.rates == {
        "churn, 30 days": "50 %",
        "churn, 60 days": "25 %",
        "churn, 90 days": "not known",
        "spend, 90 days": "10.00 EUR on average",
        "orders, 90 days": "2.50 on average",
    }
    assert facts.num_unknown == {"churn, 90 days": 4, "spend, 90 days": 1}
    assert (facts.num_readouts, facts.num_customers, facts.num_cutoffs) == (4, 3, 2)
    assert facts.first_cutoff < facts.last_cutoff


@pytest.mark.parametrize("size", [1, 2, 4_097])
def test_range_names(size: int) -> None:
    """The range that holds one customer's length is named with thousands apart."""
    name = {1: "1", 2: "2", 4_097: "4,097 to 8,192"}[size]
    assert (name, 1) in length_counts(np.array([0, size]))
