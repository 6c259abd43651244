"""Facts: counts of the data part, by hand."""

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from builders import DAY, START_US, random_histories, small_schema
from holdfast.histories import AttributeVersions, CodedColumn, Histories
from holdfast.vocabulary import Dictionary
from training.labels import Labeller
from training.outcomes import Outcomes
from training.report import SplitFacts, facts
from training.report.facts import eligibility_at, events_over_time, length_counts, split_facts


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
    found = split_facts(
        small_schema(),
        name="validation",
        customer=np.array([0, 0, 1, 2]),
        cutoff_us=START_US + np.array([0, 7, 0, 0]) * DAY,
        outcomes=Outcomes(
            happened={"churn": gone},
            values={"spend": np.float32([10, 20, np.nan, 0]), "orders": np.float32([1, 2, 3, 4])},
        ),
    )
    assert found.rates == {
        "churn, 30 days": "50 %",
        "churn, 60 days": "25 %",
        "churn, 90 days": "not known",
        "spend, 90 days": "10.00 EUR on average",
        "orders, 90 days": "2.50 on average",
    }
    assert found.num_unknown == {"churn, 90 days": 4, "spend, 90 days": 1}
    assert (found.num_readouts, found.num_customers, found.num_cutoffs) == (4, 3, 2)
    assert found.first_cutoff < found.last_cutoff


def facts_of_cutoffs(cutoff_us: np.ndarray) -> SplitFacts:
    """Return a split in which every second customer churns and spends 10."""
    num = len(cutoff_us)
    gone = np.repeat((np.arange(num) % 2).astype(np.float32)[:, None], 3, axis=1)
    return split_facts(
        small_schema(),
        name="train",
        customer=np.arange(num),
        cutoff_us=cutoff_us,
        outcomes=Outcomes(
            happened={"churn": gone},
            values={"spend": 10 * gone[:, 0], "orders": np.full(num, np.nan, dtype=np.float32)},
        ),
    )


def test_means_by_cutoff() -> None:
    """One entry per cutoff; a target of which nothing is known is left out."""
    first, second = facts_of_cutoffs(START_US + np.array([0, 0, 7, 7, 7]) * DAY).by_cutoff
    assert (first.num_readouts, second.num_readouts) == (2, 3)
    assert first.means == {"churn": 0.5, "spend": 5.0}
    assert second.means == pytest.approx({"churn": 1 / 3, "spend": 10 / 3})
    assert first.at < second.at


def test_many_cutoffs_are_told_by_month() -> None:
    """Cutoffs at random times would be a point each."""
    days = np.arange(0, 200)
    months = facts_of_cutoffs(START_US + days * DAY).by_cutoff
    assert 6 <= len(months) <= 8
    assert sum(month.num_readouts for month in months) == 200


def histories_at(days: np.ndarray, codes: np.ndarray, types: tuple[str, ...]) -> Histories:
    """Return one customer's events."""
    return Histories(
        offsets=np.array([0, len(days)]),
        occurred_at_us=np.datetime64("2024-01-01", "us").astype(np.int64) + days * DAY,
        event_type=CodedColumn(codes=codes.astype(np.int32), dictionary=Dictionary(types)),
        categorical={},
        numeric={},
        attributes=AttributeVersions(
            offsets=np.zeros(2, dtype=np.int64),
            valid_from_us=np.zeros(0, dtype=np.int64),
            categorical={},
            numeric={},
        ),
    )


def test_events_over_time_by_hand(monkeypatch: pytest.MonkeyPatch) -> None:
    """By month: the five most frequent types, the others together; months without events are 0."""
    monkeypatch.setattr(facts, "EVENTS_AT_ONCE", 3)
    types = tuple("abcdefg")
    codes = np.array([0, 0, 0, 1, 1, 2, 2, 3, 3, 4, 4, 5, 6, 0])
    days = np.array([0, 1, 30, 31, 32, 33, 34, 35, 36, 37, 38, 39, 40, 300])
    found = dict(events_over_time(histories_at(days, codes, types)))
    assert list(found)[:2] == ["2024-01-01", "2024-02-01"]
    assert len(found) == 10
    assert found["2024-01-01"] == {"a": 3, "b": 0, "c": 0, "d": 0, "e": 0, "2 other types": 0}
    assert found["2024-02-01"] == {"a": 0, "b": 2, "c": 2, "d": 2, "e": 2, "2 other types": 2}
    assert sum(found["2024-03-01"].values()) == 0
    assert found["2024-10-01"]["a"] == 1


@pytest.mark.parametrize(("span", "num"), [(20, 4), (4_000, 11)])
def test_short_spans_by_week_and_long_ones_by_year(span: int, num: int) -> None:
    """Neither three points nor hundreds."""
    found = events_over_time(histories_at(np.array([0, span]), np.zeros(2), ("a",)))
    assert len(found) == num
    assert sum(row["a"] for _, row in found) == 2


def test_no_events_over_time() -> None:
    """An empty store has no time."""
    assert events_over_time(histories_at(np.zeros(0, dtype=np.int64), np.zeros(0), ("a",))) == ()


def test_eligibility_adds_up() -> None:
    """Known customers are eligible, quiet or gone; ``ended_by`` moves some to the last."""
    histories = random_histories(np.random.default_rng(4), 200)
    at_us = START_US + 400 * DAY
    schema = replace(small_schema(), lookback_days=60)
    counted = eligibility_at(Labeller(histories, schema), at_us)
    assert counted.num_ended == 0
    assert counted.num_known == counted.num_quiet + counted.num_eligible
    ended = eligibility_at(Labeller(histories, replace(schema, ended_by=("complaint",))), at_us)
    assert ended.num_known == ended.num_ended + ended.num_quiet + ended.num_eligible == counted.num_known
    gone = [
        (histories.occurred_at_us[a:b] <= at_us) & (histories.event_type.codes[a:b] == 3)
        for a, b in pairwise(histories.offsets)
    ]
    assert ended.num_ended == sum(bool(one.any()) for one in gone)


def test_eligibility_is_counted_some_customers_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """The sums are those of everybody at once."""
    histories = random_histories(np.random.default_rng(4), 200)
    labeller = Labeller(histories, replace(small_schema(), lookback_days=60, ended_by=("complaint",)))
    at_once = eligibility_at(labeller, START_US + 400 * DAY)
    monkeypatch.setattr(facts, "EVENTS_AT_ONCE", 100)
    asked = []
    plain = Labeller.eligible
    monkeypatch.setattr(
        Labeller, "eligible", lambda own, who, when: asked.append(len(who)) or plain(own, who, when)
    )
    assert eligibility_at(labeller, START_US + 400 * DAY) == at_once
    assert sum(asked) == 200
    assert max(asked) < 40


@pytest.mark.parametrize("size", [1, 2, 4_097])
def test_range_names(size: int) -> None:
    """The range that holds one customer's length is named with thousands apart."""
    name = {1: "1", 2: "2", 4_097: "4,097 to 8,192"}[size]
    assert (name, 1) in length_counts(np.array([0, size]))
