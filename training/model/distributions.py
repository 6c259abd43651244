"""Arithmetic of the predicted distributions, in log space: one place for loss and prediction.

It deliberately does not know networks, labels or batches; everything is elementwise over the
leading axes and written in operators that also exist in ONNX.
"""

import math
from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

_TINY = 1e-6
_LEAST_HAZARD = 1e-30
"""Smaller ones are taken for this, so that the log of the event's probability stays finite."""


def log_sigmoid(logits: Float[Tensor, "*axes"]) -> Float[Tensor, "*axes"]:
    """Return ``log(sigmoid(x))``; the exporter's own form takes the log of a rounded 0."""
    return -F.softplus(-logits)


def cumulative_hazard(hazard_logits: Float[Tensor, "*axes bin"]) -> Float[Tensor, "*axes bin"]:
    """Return ``H = -log S`` at the end of every bin: the running sum of ``-log(1 - hazard)``.

    Never decreasing, because every term is at least 0.
    """
    return torch.cumsum(F.softplus(hazard_logits), dim=-1)


def log_survival(hazard_logits: Float[Tensor, "*axes bin"]) -> Float[Tensor, "*axes bin"]:
    """Return ``log S`` at the end of every bin."""
    return -cumulative_hazard(hazard_logits)


def log_event(hazard: Float[Tensor, "*axes"]) -> Float[Tensor, "*axes"]:
    """Return ``log(1 - exp(-H))``, the log probability of an event, from a cumulative hazard.

    ``1 - exp(-H) = t / (0.5 t + 0.5)`` with ``t = tanh(H / 2)``: no difference of nearly equal numbers, which
    would lose the digits of rare events, and no branch. Those that ``H`` itself has lost stay lost: an engine
    whose softplus is ``log(exp(x) + 1)`` has none below -17.
    """
    t = torch.tanh(0.5 * torch.clamp(hazard, min=_LEAST_HAZARD))
    return torch.log(t / (0.5 * t + 0.5))


def log_expm1(values: Float[Tensor, "*axes"]) -> Float[Tensor, "*axes"]:
    """Return ``log(exp(x) - 1)`` of positive values, the inverse of softplus; ONNX has no ``expm1``."""
    return values + log_event(values)


def at_ends(values: Float[Tensor, "*axes bin"], ends: Sequence[int]) -> Float[Tensor, "*axes horizon"]:
    """Return what stands at the ends of some bins (1-based)."""
    return values.index_select(-1, torch.tensor([end - 1 for end in ends], device=values.device))


def log_masses(hazard_logits: Float[Tensor, "*axes bin"]) -> Float[Tensor, "*axes bin_plus_1"]:
    """Return the log probability of every bin, and of "later than the last bin" behind them.

    ``S(lower) - S(upper)`` is the sum of the masses between, so no difference of nearly equal
    numbers is ever taken.
    """
    survived = log_survival(hazard_logits)
    before = F.pad(survived, (1, 0))
    return torch.cat([before[..., :-1] + log_sigmoid(hazard_logits), before[..., -1:]], dim=-1)


def log_event_by(hazard_logits: Float[Tensor, "*axes bin"], *, bin_end: int) -> Float[Tensor, "*axes"]:
    """Return ``log(1 - S)`` at the end of bin ``bin_end`` (1-based)."""
    return log_event(cumulative_hazard(hazard_logits)[..., bin_end - 1])


def lognormal_log_mean(
    log_positive: Float[Tensor, "*axes"], mu: Float[Tensor, "*axes"], sigma: Float[Tensor, "*axes"]
) -> Float[Tensor, "*axes"]:
    """Return the log expectation of a zero-inflated lognormal: ``log p + mu + sigma^2 / 2``.

    Wang, Liu and Miao, A Deep Probabilistic Model for Customer Lifetime Value Prediction
    (2019), section 3.
    """
    return log_positive + mu + 0.5 * sigma * sigma


def lognormal_quantiles(
    log_positive: Float[Tensor, "*axes"],
    mu: Float[Tensor, "*axes"],
    sigma: Float[Tensor, "*axes"],
    levels: Sequence[float],
) -> Float[Tensor, "*axes level"]:
    """Return quantiles of a zero-inflated lognormal; 0 up to the level of the zero mass."""
    positive = torch.exp(log_positive)[..., None]
    # Computed as a constant, not as a parameter: the levels are part of the graph.
    level = positive.new_tensor(list(levels))
    within = (level - (1.0 - positive)) / torch.clamp(positive, min=_TINY)
    amounts = torch.exp(mu[..., None] + sigma[..., None] * normal_quantile(within))
    return torch.where(within > 0.0, amounts, 0.0)


def normal_quantile(probability: Float[Tensor, "*axes"]) -> Float[Tensor, "*axes"]:
    """Return the standard normal quantile, by one rational function in basic operators.

    In ``t = sqrt(-log m) - sqrt(log 2)`` of the smaller tail ``m``, much as the tails of Wichura, Algorithm
    AS 241, Applied Statistics 37 (1988). Deviation: he has a function of its own for the centre; fitted by
    minimax from ``m = 1e-6`` on, with a zero at 1/2, this one is within 2e-8 everywhere, before float32
    rounds (2e-7 near the median, 2e-6 in the tails).

    Args:
        probability: Any finite values; those outside of [1e-6, 1 - 1e-6] are clipped.

    Returns:
        Quantiles between -4.76 and 4.76.
    """
    p = torch.clamp(probability, _TINY, 1.0 - _TINY)
    t = torch.sqrt(-torch.log(torch.minimum(p, 1.0 - p))) - math.sqrt(math.log(2.0))
    top = ((0.16070012125 * t + 1.3946329023) * t + 3.2488029268) * t + 2.0869039973
    bottom = ((0.11354016334 * t + 0.89535849456) * t + 1.7887408794) * t + 1.0
    return torch.sign(p - 0.5) * t * top / bottom
