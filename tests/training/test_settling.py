"""What a data set decides for itself."""

import logging
from dataclasses import replace

import numpy as np
import pytest
from tasks import small_task, tiny_config

from holdfast.schema import MICROSECONDS_PER_DAY
from training.fit_config import FitConfig
from training.model import ModelConfig
from training.settling import longest_gap_in_year, settled_model, settled_schedule
from training.task import Readouts

TASK = small_task()


def cutoffs_at(days: np.ndarray) -> Readouts:
    """Return training readouts at these days since 1970."""
    some = TASK.readouts(TASK.splits.train).take(np.zeros(len(days), dtype=np.int64))
    return replace(some, cutoff_us=(days * MICROSECONDS_PER_DAY).astype(np.int64))


def settled(config: FitConfig, train: Readouts) -> ModelConfig:
    """Settle the model of a configuration."""
    return settled_model(config.model, TASK, train, max_events=config.encoding.max_events)


@pytest.mark.parametrize(
    ("days", "gap"),
    [
        ([100], 365.25),
        ([0, 100], 265.25),
        ([0, 100, 300], 200),
        # A later year fills the gap of an earlier one.
        ([0, 100, 300, 365.25 + 200], 100),
        # The turn of the year is no gap.
        ([350, 365.25 + 15], 335),
    ],
)
def test_the_gap_in_the_year_is_that_of_a_circle(days: list[float], gap: float) -> None:
    """Which year a cutoff lies in does not count; two cutoffs of one day count once."""
    times_us = np.repeat(np.array(days) * MICROSECONDS_PER_DAY, 2).astype(np.int64)
    assert longest_gap_in_year(times_us) == pytest.approx(gap, abs=1)


@pytest.mark.parametrize(
    ("num_months", "decided"), [(3, "none"), (9, "none"), (10, "none"), (12, "output"), (30, "output")]
)
def test_the_calendar_is_learned_from_a_whole_year(num_months: int, decided: str) -> None:
    """With a part of it, what is learned would be carried on into months that nobody has seen."""
    train = cutoffs_at(15_000 + 30 * np.arange(num_months))
    assert settled(tiny_config(calendar="auto"), train).calendar == decided


def test_histories_ask_for_steps_and_customers_bound_them(monkeypatch: pytest.MonkeyPatch) -> None:
    """The same history at many cutoffs asks once; many steps are taken of many customers alone."""
    config = tiny_config()
    config = replace(config, optimiser=replace(config.optimiser, num_steps=None, passes=30.0))
    batching = config.batching
    many = TASK.readouts(TASK.splits.train)
    people, newest = np.unique(many.customer[::-1], return_index=True)
    same = many.take(np.repeat(len(many) - 1 - newest, batching.readouts_per_customer))
    once = round(30 * len(people) / batching.pool_customers / batching.readouts_per_customer)
    assert settled_schedule(TASK, config, same).num_steps == once
    free = settled_schedule(TASK, config, many).num_steps
    borne = round(24 * len(people) / batching.pool_customers)
    assert free is not None
    assert once < borne < free
    monkeypatch.setattr("training.settling.STEPS_OF_ANY_DATA", borne + 1)
    assert settled_schedule(TASK, config, many).num_steps == borne + 1
    monkeypatch.setattr("training.settling.STEPS_OF_ANY_DATA", 1)
    assert settled_schedule(TASK, config, many).num_steps == borne


def test_few_customers_are_not_learned_by_heart(caplog: pytest.LogCaptureFixture) -> None:
    """The least number of steps gives way to 24 passes over them, which the log tells; a given one stands."""
    config = tiny_config()
    few = TASK.readouts(TASK.splits.train)
    few = few.take(np.flatnonzero(few.customer < 40))
    num = len(np.unique(few.customer))
    optimiser = replace(config.optimiser, num_steps=None, passes=0.1, steps_range=(250, 400))
    with caplog.at_level(logging.INFO):
        steps = settled_schedule(TASK, replace(config, optimiser=optimiser), few).num_steps
    assert num < config.batching.pool_customers
    assert steps == 24
    assert "at least 24 steps, 24 passes over them, not the 250" in caplog.text
    given = replace(optimiser, num_steps=300)
    assert settled_schedule(TASK, replace(config, optimiser=given), few).num_steps == 300


@pytest.mark.parametrize("given", ["output", "input", "none"])
def test_what_was_configured_stands(given: str) -> None:
    """However much of the year the cutoffs cover."""
    for num_months in (1, 30):
        train = cutoffs_at(15_000 + 30 * np.arange(num_months))
        assert settled(tiny_config(calendar=given), train).calendar == given


@pytest.mark.parametrize(("least_types", "least_events"), [(0, 0), (99, 0), (0, 99)])
def test_many_kinds_of_event_in_long_histories_bear_two_layers(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, least_types: int, least_events: int
) -> None:
    """Either alone does not; what was configured stands, and the log has both figures."""
    monkeypatch.setattr("training.settling.RICH_TYPES", least_types)
    monkeypatch.setattr("training.settling.LONG_EVENTS", least_events)
    train = TASK.readouts(TASK.splits.train)
    with caplog.at_level(logging.INFO):
        found = settled(tiny_config(encoder="gru", num_layers=None), train).num_layers
    assert found == (1 if least_types or least_events else 2)
    assert f"two layers need {least_types} and {least_events}" in caplog.text
    assert settled(tiny_config(encoder="gru", num_layers=3), train).num_layers == 3
