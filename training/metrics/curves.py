"""Points to draw: ROC, gains, reliability and deciles, thinned to what an eye can tell apart.

It deliberately does not know how they are drawn; every point is plain numbers, ready for JSON.
"""

import numpy as np
from jaxtyping import Real
from numpy import ndarray

from training.metrics.ranking import Ranking

MOST_POINTS = 101
NUM_BINS = 10
_NORMAL_975 = 1.959964

Points = list[list[float]]


def roc_points(labels: Real[ndarray, " readout"], predicted: Real[ndarray, " readout"]) -> Points:
    """Return (false positive rate, true positive rate) from (0, 0) to (1, 1); empty for one class."""
    ranking = Ranking.of(predicted)
    label = labels.astype(np.float64)
    positive = ranking.totals(label)[::-1]
    negative = ranking.totals(1.0 - label)[::-1]
    if not positive.sum() or not negative.sum():
        return []
    x = np.concatenate([[0.0], np.cumsum(negative) / negative.sum()])
    y = np.concatenate([[0.0], np.cumsum(positive) / positive.sum()])
    # Distance along the curve, so that a steep start keeps its points.
    return _thinned(x, y, along=x + y)


def gains_points(labels: Real[ndarray, " readout"], predicted: Real[ndarray, " readout"]) -> Points:
    """Return (share of readouts, share of the labels' total), highest prediction first.

    For 0 and 1 that is how many of the leavers are found among the first so many; for amounts,
    how much of the money. Empty where the total is 0.
    """
    ranking = Ranking.of(predicted)
    found = ranking.totals(labels.astype(np.float64))[::-1]
    count = ranking.totals(np.ones(len(labels)))[::-1]
    if not found.sum():
        return []
    x = np.concatenate([[0.0], np.cumsum(count) / count.sum()])
    y = np.concatenate([[0.0], np.cumsum(found) / found.sum()])
    return _thinned(x, y, along=x)


def reliability_bins(
    labels: Real[ndarray, " readout"], predicted: Real[ndarray, " readout"]
) -> list[dict[str, float]]:
    """Return ten bins of equal mass with mean prediction, observed share and its Wilson interval."""
    bins = Ranking.of(predicted).equal_mass_bins(NUM_BINS)
    rows = []
    for index in np.unique(bins):
        inside = bins == index
        num, observed = int(inside.sum()), float(labels[inside].mean())
        low, high = _wilson(observed, num)
        rows.append(
            {
                "num_readouts": num,
                "predicted": float(predicted[inside].mean()),
                "observed": observed,
                "low": low,
                "high": high,
            }
        )
    return rows


def decile_rows(
    labels: Real[ndarray, " readout"], expected: Real[ndarray, " readout"]
) -> list[dict[str, float]]:
    """Return mean predicted and actual amount per decile of the prediction, lowest first."""
    bins = Ranking.of(expected).equal_mass_bins(NUM_BINS)
    return [
        {
            "decile": int(index) + 1,
            "num_readouts": int((bins == index).sum()),
            "predicted": float(expected[bins == index].astype(np.float64).mean()),
            "actual": float(labels[bins == index].astype(np.float64).mean()),
        }
        for index in np.unique(bins)
    ]


def _thinned(x: ndarray, y: ndarray, *, along: ndarray) -> Points:
    wanted = np.linspace(along[0], along[-1], MOST_POINTS)
    kept = np.unique(np.clip(np.searchsorted(along, wanted), 0, len(along) - 1))
    kept = np.union1d(kept, [0, len(x) - 1])
    return [[round(float(a), 6), round(float(b), 6)] for a, b in zip(x[kept], y[kept], strict=True)]


def _wilson(share: float, num: int) -> tuple[float, float]:
    """Return the 95 % score interval of a binomial share (Wilson 1927)."""
    z2 = _NORMAL_975**2
    middle = (share + z2 / (2 * num)) / (1 + z2 / num)
    half = _NORMAL_975 / (1 + z2 / num) * np.sqrt(share * (1 - share) / num + z2 / (4 * num**2))
    return max(0.0, float(middle - half)), min(1.0, float(middle + half))
