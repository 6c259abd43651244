"""Runs hold customers of like length, each customer once, within the budget."""

from itertools import pairwise, product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from serving.plan import MAX_BATCH, RunPlan, Runs, length_grid


def formed(runs: Runs) -> list[tuple[int, list[int]]]:
    """Return padded length and segments of every run."""
    found, start = [], 0
    for size, width in runs.shapes:
        assert set(runs.widths[start : start + size].tolist()) == {width}
        found.append((width, runs.segments[start : start + size].tolist()))
        start += size
    assert start == len(runs.segments)
    return found


LENGTHS = st.lists(st.integers(0, 256), max_size=120)


def test_every_length_up_to_the_longest_history_has_a_place() -> None:
    """Padded lengths ascend by steps of 8, above 128 of a sixteenth; the last one holds every history."""
    for max_events in (1, 8, 9, 100, 512, 4_096):
        grid = length_grid(max_events)
        assert grid[0] == 8
        assert grid[-1] >= max_events
        assert (grid % 8 == 0).all()
        assert (np.diff(grid) >= 8).all()
        assert (np.diff(grid) <= np.maximum(8, grid[:-1] / 16)).all()
    assert len(length_grid(4_096)) < 100


@given(lengths=LENGTHS, budget=st.integers(1, 4_096), merge=st.integers(0, 200))
def test_everybody_is_in_one_run_that_holds_its_events(lengths: list[int], budget: int, merge: int) -> None:
    """Nobody is lost, asked twice or cut, and a run keeps the budget unless one customer alone exceeds it."""
    plan = RunPlan(max_events=256, budget_events=budget, merge_events=merge)
    events = np.array(lengths, dtype=np.int64)
    runs = formed(plan.runs(events))
    assert sorted(segment for _, segments in runs for segment in segments) == list(range(len(lengths)))
    for length, segments in runs:
        assert length in plan.lengths
        assert (events[segments] <= length).all()
        assert 1 <= len(segments) <= MAX_BATCH
        assert len(segments) * length <= budget or len(segments) == 1


@given(lengths=LENGTHS)
def test_without_merging_a_run_holds_one_padded_length(lengths: list[int]) -> None:
    """Nobody is padded further than to the next length of the grid."""
    plan = RunPlan(max_events=256, merge_events=0)
    events = np.array(lengths, dtype=np.int64)
    for length, segments in formed(plan.runs(events)):
        assert {plan.padded_length(num) for num in events[segments].tolist()} == {length}


@given(lengths=LENGTHS, most_padded=st.integers(1, 2_000))
def test_parts_of_runs_are_the_same_runs_a_few_at_a_time(lengths: list[int], most_padded: int) -> None:
    """No run is cut, and a part holds no more unless one run alone does."""
    runs = RunPlan(max_events=256, budget_events=300).runs(np.array(lengths, dtype=np.int64))
    parts = list(runs.parts(most_padded=most_padded))
    assert [run for part in parts for run in formed(part)] == formed(runs)
    for part in parts:
        assert int(part.widths.sum()) <= most_padded or len(part.shapes) == 1


@pytest.mark.parametrize("num", [64, 100, 256])
def test_padding_of_many_customers_stays_under_its_bound(num: int) -> None:
    """However much a run less is worth; a few customers may be padded as far as that pays."""
    rng = np.random.default_rng(num)
    drawn = [
        np.clip(np.rint(rng.lognormal(np.log(29), 0.9, num)), 1, 256).astype(np.int64) for _ in range(40)
    ]
    plan = RunPlan(max_events=256, budget_events=2_048, merge_events=300)
    padded = sum(int(plan.runs(events).widths.sum()) for events in drawn)
    assert padded <= 1.15 * sum(int(events.sum()) for events in drawn)


def cost(runs: list[tuple[int, int]], *, merge: int) -> int:
    """Return what runs of some padded length and size cost, in padded events."""
    return sum(length * size + merge for length, size in runs)


@given(
    lengths=st.lists(st.integers(0, 64), min_size=1, max_size=8),
    budget=st.integers(1, 300),
    merge=st.integers(0, 120),
)
def test_no_other_way_to_cut_them_costs_less(lengths: list[int], budget: int, merge: int) -> None:
    """Of all cuts of the descending order, which cannot cost more than any other order's."""
    plan = RunPlan(max_events=64, budget_events=budget, merge_events=merge)
    found = [(width, len(own)) for width, own in formed(plan.runs(np.array(lengths, dtype=np.int64)))]
    padded = sorted((plan.padded_length(num) for num in lengths), reverse=True)
    ways = []
    for is_cut in product((False, True), repeat=len(padded) - 1):
        starts = [0, *(place + 1 for place, cut in enumerate(is_cut) if cut), len(padded)]
        way = [(padded[start], end - start) for start, end in pairwise(starts)]
        if all(size <= plan.capacity(length) for length, size in way):
            ways.append(way)
    assert found in ways
    assert cost(found, merge=merge) == min(cost(way, merge=merge) for way in ways)


def test_a_few_shorter_customers_join_a_run_of_longer_ones() -> None:
    """Where a run less is worth the padding, and only then."""
    events = np.array([32, 24, 30, 8])
    shapes = {merge: formed(RunPlan(max_events=64, merge_events=merge).runs(events)) for merge in (7, 8, 40)}
    assert shapes[7] == [(32, [0, 2]), (24, [1]), (8, [3])]
    assert shapes[8] == [(32, [0, 2, 1]), (8, [3])]
    assert shapes[40] == [(32, [0, 2, 1, 3])]


def test_a_customer_alone_takes_the_short_way_to_the_same_run() -> None:
    """One customer is the commonest request; its run is that of the general way."""
    plan = RunPlan(max_events=256)
    for num_events in (0, 1, 8, 9, 255, 256):
        alone = formed(plan.runs(np.array([num_events])))
        assert alone == [(plan.padded_length(num_events), [0])]
        if num_events > 200:
            assert formed(plan.runs(np.array([num_events, 0])))[:1] == alone


@pytest.mark.parametrize(("num_events", "padded"), [(0, 8), (8, 8), (9, 16), (130, 136), (10_000, 256)])
def test_what_a_history_costs_is_known_before_it_is_encoded(num_events: int, padded: int) -> None:
    """The queue is bounded by it; more events than the model takes cost no more."""
    assert RunPlan(max_events=256).padded_length(num_events) == padded
