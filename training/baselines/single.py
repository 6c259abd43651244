"""What fits one outcome: a probability, or an amount that is not negative.

It deliberately does not know targets and horizons: :mod:`training.baselines.targetwise` asks
once for each.
"""

from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float, Float64
from numpy import ndarray

from training.baselines.features import FeatureMatrix


@dataclass(frozen=True, slots=True, kw_only=True)
class Effort:
    """What fitting may use.

    Attributes:
        seed: Of everything drawn.
        threads: Of the libraries underneath.
    """

    seed: int
    threads: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Amounts:
    """Predicted amounts.

    Attributes:
        expected: Means.
        median: Medians, or None from a model that has none.
    """

    expected: Float64[ndarray, " readout"]
    median: Float64[ndarray, " readout"] | None


@runtime_checkable
class ProbabilityModel(Protocol):
    """A fitted probability of 1."""

    def predict(self, features: FeatureMatrix) -> Float64[ndarray, " readout"]:
        """Return one probability per readout."""


@runtime_checkable
class AmountModel(Protocol):
    """A fitted amount."""

    def predict(self, features: FeatureMatrix) -> Amounts:
        """Return amounts of 0 or more."""


@runtime_checkable
class Family(Protocol):
    """How one baseline fits both kinds of outcome."""

    def fit_probability(
        self, features: FeatureMatrix, happened: Float[ndarray, " readout"], effort: Effort
    ) -> ProbabilityModel:
        """Fit on outcomes of 0 and 1, both of which are there."""

    def fit_amount(
        self, features: FeatureMatrix, values: Float[ndarray, " readout"], effort: Effort
    ) -> AmountModel:
        """Fit on amounts, some of which are positive."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ConstantProbability:
    """The same for everybody: all that one class, or no known outcome (NaN), allows to say."""

    probability: float

    def predict(self, features: FeatureMatrix) -> Float64[ndarray, " readout"]:
        """Return it for every readout."""
        return np.full(len(features), self.probability)


@dataclass(frozen=True, slots=True, kw_only=True)
class ConstantAmount:
    """The same for everybody: all that nobody's spending anything allows to say."""

    amount: float

    def predict(self, features: FeatureMatrix) -> Amounts:
        """Return it for every readout."""
        amounts = np.full(len(features), self.amount)
        return Amounts(expected=amounts, median=amounts)
