"""One baseline for a whole schema: a model per target and horizon, answers that agree.

It deliberately does not know which family it fits.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy import ndarray

from holdfast.errors import ConfigError
from holdfast.schema import Schema, Target
from training.baselines.features import FeatureMatrix
from training.baselines.linear import Linear
from training.baselines.recency import Recency
from training.baselines.single import (
    AmountModel,
    ConstantAmount,
    ConstantProbability,
    Effort,
    Family,
    ProbabilityModel,
)
from training.baselines.trees import Trees
from training.outcomes import Outcomes, Predictions

BASELINES: Mapping[str, Family] = {"recency": Recency(), "linear": Linear(), "trees": Trees()}
"""By the name that configuration, tables and reports use."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Baseline:
    """A fitted baseline.

    Attributes:
        name: One of :data:`BASELINES`.
        schema: The targets.
        probability: Of every ``time_to_event`` target, a model per horizon.
        amount: Of every other target.
    """

    name: str
    schema: Schema
    probability: Mapping[str, tuple[ProbabilityModel, ...]]
    amount: Mapping[str, AmountModel]

    def predict(self, features: FeatureMatrix) -> Predictions:
        """Answer every target at every horizon.

        Args:
            features: Readouts with the columns that the baseline was fitted on.

        Returns:
            Predictions; probabilities of one customer never contradict each other: inactivity for
            longer is never more probable, an event within longer never less. A horizon that had no
            known outcome in training is NaN.
        """
        targets = {target.name: target for target in self.schema.targets}
        amounts = {name: model.predict(features) for name, model in self.amount.items()}
        return Predictions(
            probability={
                name: _agreeing(targets[name], [model.predict(features) for model in models])
                for name, models in self.probability.items()
            },
            expected={name: answer.expected for name, answer in amounts.items()},
            median={name: answer.median for name, answer in amounts.items() if answer.median is not None},
        )


def fit_baseline(
    name: str,
    schema: Schema,
    features: FeatureMatrix,
    outcomes: Outcomes,
    *,
    seed: int,
    threads: int = 1,
    family: Family | None = None,
) -> Baseline:
    """Fit a baseline on training readouts.

    Args:
        name: One of :data:`BASELINES`.
        schema: The targets.
        features: Of training readouts.
        outcomes: Of the same readouts; what is not known is left out, target by target.
        seed: Of everything drawn.
        threads: Of the libraries underneath.
        family: Another family than the name's, with settings of its own.

    Returns:
        The fitted baseline.

    Raises:
        ConfigError: There is no baseline of that name, or no readout.
    """
    if family is None and name not in BASELINES:
        raise ConfigError("baselines", name, f"the baselines are {sorted(BASELINES)}")
    if not len(features):
        raise ConfigError("baselines", 0, "at least one training readout is needed")
    chosen, effort = family or BASELINES[name], Effort(seed=seed, threads=threads)
    return Baseline(
        name=name,
        schema=schema,
        probability={
            target: tuple(_fit_probability(chosen, features, column, effort) for column in columns.T)
            for target, columns in outcomes.happened.items()
        },
        amount={
            target: _fit_amount(chosen, features, column, effort)
            for target, column in outcomes.values.items()
        },
    )


def _fit_probability(
    family: Family, features: FeatureMatrix, happened: ndarray, effort: Effort
) -> ProbabilityModel:
    is_known = ~np.isnan(happened)
    num, num_happened = int(is_known.sum()), int(np.nansum(happened))
    if num == 0:
        return ConstantProbability(probability=np.nan)
    if num_happened in (0, num):
        return ConstantProbability(probability=(num_happened + 1) / (num + 2))
    return family.fit_probability(features.take(is_known), happened[is_known], effort)


def _fit_amount(family: Family, features: FeatureMatrix, values: ndarray, effort: Effort) -> AmountModel:
    is_known = ~np.isnan(values)
    if not is_known.any():
        return ConstantAmount(amount=np.nan)
    if not values[is_known].any():
        return ConstantAmount(amount=0.0)
    return family.fit_amount(features.take(is_known), values[is_known], effort)


def _agreeing(target: Target, per_horizon: list[ndarray]) -> ndarray:
    """Return [readout, horizon] where the horizons, fitted one by one, agree with each other."""
    columns = np.stack(per_horizon, axis=1)
    accumulate = np.fmin if target.form == "inactivity" else np.fmax
    agreeing: ndarray = accumulate.accumulate(columns, axis=1)
    agreeing[np.isnan(columns)] = np.nan
    return agreeing
