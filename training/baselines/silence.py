"""Pareto/NBD on readout features: the probability of silence, for the blend and its graph.

It deliberately sees no history: what it wants of one stands among the readout features, so that it can
live beside trees and regression. Amounts it leaves to them.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64
from numpy import ndarray
from scipy.special import expit

from holdfast.encoding import EncodingSpec
from holdfast.encoding.readouts import RETURN_NAMES, feature_names
from holdfast.encoding.scaling import MAX_SCALED
from holdfast.histories import Histories
from training.baselines.btyd import fit_repeat_buying
from training.baselines.buying import ParetoNbd
from training.baselines.features import FeatureMatrix
from training.baselines.purchases import DAYS_PER_WEEK


@dataclass(frozen=True, slots=True, kw_only=True)
class SilenceProbability:
    """A fitted Pareto/NBD, asked for one horizon.

    Attributes:
        model: In weeks, as the literature counts.
        horizon_weeks: How long nothing is to happen.
        names: The columns of :data:`holdfast.encoding.readouts.RETURN_NAMES` for its target.
        means: Of the scales of these columns.
        stds: Their standard deviations.
    """

    model: ParetoNbd
    horizon_weeks: float
    names: tuple[str, ...]
    means: tuple[float, ...]
    stds: tuple[float, ...]

    def predict(self, features: FeatureMatrix) -> Float64[ndarray, " readout"]:
        """Return the probability of silence."""
        scaled = np.stack([features.column(name) for name in self.names], axis=1)
        logs = np.clip(scaled, -MAX_SCALED, MAX_SCALED).astype(np.float64) * self.stds + self.means
        num_days, first_days, last_days = np.expm1(np.maximum(logs, 0.0)).T
        first, last = first_days / DAYS_PER_WEEK, np.maximum(first_days - last_days, 0.0) / DAYS_PER_WEEK
        odds = self.model.log_odds_of_silence(
            np.maximum(num_days - 1.0, 0.0), last, first, self.horizon_weeks
        )
        silent: ndarray = expit(odds)
        return silent


def fit_silence(
    histories: Histories, spec: EncodingSpec, *, until_us: int, seed: int
) -> Mapping[str, tuple[SilenceProbability, ...]]:
    """Fit one Pareto/NBD for every target that awaits silence.

    Args:
        histories: All customers.
        spec: The fitted encoding.
        until_us: The last instant that training may see.
        seed: Of the sample of customers.

    Returns:
        By target, a model per horizon; without targets whose events nobody had twice.
    """
    fitted = fit_repeat_buying(ParetoNbd, histories, spec, until_us=until_us, seed=seed)
    found = feature_names(spec)
    models: dict[str, tuple[SilenceProbability, ...]] = {}
    for target in spec.schema.silences:
        if target.name in fitted:
            names = tuple(name.format(target.name) for name in RETURN_NAMES)
            scales = [spec.readout.scales[found.index(name)] for name in names]
            model = fitted[target.name]
            assert isinstance(model, ParetoNbd)
            models[target.name] = tuple(
                SilenceProbability(
                    model=model,
                    horizon_weeks=days / DAYS_PER_WEEK,
                    names=names,
                    means=tuple(scale.mean for scale in scales),
                    stds=tuple(scale.std for scale in scales),
                )
                for days in target.horizons_days
            )
    return models
