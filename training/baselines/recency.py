"""How long ago the last event was, and nothing else: the oldest rule about who is gone.

It deliberately does not know the unit or scale of the recency feature: only its order counts.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Float64, Int64
from numpy import ndarray
from sklearn.isotonic import IsotonicRegression

from training.baselines.features import FeatureMatrix
from training.baselines.single import Amounts, Effort

NUM_STEPS = 100
NUM_DECILES = 10
PRIOR_READOUTS = 5.0
"""Every step starts with this many readouts at the overall rate, so that no rate is 0 or 1."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StepFunction:
    """One value per range of a column.

    Attributes:
        column: Name of the column.
        edges: Ascending; the first range lies below the first edge.
        values: One per range.
    """

    column: str
    edges: Float64[ndarray, " edge"]
    values: Float64[ndarray, " edge_plus_1"]

    def predict(self, features: FeatureMatrix) -> Float64[ndarray, " readout"]:
        """Return the value of every readout's range."""
        return self.values[steps_of(features.column(self.column), self.edges)]


@dataclass(frozen=True, slots=True, kw_only=True)
class StepAmounts:
    """Mean and median amount per range."""

    mean: StepFunction
    median: StepFunction

    def predict(self, features: FeatureMatrix) -> Amounts:
        """Return those of every readout's range."""
        return Amounts(expected=self.mean.predict(features), median=self.median.predict(features))


@dataclass(frozen=True, slots=True, kw_only=True)
class Recency:
    """Isotonic steps of recency for probabilities, deciles of it for amounts."""

    column: str = "recency_days"

    def fit_probability(
        self, features: FeatureMatrix, happened: Float[ndarray, " readout"], effort: Effort
    ) -> StepFunction:
        """Fit a rate that rises (or falls, whichever fits better) with recency."""
        del effort
        recency = features.column(self.column)
        edges = edges_of(recency, NUM_STEPS)
        step = steps_of(recency, edges)
        count = np.bincount(step, minlength=len(edges) + 1).astype(np.float64)
        total = np.bincount(step, weights=happened.astype(np.float64), minlength=len(edges) + 1)
        rate = (total + PRIOR_READOUTS * happened.mean(dtype=np.float64)) / (count + PRIOR_READOUTS)
        position = np.arange(len(rate), dtype=np.float64)
        is_rising = np.cov(position, rate, aweights=count)[0, 1] >= 0 if len(rate) > 1 else True
        steps = IsotonicRegression(increasing=bool(is_rising)).fit_transform(
            position, rate, sample_weight=count
        )
        return StepFunction(column=self.column, edges=edges, values=steps)

    def fit_amount(
        self, features: FeatureMatrix, values: Float[ndarray, " readout"], effort: Effort
    ) -> StepAmounts:
        """Take mean and median per decile of recency."""
        del effort
        recency, amounts = features.column(self.column), values.astype(np.float64)
        edges = edges_of(recency, NUM_DECILES)
        step = steps_of(recency, edges)
        parts = [amounts[step == index] for index in range(len(edges) + 1)]
        means = np.array([part.mean() for part in parts])
        medians = np.array([np.median(part) for part in parts])
        return StepAmounts(
            mean=StepFunction(column=self.column, edges=edges, values=means),
            median=StepFunction(column=self.column, edges=edges, values=medians),
        )


def edges_of(column: Float[ndarray, " readout"], num_steps: int) -> Float64[ndarray, " edge"]:
    """Return edges between about equally many readouts; every range between them holds some."""
    quantiles = np.quantile(column.astype(np.float64), np.arange(1, num_steps) / num_steps, method="higher")
    edges = np.unique(quantiles)
    return edges[edges > column.min()]


def steps_of(
    column: Float[ndarray, " readout"], edges: Float64[ndarray, " edge"]
) -> Int64[ndarray, " readout"]:
    """Return the range of every value; an edge belongs to the range above it."""
    return np.searchsorted(edges, column.astype(np.float64), side="right")
