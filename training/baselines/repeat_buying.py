"""Pareto/NBD with Gamma-Gamma on readout features: how probable silence is and what is spent, for the blend.

It deliberately sees no history once it is fitted: what it wants of one stands among the readout features, so
that it can live beside trees and regression, and in their graph.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Self

import numpy as np
from jaxtyping import Float64, Int64
from numpy import ndarray
from scipy.special import expit

from holdfast.encoding import EncodingSpec
from holdfast.encoding.readouts import RETURN_NAMES, feature_names
from holdfast.encoding.scaling import MAX_SCALED
from holdfast.histories import Histories
from holdfast.schema import Target
from training.baselines.btyd import fit_on_customers, sampled_customers
from training.baselines.buying import GammaGamma, ParetoNbd
from training.baselines.features import FeatureMatrix
from training.baselines.purchases import DAYS_PER_WEEK
from training.baselines.single import Amounts
from training.pages import in_parts

PARETO_NBD = "pareto_nbd"
"""Its name, as a baseline and beside the network."""

LEAST_OWN_SHARE = 0.99
"""Of everything in a field, what stands in the events whose amounts a target adds up: sums over a history,
which the features tell, are sums of these then."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ScaledColumns:
    """Some readout features, and how they were scaled.

    Attributes:
        names: Of the features.
        means: Of their scales.
        stds: Their standard deviations.
    """

    names: tuple[str, ...]
    means: tuple[float, ...]
    stds: tuple[float, ...]

    @classmethod
    def of(cls, spec: EncodingSpec, names: Sequence[str]) -> Self:
        """Look the scales up."""
        found = feature_names(spec)
        scales = [spec.readout.scales[found.index(name)] for name in names]
        return cls(
            names=tuple(names),
            means=tuple(scale.mean for scale in scales),
            stds=tuple(scale.std for scale in scales),
        )

    def read(self, features: FeatureMatrix) -> Float64[ndarray, "column readout"]:
        """Return them in their own units; what is below 0 becomes 0."""
        scaled = np.stack([features.column(name) for name in self.names], axis=1)
        logs = np.clip(scaled, -MAX_SCALED, MAX_SCALED).astype(np.float64) * self.stds + self.means
        values: ndarray = np.expm1(np.maximum(logs, 0.0)).T
        return values


@dataclass(frozen=True, slots=True, kw_only=True)
class SilenceProbability:
    """A fitted Pareto/NBD, asked for one horizon.

    Attributes:
        model: In weeks, as the literature counts.
        horizon_weeks: How long nothing is to happen.
        columns: Those of :data:`holdfast.encoding.readouts.RETURN_NAMES` for its target.
    """

    model: ParetoNbd
    horizon_weeks: float
    columns: ScaledColumns

    def predict(self, features: FeatureMatrix) -> Float64[ndarray, " readout"]:
        """Return the probability of silence."""
        odds = self.model.log_odds_of_silence(*_returns(self.columns.read(features)), self.horizon_weeks)
        silent: ndarray = expit(odds)
        return silent


@dataclass(frozen=True, slots=True, kw_only=True)
class RepeatAmount:
    """A fitted Pareto/NBD, and what one of its purchases brings.

    Attributes:
        model: In weeks.
        value: Of a day with a purchase.
        horizon_weeks: How long purchases count.
        columns: Those of its purchases, and the sum of the amount's field over the history.
    """

    model: ParetoNbd
    value: GammaGamma
    horizon_weeks: float
    columns: ScaledColumns

    def predict(self, features: FeatureMatrix) -> Amounts:
        """Return expected purchases times their expected value."""
        columns = self.columns.read(features)
        worth = self.value.expected_after(columns[0], columns[-1])
        bought = self.model.expected_purchases(*_returns(columns), self.horizon_weeks)
        return Amounts(expected=worth * bought, median=None)


def _returns(columns: Float64[ndarray, "column readout"]) -> tuple[ndarray, ndarray, ndarray]:
    """Return repeat purchases, the time of the last one and the tenure, both in weeks since the first."""
    num_days, first_days, last_days = columns[:3]
    last = np.maximum(first_days - last_days, 0.0) / DAYS_PER_WEEK
    return np.maximum(num_days - 1.0, 0.0), last, first_days / DAYS_PER_WEEK


@dataclass(frozen=True, slots=True, kw_only=True)
class RepeatBuying:
    """What it answers; nothing where no target awaits silence after events that somebody had twice.

    Attributes:
        probability: Of every target that awaits silence, a model per horizon.
        amount: Of every amount of what is bought repeatedly.
    """

    probability: Mapping[str, tuple[SilenceProbability, ...]] = field(default_factory=dict)
    amount: Mapping[str, RepeatAmount] = field(default_factory=dict)


def fit_repeat_buying(histories: Histories, spec: EncodingSpec, *, until_us: int, seed: int) -> RepeatBuying:
    """Fit it for every target that it can answer.

    Args:
        histories: All customers.
        spec: The fitted encoding.
        until_us: The last instant that training may see.
        seed: Of the sample of customers.
    """
    customer = sampled_customers(histories, until_us, seed)
    fitted = fit_on_customers(PARETO_NBD, histories, spec, customer, until_us)
    if fitted is None:
        return RepeatBuying()
    targets = {target.name: target for target in spec.schema.targets}
    probability: dict[str, tuple[SilenceProbability, ...]] = {}
    amount: dict[str, RepeatAmount] = {}
    for name, model in fitted.buying.items():
        assert isinstance(model, ParetoNbd)
        columns = ScaledColumns.of(spec, _return_names(name))
        probability[name] = tuple(
            SilenceProbability(model=model, horizon_weeks=days / DAYS_PER_WEEK, columns=columns)
            for days in targets[name].horizons_days
        )
    for name, value in fitted.value.items():
        if _has_field_alone(histories, targets[name], customer, until_us):
            model = fitted.buying[fitted.awaited[name]]
            assert isinstance(model, ParetoNbd)
            names = (*_return_names(fitted.awaited[name]), f"{targets[name].field}_sum_all")
            weeks = targets[name].max_horizon_days / DAYS_PER_WEEK
            columns = ScaledColumns.of(spec, names)
            amount[name] = RepeatAmount(model=model, value=value, horizon_weeks=weeks, columns=columns)
    return RepeatBuying(probability=probability, amount=amount)


def _return_names(target: str) -> tuple[str, ...]:
    return tuple(name.format(target) for name in RETURN_NAMES)


def _has_field_alone(
    histories: Histories, target: Target, customer: Int64[ndarray, " customer"], until_us: int
) -> bool:
    """Return whether hardly any other events have something in the field that a target adds up."""
    if not target.event_types:
        return True
    assert target.field is not None, "an amount has a field"
    own, total = 0.0, 0.0
    for part, _ in in_parts(histories, customer, np.full(len(customer), until_us, dtype=np.int64)):
        names = part.event_type.dictionary.values
        is_own = np.array([name in target.event_types for name in names], dtype=bool)
        sizes = np.abs(np.nan_to_num(part.numeric[target.field].astype(np.float64)))
        sizes *= part.occurred_at_us <= until_us
        own += float(sizes @ is_own[part.event_type.codes])
        total += float(sizes.sum())
    return own >= LEAST_OWN_SHARE * total
