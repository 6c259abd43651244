"""The arithmetic of the blend: raw outputs of the sequence model moved to what all experts say.

It deliberately gives raw outputs again, not answers: calibration, curves, quantiles and their
agreement with each other follow as they do for the sequence model alone.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

from holdfast.schema import Schema, Target
from training.blend.questions import MAX_LOG_AMOUNT, MAX_LOGIT, Questions, horizon_ends
from training.model.distributions import (
    at_ends,
    cumulative_hazard,
    log_expm1,
    log_sigmoid,
    lognormal_log_mean,
)
from training.model.outputs import RawOutputs

MAX_SHIFT = 3.0
"""The location of an amount moves by at most this much, a factor of 20: who is sure of no purchase
is not made a millionaire, should one come, by another expert's doubts."""

_LEAST_INCREMENT = 1e-5
"""Of the cumulative hazard, per bin: so small a hazard still has a logit, the same in any engine."""

_MOST_INCREMENT = 60.0


@dataclass(frozen=True, slots=True, kw_only=True)
class BlendWeights:
    """How much each expert counts.

    Attributes:
        weights: By target, per question (a horizon, or the one amount), one weight per expert,
            the sequence model's first; they are not negative and sum to 1.
    """

    weights: Mapping[str, tuple[tuple[float, ...], ...]]


def blended(
    raw: RawOutputs,
    experts: Sequence[Float[Tensor, "*axes question"]],
    blend: BlendWeights,
    schema: Schema,
) -> RawOutputs:
    """Return the sequence model's raw outputs, moved to the weighted answers of all experts.

    Args:
        raw: Uncalibrated outputs of the sequence model.
        experts: Answers of the others, in the order of the weights, columns of
            :class:`training.blend.questions.Questions`.
        blend: The weights.
        schema: The targets.

    Returns:
        Raw outputs: survival curves through the blended logit at every horizon, amounts and counts
        with the blended expectation; the zero mass of a tied amount follows the blended curve.
    """
    questions = Questions.of(schema)
    everyone = torch.stack([sequence_answers(raw, schema), *experts], dim=-2)
    mixed = {
        target.name: _mixed(target, everyone[..., questions.columns[target.name]], blend.weights[target.name])
        for target in schema.targets
    }
    survival = {
        target.name: bent(raw.survival[target.name], log_sigmoid(mixed[target.name]), horizon_ends(target))
        for target in schema.targets
        if target.kind == "time_to_event"
    }
    amounts = {}
    for name, out in raw.amounts.items():
        log_positive, _ = out.log_masses(survival)
        own = lognormal_log_mean(log_positive, out.mu, out.sigma)
        shift = torch.clamp(mixed[name][..., 0] - own, -MAX_SHIFT, MAX_SHIFT)
        amounts[name] = replace(out, mu=out.mu + shift)
    counts = {name: replace(out, log_rate=mixed[name][..., 0]) for name, out in raw.counts.items()}
    return replace(raw, survival=survival, amounts=amounts, counts=counts)


def sequence_answers(raw: RawOutputs, schema: Schema) -> Float[Tensor, "*axes question"]:
    """Return what the sequence model says by itself, in the form of the other experts' answers."""
    columns: list[Tensor] = []
    for target in schema.targets:
        if target.kind == "time_to_event":
            hazards = at_ends(cumulative_hazard(raw.survival[target.name]), horizon_ends(target))
            # Of H, where log S - log(1 - S) = -log(exp(H) - 1) loses no digits on either side.
            columns.append(-log_expm1(hazards))
        elif target.kind == "amount":
            out = raw.amounts[target.name]
            log_positive, _ = out.log_masses(raw.survival)
            columns.append(lognormal_log_mean(log_positive, out.mu, out.sigma)[..., None])
        else:
            columns.append(raw.counts[target.name].log_rate[..., None])
    return torch.cat(columns, dim=-1)


def bent(
    hazard_logits: Float[Tensor, "*axes bin"],
    log_survived: Float[Tensor, "*axes horizon"],
    ends: Sequence[int],
) -> Float[Tensor, "*axes bin"]:
    """Return hazards whose survival curve passes through given points.

    Between two points the increments of the cumulative hazard are scaled by one factor, so that
    the curve keeps its shape.

    Args:
        hazard_logits: Of the curve to bend.
        log_survived: Log survival at the points, never rising.
        ends: The bins (1-based) at whose ends the points lie; the last one is the last bin.

    Returns:
        Hazard logits; finite.
    """
    own = torch.clamp(F.softplus(hazard_logits), _LEAST_INCREMENT, _MOST_INCREMENT)
    # Products with a few ones and zeros instead of a loop over stretches: a graph pays for every operation.
    bins = range(own.shape[-1])
    in_stretch = own.new_tensor(
        [[float(start <= index < end) for index in bins] for start, end in pairwise((0, *ends))]
    )
    stretches = range(len(ends))
    gained = own.new_tensor([[float(to == at + 1) - float(to == at) for to in stretches] for at in stretches])
    factors = (log_survived @ gained / (own @ in_stretch.T)) @ in_stretch
    return log_expm1(torch.clamp(own * factors, _LEAST_INCREMENT, _MOST_INCREMENT))


def _mixed(
    target: Target, said: Float[Tensor, "*axes expert question"], weights: Sequence[Sequence[float]]
) -> Float[Tensor, "*axes question"]:
    """Return the weighted answer to every question about one target."""
    by_expert = list(zip(*weights, strict=True))
    if target.kind == "time_to_event":
        ordered = never_rising(torch.clamp(said, -MAX_LOGIT, MAX_LOGIT))
        return never_rising((ordered * ordered.new_tensor(by_expert)).sum(dim=-2))
    logs = torch.clamp(said, -MAX_LOG_AMOUNT, MAX_LOG_AMOUNT)
    # A weight of 0 takes its expert out, whatever it says.
    log_weights = [[math.log(max(weight, 1e-300)) for weight in row] for row in by_expert]
    return torch.logsumexp(logs + logs.new_tensor(log_weights), dim=-2)


def never_rising(values: Float[Tensor, "*axes horizon"]) -> Float[Tensor, "*axes horizon"]:
    """Return the running minimum over the horizons."""
    horizons = range(values.shape[-1])
    # Per horizon, nothing that is later counts.
    later = values.new_tensor([[math.inf if other > at else 0.0 for other in horizons] for at in horizons])
    return torch.amin(values[..., None, :] + later, dim=-1)
