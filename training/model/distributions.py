"""Arithmetic of the predicted distributions, in log space: one place for loss and prediction.

It deliberately does not know networks, labels or batches; everything is elementwise over the
leading axes and written in operators that also exist in ONNX.
"""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

_TINY = 1e-6


def log_sigmoid(logits: Float[Tensor, "*axes"]) -> Float[Tensor, "*axes"]:
    """Return ``log(sigmoid(x))``; the exporter's own form takes the log of a rounded 0."""
    return -F.softplus(-logits)


def log_survival(hazard_logits: Float[Tensor, "*axes bin"]) -> Float[Tensor, "*axes bin"]:
    """Return ``log S`` at the end of every bin: the running sum of ``log(1 - hazard)``.

    Never increasing, because every term is at most 0.
    """
    return -torch.cumsum(F.softplus(hazard_logits), dim=-1)


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
    return torch.logsumexp(log_masses(hazard_logits)[..., :bin_end], dim=-1)


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
    return torch.where(within > 0.0, amounts, torch.zeros_like(amounts))


def normal_quantile(probability: Float[Tensor, "*axes"]) -> Float[Tensor, "*axes"]:
    """Return the standard normal quantile, by rational approximations in basic operators.

    Wichura, Algorithm AS 241, Applied Statistics 37 (1988), function PPND7: about seven digits.
    Deviation: probabilities are clipped to [1e-6, 1 - 1e-6], which leaves out its third region.

    Args:
        probability: Any finite values.

    Returns:
        Quantiles between -4.76 and 4.76.
    """
    p = torch.clamp(probability, _TINY, 1.0 - _TINY)
    q = p - 0.5
    r = 0.180625 - q * q
    top = ((59.109374720 * r + 159.29113202) * r + 50.434271938) * r + 3.3871327179
    bottom = ((67.187563600 * r + 78.757757664) * r + 17.895169469) * r + 1.0
    central = q * top / bottom
    t = torch.sqrt(-torch.log(torch.minimum(p, 1.0 - p))) - 1.6
    top = ((0.17023821103 * t + 1.3067284816) * t + 2.7568153900) * t + 1.4234372777
    bottom = (0.12021132975 * t + 0.73700164250) * t + 1.0
    tail = top / bottom
    tail = torch.where(q < 0.0, -tail, tail)
    return torch.where(torch.abs(q) <= 0.425, central, tail)
