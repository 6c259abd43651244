"""What is measured is what is used: the smallest that is nearly the best, within bounds, or as told."""

from pathlib import Path

import pytest

from serving import measuring
from serving.artifact import Artifact
from serving.measuring import BUDGETS, MAX_MERGE_EVENTS, RUN_SECONDS, measure
from serving.predictor import Predictor


@pytest.fixture(scope="module")
def predictor(artifact_folder: Path) -> Predictor:
    """Return the small artifact's predictor."""
    return Artifact.load(artifact_folder).predictor


@pytest.fixture
def costing(monkeypatch: pytest.MonkeyPatch) -> dict[str, float]:
    """Replace the clock by a cost per run and per event, and an event's surcharge beyond the cache."""
    costs = {"run": 1e-4, "event": 1e-6, "beyond": 1e9, "surcharge": 0.0}

    def seconds(_: Predictor, *, num: int, length: int, repeats: int = 3) -> float:
        assert repeats
        events = num * length
        return (
            costs["run"] + events * costs["event"] + max(0.0, events - costs["beyond"]) * costs["surcharge"]
        )

    monkeypatch.setattr(measuring, "_seconds", seconds)
    return costs


def test_the_smallest_run_that_is_nearly_the_best_is_taken(
    predictor: Predictor, costing: dict[str, float]
) -> None:
    """A run costs 100 events: at 2,048 events it is 5 % of the whole, which is as good as the best."""
    found = measure(predictor, max_threads=1)
    assert found.plan.budget_events == 2_048
    costing["beyond"], costing["surcharge"] = 512, 4e-6
    assert measure(predictor, max_threads=1).plan.budget_events == 512


def test_padding_is_worth_what_a_run_costs_in_and_around_the_graph(
    predictor: Predictor, costing: dict[str, float]
) -> None:
    """And never more than a bound, since it is computed for nothing."""
    costing["run"] = 0.2 * RUN_SECONDS
    assert 105 <= measure(predictor, max_threads=1).plan.merge_events <= 120
    costing["run"] = 0.0
    assert 90 <= measure(predictor, max_threads=1).plan.merge_events <= 100
    costing["run"] = 1.0
    assert measure(predictor, max_threads=1).plan.merge_events == MAX_MERGE_EVENTS


def test_what_is_told_is_not_measured(predictor: Predictor) -> None:
    """A budget and threads that a person fixed are taken as they are."""
    found = measure(predictor, max_threads=8, threads=3, budget_events=64)
    assert (found.threads, found.plan.budget_events) == (3, 64)
    assert found.seconds_per_event > 0


def test_everything_measured_lies_within_its_bounds(predictor: Predictor) -> None:
    """With the real clock, whatever the machine is doing."""
    found = measure(predictor, max_threads=2)
    assert found.threads in {1, 2}
    assert found.plan.budget_events in BUDGETS
    assert 0 <= found.plan.merge_events <= MAX_MERGE_EVENTS
    assert found.plan.max_events == predictor.plan.max_events


def test_what_takes_too_long_is_not_tried(predictor: Predictor, monkeypatch: pytest.MonkeyPatch) -> None:
    """A slow model starts with what was found in time."""
    monkeypatch.setattr(measuring, "MAX_SECONDS", 0.0)
    found = measure(predictor, max_threads=4)
    assert (found.plan.budget_events, found.threads) == (BUDGETS[0], 4)
