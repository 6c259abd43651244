"""Calibration: what a later window corrects about a model's level and sharpness.

It deliberately does not know the network. What is fitted here is applied to raw outputs, so it
can live inside the exported graph and every answer made from them agrees.
"""

import logging
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import numpy as np
import torch
from jaxtyping import Bool, Float64, Int64
from numpy import ndarray
from scipy.optimize import minimize

from holdfast.schema import Schema, Target, horizon_grid_days
from training.amount_quantiles import fit_scores
from training.labels import Labels
from training.model.distributions import lognormal_log_mean
from training.model.outputs import RawOutputs

_log = logging.getLogger(__name__)

MIN_CASES = 30
"""With fewer events, or fewer survivors, or fewer positive amounts, nothing is corrected."""

MAX_LOG_FACTOR = 3.0
"""Amounts and counts are corrected by a factor of at most e^3, about 20, either way."""

_MAX_LOG_SLOPE = 1.6
_SLOPE_PRIOR_STD = 0.5
_INTERCEPT_PRIOR_STD = 2.0


@dataclass(frozen=True, slots=True, kw_only=True)
class SurvivalCalibration:
    """A correction of hazards: ``slope * logit + intercept``.

    Whatever the values, hazards stay in (0, 1), so the curve stays monotone in the horizon.

    Attributes:
        slope: Positive; shared by all bins.
        intercepts: One per bin.
    """

    slope: float
    intercepts: tuple[float, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Calibration:
    """The corrections by target name; a target that is not named is left as it is.

    Attributes:
        survival: Of hazards.
        log_factors: Of amounts and counts: what is added to the log of the expectation. It moves
            the location, so that quantiles agree.
        scores: Of amounts: where their quantiles lie, see
            :func:`training.model.distributions.lognormal_quantiles`.
    """

    survival: Mapping[str, SurvivalCalibration] = field(default_factory=dict)
    log_factors: Mapping[str, float] = field(default_factory=dict)
    scores: Mapping[str, tuple[float, ...]] = field(default_factory=dict)

    @property
    def shape(self) -> "Calibration":
        """What belongs to no date: how amounts lie around what is expected, and not how high that is."""
        return Calibration(scores=self.scores)


def calibrated(raw: RawOutputs, calibration: Calibration) -> RawOutputs:
    """Return raw outputs with the corrections applied; the zero mass of a tied amount follows."""
    survival = dict(raw.survival)
    for name, correction in calibration.survival.items():
        logits = survival[name]
        intercepts = torch.tensor(correction.intercepts, dtype=logits.dtype, device=logits.device)
        survival[name] = correction.slope * logits + intercepts
    factors = calibration.log_factors
    amounts = {
        name: replace(out, mu=out.mu + factors.get(name, 0.0), scores=calibration.scores.get(name, ()))
        for name, out in raw.amounts.items()
    }
    counts = {n: replace(out, log_rate=out.log_rate + factors.get(n, 0.0)) for n, out in raw.counts.items()}
    return replace(raw, survival=survival, amounts=amounts, counts=counts)


def fit_calibration(
    raw: RawOutputs, labels: Labels, schema: Schema, *, model: str, min_cases: int = MIN_CASES
) -> Calibration:
    """Fit the corrections on the outputs of one window that is later than the weights.

    Args:
        raw: Uncalibrated outputs ``[readout, ...]``, see :func:`training.model.outputs.concatenate`.
        labels: Labels of the same readouts; censored ones are used as far as they are known.
        schema: The targets.
        model: Whose outputs they are, for the log.
        min_cases: Least number of events and of survivors, or of positive values, to correct at all.

    Returns:
        The corrections of every target that has enough cases.
    """
    timed = {t.name: t for t in schema.targets if t.kind == "time_to_event"}
    survival: dict[str, SurvivalCalibration] = {}
    for name, target in timed.items():
        logits = raw.survival[name].detach().cpu().double().numpy()
        fitted = fit_survival(logits, labels.lower[name], labels.upper[name], target, min_cases=min_cases)
        if fitted is not None:
            survival[name] = fitted
    # Amounts come second, because the zero mass of a tied one has just moved.
    present = calibrated(raw, Calibration(survival=survival))
    log_expected = {name: out.log_rate for name, out in present.counts.items()}
    for name, out in present.amounts.items():
        log_positive, _ = out.log_masses(present.survival)
        log_expected[name] = lognormal_log_mean(log_positive, out.mu, out.sigma)
    log_factors = {}
    for name, logs in log_expected.items():
        factor = fit_log_factor(
            logs.detach().cpu().double().numpy(), labels.values[name], min_cases=min_cases
        )
        if factor is not None:
            log_factors[name] = factor
    present = calibrated(raw, Calibration(survival=survival, log_factors=log_factors))
    scores = {}
    for name, out in present.amounts.items():
        log_positive, _ = out.log_masses(present.survival)
        found = fit_scores(log_positive, out.mu, out.sigma, labels.values[name])
        if found is not None:
            scores[name] = found
            reason = "what came was no lognormal around what was expected"
            _log.info("%s: %s; the quantiles of model %r are moved", name, reason, model)
    return Calibration(survival=survival, log_factors=log_factors, scores=scores)


def fit_log_factor(
    log_expected: Float64[ndarray, " readout"], actual: ndarray, *, min_cases: int = MIN_CASES
) -> float | None:
    """Return the log of the factor with which predicted and actual totals agree.

    Args:
        log_expected: Log expectations.
        actual: What came; NaN where it is not known.
        min_cases: Least number of positive values.

    Returns:
        The log factor within +-``MAX_LOG_FACTOR``; None where there are too few positive values.
    """
    is_known = np.isfinite(actual)
    if int((actual[is_known] > 0).sum()) < min_cases:
        return None
    logs = log_expected[is_known]
    highest = logs.max()
    predicted = highest + np.log(np.exp(logs - highest).sum())
    return float(
        np.clip(np.log(actual[is_known].sum(dtype=np.float64)) - predicted, -MAX_LOG_FACTOR, MAX_LOG_FACTOR)
    )


def fit_survival(
    hazard_logits: Float64[ndarray, "readout bin"],
    lower: Int64[ndarray, " readout"],
    upper: Int64[ndarray, " readout"],
    target: Target,
    *,
    min_cases: int = MIN_CASES,
) -> SurvivalCalibration | None:
    """Fit slope and intercepts by maximum likelihood on what is known at the asked horizons.

    The labels are first coarsened to the horizons, so that with one horizon the likelihood is the
    log loss of the reported probability; the bins between two horizons share an intercept. Weak
    normal priors (on the log slope and the intercepts) keep the fit finite where classes separate.

    Args:
        hazard_logits: Uncalibrated.
        lower: The event fell into bins ``(lower, upper]`` ...
        upper: ... where ``bins + 1`` means later, perhaps never.
        target: Names the horizons.
        min_cases: Least number of known events, and of known survivors.

    Returns:
        The correction, or None where there are too few cases.
    """
    grid = horizon_grid_days(target)
    num_bins = len(grid)
    ends = np.array([grid.index(float(horizon)) + 1 for horizon in target.horizons_days])
    low, high = _coarsened(lower, upper, ends, num_bins=num_bins)
    came, survived = high <= num_bins, low > 0
    if min(int(came.sum()), int(survived.sum())) < min_cases:
        return None
    is_known = came | survived
    bins = np.arange(num_bins)
    logits, low, high = hazard_logits[is_known], low[is_known, None], high[is_known, None]
    is_survived, is_between = bins < low, (bins >= low) & (bins < high) & (high <= num_bins)
    part = np.searchsorted(ends, bins + 1)
    start = np.zeros(1 + len(ends))
    bounds = [(-_MAX_LOG_SLOPE, _MAX_LOG_SLOPE)] + [(-20.0, 20.0)] * len(ends)
    fitted = minimize(
        _negative_log_likelihood,
        start,
        args=(logits, is_survived, is_between, part),
        jac=True,
        method="L-BFGS-B",
        bounds=bounds,
    )
    intercepts = fitted.x[1:][part]
    return SurvivalCalibration(slope=float(np.exp(fitted.x[0])), intercepts=tuple(intercepts.tolist()))


def _coarsened(lower: ndarray, upper: ndarray, ends: ndarray, *, num_bins: int) -> tuple[ndarray, ndarray]:
    """Widen every interval until it begins and ends at a horizon, at 0 or never."""
    starts = np.concatenate([[0], ends])
    low = starts[np.searchsorted(starts, lower, side="right") - 1]
    stops = np.concatenate([ends, [num_bins + 1]])
    high = stops[np.searchsorted(stops, np.minimum(upper, num_bins + 1), side="left")]
    return low, high


def _negative_log_likelihood(
    parameters: Float64[ndarray, " parameter"],
    logits: Float64[ndarray, "readout bin"],
    is_survived: Bool[ndarray, "readout bin"],
    is_between: Bool[ndarray, "readout bin"],
    part: Int64[ndarray, " bin"],
) -> tuple[float, Float64[ndarray, " parameter"]]:
    """Return value and gradient of ``-log(S(low) - S(high))``, summed, and of the priors.

    With ``D`` the sum of softplus over the bins between, ``S(low) - S(high) = S(low) (1 - exp(-D))``.
    """
    slope, intercepts = np.exp(parameters[0]), parameters[1:]
    z = slope * logits + intercepts[part]
    softplus = np.logaddexp(0.0, z)
    between = np.maximum((softplus * is_between).sum(axis=1), 1e-300)
    has_event = is_between.any(axis=1)
    log_came = np.where(has_event, np.log(-np.expm1(-between)), 0.0)
    value = (softplus * is_survived).sum() - log_came.sum()
    pull = np.where(has_event, 1.0 / np.expm1(np.minimum(between, 700.0)), 0.0)
    gradient_z = (is_survived - is_between * pull[:, None]) / (1.0 + np.exp(-np.clip(z, -700.0, 700.0)))
    per_bin = gradient_z.sum(axis=0)
    gradient = np.empty_like(parameters)
    gradient[0] = slope * (gradient_z * logits).sum()
    gradient[1:] = np.bincount(part, weights=per_bin, minlength=len(intercepts))
    spread = np.array([_SLOPE_PRIOR_STD] + [_INTERCEPT_PRIOR_STD] * len(intercepts))
    value += 0.5 * np.square(parameters / spread).sum()
    return float(value), gradient + parameters / spread**2
