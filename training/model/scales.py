"""Where the targets of a training set lie: base rates, and location and spread of amounts.

It deliberately does not know the network: heads start from these values and are bounded
around them, so that a prediction is finite whatever comes in.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from jaxtyping import Int64
from numpy import ndarray

from holdfast.errors import ConfigError
from holdfast.schema import Schema, Target, horizon_grid_days
from training.labels import Labels

MAX_ABS_LOCATION = 40.0
MIN_SPREAD, MAX_SPREAD = 0.1, 5.0
_LEAST_RATE = 1e-4
_MAX_TIE_VIOLATIONS = 1e-3


@dataclass(frozen=True, slots=True, kw_only=True)
class TargetScale:
    """What training labels say about one target as a whole.

    Attributes:
        hazards: ``time_to_event``: share of those still waiting whose event came, per bin.
        location: ``amount`` and ``count``: mean of the log of positive values.
        spread: Standard deviation of the same.
        base_rate: ``amount``: share of positive values (where tied: among those whose event came);
            ``count``: the mean count.
        tied_to: ``amount``: the ``time_to_event`` target that its zero mass follows, or None.
        tied_bin: The bin (1-based) of that target at whose end the amount's horizon lies.
    """

    hazards: tuple[float, ...] = ()
    location: float = 0.0
    spread: float = 1.0
    base_rate: float = 0.5
    tied_to: str | None = None
    tied_bin: int = 0

    def __post_init__(self) -> None:
        """Refuse values that would let a prediction overflow.

        Raises:
            ConfigError: Naming the value.
        """
        if not abs(self.location) <= MAX_ABS_LOCATION:
            raise ConfigError("scale.location", self.location, f"it must lie within +-{MAX_ABS_LOCATION}")
        if not MIN_SPREAD <= self.spread <= MAX_SPREAD:
            raise ConfigError("scale.spread", self.spread, f"it must lie in [{MIN_SPREAD}, {MAX_SPREAD}]")
        if not 0 < self.base_rate < np.inf:
            raise ConfigError("scale.base_rate", self.base_rate, "it must be positive and finite")


@dataclass(frozen=True, slots=True, kw_only=True)
class TargetScales:
    """The scales of all targets, by name; plain values, as checkpoints keep them."""

    targets: Mapping[str, TargetScale]


def fit_target_scales(schema: Schema, labels: Labels, *, use_tied_amounts: bool) -> TargetScales:
    """Fit the scales on training labels.

    Args:
        schema: Declares the targets.
        labels: Of training readouts.
        use_tied_amounts: As in the model's configuration.

    Returns:
        One scale per target.
    """
    scales = {}
    for target in schema.targets:
        if target.kind == "time_to_event":
            hazards = _hazards(
                labels.lower[target.name], labels.upper[target.name], len(horizon_grid_days(target))
            )
            scales[target.name] = TargetScale(hazards=hazards)
        else:
            tie = find_tie(schema, target) if use_tied_amounts else None
            scales[target.name] = _value_scale(target, labels, tie)
    return TargetScales(targets=scales)


def find_tie(schema: Schema, amount: Target) -> tuple[str, int] | None:
    """Return the survival head that an amount's zero mass can follow, and the bin of its horizon.

    No awaited event within the horizon then means an amount of zero: an ``inactivity`` target with
    this horizon whose event types are among those summed. That the other types never add a positive
    amount (returns do not) is checked on the labels by :func:`fit_target_scales`.
    """
    if amount.kind != "amount":
        return None
    for target in schema.targets:
        if target.form != "inactivity" or amount.horizons_days[0] not in target.horizons_days:
            continue
        is_within = not amount.event_types or (
            bool(target.event_types) and set(target.event_types) <= set(amount.event_types)
        )
        if is_within:
            return target.name, horizon_grid_days(target).index(float(amount.horizons_days[0])) + 1
    return None


def _hazards(
    lower: Int64[ndarray, " readout"], upper: Int64[ndarray, " readout"], num_bins: int
) -> tuple[float, ...]:
    """Return hazards by the EM algorithm of Turnbull (1976), started flat, with one case's weight added.

    An event known only to lie in ``(lower, upper]`` is shared among these bins by their present masses.
    """
    bins = np.arange(num_bins + 1)
    pairs, counts = np.unique(np.stack([lower, upper], axis=1), axis=0, return_counts=True)
    is_possible = (bins >= pairs[:, :1]) & (bins < pairs[:, 1:])
    masses = np.full(num_bins + 1, 1.0 / (num_bins + 1))
    for _ in range(500):
        shares = is_possible * masses
        shares /= np.maximum(shares.sum(axis=1, keepdims=True), 1e-300)
        masses = (counts @ shares + 1.0 / (num_bins + 1)) / (counts.sum() + 1.0)
    waiting = np.cumsum(masses[::-1])[::-1]
    return tuple(np.clip(masses / waiting, _LEAST_RATE, 1 - _LEAST_RATE)[:num_bins].tolist())


def _value_scale(target: Target, labels: Labels, tie: tuple[str, int] | None) -> TargetScale:
    values = labels.values[target.name].astype(np.float64)
    is_known = np.isfinite(values)
    logs = np.log(values[is_known & (values > 0)])
    num = int(is_known.sum())
    location = float(np.clip(logs.mean(), -MAX_ABS_LOCATION, MAX_ABS_LOCATION)) if logs.size else 0.0
    spread = float(np.clip(logs.std(), MIN_SPREAD, MAX_SPREAD)) if logs.size > 1 else 1.0
    if target.kind == "count":
        mean = float(np.clip(values[is_known].mean(), 1e-6, 1e12)) if num else 1.0
        return TargetScale(location=location, spread=spread, base_rate=mean)
    tied_to, tied_bin = tie or (None, 0)
    is_positive = values[is_known] > 0
    if tied_to is not None:
        # Only where the label says for sure on which side of the horizon the event came.
        came = (labels.upper[tied_to] <= tied_bin)[is_known]
        stayed_away = (labels.lower[tied_to] >= tied_bin)[is_known]
        if is_positive[stayed_away].sum() > _MAX_TIE_VIOLATIONS * max(1, int(is_positive.sum())):
            tied_to, tied_bin = None, 0
        else:
            is_positive = is_positive[came]
    rate = (is_positive.sum() + 0.5) / (len(is_positive) + 1.0)
    rate = float(np.clip(rate, _LEAST_RATE, 1 - _LEAST_RATE))
    return TargetScale(location=location, spread=spread, base_rate=rate, tied_to=tied_to, tied_bin=tied_bin)
