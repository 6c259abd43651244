"""Recency alone: steps by hand, rising or falling, deciles of spend."""

import numpy as np
import pytest

from training.baselines import FeatureMatrix
from training.baselines.recency import PRIOR_READOUTS, Recency, edges_of, steps_of
from training.baselines.single import Effort

EFFORT = Effort(seed=0, threads=1)


def matrix(recency: list[float]) -> FeatureMatrix:
    """Return readouts with nothing but their recency."""
    values = np.array(recency, dtype=np.float32)[:, None]
    return FeatureMatrix(
        values=values, names=("recency_days",), ids=np.zeros((len(recency), 0), dtype=np.int64)
    )


def test_rates_are_the_smoothed_shares_by_hand() -> None:
    """Two recencies of 20 readouts each, with 5 and 15 gone of 20."""
    recency = [1.0] * 20 + [9.0] * 20
    gone = np.array([1.0] * 5 + [0.0] * 15 + [1.0] * 15 + [0.0] * 5)
    model = Recency().fit_probability(matrix(recency), gone, EFFORT)
    low, high = (
        (5 + PRIOR_READOUTS / 2) / (20 + PRIOR_READOUTS),
        (15 + PRIOR_READOUTS / 2) / (20 + PRIOR_READOUTS),
    )
    assert model.predict(matrix([0.0, 1.0, 5.0, 9.0, 99.0])) == pytest.approx([low, low, low, high, high])


@pytest.mark.parametrize("direction", [1, -1])
def test_the_rate_rises_or_falls_with_recency(direction: int) -> None:
    """Never both, whatever the noise."""
    rng = np.random.default_rng(0)
    recency = rng.normal(size=2_000)
    gone = (rng.random(2_000) < 1 / (1 + np.exp(-direction * recency))).astype(np.float64)
    model = Recency().fit_probability(matrix(recency.tolist()), gone, EFFORT)
    steps = np.diff(model.predict(matrix(sorted(recency.tolist()))))
    assert (direction * steps >= 0).all()
    assert (steps != 0).any()


def test_spend_is_the_mean_and_median_of_the_decile() -> None:
    """A hundred readouts: every ten of them share their mean and their median."""
    spend = np.arange(100, dtype=np.float64) ** 2
    answer = Recency().fit_amount(matrix(list(range(100))), spend, EFFORT).predict(matrix(list(range(100))))
    by_ten = spend.reshape(10, 10)
    np.testing.assert_allclose(answer.expected, np.repeat(by_ten.mean(axis=1), 10))
    np.testing.assert_allclose(answer.median, np.repeat(np.median(by_ten, axis=1), 10))


def test_every_range_holds_readouts() -> None:
    """With few distinct values, ties and one value alone."""
    rng = np.random.default_rng(0)
    for column in (rng.integers(0, 3, 50), np.ones(10), rng.normal(size=7), np.array([1.0, 1, 1, 1, 2])):
        edges = edges_of(column.astype(np.float64), 10)
        counts = np.bincount(steps_of(column.astype(np.float64), edges), minlength=len(edges) + 1)
        assert (counts > 0).all()
