"""Closer looks: groups and cutoffs are judged as if they were asked alone, and too few are not judged."""

from collections.abc import Mapping
from functools import cache

import numpy as np
import pytest
from tasks import small_task

from training.evaluation import EvaluationResult, evaluate
from training.evaluation.closer import TargetLook, look_closer
from training.evaluation.standing import standing_of
from training.outcomes import Outcomes, Predictions
from training.task import Readouts, Task


@cache
def asked() -> tuple[Task, Readouts, Outcomes]:
    """Return a task with the readouts of two cutoffs, and what came after them."""
    task = small_task(num_customers=400)
    readouts = [task.readouts(split) for split in (task.splits.validation, task.splits.test)]
    outcomes = [
        task.outcomes(part, split)
        for part, split in zip(readouts, (task.splits.validation, task.splits.test), strict=True)
    ]
    labels = readouts[0].labels

    def joined(parts: list[Mapping[str, np.ndarray]]) -> dict[str, np.ndarray]:
        return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}

    both = Readouts(
        customer=np.concatenate([part.customer for part in readouts]),
        cutoff_us=np.concatenate([part.cutoff_us for part in readouts]),
        labels=type(labels)(
            lower=joined([part.labels.lower for part in readouts]),
            upper=joined([part.labels.upper for part in readouts]),
            values=joined([part.labels.values for part in readouts]),
        ),
    )
    # Few random customers churn: what came is drawn, so that there are enough of both kinds.
    gone = (np.random.default_rng(0).random((len(both), 3)) < 0.4).astype(np.float32)
    return task, both, Outcomes(happened={"churn": gone}, values=joined([part.values for part in outcomes]))


@cache
def looked_once() -> list[TargetLook]:
    """Return the looks at guesses alone, which several tests read."""
    return looked()


def predictions(num: int, seed: int) -> Predictions:
    """Return guesses."""
    rng = np.random.default_rng(seed)
    return Predictions(
        probability={"churn": rng.uniform(0.05, 0.95, (num, 3))},
        expected={"spend": rng.lognormal(3, 1, num), "orders": rng.uniform(0, 3, num)},
        median={},
    )


def looked(main: str = "ours", **changes: Predictions) -> list[TargetLook]:
    """Return the looks at guesses."""
    task, readouts, outcomes = asked()
    said = {"ours": predictions(len(readouts), 1), "other": predictions(len(readouts), 2)} | changes
    return look_closer(
        task.histories,
        task.schema,
        customer=readouts.customer,
        cutoff_us=readouts.cutoff_us,
        labels=readouts.labels,
        outcomes=outcomes,
        predictions=said,
        main=main,
        num_replicates=40,
    )


def judged(rows: np.ndarray, seed: int) -> EvaluationResult:
    """Return what the table says of guesses, on some readouts alone."""
    task, readouts, outcomes = asked()
    said = predictions(len(readouts), seed)
    return evaluate(
        task.schema,
        split="test",
        customer=readouts.customer[rows],
        cutoff_us=readouts.cutoff_us[rows],
        outcomes=Outcomes(
            happened={name: values[rows] for name, values in outcomes.happened.items()},
            values={name: values[rows] for name, values in outcomes.values.items()},
        ),
        predictions={
            "ours": Predictions(
                probability={"churn": said.probability["churn"][rows]},
                expected={name: values[rows] for name, values in said.expected.items()},
                median={},
            )
        },
        main="ours",
        num_replicates=0,
    )


def test_targets_with_an_order_and_a_level_are_looked_at() -> None:
    """Churn and spend at their longest horizons; a count has no look of its own."""
    assert [(look["name"], look["horizon_days"]) for look in looked_once()] == [("churn", 90), ("spend", 90)]


@pytest.mark.parametrize(("at", "target", "metric"), [(0, 0, "auroc"), (1, 1, "normalised_gini")])
def test_whole_and_cutoffs_agree_with_the_table(at: int, target: int, metric: str) -> None:
    """Over all, and at every cutoff as if it were asked alone, for every model."""
    _, readouts, _ = asked()
    look, everybody = looked_once()[at], np.ones(len(readouts), dtype=bool)

    def value(rows: np.ndarray, seed: int) -> float | None:
        horizon = judged(rows, seed)["targets"][target]["horizons"][-1]
        return horizon["models"]["ours"]["metrics"][metric]["value"]

    assert look["whole"][metric]["value"] == pytest.approx(value(everybody, 1))
    assert len(look["cutoffs"]) == 2
    for cutoff, time in zip(look["cutoffs"], np.unique(readouts.cutoff_us), strict=True):
        rows = readouts.cutoff_us == time
        assert cutoff["num_readouts"] == rows.sum()
        assert cutoff["models"]["ours"][metric]["value"] == pytest.approx(value(rows, 1))
        assert cutoff["models"]["other"][metric]["value"] == pytest.approx(value(rows, 2))
        assert cutoff["models"]["ours"][metric]["low"] is not None
        assert cutoff["models"]["other"][metric]["low"] is None


def test_groups_divide_everybody() -> None:
    """Sizes and means add up to the whole in every division, and an unjudged group is a small one."""
    _, readouts, outcomes = asked()
    mean = outcomes.happened["churn"][:, -1].mean()
    for division in looked_once()[0]["groupings"]:
        sizes = np.array([group["num_readouts"] for group in division["groups"]])
        assert sizes.sum() == len(readouts)
        means = np.array([group["mean"] for group in division["groups"]])
        assert (sizes * means).sum() / sizes.sum() == pytest.approx(mean)
        for group in division["groups"]:
            num_gone = group["mean"] * group["num_readouts"]
            fewest = min(num_gone, group["num_readouts"] - num_gone)
            assert bool(group["metrics"]) == (group["num_readouts"] >= 100 and fewest >= 19.99)


def test_a_blind_group_is_named() -> None:
    """A model that knows what comes, except of customers from the north, whom it tells the opposite."""
    task, readouts, outcomes = asked()
    rng = np.random.default_rng(5)
    gone = outcomes.happened["churn"]
    knows = np.clip(0.5 + 0.6 * (gone - 0.5) + 0.25 * rng.normal(size=gone.shape), 0.01, 0.99)
    standing = standing_of(task.histories, task.schema, readouts.customer, readouts.cutoff_us)
    is_north = standing.categorical["region"] == "north"
    told = np.where(is_north[:, None], 1 - knows, knows)
    look = looked(ours=Predictions(probability={"churn": told}, expected={}, median={}))[0]
    order = next(weakness for weakness in look["weakest"] if weakness["metric"] == "auroc")
    assert (order["grouping"], order["group"]) == ("region", "north")
    assert order["value"] < 0.5 < order["whole"]


def test_guessing_alike_everywhere_has_no_weak_order() -> None:
    """Chance is not called a weakness."""
    assert not [w for look in looked_once() for w in look["weakest"] if w["metric"] == "auroc"]


def test_a_model_that_did_not_answer_is_not_looked_at() -> None:
    """A target without an answer, or with one missing."""
    _, readouts, _ = asked()
    half = predictions(len(readouts), 1)
    half.probability["churn"][0, -1] = np.nan
    answered = Predictions(probability=half.probability, expected={}, median={})
    assert looked(ours=answered) == []
