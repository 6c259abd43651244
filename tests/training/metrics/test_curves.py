"""Curves: the points that the report draws."""

import numpy as np
import pytest
from scipy.stats import binomtest
from sklearn.metrics import roc_auc_score, roc_curve

from training.metrics.curves import MOST_POINTS, decile_rows, gains_points, reliability_bins, roc_points


def test_roc_by_hand() -> None:
    """Ties make one slanted step."""
    points = roc_points(np.array([1, 0, 1, 0]), np.array([0.9, 0.5, 0.5, 0.1]))
    assert points == [[0.0, 0.0], [0.0, 0.5], [0.5, 1.0], [1.0, 1.0]]


def test_roc_thinned_keeps_its_area() -> None:
    """On many readouts at most about a hundred points remain, on scikit-learn's curve."""
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 2, 5_000)
    predicted = rng.normal(labels * 1.5)
    points = np.array(roc_points(labels, predicted))
    assert len(points) <= MOST_POINTS + 2
    assert np.trapezoid(points[:, 1], points[:, 0]) == pytest.approx(
        roc_auc_score(labels, predicted), abs=2e-3
    )
    fpr, tpr, _ = roc_curve(labels, predicted, drop_intermediate=False)
    full = set(zip(np.round(fpr, 6).tolist(), np.round(tpr, 6).tolist(), strict=True))
    assert {tuple(point) for point in points.tolist()} <= full


def test_gains_by_hand() -> None:
    """The first half holds all of the money."""
    points = gains_points(np.array([0.0, 30.0, 10.0, 0.0]), np.array([1.0, 4.0, 3.0, 2.0]))
    assert points == [[0.0, 0.0], [0.25, 0.75], [0.5, 1.0], [0.75, 1.0], [1.0, 1.0]]


def test_nothing_to_find_draws_nothing() -> None:
    """One class has no ROC, and a total of 0 no gains."""
    assert roc_points(np.zeros(3), np.arange(3.0)) == []
    assert roc_points(np.ones(3), np.arange(3.0)) == []
    assert gains_points(np.zeros(3), np.arange(3.0)) == []


def test_reliability_counts_and_intervals() -> None:
    """Ten bins of ten; each share with the score interval that scipy computes."""
    rng = np.random.default_rng(0)
    predicted = rng.random(100)
    labels = (rng.random(100) < predicted).astype(float)
    bins = reliability_bins(labels, predicted)
    assert [row["num_readouts"] for row in bins] == [10] * 10
    assert [row["predicted"] for row in bins] == sorted(row["predicted"] for row in bins)
    for row in bins:
        expected = binomtest(round(row["observed"] * 10), 10).proportion_ci(method="wilson")
        assert (row["low"], row["high"]) == pytest.approx((expected.low, expected.high), abs=1e-6)


def test_equal_predictions_share_a_bin() -> None:
    """A constant prediction is one point."""
    bins = reliability_bins(np.array([1.0, 0.0, 0.0, 0.0]), np.full(4, 0.3))
    assert len(bins) == 1
    assert (bins[0]["num_readouts"], bins[0]["observed"]) == (4, 0.25)


def test_deciles_keep_the_totals() -> None:
    """Counts and amounts of the deciles add up to those of all readouts."""
    rng = np.random.default_rng(0)
    labels, expected = rng.lognormal(size=57), rng.lognormal(size=57)
    rows = decile_rows(labels, expected)
    assert [row["decile"] for row in rows] == list(range(1, 11))
    assert sum(row["num_readouts"] for row in rows) == 57
    assert sum(row["num_readouts"] * row["actual"] for row in rows) == pytest.approx(labels.sum())
    assert sum(row["num_readouts"] * row["predicted"] for row in rows) == pytest.approx(expected.sum())
