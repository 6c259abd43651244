"""Arithmetic of the predicted distributions, in log space: one place for loss and prediction.

It deliberately does not know networks, labels or batches; everything is elementwise over the
leading axes and written in operators that also exist in ONNX.
"""

import math
from collections.abc import Sequence
from statistics import NormalDist

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

_TINY = 1e-6
SCORE_LEVELS = (0.02, 0.05, 0.1, 0.25, 0.5, 0.75, 0.9, 0.95, 0.98)
"""Where the distribution of positive amounts may be told apart from a lognormal."""

SCORE_KNOTS = tuple(NormalDist().inv_cdf(level) for level in SCORE_LEVELS)
"""Where a lognormal's own quantiles lie there, in scales from the location."""

MOST_SCORE = 4.76
"""No score lies further from 0: that of a probability of 1e-6."""

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
    scores: Sequence[float] = (),
) -> Float[Tensor, "*axes level"]:
    """Return quantiles of a zero-inflated lognormal; 0 up to the level of the zero mass.

    Args:
        log_positive: Log probability of a positive amount.
        mu: Location of the log of positive amounts.
        sigma: Its scale.
        levels: Of the quantiles.
        scores: How many scales from the location the quantiles of positive amounts at
            :data:`SCORE_LEVELS` lie, ascending; empty for a lognormal's own.
    """
    positive = torch.exp(log_positive)[..., None]
    # Computed as a constant, not as a parameter: the levels are part of the graph.
    level = positive.new_tensor(list(levels))
    within = (level - (1.0 - positive)) / torch.clamp(positive, min=_TINY)
    score = normal_quantile(within)
    if scores:
        score = _moved(score, scores)
    amounts = torch.exp(mu[..., None] + sigma[..., None] * score)
    return torch.where(within > 0.0, amounts, 0.0)


def _moved(score: Float[Tensor, "*axes"], to: Sequence[float]) -> Float[Tensor, "*axes"]:
    """Move normal scores so that those at :data:`SCORE_LEVELS` come to lie at others.

    Linear between two of them; beyond the first and the last by as far as that one, and never further than
    a normal score can lie.
    """
    knots, ends = score.new_tensor(SCORE_KNOTS), score.new_tensor(list(to))
    widths = knots[1:] - knots[:-1]
    # How far a score lies into each part between two knots: from 0 to all of it.
    into = torch.minimum(torch.clamp(score[..., None] - knots[:-1], min=0.0), widths)
    inside = (into * ((ends[1:] - ends[:-1]) / widths)).sum(dim=-1)
    below = torch.clamp(score - SCORE_KNOTS[0], max=0.0)
    above = torch.clamp(score - SCORE_KNOTS[-1], min=0.0)
    return torch.clamp(to[0] + below + inside + above, -MOST_SCORE, MOST_SCORE)


def normal_quantile(probability: Float[Tensor, "*axes"]) -> Float[Tensor, "*axes"]:
    """Return the standard normal quantile, by one rational function in basic operators.

    In ``t = sqrt(-log m) - sqrt(log 2)`` of the smaller tail ``m``, much as the tails of Wichura, Algorithm
    AS 241, Applied Statistics 37 (1988). Deviation: he has a function of its own for the centre; fitted by
    minimax from ``m = 1e-6`` on, with a zero at 1/2, this one is within 2e-8 everywhere, before float32
    rounds (2e-7 near the median, 2e-6 in the tails).

    Args:
        probability: Any finite values; those outside of [1e-6, 1 - 1e-6] are clipped.

    Returns:
        Quantiles between -4.76 and 4.76 (:data:`MOST_SCORE`).
    """
    p = torch.clamp(probability, _TINY, 1.0 - _TINY)
    t = torch.sqrt(-torch.log(torch.minimum(p, 1.0 - p))) - math.sqrt(math.log(2.0))
    top = ((0.16070012125 * t + 1.3946329023) * t + 3.2488029268) * t + 2.0869039973
    bottom = ((0.11354016334 * t + 0.89535849456) * t + 1.7887408794) * t + 1.0
    return torch.sign(p - 0.5) * t * top / bottom
