"""Charts: axes fit what is drawn on them, however small it is, and their numbers stand apart."""

import re
from dataclasses import replace

import numpy as np
import pytest
from report_pages import context_of, interval, look_of, result_of, schema_of

from training.evaluation import EvaluationResult, evaluate
from training.outcomes import Outcomes, Predictions
from training.report.charts import (
    differences_chart,
    precision_recall_chart,
    rates_chart,
    reliability_chart,
    roc_chart,
)
from training.report.charts.frame import top_of
from training.report.charts.people import typical_chart
from training.report.context import CutoffFacts

NUM = 4_000


def rare_result(share: float) -> EvaluationResult:
    """Return the result of a model of something that happens to few."""
    rng = np.random.default_rng(0)
    probability = share * rng.uniform(0.2, 1.8, NUM)
    return evaluate(
        schema_of(),
        split="test",
        customer=np.arange(NUM),
        cutoff_us=np.full(NUM, 1_700_006_400_000_000),
        outcomes=Outcomes(
            happened={"churn": (rng.random((NUM, 1)) < probability[:, None]).astype(np.float32)},
            values={"spend": np.ones(NUM, dtype=np.float32)},
        ),
        predictions={
            "ours": Predictions(probability={"churn": probability[:, None]}, expected={}, median={})
        },
        main="ours",
        num_replicates=0,
    )


def percents(svg: str | None) -> set[float]:
    """Return the shares that are written on a figure."""
    assert svg is not None
    return {float(number) for number in re.findall(r">(-?[\d.]+) %<", svg)}


@pytest.mark.parametrize(("share", "highest"), [(0.05, 16.0), (0.003, 3.0)])
def test_rare_events_fill_their_figures(share: float, highest: float) -> None:
    """Reliability and precision end a little above what is drawn and begin at 0; a list ends at everybody."""
    result = rare_result(share)
    target = result["targets"][0]
    horizon = target["horizons"][0]
    level = percents(reliability_chart(result, target, horizon))
    assert 0.0 in level
    assert 100 * share < max(level) < highest
    assert len(level) > 3
    found = percents(roc_chart(result, target, horizon))
    assert max(found) == 100.0
    precision = precision_recall_chart(result, target, horizon)
    assert precision is not None
    heights = precision.split('id="precision-churn-90-matplotlib.axis_2"')[1]
    assert max(percents(heights)) < 50.0


def test_frequent_events_have_the_whole_square() -> None:
    """Up to 100 %, as shares go."""
    result = result_of()
    target = result["targets"][0]
    assert max(percents(reliability_chart(result, target, target["horizons"][0]))) == 100.0


def test_an_end_above_what_is_drawn() -> None:
    """Never above 1, and never 0: an axis of nothing is the whole one."""
    assert [top_of(shares) for shares in ([0.1, 0.05], [0.99], [0.0], [])] == [
        pytest.approx(0.108),
        1.0,
        1.0,
        1.0,
    ]


def test_what_few_do_is_drawn_as_what_has_come() -> None:
    """A cancellation of 1 in 10: the share to whom it has come, from 0 up, not nine tenths at the top."""
    look = look_of("churn")
    for curve in look["typical"]:
        curve |= {"predicted": [1.0, 0.95, 0.92], "observed": [1.0, None, 0.9]}
    svg = typical_chart(look, "risk", is_coming=True)
    assert 10.0 <= max(percents(svg)) < 20.0
    assert svg is not None
    assert "highest risk 8 % foreseen, 10 % came" in svg
    assert "share to whom the event has come" in svg
    stays = typical_chart(look, "risk")
    assert max(percents(stays)) == 100.0
    assert stays is not None
    assert "highest risk 92 % foreseen, 90 % came" in stays


def test_rates_over_time_fill_their_figure() -> None:
    """A base rate of a few per cent moves visibly."""
    data = context_of().data
    cutoffs = [
        CutoffFacts(at=f"2023-1{at}-15T00:00Z", num_readouts=9, means={"churn": 0.03 + at / 100})
        for at in (0, 1)
    ]
    facts = replace(data, splits=[replace(data.splits[0], by_cutoff=cutoffs)])
    assert max(percents(rates_chart(facts, result_of()["targets"][0]))) < 5.0


@pytest.mark.parametrize("at", [-0.15, -0.0123, 0.00004])
def test_numbers_of_differences_stand_apart(at: float) -> None:
    """A few numbers, however many digits each of them has."""
    result = result_of(models=("sequence", "trees", "a_model_with_a_name_that_goes_on_and_on"))
    target = result["targets"][0]
    horizon = target["horizons"][0]
    horizon["differences"] = {
        name: {"log_loss": interval(at, at - abs(at) / 3, at + abs(at) / 3)} for name in result["models"][1:]
    }
    svg = differences_chart(result, target, horizon, metric="log_loss", title="log loss")
    assert svg is not None
    assert 2 <= len(set(re.findall(r"xtick_\d+", svg))) <= 6
