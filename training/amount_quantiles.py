"""Where the quantiles of an amount lie: what a later window says against a lognormal's own.

It deliberately leaves location and scale alone: level and order of what is expected are not its business.
"""

import math

import numpy as np
import torch
from jaxtyping import Float
from numpy import ndarray
from torch import Tensor

from training.model.distributions import SCORE_KNOTS, SCORE_LEVELS, lognormal_quantiles

MIN_AMOUNTS = 100
"""Positive amounts in either half; with fewer their quantiles stay a lognormal's own."""

PRIOR_AMOUNTS = 50
"""How many amounts speak for a lognormal's own quantiles beside those that came."""

STANDARD_ERRORS = 2.0
"""How surely quantiles must be better to be moved."""

NUM_BLOCKS = 10


def fit_scores(
    log_positive: Float[Tensor, " readout"],
    mu: Float[Tensor, " readout"],
    sigma: Float[Tensor, " readout"],
    actual: Float[ndarray, " readout"],
) -> tuple[float, ...] | None:
    """Return where the quantiles of an amount lie, if that is better than where a lognormal's own lie.

    They are the quantiles of what came, standardised, drawn a little to a lognormal's own: the quantile
    recalibration of V. Kuleshov, N. Fenner and S. Ermon, Accurate Uncertainties for Deep Learning Using
    Calibrated Regression (2018, algorithm 1), of positive amounts alone and on the normal's scale. Better
    is what lowers the quantile loss of readouts that it was not fitted on by more than chance does: each
    half is asked with what the other gave.

    Args:
        log_positive: Log probability of a positive amount.
        mu: Location of its log, calibrated.
        sigma: Scale of its log.
        actual: What came; NaN where it is not known.

    Returns:
        As :func:`training.model.distributions.lognormal_quantiles` takes them, ascending; None where a
        lognormal's own stay.
    """
    is_known = torch.from_numpy(np.isfinite(actual))
    came = torch.from_numpy(actual.astype(np.float64))[is_known]
    log_positive, mu, sigma = (x.detach().cpu().double()[is_known] for x in (log_positive, mu, sigma))
    # In blocks, because cutoffs of one customer stand together.
    half = (torch.arange(len(came)) * NUM_BLOCKS // max(1, len(came))) % 2 == 0
    if min(int((came[own] > 0).sum()) for own in (half, ~half)) < MIN_AMOUNTS:
        return None
    gained = torch.zeros(len(came), dtype=torch.float64)
    for own, other in ((half, ~half), (~half, half)):
        scores = _scores(mu[own], sigma[own], came[own])
        plain, moved = (
            _loss(
                lognormal_quantiles(log_positive[other], mu[other], sigma[other], SCORE_LEVELS, given),
                came[other],
            )
            for given in ((), scores)
        )
        gained[other] = plain - moved
    if float(gained.mean()) <= STANDARD_ERRORS * float(gained.std()) / math.sqrt(len(came)):
        return None
    return _scores(mu, sigma, came)


def _scores(
    mu: Float[Tensor, " readout"], sigma: Float[Tensor, " readout"], came: Float[Tensor, " readout"]
) -> tuple[float, ...]:
    is_positive = came > 0
    standardised = ((torch.log(came[is_positive]) - mu[is_positive]) / sigma[is_positive]).numpy()
    num = len(standardised)
    found = np.quantile(standardised, SCORE_LEVELS)
    drawn = (num * found + PRIOR_AMOUNTS * np.array(SCORE_KNOTS)) / (num + PRIOR_AMOUNTS)
    return tuple(drawn.tolist())


def _loss(
    quantiles: Float[Tensor, "readout level"], came: Float[Tensor, " readout"]
) -> Float[Tensor, " readout"]:
    """Return the quantile loss, mean over levels (R. Koenker and G. Bassett, Regression Quantiles, 1978)."""
    above = came[:, None] - quantiles
    levels = above.new_tensor(SCORE_LEVELS)
    return torch.maximum(levels * above, (levels - 1.0) * above).mean(dim=1)
