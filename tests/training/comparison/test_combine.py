"""Many runs judged together: means over seeds and origins, paired intervals, one form."""

import json
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from forms import check_form
from sklearn.metrics import roc_auc_score

from builders import DAY, START_US, small_schema
from holdfast.errors import ConfigError
from training.comparison.combine import Judging, Sitting, combine
from training.comparison.result import TargetComparison
from training.outcomes import Outcomes, Predictions

NUM = 160
JUDGING = Judging(judged=("ours",), margin=0.005, num_replicates=40, seed=0)


def outcomes_of(signal: np.ndarray, rng: np.random.Generator) -> Outcomes:
    """Return outcomes of the small schema that depend on a signal."""
    gone = (rng.random((len(signal), 3)) < 1 / (1 + np.exp(2 * signal[:, None]))).astype(np.float32)
    spend = np.where(gone[:, 2] == 0, np.exp(3 + signal), 0).astype(np.float32)
    orders = rng.poisson(2, len(signal)).astype(np.float32)
    return Outcomes(happened={"churn": gone}, values={"spend": spend, "orders": orders})


def predictions_of(signal: np.ndarray, noise: float, rng: np.random.Generator) -> Predictions:
    """Return predictions that see the signal through some noise."""
    seen = signal + noise * rng.normal(size=len(signal))
    return Predictions(
        probability={"churn": np.repeat(1 / (1 + np.exp(2 * seen))[:, None], 3, axis=1)},
        expected={"spend": np.exp(2 + seen), "orders": np.full(len(signal), 2.0)},
        median={"spend": np.exp(1 + seen)},
    )


def sitting(*, seed: int = 0, num_seeds: int = 2, noise: float = 0.3) -> Sitting:
    """Return what two models said; every customer is asked at two cutoffs."""
    rng = np.random.default_rng(seed)
    signal = rng.normal(size=NUM)
    fixed = predictions_of(signal, 1.0, rng)
    return Sitting(
        customer=np.arange(NUM) // 2,
        cutoff_us=START_US + (np.arange(NUM) % 2) * 30 * DAY,
        outcomes=outcomes_of(signal, rng),
        answers={
            "ours": [predictions_of(signal, noise, rng) for _ in range(num_seeds)],
            "other": [fixed] * num_seeds,
        },
    )


def churn_of(compared: list[TargetComparison], at: int = 2) -> dict[str, Any]:
    """Return one horizon of churn."""
    return next(target for target in compared if target["name"] == "churn")["horizons"][at]


def auroc(asked: Sitting, model: str, seed: int, rows: np.ndarray | slice = slice(None)) -> float:
    """Return scikit-learn's figure for the longest horizon."""
    came = asked.outcomes.happened["churn"][rows, 2]
    return roc_auc_score(came, asked.answers[model][seed].probability["churn"][rows, 2])


def test_a_figure_is_the_mean_over_seeds_with_their_spread() -> None:
    """Against scikit-learn, run by run; the interval holds it; what no seed moves has no spread."""
    asked = sitting()
    overall = churn_of(combine(small_schema(), [asked], JUDGING))["overall"]
    values = [auroc(asked, "ours", seed) for seed in (0, 1)]
    found = overall["models"]["ours"]["auroc"]
    assert found["value"] == pytest.approx(np.mean(values))
    assert found["spread"] == pytest.approx(np.std(values, ddof=1))
    assert found["low"] < found["value"] < found["high"]
    assert overall["models"]["other"]["auroc"]["spread"] == 0
    assert (overall["num_readouts"], overall["num_unknown"]) == (NUM, 0)
    assert overall["mean"] == pytest.approx(asked.outcomes.happened["churn"][:, 2].mean())


def test_one_seed_has_no_spread() -> None:
    """None, not 0: nothing is known about it."""
    overall = churn_of(combine(small_schema(), [sitting(num_seeds=1)], JUDGING))["overall"]
    assert overall["models"]["ours"]["auroc"]["spread"] is None


def test_the_overall_figure_is_the_mean_over_origins() -> None:
    """Of two origins of different size each counts once; cutoffs are shown within their origin."""
    one, other = sitting(seed=1), sitting(seed=2)
    half = np.arange(NUM) < NUM // 2
    other = Sitting(
        customer=other.customer[half],
        cutoff_us=other.cutoff_us[half] + 90 * DAY,
        outcomes=Outcomes(
            happened={"churn": other.outcomes.happened["churn"][half]},
            values={name: column[half] for name, column in other.outcomes.values.items()},
        ),
        answers={
            name: [
                Predictions(
                    probability={"churn": said.probability["churn"][half]},
                    expected={key: column[half] for key, column in said.expected.items()},
                    median={},
                )
                for said in answers
            ]
            for name, answers in other.answers.items()
        },
    )
    asked = churn_of(combine(small_schema(), [one, other], JUDGING))
    per_origin = [np.mean([auroc(s, "ours", seed) for seed in (0, 1)]) for s in (one, other)]
    assert asked["overall"]["models"]["ours"]["auroc"]["value"] == pytest.approx(np.mean(per_origin))
    assert asked["overall"]["num_readouts"] == NUM + NUM // 2
    assert [block["origin"] for block in asked["cutoffs"]] == [0, 0, 1, 1]
    rows = one.cutoff_us == START_US
    want = np.mean([auroc(one, "ours", seed, rows) for seed in (0, 1)])
    assert asked["cutoffs"][0]["models"]["ours"]["auroc"]["value"] == pytest.approx(want)
    assert asked["cutoffs"][0]["cutoff"] == "2023-11-14T22:13:20Z"
    assert asked["cutoffs"][0]["num_readouts"] == NUM // 2


def test_differences_are_paired_and_say_for_whom_they_speak() -> None:
    """The better model is ahead; against an equal one there is nothing, surely; the truth is no rival."""
    asked = sitting(noise=0.05)
    same, truth = (
        asked.answers["ours"],
        [replace(said, expected={}, median={}) for said in asked.answers["ours"]],
    )
    asked = replace(asked, answers=dict(asked.answers, same=same, truth=truth))
    overall = churn_of(combine(small_schema(), [asked], JUDGING))["overall"]
    assert set(overall["differences"]) == {"ours"}
    differences = overall["differences"]["ours"]
    assert set(differences) == {"other", "same"}
    assert differences["other"]["auroc"]["verdict"] == "ahead"
    assert differences["other"]["log_loss"]["verdict"] == "ahead"
    assert differences["other"]["log_loss"]["value"] < 0
    assert differences["same"]["auroc"] == {"value": 0.0, "low": 0.0, "high": 0.0, "verdict": "level"}
    assert overall["models"]["ours"]["share_of_best_auroc"]["value"] == pytest.approx(1.0)


def test_a_ratio_that_should_be_one_has_no_difference() -> None:
    """More is not better, nor is less."""
    spend = combine(small_schema(), [sitting()], JUDGING)[1]["horizons"][0]["overall"]
    assert "total_ratio" in spend["models"]["ours"]
    assert "total_ratio" not in spend["differences"]["ours"]["other"]
    assert "normalised_gini" in spend["differences"]["ours"]["other"]


def test_who_does_not_answer_all_is_left_out_and_counted() -> None:
    """At that horizon alone, and over all seeds."""
    asked = sitting()
    partial = asked.answers["other"][0].probability["churn"].copy()
    partial[:7, 2] = np.nan
    lame = replace(asked.answers["other"][0], probability={"churn": partial})
    asked = replace(asked, answers=dict(asked.answers, other=[lame, lame]))
    compared = combine(small_schema(), [asked], JUDGING)
    assert churn_of(compared)["overall"]["left_out"] == {"other": 14}
    assert list(churn_of(compared)["overall"]["models"]) == ["ours"]
    assert list(churn_of(compared, 0)["overall"]["models"]) == ["ours", "other"]


def test_unknown_outcomes_are_counted_and_change_nothing() -> None:
    """All of them: an empty block, not a failure."""
    asked = sitting()
    gone = asked.outcomes.happened["churn"].copy()
    gone[:, 0] = np.nan
    gone[:30, 1] = np.nan
    asked = replace(asked, outcomes=replace(asked.outcomes, happened={"churn": gone}))
    compared = combine(small_schema(), [asked], JUDGING)
    empty, some = (churn_of(compared, at)["overall"] for at in (0, 1))
    assert (empty["num_readouts"], empty["num_unknown"], empty["mean"], empty["models"]) == (0, NUM, None, {})
    assert (some["num_readouts"], some["num_unknown"]) == (NUM - 30, 30)
    want = np.mean(
        [roc_auc_score(gone[30:, 1], said.probability["churn"][30:, 1]) for said in asked.answers["ours"]]
    )
    assert some["models"]["ours"]["auroc"]["value"] == pytest.approx(want)


def test_only_asked_comparisons_are_made() -> None:
    """Variants are held against the default alone."""
    asked = sitting()
    asked = replace(asked, answers=dict(asked.answers, third=asked.answers["other"]))
    judging = replace(JUDGING, judged=("ours", "third"), against=("other",))
    differences = churn_of(combine(small_schema(), [asked], judging))["overall"]["differences"]
    assert {name: list(others) for name, others in differences.items()} == {
        "ours": ["other"],
        "third": ["other"],
    }
    with pytest.raises(ConfigError, match=r"judged.*nobody.*ours"):
        combine(small_schema(), [asked], replace(JUDGING, judged=("nobody",)))


def test_the_result_has_its_declared_form_and_is_json() -> None:
    """Every key, at every depth, and no NaN."""
    compared = combine(small_schema(), [sitting()], JUDGING)
    assert json.loads(json.dumps(compared, allow_nan=False)) == compared
    check_form(compared, list[TargetComparison])


def test_a_form_that_is_not_kept_is_noticed() -> None:
    """The check itself can fail."""
    compared = combine(small_schema(), [sitting()], JUDGING)
    compared[0]["horizons"][0]["overall"]["models"]["ours"]["auroc"]["value"] = "high"
    with pytest.raises(AssertionError, match="auroc"):
        check_form(compared, list[TargetComparison])
