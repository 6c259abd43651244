"""A result and a context for the report, with every part filled.

It deliberately renders nothing.
"""

from dataclasses import replace

import numpy as np

from builders import small_schema
from holdfast.schema import Schema
from training.evaluation import EvaluationResult, evaluate
from training.evaluation.closer import GroupResult, TargetLook
from training.evaluation.typical import TypicalCurve
from training.outcomes import Outcomes, Predictions
from training.report import DataFacts, ReportContext, SplitFacts
from training.report.context import CutoffFacts, Eligibility

NUM = 200


def schema_of(*, horizons: tuple[int, ...] = (90,)) -> Schema:
    """Return the small schema with fewer horizons: every figure costs time."""
    schema = small_schema()
    churn, spend, _ = schema.targets
    return replace(schema, targets=(replace(churn, horizons_days=horizons), spend))


def result_of(
    *,
    models: tuple[str, ...] = ("sequence", "trees", "truth"),
    horizons: tuple[int, ...] = (90,),
    looks: list[TargetLook] | None = None,
    num_replicates: int = 30,
    has_spend: bool = True,
) -> EvaluationResult:
    """Return the result of models that know more or less; without spend, nothing came of it."""
    rng = np.random.default_rng(0)
    signal = rng.normal(size=NUM)
    gone = (rng.random((NUM, len(horizons))) < 1 / (1 + np.exp(2 * signal[:, None]))).astype(np.float32)
    spend = np.where((gone[:, -1] == 0) & has_spend, np.exp(3 + signal), 0).astype(np.float32)
    predictions = {}
    for at, name in enumerate(models):
        seen = signal + (0.1 if name == "truth" else 0.5 * (at + 1)) * rng.normal(size=NUM)
        probability = np.repeat(1 / (1 + np.exp(2 * seen))[:, None], len(horizons), axis=1)
        predictions[name] = Predictions(
            probability={"churn": probability}, expected={"spend": np.exp(2.5 + seen)}, median={}
        )
    result = evaluate(
        schema_of(horizons=horizons),
        split="test",
        customer=np.arange(NUM),
        cutoff_us=np.full(NUM, 1_700_006_400_000_000),
        outcomes=Outcomes(happened={"churn": gone}, values={"spend": spend}),
        predictions=predictions,
        main=models[0],
        num_replicates=num_replicates,
    )
    if looks:
        result["closer"] = looks
    return result


def look_of(target: str, *, num_cutoffs: int = 2, is_weak: bool = True) -> TargetLook:
    """Return a hand-made closer look with two divisions, one weak group and one too small to judge."""
    order, level = ("auroc", "gap") if target == "churn" else ("normalised_gini", "total_ratio")

    def metrics(value: float) -> dict:
        off = 0.1 if target == "churn" else 1.2
        return {
            order: interval(value, value - 0.05, value + 0.05),
            level: interval(off, off - 0.05, off + 0.05),
        }

    def group(name: str, value: float | None) -> GroupResult:
        found = {} if value is None else metrics(value)
        return {
            "name": name,
            "num_readouts": 150,
            "num_customers": 150,
            "mean": 0.4,
            "predicted": 0.5,
            "metrics": found,
        }

    curves: list[TypicalCurve] = [
        {
            "kind": kind,
            "name": name,
            "meaning": "bought a lot",
            "num_readouts": 60,
            "days": [0.0, 45.0, 90.0],
            "predicted": [1.0, 0.6, 0.4],
            "observed": [1.0, None, 0.5],
        }
        for kind, name in (("customers", "frequent"), ("risk", "highest risk"), ("risk", "lowest risk"))
    ]
    return {
        "name": target,
        "horizon_days": 90,
        "whole": metrics(0.8),
        "groupings": [
            {
                "title": "orders so far",
                "groups": [group("1", 0.6), group("over 1", 0.85), group("over 9", None)],
            },
            {"title": "country", "groups": [group("NL", 0.8), group("a_country_with_a_long_name", 0.75)]},
        ],
        "num_compared": 4,
        "weakest": [
            {"metric": metric, "grouping": "orders so far", "group": "1", "value": value, "whole": 0.8}
            for metric, value in ((order, 0.6), (level, 0.1))
            if is_weak
        ],
        "cutoffs": [
            {
                "at": f"2023-11-{day}T00:00Z",
                "num_readouts": 100,
                "mean": 0.4,
                "predicted": 0.5,
                "models": {"sequence": metrics(0.8), "trees": metrics(0.7)},
            }
            for day in (15, 22, 23, 24, 25)[:num_cutoffs]
        ],
        "typical": curves if target == "churn" else [],
    }


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
        by_cutoff=tuple(
            CutoffFacts(at=f"2023-{month}-15T00:00Z", num_readouts=100, means={"churn": 0.5, "spend": 30.0})
            for month in (10, 11)
        ),
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
        over_time=tuple((f"2023-{month}-01", {"purchase": month, "return": 1}) for month in (10, 11, 12)),
        eligibility=Eligibility(
            at="2023-11-15T00:00Z", num_known=400, num_ended=20, num_quiet=180, num_eligible=NUM
        ),
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
    """Return a hand-made result with one churn and one spend question."""
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
                "event_types": ["purchase"],
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


def comparison_of(
    *, cutoffs: tuple[str, ...] = ("2011-06-12T00:00:00Z", "2011-03-14T00:00:00.000000Z")
) -> dict:
    """Return a comparison as ``training.compare`` writes it, of two models over two seeds."""

    def figure(value: float, spread: float | None) -> dict:
        return {"value": value, "spread": spread, "low": value - 0.02, "high": value + 0.02}

    def block(own: float, other: float, metrics: tuple[str, str]) -> dict:
        return {
            "num_readouts": 100,
            "num_unknown": 0,
            "mean": 0.4,
            "models": {
                "sequence": {metric: figure(own, 0.003) for metric in metrics},
                "trees": {metric: figure(other, 0.0) for metric in metrics},
            },
            "differences": {},
            "left_out": {"btyd": 7},
        }

    def target(name: str, kind: str, metrics: tuple[str, str]) -> dict:
        blocks = [block(0.7 + 0.1 * at, 0.75, metrics) for at in range(len(cutoffs))]
        horizon = {
            "horizon_days": 90,
            "overall": block(0.75, 0.78, metrics),
            "cutoffs": [
                own | {"origin": at, "cutoff": time}
                for at, (own, time) in enumerate(zip(blocks, cutoffs, strict=True))
            ],
        }
        return {"name": name, "kind": kind, "form": None, "unit": "", "horizons": [horizon]}

    return {
        "form": 1,
        "data": "small shop",
        "split": "test",
        "judged": ["sequence"],
        "models": ["sequence", "trees"],
        "seeds": [1, 2],
        "origins": [{"validation": [], "test": [cutoff]} for cutoff in cutoffs],
        "targets": [
            target("churn", "time_to_event", ("auroc", "log_loss")),
            target("spend", "amount", ("normalised_gini", "total_ratio")),
        ],
        "summary": ["sequence is worse than trees."],
    }
