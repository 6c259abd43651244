"""Gradient-boosted trees (LightGBM): the baseline that everybody trusts.

It deliberately stops after a fixed number of rounds: a single validation cutoff measures mostly
the level of its day.
"""

from dataclasses import dataclass, field
from typing import Any

import lightgbm
import numpy as np
from jaxtyping import Float, Float64
from numpy import ndarray

from training.baselines.features import Categories, FeatureMatrix
from training.baselines.single import Amounts, Effort

DEFAULTS: dict[str, Any] = {
    "learning_rate": 0.03,
    "num_leaves": 15,
    "min_data_in_leaf": 100,
    "extra_trees": True,
    "feature_fraction": 0.5,
    "bagging_fraction": 0.8,
    "bagging_freq": 1,
    "lambda_l2": 10.0,
}
"""Of some twenty settings the best on average over validation cutoffs alone: three of Online Retail
II, three of BPI 2012, two of the simulated shop and one within CDNOW's first year (log loss and
Gini). Thresholds drawn at random help most where the level of a later date differs."""

TWEEDIE_POWER = 1.5


@dataclass(frozen=True, slots=True, kw_only=True)
class Boosted:
    """Fitted trees as plain values: LightGBM's own text, and which ids have a column.

    Attributes:
        text: What LightGBM writes and reads; its numbers have all their digits.
        categories: Their columns follow the values.
    """

    text: str = field(repr=False)
    categories: Categories
    booster: lightgbm.Booster = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        """Read the text."""
        object.__setattr__(self, "booster", lightgbm.Booster(model_str=self.text))

    def predict(self, features: FeatureMatrix) -> Float64[ndarray, " readout"]:
        """Return what the trees' objective predicts."""
        return np.asarray(self.booster.predict(_table(features, self.categories)), dtype=np.float64)


@dataclass(frozen=True, slots=True, kw_only=True)
class TreesProbability:
    """Fitted trees with a logistic link."""

    trees: Boosted

    def predict(self, features: FeatureMatrix) -> Float64[ndarray, " readout"]:
        """Return probabilities of 1."""
        return self.trees.predict(features)


@dataclass(frozen=True, slots=True, kw_only=True)
class TreesAmount:
    """Fitted trees for the log of the mean, others for the median, both in units of the training mean."""

    mean: Boosted
    median: Boosted
    unit: float

    def predict(self, features: FeatureMatrix) -> Amounts:
        """Return expected amounts and medians."""
        return Amounts(
            expected=self.unit * self.mean.predict(features),
            median=self.unit * np.maximum(self.median.predict(features), 0.0),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Trees:
    """Trees for both kinds of outcome.

    Attributes:
        num_rounds: How many for a probability.
        num_amount_rounds: How many for an amount, whose tail takes longer.
        parameters: Of LightGBM, beside :data:`DEFAULTS`.
    """

    num_rounds: int = 200
    num_amount_rounds: int = 300
    parameters: dict[str, Any] = field(default_factory=dict)

    def fit_probability(
        self, features: FeatureMatrix, happened: Float[ndarray, " readout"], effort: Effort
    ) -> TreesProbability:
        """Minimise log loss."""
        trees = self._boosted(features, happened, effort, self.num_rounds, objective="binary")
        return TreesProbability(trees=trees)

    def fit_amount(
        self, features: FeatureMatrix, values: Float[ndarray, " readout"], effort: Effort
    ) -> TreesAmount:
        """Minimise the Tweedie deviance for the mean, and the absolute error for the median."""
        unit = float(values.mean(dtype=np.float64))
        scaled = values.astype(np.float64) / unit
        mean = {"objective": "tweedie", "tweedie_variance_power": TWEEDIE_POWER}
        median = {"objective": "quantile", "alpha": 0.5}
        rounds = self.num_amount_rounds
        return TreesAmount(
            mean=self._boosted(features, scaled, effort, rounds, **mean),
            median=self._boosted(features, scaled, effort, rounds, **median),
            unit=unit,
        )

    def _boosted(
        self, features: FeatureMatrix, labels: ndarray, effort: Effort, num_rounds: int, **objective: Any
    ) -> Boosted:
        categories = Categories.fit(features)
        data = lightgbm.Dataset(
            _table(features, categories),
            np.ascontiguousarray(labels, dtype=np.float64),
            weight=features.relative_weights(),
            params={"verbosity": -1, "min_data_in_bin": 3},
        )
        # A leaf of a hundred needs thousands of readouts; on few ones leaves shrink with the data.
        smallest = min(DEFAULTS["min_data_in_leaf"], max(1, len(features) // 50))
        parameters = DEFAULTS | {
            "min_data_in_leaf": smallest,
            "seed": effort.seed,
            "num_threads": effort.threads,
            # The same trees on every run: histograms added up in another order differ in the last bits.
            "deterministic": True,
            "force_row_wise": True,
            "verbosity": -1,
        }
        booster = lightgbm.train(parameters | self.parameters | objective, data, num_boost_round=num_rounds)
        return Boosted(text=booster.model_to_string(), categories=categories)


def _table(features: FeatureMatrix, categories: Categories) -> ndarray:
    # float32, which LightGBM reads as it is: float64 holds the same values in twice the memory.
    return np.concatenate([features.values, categories.columns(features)], axis=1)
