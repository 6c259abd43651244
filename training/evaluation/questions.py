"""One question, a target within a horizon, to its metrics with resamples.

It deliberately does not know splits, seeds or tables: :mod:`training.evaluation.result` asks for
one run, :mod:`training.comparison` for many.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypedDict

import numpy as np
from jaxtyping import Bool, Float64
from numpy import ndarray

from holdfast.schema import Schema, Target
from training.metrics.amount import amount_metrics
from training.metrics.bootstrap import Bootstrap, IntervalKind, Sample
from training.metrics.probability import probability_metrics
from training.outcomes import Outcomes, Predictions

TRUTH = "truth"
"""Name of the model that knows what the simulator knows."""

RAISED = frozenset({"calibration_error", "decile_mape"})
"""Sums of absolute errors, which resampling raises about as much as sampling had done before."""


class Interval(TypedDict):
    """A value with its 95 % interval; None where it is not defined."""

    value: float | None
    low: float | None
    high: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """Labels and predictions of one target and horizon, on readouts where the label is known.

    Attributes:
        target: Which one.
        labels: What came.
        predicted: By model.
        median: By model that has one.
        upper: Likewise what only a tenth exceeds.
        left_out: Models that did not answer every readout, with the number of unanswered ones.
    """

    target: Target
    labels: Float64[ndarray, " known"]
    predicted: Mapping[str, Float64[ndarray, " known"]]
    median: Mapping[str, Float64[ndarray, " known"]]
    upper: Mapping[str, Float64[ndarray, " known"]]
    left_out: Mapping[str, int]

    @classmethod
    def of(
        cls, target: Target, at: int, outcomes: Outcomes, predictions: Mapping[str, Predictions]
    ) -> "Question":
        """Take one target and horizon out of outcomes and predictions.

        Args:
            target: Which target.
            at: Position of the horizon.
            outcomes: Unknown ones (NaN) are left out.
            predictions: By model; a target that a model does not answer is skipped there.
        """
        is_known = known(target, at, outcomes)
        predicted, left_out = {}, {}
        quantiles: dict[str, dict[str, ndarray]] = {"median": {}, "upper": {}}
        for name, said in predictions.items():
            if target.name in said.probability:
                answer = said.probability[target.name][:, at]
            elif target.name in said.expected:
                answer = said.expected[target.name]
            else:
                continue
            num_missing = int((~np.isfinite(answer[is_known])).sum())
            if num_missing:
                left_out[name] = num_missing
                continue
            predicted[name] = answer[is_known].astype(np.float64)
            for kind, found in quantiles.items():
                answers = getattr(said, kind)
                if target.name in answers:
                    found[name] = answers[target.name][is_known].astype(np.float64)
        labels = labels_of(target, at, outcomes)[is_known].astype(np.float64)
        return cls(target=target, labels=labels, predicted=predicted, **quantiles, left_out=left_out)

    def samples(self, name: str, bootstrap: Bootstrap, rows: ndarray | None = None) -> dict[str, Sample]:
        """Return the metrics of one model, on the data and on every resample.

        Args:
            name: Of the model.
            bootstrap: Over customers.
            rows: Which of the bootstrap's readouts the known ones are; None: all of them.
        """
        labels, predicted = self.labels, self.predicted[name]
        if self.target.kind == "time_to_event":
            return bootstrap.samples(lambda weights: probability_metrics(labels, predicted, weights), rows)
        median, upper = self.median.get(name), self.upper.get(name)
        return bootstrap.samples(
            lambda weights: amount_metrics(labels, predicted, median, weights, upper=upper), rows
        )


def labels_of(target: Target, at: int, outcomes: Outcomes) -> ndarray:
    """Return what came, NaN where it is not known."""
    return (
        outcomes.happened[target.name][:, at]
        if target.name in outcomes.happened
        else outcomes.values[target.name]
    )


def known(target: Target, at: int, outcomes: Outcomes) -> Bool[ndarray, " readout"]:
    """Return which readouts' outcomes are known."""
    return ~np.isnan(labels_of(target, at, outcomes))


def shares_of_best(own: Mapping[str, Sample], best: Mapping[str, Sample]) -> dict[str, Sample]:
    """Return how much of what the truth reaches a model reaches; see :class:`ModelResult`."""
    if "auroc" in own:
        return {
            "share_of_best_auroc": _share(own["auroc"], best["auroc"], 0.0),
            "share_of_best_above_chance": _share(own["auroc"], best["auroc"], 0.5),
        }
    return {"share_of_best_gini": _share(own["normalised_gini"], best["normalised_gini"], 0.0)}


def interval_of(metric: str, sample: Sample, *, is_difference: bool = False) -> Interval:
    """Return a metric, or the difference of two models in it, with the interval that suits it."""
    raised: IntervalKind = "basic" if is_difference else "squared"
    estimate = sample.estimate(raised if metric in RAISED else "percentile")
    return Interval(value=plain(estimate.value), low=plain(estimate.low), high=plain(estimate.high))


def plain(value: float) -> float | None:
    """Return a number for JSON; None where it is not defined."""
    return float(value) if np.isfinite(value) else None


def unit_of(schema: Schema, target: Target) -> str:
    """Return what an amount is counted in: the currency, the field's unit, or nothing."""
    field = next((field for field in schema.fields if field.name == target.field), None)
    if field is None:
        return ""
    return schema.currency if field.kind == "money" else field.unit


def _share(own: Sample, best: Sample, start: float) -> Sample:
    values = np.concatenate([[own.value], own.replicates]) - start
    bests = np.concatenate([[best.value], best.replicates]) - start
    shares = np.divide(values, bests, out=np.full(len(values), np.nan), where=bests > 0)
    return Sample(value=float(shares[0]), replicates=shares[1:])
