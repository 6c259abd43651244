"""The result of an evaluation: every model on the same readouts, as plain values for JSON.

It deliberately does not know how predictions were made, and draws nothing:
:mod:`training.evaluation.table` shows a result on the terminal, :mod:`training.report` as a page.
"""

from collections.abc import Mapping
from typing import Any, Literal, NotRequired, TypedDict

import numpy as np
from jaxtyping import Int64
from numpy import ndarray

from holdfast.errors import ConfigError
from holdfast.schema import Schema, Target
from training.evaluation.closer import TargetLook
from training.evaluation.questions import (
    TRUTH,
    Interval,
    Question,
    interval_of,
    known,
    plain,
    shares_of_best,
    unit_of,
)
from training.metrics.bootstrap import CONFIDENCE, Bootstrap, num_replicates_for
from training.metrics.curves import decile_rows, gains_points, reliability_bins, roc_points
from training.outcomes import Outcomes, Predictions
from training.splits import iso

FORM = 1


class ModelResult(TypedDict):
    """One model on one question.

    ``metrics`` are those of :mod:`training.metrics`, and where the truth is known
    ``share_of_best_auroc`` (AUROC over that of the truth), ``share_of_best_above_chance`` (the
    same after taking off .5) or ``share_of_best_gini``. ``curves`` are points to draw: ``roc``,
    ``gains``, ``reliability`` of a probability, ``gains`` and ``deciles`` of an amount.
    """

    metrics: dict[str, Interval]
    curves: dict[str, list[Any]]


class HorizonResult(TypedDict):
    """One question: a target within a horizon.

    ``mean`` is the mean label: the base rate of a probability, the mean amount. ``differences``
    are the main model minus each other one, on resampled customers alike. ``left_out`` names
    models that did not answer every readout, with the number of unanswered ones.
    """

    horizon_days: int
    num_readouts: int
    num_unknown: int
    mean: float | None
    models: dict[str, ModelResult]
    differences: dict[str, dict[str, Interval]]
    left_out: dict[str, int]


class TargetResult(TypedDict):
    """One target at all of its horizons; ``unit`` is a currency, a field's unit or empty.

    ``event_types`` are those it awaits, none meaning any; older results do not have them.
    """

    name: str
    kind: Literal["time_to_event", "amount", "count"]
    form: str | None
    unit: str
    horizons: list[HorizonResult]
    event_types: NotRequired[list[str]]


class CutoffCount(TypedDict):
    """How many readouts one cutoff has."""

    at: str
    num_readouts: int


class EvaluationResult(TypedDict):
    """Everything that an evaluation says; ``json.dumps(..., allow_nan=False)`` takes it."""

    form: int
    split: str
    main: str
    models: list[str]
    num_readouts: int
    num_customers: int
    cutoffs: list[CutoffCount]
    num_replicates: int
    confidence: float
    targets: list[TargetResult]
    seconds: NotRequired[float]
    closer: NotRequired[list[TargetLook]]


def evaluate(
    schema: Schema,
    *,
    split: str,
    customer: Int64[ndarray, " readout"],
    cutoff_us: Int64[ndarray, " readout"],
    outcomes: Outcomes,
    predictions: Mapping[str, Predictions],
    main: str,
    num_replicates: int | None = None,
    seed: int = 0,
) -> EvaluationResult:
    """Judge models on the same readouts.

    Args:
        schema: The targets.
        split: Name of the split, for people.
        customer: Of every readout: intervals resample customers.
        cutoff_us: Of every readout.
        outcomes: What came; unknown ones are left out, question by question, and counted.
        predictions: Of every model by name, in the order of tables; ``truth`` is the simulator's.
            A target that a model does not answer is left out there.
        main: The model that the others are compared with.
        num_replicates: Resamples of the bootstrap; None chooses by the number of readouts.
        seed: Of the resamples.

    Returns:
        The result.

    Raises:
        ConfigError: ``main`` is not among the models, or there is no readout.
    """
    if main not in predictions:
        raise ConfigError("evaluation.main", main, f"the models are {list(predictions)}")
    if not len(customer):
        raise ConfigError(f"evaluation.{split}", 0, "at least one readout is needed")
    chosen = num_replicates_for(len(customer)) if num_replicates is None else num_replicates
    times, counts = np.unique(cutoff_us, return_counts=True)
    targets = []
    for target in schema.targets:
        asked = [
            _answered(
                target, at, customer, outcomes, predictions, main=main, num_replicates=chosen, seed=seed
            )
            for at in range(len(target.horizons_days))
        ]
        targets.append(
            TargetResult(
                name=target.name,
                kind=target.kind,
                form=target.form,
                unit=unit_of(schema, target),
                horizons=asked,
                event_types=list(target.event_types),
            )
        )
    return EvaluationResult(
        form=FORM,
        split=split,
        main=main,
        models=list(predictions),
        num_readouts=len(customer),
        num_customers=len(np.unique(customer)),
        cutoffs=[
            CutoffCount(at=iso(int(time)), num_readouts=int(count))
            for time, count in zip(times, counts, strict=True)
        ],
        num_replicates=chosen,
        confidence=CONFIDENCE,
        targets=targets,
    )


def _answered(
    target: Target,
    at: int,
    customer: ndarray,
    outcomes: Outcomes,
    predictions: Mapping[str, Predictions],
    *,
    main: str,
    num_replicates: int,
    seed: int,
) -> HorizonResult:
    question, is_known = Question.of(target, at, outcomes, predictions), known(target, at, outcomes)
    labels = question.labels
    result = HorizonResult(
        horizon_days=target.horizons_days[at],
        num_readouts=len(labels),
        num_unknown=int((~is_known).sum()),
        mean=plain(labels.mean()) if len(labels) else None,
        models={},
        differences={},
        left_out=dict(question.left_out),
    )
    if not len(labels):
        return result
    bootstrap = Bootstrap(customer[is_known], num_replicates=num_replicates, seed=seed)
    samples = {name: question.samples(name, bootstrap) for name in question.predicted}
    for name, own in samples.items():
        shares = shares_of_best(own, samples[TRUTH]) if TRUTH in samples and name != TRUTH else {}
        metrics = {metric: interval_of(metric, sample) for metric, sample in (own | shares).items()}
        result["models"][name] = ModelResult(metrics=metrics, curves=_curves(question, name))
    for name, other in samples.items():
        if main in samples and name != main:
            common = [metric for metric in samples[main] if metric in other]
            result["differences"][name] = {
                metric: interval_of(metric, samples[main][metric].minus(other[metric]), is_difference=True)
                for metric in common
            }
    return result


def _curves(question: Question, name: str) -> dict[str, list[Any]]:
    labels, predicted = question.labels, question.predicted[name]
    if question.target.kind == "time_to_event":
        return {
            "roc": roc_points(labels, predicted),
            "gains": gains_points(labels, predicted),
            "reliability": reliability_bins(labels, predicted),
        }
    return {"gains": gains_points(labels, predicted), "deciles": decile_rows(labels, predicted)}
