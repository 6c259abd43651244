"""Logistic regression for probabilities, Tweedie regression for amounts.

It deliberately makes no feature of its own beyond a column per common category.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Float64
from numpy import ndarray
from sklearn.linear_model import LogisticRegression, TweedieRegressor
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]  # it ships no types

from training.baselines.features import FeatureMatrix, sampled_rows
from training.baselines.single import Amounts, Effort

MOST_READOUTS = 200_000
"""Fitted on a random sample of this many readouts: a few hundred weights need no more."""

SMALLEST_CATEGORY = 50
MOST_STANDARD_DEVIATIONS = 4.0
TWEEDIE_POWER = 1.5


@dataclass(frozen=True, slots=True, kw_only=True)
class Design:
    """Standardised columns, cut where training ends, and one column per common category.

    Attributes:
        mean: Of every value column.
        std: Of every value column; 1 where it is constant.
        categories: Per id column, the ids that have a column.
    """

    mean: Float64[ndarray, " feature"]
    std: Float64[ndarray, " feature"]
    categories: tuple[tuple[int, ...], ...]

    @classmethod
    def fit(cls, features: FeatureMatrix) -> "Design":
        """Take scales and common categories from training readouts."""
        std = features.values.std(axis=0, dtype=np.float64)
        categories = []
        for column in features.ids.T:
            ids, counts = np.unique(column, return_counts=True)
            categories.append(tuple(int(i) for i in ids[counts >= SMALLEST_CATEGORY]))
        return cls(
            mean=features.values.mean(axis=0, dtype=np.float64),
            std=np.where(std > 0, std, 1.0),
            categories=tuple(categories),
        )

    def columns(self, features: FeatureMatrix) -> Float64[ndarray, "readout column"]:
        """Return the regressors."""
        scaled = (features.values - self.mean) / self.std
        # A straight line is not to be trusted beyond what it was fitted on.
        scaled = np.clip(scaled, -MOST_STANDARD_DEVIATIONS, MOST_STANDARD_DEVIATIONS)
        wanted = zip(features.ids.T, self.categories, strict=True)
        is_category = [column == category for column, categories in wanted for category in categories]
        return np.column_stack([scaled, *is_category]).astype(np.float64)


@dataclass(frozen=True, slots=True, kw_only=True)
class LinearProbability:
    """A fitted logistic regression."""

    design: Design
    model: LogisticRegression

    def predict(self, features: FeatureMatrix) -> Float64[ndarray, " readout"]:
        """Return probabilities of 1."""
        return self.model.predict_proba(self.design.columns(features))[:, 1]


@dataclass(frozen=True, slots=True, kw_only=True)
class LinearAmount:
    """A fitted Tweedie regression, in units of the training mean.

    Attributes:
        design: Makes the regressors.
        model: Log-linear.
        unit: Training mean.
        most: Largest amount seen in training: predictions are cut there.
    """

    design: Design
    model: TweedieRegressor
    unit: float
    most: float

    def predict(self, features: FeatureMatrix) -> Amounts:
        """Return expected amounts; a mean alone has no median."""
        logs = self.design.columns(features) @ self.model.coef_ + self.model.intercept_
        expected = self.unit * np.exp(np.minimum(logs, np.log(self.most / self.unit)))
        return Amounts(expected=expected, median=None)


@dataclass(frozen=True, slots=True, kw_only=True)
class Linear:
    """Both regressions.

    Attributes:
        inverse_penalty: ``C`` of the logistic regression.
        penalty: ``alpha`` of the Tweedie regression.
    """

    inverse_penalty: float = 0.1
    penalty: float = 0.01

    def fit_probability(
        self, features: FeatureMatrix, happened: Float[ndarray, " readout"], effort: Effort
    ) -> LinearProbability:
        """Fit by Newton's method, which needs no tuning of steps."""
        rows = sampled_rows(len(features), most=MOST_READOUTS, seed=effort.seed)
        features, happened = features.take(rows), happened[rows]
        design = Design.fit(features)
        model = LogisticRegression(C=self.inverse_penalty, solver="newton-cholesky", max_iter=200)
        with threadpool_limits(effort.threads):
            model.fit(design.columns(features), happened > 0.5)
        return LinearProbability(design=design, model=model)

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
            model.fit(design.columns(features), amounts / unit)
        return LinearAmount(design=design, model=model, unit=unit, most=float(amounts.max()))
