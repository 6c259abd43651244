"""A result and a context for the report, with every part filled.

It deliberately renders nothing.
"""

from dataclasses import replace

import numpy as np

from builders import small_schema
from holdfast.schema import Schema
from training.evaluation import EvaluationResult, evaluate
from training.outcomes import Outcomes, Predictions
from training.report import DataFacts, ReportContext, SplitFacts

NUM = 200


def schema_of(*, horizons: tuple[int, ...] = (90,)) -> Schema:
    """Return the small schema with fewer horizons: every figure costs time."""
    schema = small_schema()
    churn, spend, _ = schema.targets
    return replace(schema, targets=(replace(churn, horizons_days=horizons), spend))


def result_of(
    *, models: tuple[str, ...] = ("sequence", "trees", "truth"), horizons: tuple[int, ...] = (90,)
) -> EvaluationResult:
    """Return the result of models that know more or less."""
    rng = np.random.default_rng(0)
    signal = rng.normal(size=NUM)
    gone = (rng.random((NUM, len(horizons))) < 1 / (1 + np.exp(2 * signal[:, None]))).astype(np.float32)
    spend = np.where(gone[:, -1] == 0, np.exp(3 + signal), 0).astype(np.float32)
    predictions = {}
    for at, name in enumerate(models):
        seen = signal + (0.1 if name == "truth" else 0.5 * (at + 1)) * rng.normal(size=NUM)
        probability = np.repeat(1 / (1 + np.exp(2 * seen))[:, None], len(horizons), axis=1)
        predictions[name] = Predictions(
            probability={"churn": probability}, expected={"spend": np.exp(2.5 + seen)}, median={}
        )
    return evaluate(
        schema_of(horizons=horizons),
        split="test",
        customer=np.arange(NUM),
        cutoff_us=np.full(NUM, 1_700_006_400_000_000),
        outcomes=Outcomes(happened={"churn": gone}, values={"spend": spend}),
        predictions=predictions,
        main=models[0],
        num_replicates=30,
    )


def bare_result() -> EvaluationResult:
    """Return a result in which nobody answered anything: a page without figures is quick to write."""
    result = result_of()
    for target in result["targets"]:
        for horizon in target["horizons"]:
            horizon["models"], horizon["differences"], horizon["mean"] = {}, {}, None
            horizon["num_unknown"], horizon["left_out"] = 5, {"trees": 2}
    return result


def context_of(**changes: object) -> ReportContext:
    """Return a context with every part filled."""
    split = SplitFacts(
        name="test",
        first_cutoff="2023-11-15T00:00Z",
        last_cutoff="2023-11-15T00:00Z",
        num_cutoffs=1,
        num_readouts=NUM,
        num_customers=NUM,
        rates={"churn, 90 days": "50 %"},
        num_unknown={"churn, 90 days": 3},
    )
    data = DataFacts(
        num_customers=400,
        num_events=9_000,
        first_event="2022-01-01T00:00Z",
        last_event="2024-02-13T12:30Z",
        event_types={"purchase": 8_000, "return": 1_000},
        table_rows={"events": 10_000},
        excluded={"events": {"no customer": 1_000}},
        notices={"exact duplicates, kept": 7},
        lengths=(("1", 100), ("2", 200), ("3 to 4", 100)),
        splits=(split,),
    )
    settings = {
        "title": "small shop",
        "schema": schema_of(),
        "data": data,
        "created_at": "2026-01-02T03:04Z",
        "revision": "abc1234",
        "versions": {"torch": "9.9"},
        "settings": {"seed": "7"},
        "training_curve": {"training": ((0, 0.7), (10, 0.6)), "validation": ((5, 0.65),)},
        "limits": ("Fitted in the spring alone.",),
    } | changes
    return ReportContext(**settings)


def interval(value: float | None, low: float | None = None, high: float | None = None) -> dict:
    """Return an interval."""
    return {"value": value, "low": low, "high": high}


def result_with(
    difference: tuple[float, float],
    *,
    form: str = "inactivity",
    truth: bool = False,
    total_ratio: float = 1.2,
) -> EvaluationResult:
    """Return a hand-made result with one churn and one spend question, and what differs to the others."""
    churn = {"auroc": interval(0.8), "lift_at_10": interval(1.5)}
    spend = {"normalised_gini": interval(0.7), "total_ratio": interval(total_ratio)}
    others = {"auroc": interval(0.75), "normalised_gini": interval(0.65)}

    def question(metrics: dict, metric: str, mean: float) -> dict:
        models = {
            "sequence": {"metrics": metrics, "curves": {"gains": [[0, 0], [0.1, 0.4], [1, 1]]}},
            "weak": {"metrics": {metric: interval(0.5)}, "curves": {}},
            "trees": {"metrics": others, "curves": {}},
        }
        if truth:
            models["truth"] = {"metrics": {metric: interval(0.9)}, "curves": {}}
        gap = {metric: interval(0.05, *difference)}
        return {
            "horizon_days": 90,
            "num_readouts": 1_000,
            "num_unknown": 0,
            "mean": mean,
            "models": models,
            "differences": {"trees": gap, "weak": gap},
            "left_out": {},
        }

    return {
        "main": "sequence",
        "cutoffs": [{"at": "2024-01-01T00:00Z", "num_readouts": 1_000}],
        "targets": [
            {
                "name": "churn",
                "kind": "time_to_event",
                "form": form,
                "unit": "",
                "horizons": [question(churn, "auroc", 0.4)],
            },
            {
                "name": "spend",
                "kind": "amount",
                "form": None,
                "unit": "EUR",
                "horizons": [question(spend, "normalised_gini", 25.0)],
            },
        ],
    }
