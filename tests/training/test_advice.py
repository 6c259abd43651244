"""What is told about data is counted, and an experiment is named for its own kind of data alone."""

from dataclasses import replace

import numpy as np
import pytest
from tasks import small_task, tiny_config

from builders import DAY, START_US
from training.advice import DataFigures, WantedSteps, advice, suited

FIGURES = DataFigures(
    num_customers=1_000,
    num_training_customers=800,
    events=(2, 20, 90),
    num_event_types=3,
    num_fields=2,
    num_cutoffs=9_000,
    num_times=12,
    span_days=700.0,
    horizon_days=90,
    max_events=256,
    share_cut=0.0,
)


def test_the_figures_are_those_of_the_training_cutoffs() -> None:
    """Counted over all events that a cutoff sees, whatever the encoding keeps of them."""
    task = small_task(num_customers=80)
    train = task.readouts(task.fit_split)
    figures = DataFigures.of(task, train, max_events=10)
    seen = []
    for customer, cutoff_us in zip(train.customer, train.cutoff_us, strict=True):
        first, last = task.histories.offsets[customer], task.histories.offsets[customer + 1]
        seen.append(int((task.histories.occurred_at_us[first:last] <= cutoff_us).sum()))
    assert figures.events == tuple(np.quantile(seen, (0.1, 0.5, 0.9), method="lower"))
    assert figures.share_cut == pytest.approx(np.mean(np.array(seen) > 10))
    assert figures.num_training_customers == len(set(train.customer.tolist()))
    assert figures.num_times == len(set(train.cutoff_us.tolist()))
    begin_us = int(task.histories.occurred_at_us.min())
    assert figures.span_days == pytest.approx((START_US + 400 * DAY - begin_us) / DAY)


@pytest.mark.parametrize(
    ("changes", "names"),
    [
        ({}, []),
        ({"span_days": 300.0, "events": (1, 3, 9)}, ["short"]),
        ({"span_days": 300.0}, []),
        ({"span_days": 1_200.0}, ["seasonal"]),
        ({"span_days": 1_200.0, "horizon_days": 366}, []),
        ({"num_event_types": 20}, ["rich"]),
        ({"events": (20, 400, 900)}, ["dense"]),
        ({"num_event_types": 20, "events": (20, 400, 900)}, ["rich", "dense"]),
    ],
)
def test_an_experiment_is_named_for_its_kind_of_data(changes: dict, names: list[str]) -> None:
    """With the figure that speaks for it; most data asks for none."""
    figures = replace(FIGURES, **changes)
    assert [name for name, _ in suited(figures)] == names
    lines = list(advice(figures, tiny_config().optimiser, wanted=None))
    for name in names:
        assert sum(line.startswith(f"experiment={name} ") for line in lines) == 1
    assert any("the defaults are" in line for line in lines) == (not names)


def test_what_was_settled_is_told_with_its_reason() -> None:
    """Steps from the data, or those that the configuration sets; events that are left out."""
    optimiser = tiny_config(num_steps=321).optimiser
    figures = replace(FIGURES, share_cut=0.25)
    settled = list(
        advice(figures, optimiser, wanted=WantedSteps(num=9_876, reason="7 passes over the customers"))
    )
    (why,) = (line for line in settled if line.startswith("settled from the data: 321 steps"))
    assert "7 passes over the customers ask for 9,876" in why
    assert any("25% of training cutoffs see more than 256 events" in line for line in settled)
    assert any("set: 321 steps" in line for line in advice(FIGURES, optimiser, wanted=None))
