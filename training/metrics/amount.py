"""Metrics of an expected amount or count against what came.

It deliberately does not know the unit: amounts are judged in their own.
"""

import numpy as np
from jaxtyping import Float64, Real
from numpy import ndarray

from training.metrics.ranking import Ranking, ratio

NUM_DECILES = 10


def amount_metrics(
    labels: Real[ndarray, " readout"],
    expected: Real[ndarray, " readout"],
    median: Real[ndarray, " readout"] | None,
    weights: Float64[ndarray, "replicate readout"],
    *,
    upper: Real[ndarray, " readout"] | None = None,
) -> dict[str, Float64[ndarray, " replicate"]]:
    """Judge expected amounts.

    Args:
        labels: What came; not negative.
        expected: Predicted means.
        median: Predicted medians, which are what an absolute error asks for; None where a model
            has none.
        weights: How often each readout counts, per replicate; one row of ones for the data itself.
        upper: Predicted 0.9 quantiles; None where a model has none.

    Returns:
        ``normalised_gini`` (Gini of the labels in the order of the predictions over that in their
        own order), ``spearman``, ``mae_of_mean``, ``mae_of_median`` (where there are medians),
        ``rmse``, ``decile_mape`` (absolute error of the total of every decile of the predictions,
        summed, over the total; unlike Wang, Liu and Miao 2019 weighted by the deciles' totals,
        because half of the deciles of a shop spend nothing), ``total_ratio`` (predicted over actual)
        and ``covered_90`` (the share of readouts that came to no more than their 0.9 quantile). NaN where
        one is not defined.
    """
    label, mean = labels.astype(np.float64), expected.astype(np.float64)
    by_label, by_mean = Ranking.of(label), Ranking.of(mean)
    mass = weights.sum(axis=-1)
    actual = weights @ label
    gaps = np.abs(by_mean.bin_totals(weights * (mean - label), NUM_DECILES)).sum(axis=-1)
    metrics = {
        "normalised_gini": ratio(_gini(by_mean, label, weights), _gini(by_label, label, weights)),
        "spearman": _spearman(by_mean, by_label, weights),
        "mae_of_mean": ratio(weights @ np.abs(mean - label), mass),
        "rmse": np.sqrt(ratio(weights @ (mean - label) ** 2, mass)),
        "decile_mape": ratio(gaps, actual),
        "total_ratio": ratio(weights @ mean, actual),
    }
    if median is not None:
        metrics["mae_of_median"] = ratio(weights @ np.abs(median.astype(np.float64) - label), mass)
    if upper is not None:
        metrics["covered_90"] = ratio(weights @ (label <= upper), mass)
    return metrics


def _gini(ranking: Ranking, label: ndarray, weights: ndarray) -> ndarray:
    """Return the covariance of labels and ranks, which the Gini coefficient is up to a factor.

    The factor is the same for every order of the same labels (Lerman and Yitzhaki 1984, eq. 3).
    """
    ranks = ranking.mid_ranks(weights)
    middle = (weights.sum(axis=-1)[..., None] + 1.0) / 2.0
    return (ranking.totals(weights * label) * (ranks - middle)).sum(axis=-1)


def _spearman(by_mean: Ranking, by_label: Ranking, weights: ndarray) -> ndarray:
    middle = (weights.sum(axis=-1)[..., None] + 1.0) / 2.0
    own = by_mean.of_members(by_mean.mid_ranks(weights)) - middle
    other = by_label.of_members(by_label.mid_ranks(weights)) - middle
    covariance = (weights * own * other).sum(axis=-1)
    variances = (weights * own**2).sum(axis=-1) * (weights * other**2).sum(axis=-1)
    return ratio(covariance, np.sqrt(variances))
