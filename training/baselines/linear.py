"""Logistic regression for probabilities, Tweedie regression for amounts.

It deliberately makes no feature of its own beyond a column per common category.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Float64
from numpy import ndarray
from scipy.special import expit
from sklearn.linear_model import LogisticRegression, TweedieRegressor
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]  # it ships no types

from training.baselines.features import Categories, FeatureMatrix, sampled_rows
from training.baselines.single import Amounts, Effort

MOST_READOUTS = 200_000
"""Fitted on a random sample of this many readouts: a few hundred weights need no more."""

MOST_STANDARD_DEVIATIONS = 4.0
TWEEDIE_POWER = 1.5


@dataclass(frozen=True, slots=True, kw_only=True)
class Design:
    """Standardised columns, cut where training ends, and one column per common category.

    Attributes:
        mean: Of every value column.
        std: Of every value column; 1 where it is constant.
        categories: Have a column of their own.
    """

    mean: tuple[float, ...]
    std: tuple[float, ...]
    categories: Categories

    @classmethod
    def fit(cls, features: FeatureMatrix) -> "Design":
        """Take scales and common categories from training readouts."""
        std = features.values.std(axis=0, dtype=np.float64)
        return cls(
            mean=tuple(features.values.mean(axis=0, dtype=np.float64).tolist()),
            std=tuple(np.where(std > 0, std, 1.0).tolist()),
            categories=Categories.fit(features),
        )

    def columns(self, features: FeatureMatrix) -> Float64[ndarray, "readout column"]:
        """Return the regressors."""
        # In place: of 200,000 readouts every further copy is a quarter of a gigabyte.
        num = len(self.mean)
        made = np.empty((len(features), num + len(self.categories.pairs)))
        made[:, num:] = self.categories.columns(features)
        scaled = made[:, :num]
        scaled[:] = features.values
        scaled -= np.array(self.mean)
        scaled /= np.array(self.std)
        # A straight line is not to be trusted beyond what it was fitted on.
        np.clip(scaled, -MOST_STANDARD_DEVIATIONS, MOST_STANDARD_DEVIATIONS, out=scaled)
        return made


@dataclass(frozen=True, slots=True, kw_only=True)
class LinearProbability:
    """A fitted logistic regression, as plain values."""

    design: Design
    weights: tuple[float, ...]
    intercept: float

    def predict(self, features: FeatureMatrix) -> Float64[ndarray, " readout"]:
        """Return probabilities of 1."""
        probability: ndarray = expit(self.design.columns(features) @ np.array(self.weights) + self.intercept)
        return probability


@dataclass(frozen=True, slots=True, kw_only=True)
class LinearAmount:
    """A fitted Tweedie regression, log-linear, in units of the training mean, as plain values.

    Attributes:
        design: Makes the regressors.
        weights: Of the regressors.
        intercept: Beside them.
        unit: Training mean.
        most: Largest amount seen in training: predictions are cut there.
    """

    design: Design
    weights: tuple[float, ...]
    intercept: float
    unit: float
    most: float

    def predict(self, features: FeatureMatrix) -> Amounts:
        """Return expected amounts; a mean alone has no median."""
        logs = self.design.columns(features) @ np.array(self.weights) + self.intercept
        expected = self.unit * np.exp(np.minimum(logs, np.log(self.most / self.unit)))
        return Amounts(expected=expected, median=None)


@dataclass(frozen=True, slots=True, kw_only=True)
class Linear:
    """Both regressions.

    The defaults are the best on average of four and more over validation cutoffs alone: three of Online
    Retail II, three of BPI 2012, three within CDNOW's first year and one of the simulated shop. Counts
    over nested windows say nearly the same; with less of a penalty their weights cancel each other in
    training, and no longer at a later cutoff, where histories are longer.

    Attributes:
        inverse_penalty: ``C`` of the logistic regression.
        penalty: ``alpha`` of the Tweedie regression.
    """

    inverse_penalty: float = 0.003
    penalty: float = 0.03

    def fit_probability(
        self, features: FeatureMatrix, happened: Float[ndarray, " readout"], effort: Effort
    ) -> LinearProbability:
        """Fit by Newton's method, which needs no tuning of steps."""
        rows = sampled_rows(len(features), most=MOST_READOUTS, seed=effort.seed)
        features, happened = features.take(rows), happened[rows]
        design = Design.fit(features)
        model = LogisticRegression(C=self.inverse_penalty, solver="newton-cholesky", max_iter=200)
        with threadpool_limits(effort.threads):
            model.fit(design.columns(features), happened > 0.5, sample_weight=features.relative_weights())
        return LinearProbability(
            design=design, weights=tuple(model.coef_[0].tolist()), intercept=float(model.intercept_[0])
        )

    def fit_amount(
        self, features: FeatureMatrix, values: Float[ndarray, " readout"], effort: Effort
    ) -> LinearAmount:
        """Fit a compound Poisson-gamma with a log link: mass at 0 and a long tail."""
        rows = sampled_rows(len(features), most=MOST_READOUTS, seed=effort.seed)
        features, amounts = features.take(rows), values[rows].astype(np.float64)
        design, unit = Design.fit(features), float(amounts.mean())
        model = TweedieRegressor(
            power=TWEEDIE_POWER, link="log", alpha=self.penalty, solver="newton-cholesky", max_iter=200
        )
        with threadpool_limits(effort.threads):
            model.fit(design.columns(features), amounts / unit, sample_weight=features.relative_weights())
        return LinearAmount(
            design=design,
            weights=tuple(model.coef_.tolist()),
            intercept=float(model.intercept_),
            unit=unit,
            most=float(amounts.max()),
        )
