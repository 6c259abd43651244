"""Losses: the likelihood of labels under raw outputs, per part of the training objective.

They deliberately do not know the network or the optimiser. Every mean is over real readouts with
a known label, and no masked entry can reach a gradient.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, fields

import torch
from jaxtyping import Bool, Float, Int64
from numpy import ndarray
from torch import Tensor
from torch.nn import functional as F

from holdfast.encoding.packing import ACTIVE_ROWS
from holdfast.errors import ConfigError
from training.labels import Labels
from training.model.distributions import log_masses, lognormal_log_mean
from training.model.outputs import AmountOutput, CountOutput, NextEventOutput, RawOutputs
from training.model.packing import Packing

_HALF_LOG_2_PI = 0.9189385332046727
_LEAST_LOG_EXPECTED = -10.0
"""The Tweedie loss reads expectations below e^-10 of a typical amount as that."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LossWeights:
    """How much each part counts; 0 leaves it out.

    Attributes:
        time_to_event: Every survival likelihood.
        amount: Every zero-inflated lognormal likelihood.
        tweedie: The Tweedie deviance (power 1.5) of every amount's expectation.
        count: Every count likelihood.
        next_event: The auxiliary loss on the next event's type and gap.
        use_survival: Whether a curve is learned from when the awaited event came. If not, all that
            counts is whether it came within the longest horizon, as in a binary classifier: what
            is known of the shorter ones is thrown away. For comparison.
    """

    time_to_event: float = 1.0
    amount: float = 0.3
    tweedie: float = 0.3
    count: float = 0.3
    next_event: float = 0.1
    use_survival: bool = True

    def __post_init__(self) -> None:
        """Refuse weights that turn a loss round, or leave nothing to learn.

        Raises:
            ConfigError: Naming the key.
        """
        weights = {key.name: getattr(self, key.name) for key in fields(self) if key.name != "use_survival"}
        for name, weight in weights.items():
            if not 0 <= weight < math.inf:
                raise ConfigError(f"loss.{name}", weight, "it must be a number, at least 0")
        if not any(weights.values()):
            raise ConfigError("loss", weights, "at least one part must count more than 0")


@dataclass(frozen=True, slots=True, kw_only=True)
class LabelTensors:
    """The labels of ``training.labels.Labels`` as tensors in the shape of a batch's readouts."""

    lower: Mapping[str, Int64[Tensor, "*axes"]]
    upper: Mapping[str, Int64[Tensor, "*axes"]]
    values: Mapping[str, Float[Tensor, "*axes"]]

    @classmethod
    def of(cls, labels: Labels, *, like: Tensor) -> "LabelTensors":
        """Return labels in shape and on the device of ``like``, a batch's ``readout_is_real``."""

        def tensors(columns: Mapping[str, ndarray]) -> dict[str, Tensor]:
            return {n: torch.from_numpy(c).to(like.device).view(like.shape) for n, c in columns.items()}

        return cls(lower=tensors(labels.lower), upper=tensors(labels.upper), values=tensors(labels.values))


def survival_loss(
    hazard_logits: Float[Tensor, "*axes bin"], lower: Int64[Tensor, "*axes"], upper: Int64[Tensor, "*axes"]
) -> Float[Tensor, "*axes"]:
    """Return ``-log(S(lower) - S(upper))``, with ``S(0) = 1`` and ``S(bins + 1) = 0``.

    Summed in log space over the masses between, so it is exact where both survivals are nearly
    equal, or nearly 0. ``lower < upper`` is needed.
    """
    masses = log_masses(hazard_logits)
    bins = torch.arange(masses.shape[-1], device=masses.device)
    is_possible = (bins >= lower[..., None]) & (bins < upper[..., None])
    return -torch.logsumexp(torch.where(is_possible, masses, float("-inf")), dim=-1)


def amount_loss(
    out: AmountOutput, survival: Mapping[str, Float[Tensor, "*axes bin"]], amounts: Float[Tensor, "*axes"]
) -> Float[Tensor, "*axes"]:
    """Return the negative log likelihood of a zero-inflated lognormal.

    Wang, Liu and Miao (2019), equation 4, with the scale bounded in the head instead of clamped
    here, so that the same value serves the prediction.
    """
    log_positive, log_zero = out.log_masses(survival)
    is_positive = amounts > 0.0
    logs = torch.log(torch.where(is_positive, amounts, 1.0))
    standardised = (logs - out.mu) / out.sigma
    of_amount = 0.5 * standardised * standardised + torch.log(out.sigma) + logs + _HALF_LOG_2_PI
    return torch.where(is_positive, of_amount - log_positive, -log_zero)


def tweedie_loss(
    log_expected: Float[Tensor, "*axes"], amounts: Float[Tensor, "*axes"], *, unit: float
) -> Float[Tensor, "*axes"]:
    """Return the unit deviance of a Tweedie distribution with power 1.5.

    At this power it is ``4 (sqrt(y) - sqrt(m))^2 / sqrt(m)`` (Jorgensen, The Theory of Dispersion
    Models, 1997). Amounts are measured in ``unit``, since the deviance of an
    amount in cents is ten times that of the same in units.
    """
    half_log = 0.5 * torch.clamp(log_expected - math.log(unit), min=_LEAST_LOG_EXPECTED)
    root = torch.sqrt(amounts / unit)
    difference = root - torch.exp(half_log)
    return 4.0 * difference * difference * torch.exp(-half_log)


def count_loss(out: CountOutput, counts: Float[Tensor, "*axes"]) -> Float[Tensor, "*axes"]:
    """Return the negative log likelihood of a Poisson or negative binomial (variance m + alpha m^2)."""
    # In float64, because the log-gamma terms of a large count cancel to a few digits.
    log_rate, counts = out.log_rate.double(), counts.double()
    log_factorial = torch.lgamma(counts + 1.0)
    if out.log_dispersion is None:
        nll = torch.exp(log_rate) - counts * log_rate + log_factorial
        return nll.to(out.log_rate.dtype)
    log_alpha = out.log_dispersion.double()
    size = torch.exp(-log_alpha)
    log_odds = log_rate + log_alpha
    nll = log_factorial + torch.lgamma(size) - torch.lgamma(counts + size)
    nll = nll + size * F.softplus(log_odds) + counts * F.softplus(-log_odds)
    return nll.to(out.log_rate.dtype)


def next_event_loss(
    out: NextEventOutput,
    event_ids: Int64[Tensor, "*axes column"],
    event_days: Float[Tensor, "*axes"],
    packing: Packing | None = None,
) -> tuple[Float[Tensor, ""], Float[Tensor, ""]]:
    """Return summed cross-entropy of the next type plus Huber loss of the log gap, and the number of pairs.

    Padding has type id 0; a pair counts where both of its events are real. Events are padded to rows,
    or packed in the order given.
    """

    def before(values: Tensor) -> Tensor:
        return values[:, :-1] if packing is None else packing.before(values)

    def after(values: Tensor) -> Tensor:
        return values[:, 1:] if packing is None else packing.after(values)

    types = event_ids[..., 0]
    is_pair = ((before(types) > 0) & (after(types) > 0)).to(out.log_gap.dtype)
    logits = before(out.type_logits).movedim(-1, 1)
    entropy = F.cross_entropy(logits, after(types), reduction="none")
    gap = torch.log1p(torch.clamp(after(event_days) - before(event_days), min=0.0))
    distance = F.smooth_l1_loss(before(out.log_gap), gap, reduction="none")
    return ((entropy + distance) * is_pair).sum(), is_pair.sum()


def loss_sums(
    raw: RawOutputs,
    labels: LabelTensors,
    mask: Bool[Tensor, "batch readout"] | Float[Tensor, "batch readout"],
    weights: LossWeights,
    *,
    batch: Mapping[str, Tensor] | None = None,
) -> dict[str, tuple[Float[Tensor, ""], Float[Tensor, ""]]]:
    """Return, per part of the objective, its weighted sum over readouts and the sum of their weights.

    For exact means over several micro-batches: add up both before dividing.

    Args:
        raw: The model's outputs.
        labels: Labels in the same shape.
        mask: Which readouts are real, or their weights, 0 for padding.
        weights: Parts of weight 0 are left out.
        batch: The model's inputs; needed where ``raw`` has auxiliary outputs.

    Returns:
        Parts by name: ``<target>``, ``<target>_tweedie``, ``next_event``.
    """
    share = mask.to(raw.embedding.dtype)
    parts: dict[str, tuple[Tensor, Tensor]] = {}
    if weights.time_to_event:
        for name, logits in raw.survival.items():
            lower, upper = labels.lower[name], labels.upper[name]
            if not weights.use_survival:
                lower, upper = _yes_or_no(lower, upper, num_bins=logits.shape[-1])
            parts[name] = _survival_part(logits, lower, upper, share)
    for name, out in raw.amounts.items():
        amounts, known = _known(labels.values[name], share)
        if weights.amount:
            parts[name] = _summed(amount_loss(out, raw.survival, amounts), known)
        if weights.tweedie:
            log_expected = lognormal_log_mean(out.log_masses(raw.survival)[0], out.mu, out.sigma)
            deviance = tweedie_loss(log_expected, amounts, unit=out.unit)
            parts[f"{name}_tweedie"] = _summed(deviance, known)
    if weights.count:
        for name, count in raw.counts.items():
            counts, known = _known(labels.values[name], share)
            parts[name] = _summed(count_loss(count, counts), known)
    if raw.next_event is not None and weights.next_event:
        assert batch is not None, "the auxiliary loss compares with the events themselves"
        ids, active = batch["event_ids"], batch.get(ACTIVE_ROWS)
        packing = None if active is None else Packing.of(active, device=ids.device)
        parts["next_event"] = next_event_loss(raw.next_event, ids, batch["event_days"], packing)
    return parts


def total_loss(
    raw: RawOutputs,
    labels: LabelTensors,
    mask: Bool[Tensor, "batch readout"] | Float[Tensor, "batch readout"],
    weights: LossWeights,
    *,
    batch: Mapping[str, Tensor] | None = None,
) -> dict[str, Float[Tensor, ""]]:
    """Return the objective as ``loss``, and the mean of each of its parts; see :func:`loss_sums`.

    A part without any known label is 0, and so is its gradient.
    """
    sums = loss_sums(raw, labels, mask, weights, batch=batch)
    means = {name: total / torch.clamp(count, min=1e-12) for name, (total, count) in sums.items()}
    objective = raw.embedding.new_zeros(())
    for name, mean in means.items():
        objective = objective + part_weight(name, raw, weights) * mean
    return {"loss": objective, **means}


def part_weight(name: str, raw: RawOutputs, weights: LossWeights) -> float:
    """Return the weight of a part that :func:`loss_sums` named."""
    if name in raw.survival:
        return weights.time_to_event
    if name in raw.amounts:
        return weights.amount
    if name in raw.counts:
        return weights.count
    return weights.next_event if name == "next_event" else weights.tweedie


def _survival_part(logits: Tensor, lower: Tensor, upper: Tensor, share: Tensor) -> tuple[Tensor, Tensor]:
    last = logits.shape[-1] + 1
    is_known = (share > 0) & (lower < upper) & ~((lower <= 0) & (upper >= last))
    # An interval of everything costs nothing and pulls nowhere: what masked readouts are given.
    losses = survival_loss(logits, torch.where(is_known, lower, 0), torch.where(is_known, upper, last))
    return _summed(losses, share * is_known)


def _yes_or_no(lower: Tensor, upper: Tensor, *, num_bins: int) -> tuple[Tensor, Tensor]:
    """Return intervals that tell no more than whether the event came within the last bin."""
    has_come, has_not = upper <= num_bins, lower >= num_bins
    return torch.where(has_not, num_bins, 0), torch.where(has_come, num_bins, num_bins + 1)


def _known(values: Tensor, share: Tensor) -> tuple[Tensor, Tensor]:
    """Return values without NaN, and weights that are 0 where there was one or no real readout."""
    is_known = torch.isfinite(values) & (share > 0)
    return torch.where(is_known, values, 0.0), share * is_known


def _summed(losses: Tensor, share: Tensor) -> tuple[Tensor, Tensor]:
    # Labels were made harmless and every output is bounded, so what is left out here is finite.
    return (losses * share).sum(), share.sum()
