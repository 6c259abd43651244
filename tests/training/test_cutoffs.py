"""Cutoff policies: calendar grids, random times, events, a company's own table."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from builders import DAY, START_US, random_histories, small_schema
from holdfast.errors import ConfigError
from training.cutoffs import (
    EventCandidates,
    GridCandidates,
    RandomCandidates,
    TableCandidates,
    TrainPolicy,
    candidates,
)
from training.labels import Labeller


@dataclass(frozen=True)
class Rows:
    """A company's own labels."""

    customer: np.ndarray
    cutoff_us: np.ndarray
    values: dict[str, np.ndarray]


def labeller(num_customers: int = 12, *, table: Rows | None = None) -> Labeller:
    """Return a labeller over random histories; customer 0 has no events."""
    return Labeller(random_histories(np.random.default_rng(3), num_customers), small_schema(), table=table)


def days(*values: float) -> tuple[int, ...]:
    """Return times in days since START_US."""
    return tuple(START_US + round(value * DAY) for value in values)


def grid(policy: TrainPolicy, oldest: float, newest: float) -> tuple[int, ...]:
    """Return the times of a grid policy."""
    made = candidates(policy, oldest_us=days(oldest)[0], newest_us=days(newest)[0])
    assert isinstance(made, GridCandidates)
    return made.times_us


def test_grid_counts_back_from_the_newest_allowed_cutoff() -> None:
    """The newest point is the newest allowed cutoff itself, and the oldest lies in the span."""
    assert grid(TrainPolicy(every_days=30), 10, 100) == days(10, 40, 70, 100)
    assert grid(TrainPolicy(every_days=30), 11, 100) == days(40, 70, 100)


def test_grid_is_cut_to_its_number_of_points() -> None:
    """Of more points than asked for the newest stay."""
    assert grid(TrainPolicy(every_days=30, num=2), 10, 100) == days(70, 100)
    assert grid(TrainPolicy(every_days=30, num=50), 10, 100) == days(10, 40, 70, 100)


def test_shifted_grids_are_merged() -> None:
    """Every shift adds a grid, moved into the past; a point of two grids stands once."""
    policy = TrainPolicy(every_days=10, num=2, shifts_days=(0, 3, 10))
    assert grid(policy, 0, 100) == days(80, 87, 90, 97, 100)


def test_grid_without_room_for_a_shift_keeps_the_rest() -> None:
    """A shift that leaves the span adds nothing."""
    assert grid(TrainPolicy(every_days=30, shifts_days=(0, 50)), 90, 100) == days(100)


def test_grid_asks_every_customer_at_every_time() -> None:
    """Positions and times are the full product."""
    index, time_us = GridCandidates(times_us=(5, 9)).of(
        labeller(), np.array([4, 7, 2]), np.random.default_rng(0)
    )
    assert index.tolist() == [0, 0, 1, 1, 2, 2]
    assert time_us.tolist() == [5, 9, 5, 9, 5, 9]


def test_random_times_lie_in_the_span_and_after_the_first_event() -> None:
    """Both bounds are reached, and customers without events before the end get none."""
    asked = labeller()
    histories = asked.histories
    oldest, newest = days(20, 120)
    policy = RandomCandidates(oldest_us=oldest, newest_us=newest, per_customer=50)
    index, time_us = policy.of(asked, np.arange(12), np.random.default_rng(0))
    firsts = {
        i: int(histories.occurred_at_us[histories.offsets[i]])
        for i in range(12)
        if histories.offsets[i] < histories.offsets[i + 1]
    }
    expected = [i for i, first in firsts.items() if first <= newest]
    assert sorted(set(index.tolist())) == expected
    assert 0 not in expected
    assert np.bincount(index)[expected].tolist() == [50] * len(expected)
    assert all(
        max(oldest, firsts[i]) <= t <= newest for i, t in zip(index.tolist(), time_us.tolist(), strict=True)
    )


def test_random_times_reach_both_bounds() -> None:
    """In a span of three instants all three are drawn."""
    asked = labeller()
    policy = RandomCandidates(oldest_us=days(499)[0], newest_us=days(499)[0] + 2, per_customer=50)
    _, time_us = policy.of(asked, np.arange(12), np.random.default_rng(0))
    assert sorted(set((time_us - days(499)[0]).tolist())) == [0, 1, 2]


def test_random_times_follow_the_seed() -> None:
    """The generator given is the only source of chance."""
    policy = RandomCandidates(oldest_us=days(0)[0], newest_us=days(300)[0], per_customer=3)
    draws = [policy.of(labeller(), np.arange(12), np.random.default_rng(s))[1].tolist() for s in (1, 1, 2)]
    assert draws[0] == draws[1]
    assert draws[0] != draws[2]


def test_events_give_their_own_times() -> None:
    """Every event of the type within the span, bounds included; simultaneous ones give one cutoff."""
    asked = labeller()
    histories = asked.histories
    oldest, newest = days(50, 300)
    policy = EventCandidates(event_type="visit", oldest_us=oldest, newest_us=newest)
    customers = np.array([9, 5, 0])
    index, time_us = policy.of(asked, customers, np.random.default_rng(0))
    expected = []
    for position, customer in enumerate(customers.tolist()):
        rows = range(int(histories.offsets[customer]), int(histories.offsets[customer + 1]))
        times = {int(histories.occurred_at_us[r]) for r in rows if histories.event_type.codes[r] == 2}
        expected += [(position, t) for t in sorted(times) if oldest <= t <= newest]
    assert expected
    assert list(zip(index.tolist(), time_us.tolist(), strict=True)) == expected


def test_simultaneous_events_of_two_customers_stay_apart() -> None:
    """Only repeated times of one customer are dropped."""
    asked = labeller()
    policy = EventCandidates(event_type="purchase", oldest_us=0, newest_us=days(1000)[0])
    once = policy.of(asked, np.array([5]), np.random.default_rng(0))[1]
    index, time_us = policy.of(asked, np.array([5, 5]), np.random.default_rng(0))
    assert len(once)
    assert time_us.tolist() == [*once.tolist(), *once.tolist()]
    assert np.bincount(index).tolist() == [len(once)] * 2


def test_unknown_event_type_is_named() -> None:
    """The message lists what the data has."""
    policy = EventCandidates(event_type="campaign", oldest_us=0, newest_us=1)
    with pytest.raises(ConfigError, match=r"campaign.*complaint"):
        policy.of(labeller(), np.arange(3), np.random.default_rng(0))


def test_table_rows_within_the_span() -> None:
    """Rows of the customers asked about, bounds included, ascending in time."""
    table = Rows(
        customer=np.array([3, 1, 3, 3, 1], dtype=np.int64),
        cutoff_us=np.array(days(30, 20, 10, 20, 31), dtype=np.int64),
        values={"churned": np.zeros(5)},
    )
    policy = TableCandidates(oldest_us=days(20)[0], newest_us=days(30)[0])
    index, time_us = policy.of(labeller(table=table), np.array([3, 2, 1]), np.random.default_rng(0))
    assert index.tolist() == [0, 0, 2]
    assert tuple(time_us.tolist()) == days(20, 30, 20)


def test_table_policy_needs_a_table() -> None:
    """A data set without labels of its own cannot be asked for their cutoffs."""
    policy = TableCandidates(oldest_us=0, newest_us=1)
    with pytest.raises(ConfigError, match="table of labels"):
        policy.of(labeller(), np.arange(3), np.random.default_rng(0))


@pytest.mark.parametrize(
    ("key", "changes"),
    [
        ("every_days", {"every_days": 0}),
        ("shifts_days", {"shifts_days": (0, -3)}),
        ("shifts_days", {"shifts_days": ()}),
        ("num", {"num": 0}),
        ("per_customer", {"per_customer": 0}),
        ("per_customer", {"policy": "random"}),
        ("event_type", {"policy": "event"}),
        ("event_type", {"policy": "grid", "event_type": "visit"}),
    ],
)
def test_policies_that_contradict_themselves_are_refused(key: str, changes: dict[str, object]) -> None:
    """The message names the key."""
    with pytest.raises(ConfigError, match=f"cutoffs.train.{key}"):
        TrainPolicy(**changes)


@given(
    every=st.integers(1, 60),
    shifts=st.lists(st.integers(0, 40), min_size=1, max_size=4),
    num=st.none() | st.integers(1, 20),
    span=st.integers(0, 400),
)
def test_grid_stays_in_its_span(every: int, shifts: list[int], num: int | None, span: int) -> None:
    """Ascending, distinct, within bounds, and each point a whole number of steps from a grid's start."""
    policy = TrainPolicy(every_days=every, shifts_days=tuple(shifts), num=num)
    times = grid(policy, 0, span)
    assert list(times) == sorted(set(times))
    ages = [(days(span)[0] - time) // DAY for time in times]
    assert all(0 <= age <= span for age in ages)
    assert all(any(age >= s and (age - s) % every == 0 for s in shifts) for age in ages)
    assert all(s > span or s in ages for s in shifts)


def test_a_yearly_grid_asks_on_the_days_of_the_year_of_the_test() -> None:
    """To the microsecond, in earlier years whose window is over; 29 February has a day in every year."""

    def instant(text: str) -> int:
        return (datetime.fromisoformat(text) - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1)

    asked = (instant("2024-02-29T00:00:00Z"), instant("2024-12-31T23:59:59.999999Z"))
    span = {"oldest_us": instant("2021-03-01T00:00:00Z"), "newest_us": instant("2023-06-01T00:00:00Z")}

    def grid_of(**changes: Any) -> tuple[int, ...]:
        policy = TrainPolicy(yearly=True, **changes)
        made = candidates(policy, **span, asked_us=asked)
        assert isinstance(made, GridCandidates)
        return made.times_us

    days = ["2021-12-31T23:59:59.999999Z", "2022-02-28T00:00:00Z", "2022-12-31T23:59:59.999999Z"]
    assert grid_of() == (*map(instant, days), instant("2023-02-28T00:00:00Z"))
    assert grid_of(num=1) == (instant(days[2]), instant("2023-02-28T00:00:00Z"))
    assert grid_of(shifts_days=(7,), num=1) == (
        instant("2022-12-24T23:59:59.999999Z"),
        instant("2023-02-21T00:00:00Z"),
    )


def test_a_yearly_grid_without_an_earlier_year_is_refused() -> None:
    """The key is named; other policies have no such points."""
    with pytest.raises(ConfigError, match=r"cutoffs\.train\.yearly"):
        candidates(TrainPolicy(yearly=True), oldest_us=0, newest_us=DAY, asked_us=(30 * DAY,))
    with pytest.raises(ConfigError, match=r"cutoffs\.train\.yearly"):
        TrainPolicy(policy="random", per_customer=2, yearly=True)
