"""Metrics of a probability against what happened, 0 or 1.

It deliberately does not know which outcome: churn and cancellation are judged alike.
"""

import numpy as np
from jaxtyping import Float64, Real
from numpy import ndarray

from training.metrics.ranking import Ranking, ratio

SMALLEST_PROBABILITY = 1e-7
"""Log loss reads probabilities no closer to 0 and 1 than this, so that one sure error stays finite."""

NUM_CALIBRATION_BINS = 15
TOP_SHARE = 0.1
_TINY = np.finfo(np.float64).tiny


def probability_metrics(
    labels: Real[ndarray, " readout"],
    predicted: Real[ndarray, " readout"],
    weights: Float64[ndarray, "replicate readout"],
) -> dict[str, Float64[ndarray, " replicate"]]:
    """Judge probabilities.

    Args:
        labels: 0 or 1.
        predicted: Probabilities of 1.
        weights: How often each readout counts, per replicate; one row of ones for the data itself.

    Returns:
        ``auroc`` (ties count half), ``average_precision`` (sum of precision times step of recall
        over distinct thresholds), ``log_loss`` (nats), ``brier``, ``lift_at_10`` (share of 1 among
        the tenth with the highest probability over the share among all; ties at its edge are
        taken in part) and ``calibration_error`` (expected calibration error over 15 bins of equal
        mass). NaN where one is not defined, such as AUROC of one class.
    """
    label, probability = labels.astype(np.float64), predicted.astype(np.float64)
    ranking = Ranking.of(probability)
    total = ranking.totals(weights)
    positive = ranking.totals(weights * label)
    safe = np.clip(probability, SMALLEST_PROBABILITY, 1.0 - SMALLEST_PROBABILITY)
    nats = -(label * np.log(safe) + (1.0 - label) * np.log1p(-safe))
    mass = weights.sum(axis=-1)
    return {
        "auroc": _auroc(positive, total),
        "average_precision": _average_precision(positive, total),
        "log_loss": ratio(weights @ nats, mass),
        "brier": ratio(weights @ (probability - label) ** 2, mass),
        "lift_at_10": _lift(positive, total, TOP_SHARE),
        "calibration_error": ratio(_calibration_gaps(ranking, label, probability, weights), mass),
    }


def _auroc(positive: ndarray, total: ndarray) -> ndarray:
    """Return the Mann-Whitney statistic over all pairs of a 1 and a 0."""
    negative = total - positive
    below = np.cumsum(negative, axis=-1) - negative / 2.0
    pairs = positive.sum(axis=-1) * negative.sum(axis=-1)
    return ratio((positive * below).sum(axis=-1), pairs)


def _average_precision(positive: ndarray, total: ndarray) -> ndarray:
    from_top, all_from_top = _from_top(positive), _from_top(total)
    # Where nothing is at or above a threshold, nothing positive is at it either.
    precision = from_top / np.maximum(all_from_top, _TINY)
    return ratio((positive * precision).sum(axis=-1), positive.sum(axis=-1))


def _lift(positive: ndarray, total: ndarray, share: float) -> ndarray:
    mass = total.sum(axis=-1)
    above = _from_top(total) - total
    taken = np.clip(share * mass[..., None] - above, 0.0, total)
    rate = positive / np.maximum(total, _TINY)
    top_rate = ratio((taken * rate).sum(axis=-1), taken.sum(axis=-1))
    return ratio(top_rate, ratio(positive.sum(axis=-1), mass))


def _from_top(per_group: ndarray) -> ndarray:
    return np.cumsum(per_group[..., ::-1], axis=-1)[..., ::-1]


def _calibration_gaps(ranking: Ranking, label: ndarray, probability: ndarray, weights: ndarray) -> ndarray:
    """Return the sum over bins of |sum of label - probability|; the bins are those of all readouts."""
    gaps = ranking.bin_totals(weights * (label - probability), NUM_CALIBRATION_BINS)
    return np.abs(gaps).sum(axis=-1)
