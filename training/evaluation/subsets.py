"""One target at its longest horizon, judged on some of its readouts, resampled as the whole is.

It deliberately does not know which readouts: groups of customers and single cutoffs are judged alike.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool
from numpy import ndarray

from holdfast.schema import Target
from training.evaluation.questions import Interval
from training.metrics.amount import amount_metrics
from training.metrics.bootstrap import Bootstrap, Sample
from training.metrics.probability import probability_metrics
from training.metrics.ranking import ratio
from training.outcomes import Outcomes, Predictions

FEWEST_READOUTS = 100
FEWEST_OF_EACH = 20
"""Below, an interval is too wide to tell anything."""

METRICS = {"time_to_event": ("auroc", "gap"), "amount": ("normalised_gini", "total_ratio")}
"""By kind of target: how well it orders among some readouts, and whether its level is right there.
``gap`` is the mean prediction minus the share to whom it happened."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Known:
    """The readouts whose label is known, with every model that answered all of them.

    Attributes:
        target: What is asked, at its longest horizon.
        is_known: Among all readouts.
        customer: Of the known ones, like everything that follows.
        labels: 0 or 1, or an amount.
        predicted: By model.
    """

    target: Target
    is_known: Bool[ndarray, " readout"]
    customer: ndarray
    labels: ndarray
    predicted: Mapping[str, ndarray]

    @classmethod
    def of(
        cls, target: Target, outcomes: Outcomes, predictions: Mapping[str, Predictions], customer: ndarray
    ) -> "Known":
        """Take what is known of a target of a kind that is in :data:`METRICS`."""
        is_timed = target.kind == "time_to_event"
        labels = outcomes.happened[target.name][:, -1] if is_timed else outcomes.values[target.name]
        is_known = ~np.isnan(labels)
        predicted = {}
        for name, said in predictions.items():
            answers: Mapping[str, ndarray] = said.probability if is_timed else said.expected
            if target.name in answers:
                answer = answers[target.name][:, -1] if is_timed else answers[target.name]
                if np.isfinite(answer[is_known]).all():
                    predicted[name] = answer[is_known].astype(np.float64)
        return cls(
            target=target,
            is_known=is_known,
            customer=customer[is_known],
            labels=labels[is_known].astype(np.float64),
            predicted=predicted,
        )

    def samples(self, name: str, rows: ndarray, bootstrap: Bootstrap) -> dict[str, Sample]:
        """Return a model's metrics on some rows, resampled as the whole is."""
        labels, predicted = self.labels[rows], self.predicted[name][rows]

        def metrics(weights: ndarray) -> dict[str, ndarray]:
            weights = weights[:, rows]
            if self.target.kind == "amount":
                found = amount_metrics(labels, predicted, None, weights)
            else:
                found = dict(probability_metrics(labels, predicted, weights))
                found["gap"] = ratio(weights @ (predicted - labels), weights.sum(axis=-1))
            return {metric: found[metric] for metric in METRICS[self.target.kind]}

        return bootstrap.samples(metrics)

    def is_enough(self, rows: ndarray) -> bool:
        """Return whether some rows hold enough cases of both kinds to say anything."""
        num_positive = int((self.labels[rows] > 0).sum())
        num = len(self.labels[rows])
        fewest = min(num_positive, num - num_positive) if self.target.kind != "amount" else num_positive
        return num >= FEWEST_READOUTS and fewest >= FEWEST_OF_EACH


def intervals(samples: Mapping[str, Sample]) -> dict[str, Interval]:
    """Return values with their intervals, None where one is not defined."""
    found: dict[str, Interval] = {}
    for metric, sample in samples.items():
        estimate = sample.estimate()
        value, low, high = (
            float(number) if np.isfinite(number) else None
            for number in (estimate.value, estimate.low, estimate.high)
        )
        found[metric] = {"value": value, "low": low, "high": high}
    return found
