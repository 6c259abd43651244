"""Evaluation: the same readouts for every model, unknown ones counted, plain values throughout."""

import io
import json
from dataclasses import replace

import numpy as np
import pytest
from rich.console import Console
from sklearn.metrics import roc_auc_score

from builders import DAY, START_US, small_schema
from holdfast.errors import ConfigError
from training.evaluation import EvaluationResult, evaluate, render_table
from training.evaluation.questions import unit_of
from training.evaluation.table import AMOUNT_COLUMNS, best_models, columns_of
from training.metrics.ranking import Ranking
from training.outcomes import Outcomes, Predictions

NUM = 240


def case(*, seed: int = 0, scale: float = 1.0) -> tuple[Outcomes, Predictions]:
    """Return outcomes of the small schema and predictions that know something about them."""
    rng = np.random.default_rng(seed)
    signal = rng.normal(size=NUM)
    gone = (rng.random((NUM, 3)) < 1 / (1 + np.exp(2 * signal[:, None]))).astype(np.float32)
    spend = np.where(gone[:, 2] == 0, np.exp(3 + signal), 0).astype(np.float32)
    orders = rng.poisson(2, NUM).astype(np.float32)
    probability = np.repeat(1 / (1 + np.exp(scale * signal))[:, None], 3, axis=1)
    return (
        Outcomes(happened={"churn": gone}, values={"spend": spend, "orders": orders}),
        Predictions(
            probability={"churn": probability},
            expected={"spend": np.exp(2 + scale * signal), "orders": np.full(NUM, 2.0)},
            median={"spend": np.exp(1 + scale * signal)},
        ),
    )


def judged(
    outcomes: Outcomes, predictions: dict[str, Predictions], *, main: str = "ours", **changes: object
) -> EvaluationResult:
    """Evaluate with few replicates; every second readout is of the same customer as the one before."""
    settings = {
        "split": "test",
        "customer": np.arange(NUM) // 2,
        "cutoff_us": START_US + (np.arange(NUM) % 2) * DAY,
        "num_replicates": 40,
    } | changes
    return evaluate(small_schema(), outcomes=outcomes, predictions=predictions, main=main, **settings)


def horizon_of(result: EvaluationResult, target: str, at: int = 0) -> dict:
    """Return one question's result."""
    return next(t for t in result["targets"] if t["name"] == target)["horizons"][at]


def test_result_is_plain_json() -> None:
    """Without NaN or infinity, and the same after writing and reading."""
    outcomes, ours = case()
    result = judged(outcomes, {"ours": ours, "truth": ours})
    assert json.loads(json.dumps(result, allow_nan=False)) == result
    assert result["cutoffs"] == [
        {"at": "2023-11-14T22:13:20Z", "num_readouts": 120},
        {"at": "2023-11-15T22:13:20Z", "num_readouts": 120},
    ]
    assert (result["num_readouts"], result["num_customers"]) == (240, 120)
    assert [len(target["horizons"]) for target in result["targets"]] == [3, 1, 1]


def test_values_are_those_of_the_known_readouts() -> None:
    """Unknown outcomes are left out of the metric and counted beside it."""
    outcomes, ours = case()
    gone = outcomes.happened["churn"].copy()
    gone[10:60, 1] = np.nan
    result = judged(replace(outcomes, happened={"churn": gone}), {"ours": ours})
    asked = horizon_of(result, "churn", 1)
    known = ~np.isnan(gone[:, 1])
    auroc = asked["models"]["ours"]["metrics"]["auroc"]
    assert auroc["value"] == pytest.approx(roc_auc_score(gone[known, 1], ours.probability["churn"][known, 1]))
    assert auroc["low"] < auroc["value"] < auroc["high"]
    assert (asked["num_readouts"], asked["num_unknown"]) == (190, 50)
    assert asked["mean"] == pytest.approx(gone[known, 1].mean())
    assert horizon_of(result, "churn", 0)["num_unknown"] == 0


def test_a_question_nobody_can_answer_stays_empty() -> None:
    """All outcomes unknown: counted, no metric, no failure; the table says so."""
    outcomes, ours = case()
    unknown = replace(outcomes, values=dict(outcomes.values, spend=np.full(NUM, np.nan, dtype=np.float32)))
    result = judged(unknown, {"ours": ours})
    asked = horizon_of(result, "spend")
    assert (asked["num_readouts"], asked["num_unknown"], asked["mean"], asked["models"]) == (0, NUM, None, {})
    assert "no known outcome" in shown(result)


def test_a_model_that_does_not_answer_all_is_left_out() -> None:
    """With the number of unanswered readouts, so that nobody is judged on an easier set."""
    outcomes, ours = case()
    partial = ours.probability["churn"].copy()
    partial[:7, 2] = np.nan
    result = judged(outcomes, {"ours": ours, "partial": replace(ours, probability={"churn": partial})})
    asked = horizon_of(result, "churn", 2)
    assert asked["left_out"] == {"partial": 7}
    assert list(asked["models"]) == ["ours"]
    assert list(horizon_of(result, "churn", 1)["models"]) == ["ours", "partial"]
    assert "no answer for 7" in shown(result)


def test_a_target_that_a_model_does_not_know_is_skipped() -> None:
    """A truth about churn alone is not judged on orders."""
    outcomes, ours = case()
    churn_only = Predictions(probability=ours.probability, expected={}, median={})
    result = judged(outcomes, {"ours": ours, "truth": churn_only})
    assert list(horizon_of(result, "orders")["models"]) == ["ours"]
    assert list(horizon_of(result, "churn")["models"]) == ["ours", "truth"]


def test_the_truth_is_the_measure() -> None:
    """Who equals it reaches all of it, in every replicate; others the quotient of AUROCs."""
    outcomes, truth = case(scale=2.0)
    noise = np.random.default_rng(9).normal(0, 0.3, (NUM, 3))
    worse = replace(truth, probability={"churn": np.clip(truth.probability["churn"] + noise, 0, 1)})
    result = judged(outcomes, {"ours": worse, "same": truth, "truth": truth})
    models = horizon_of(result, "churn")["models"]
    same = models["same"]["metrics"]["share_of_best_auroc"]
    assert (same["value"], same["low"], same["high"]) == (1.0, 1.0, 1.0)
    own, best = (models[name]["metrics"]["auroc"]["value"] for name in ("ours", "truth"))
    shares = models["ours"]["metrics"]
    assert shares["share_of_best_auroc"]["value"] == pytest.approx(own / best)
    assert shares["share_of_best_above_chance"]["value"] == pytest.approx((own - 0.5) / (best - 0.5))
    assert "share_of_best_auroc" not in models["truth"]["metrics"]
    spend = horizon_of(result, "spend")["models"]["same"]["metrics"]
    assert spend["share_of_best_gini"]["value"] == 1.0


def test_differences_are_main_minus_other_and_paired() -> None:
    """A model against its equal differs by nothing, surely; against a worse one it gains AUROC."""
    outcomes, ours = case()
    _, other = case(seed=5)
    result = judged(outcomes, {"ours": ours, "equal": ours, "other": other})
    differences = horizon_of(result, "churn")["differences"]
    assert list(differences) == ["equal", "other"]
    assert differences["equal"]["auroc"] == {"value": 0.0, "low": 0.0, "high": 0.0}
    models = horizon_of(result, "churn")["models"]
    gap = models["ours"]["metrics"]["auroc"]["value"] - models["other"]["metrics"]["auroc"]["value"]
    assert differences["other"]["auroc"]["value"] == pytest.approx(gap)


def test_one_class_has_no_auroc_and_no_curve() -> None:
    """None, not NaN, and a dash on the terminal."""
    outcomes, ours = case()
    result = judged(
        replace(outcomes, happened={"churn": np.zeros((NUM, 3), dtype=np.float32)}), {"ours": ours}
    )
    model = horizon_of(result, "churn")["models"]["ours"]
    assert model["metrics"]["auroc"] == {"value": None, "low": None, "high": None}
    assert model["curves"]["roc"] == []
    assert model["metrics"]["log_loss"]["value"] > 0


def test_metrics_that_resampling_raises_have_intervals_too() -> None:
    """Sums of absolute errors: the interval lies below what resampling gives, and never below 0."""
    outcomes, ours = case()
    _, other = case(seed=5)
    result = judged(outcomes, {"ours": ours, "other": other})
    for target, metric in (("churn", "calibration_error"), ("spend", "decile_mape")):
        asked = horizon_of(result, target)
        found = asked["models"]["ours"]["metrics"][metric]
        assert 0 <= found["low"] <= found["high"]
        assert found["low"] < found["value"]
        difference = asked["differences"]["other"][metric]
        assert difference["low"] < difference["high"]


def test_same_seed_same_result() -> None:
    """Bit for bit, and another seed moves only the intervals."""
    outcomes, ours = case()
    one, again, other = (judged(outcomes, {"ours": ours}, seed=seed) for seed in (3, 3, 4))
    assert json.dumps(one) == json.dumps(again)
    intervals = [horizon_of(result, "churn")["models"]["ours"]["metrics"]["auroc"] for result in (one, other)]
    assert intervals[0]["value"] == intervals[1]["value"]
    assert intervals[0]["low"] != intervals[1]["low"]


def test_nothing_to_judge_is_refused() -> None:
    """No readout, and a main model that is not there."""
    outcomes, ours = case()
    with pytest.raises(ConfigError, match=r"main.*'other'"):
        judged(outcomes, {"ours": ours}, main="other")
    nothing = np.zeros(0, dtype=np.int64)
    with pytest.raises(ConfigError, match=r"evaluation\.test"):
        judged(outcomes, {"ours": ours}, customer=nothing, cutoff_us=nothing)


def test_units() -> None:
    """Money has the currency, another field its unit, a probability and a count none."""
    schema = small_schema()
    quantity = replace(schema.targets[1], name="items", field="quantity")
    assert [unit_of(schema, t) for t in (*schema.targets, quantity)] == ["", "EUR", "", "items"]


def shown(result: EvaluationResult, *, width: int = 160) -> str:
    """Return what a terminal shows."""
    console = Console(width=width, color_system=None, file=io.StringIO())
    console.print(render_table(result))
    return console.file.getvalue()


def test_table_shows_every_model_and_horizon() -> None:
    """Targets, horizons, models, base rate and unit are there."""
    outcomes, ours = case()
    text = shown(judged(outcomes, {"ours": ours, "[red]odd[/red]": ours, "truth": ours}))
    for part in (
        "churn",
        "spend, EUR",
        "orders",
        "30",
        "60",
        "90",
        "ours",
        "[red]odd[/red]",
        "truth",
        "base rate",
    ):
        assert part in text
    assert "of best AUROC" in text
    assert "of best AUROC" not in shown(judged(outcomes, {"ours": ours}))
    assert "in brackets: 95 % interval" in text
    assert "interval" not in shown(judged(outcomes, {"ours": ours}, num_replicates=0))


@pytest.mark.parametrize(
    ("factor", "parts"), [(1e-6, ["e-05"]), (1e10, [" bn"]), (1e30, ["e+31"]), (1.0, ["18.69", "mean 25.88"])]
)
def test_amounts_of_every_size_fit_into_the_table(factor: float, parts: list[str]) -> None:
    """None is cut off, and none that is not 0 is shown as 0."""
    outcomes, ours = case()
    many = {
        "spend": outcomes.values["spend"] * np.float32(factor),
        "orders": outcomes.values["orders"],
    }
    said = replace(ours, expected=dict(ours.expected, spend=ours.expected["spend"] * factor))
    text = shown(judged(replace(outcomes, values=many), {"ours": said}))
    spend = text[text.index("spend, EUR") : text.index("orders")]
    assert "\N{HORIZONTAL ELLIPSIS}" not in spend
    assert " 0.00 " not in spend
    for part in parts:
        assert part in spend


def test_best_is_marked_per_column() -> None:
    """Higher AUROC, lower log loss, a ratio nearer to 1; the truth does not compete; ties share."""
    outcomes, good = case(scale=2.0)
    bad = replace(good, probability={"churn": 1 - good.probability["churn"]})
    result = judged(outcomes, {"ours": bad, "good": good, "copy": good, "truth": good})
    churn = next(target for target in result["targets"] if target["name"] == "churn")
    columns = {column.metric: column for column in columns_of(churn)}
    asked = churn["horizons"][0]
    assert best_models(asked, columns["auroc"]) == {"good", "copy"}
    assert best_models(asked, columns["log_loss"]) == {"good", "copy"}
    alone = judged(outcomes, {"ours": good})
    assert best_models(horizon_of(alone, "churn"), columns["auroc"]) == set()


def test_where_nothing_came_nobody_is_best() -> None:
    """Every amount 0: the least error is that of who foresees least, and the table says why none is bold."""
    outcomes, good = case()
    nothing = replace(outcomes, values=dict(outcomes.values, spend=np.zeros(NUM, dtype=np.float32)))
    zero = replace(good, expected=dict(good.expected, spend=np.zeros(NUM)))
    result = judged(nothing, {"ours": good, "zero": zero})
    spend = next(target for target in result["targets"] if target["name"] == "spend")
    assert [best_models(spend["horizons"][0], column) for column in columns_of(spend)] == [set()] * 3
    assert "mean 0: nothing came" in shown(result)
    assert best_models(horizon_of(result, "orders"), AMOUNT_COLUMNS[2]) == {"ours", "zero"}


def test_ranking_of_nothing_is_nothing() -> None:
    """An empty order has no group."""
    ranking = Ranking.of(np.zeros(0))
    assert len(ranking.order) == len(ranking.starts) == 0
