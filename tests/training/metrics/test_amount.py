"""Amount metrics against scipy, brute force and hand-made cases."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import spearmanr

from training.metrics import amount_metrics


def judge(
    labels: list[float],
    expected: list[float],
    median: list[float] | None = None,
    weights: list[float] | None = None,
) -> dict[str, float]:
    """Return the metrics of one weighting as numbers."""
    counted = np.array([weights or [1.0] * len(labels)], dtype=np.float64)
    medians = None if median is None else np.array(median)
    made = amount_metrics(np.array(labels), np.array(expected), medians, counted)
    return {name: float(value[0]) for name, value in made.items()}


def test_by_hand() -> None:
    """Errors 1, 0, 3 and medians 0, 2, 1 on amounts 0, 2, 10."""
    metrics = judge([0, 2, 10], [1, 2, 7], [0, 0, 9])
    assert metrics["mae_of_mean"] == pytest.approx(4 / 3)
    assert metrics["mae_of_median"] == pytest.approx(1.0)
    assert metrics["rmse"] == pytest.approx(np.sqrt(10 / 3))
    assert metrics["total_ratio"] == pytest.approx(10 / 12)
    assert metrics["decile_mape"] == pytest.approx((1 + 0 + 3) / 12)
    assert metrics["normalised_gini"] == pytest.approx(1.0)
    assert metrics["spearman"] == pytest.approx(1.0)


def test_what_is_covered_is_a_share_of_the_weight() -> None:
    """At the quantile itself counts; NaN where nobody counts."""
    labels, upper = np.array([0.0, 2.0, 10.0, 4.0]), np.array([0.0, 1.9, 11.0, 4.0])
    weights = np.array([[1.0, 1.0, 1.0, 1.0], [0.0, 3.0, 1.0, 0.0], [0.0, 0.0, 0.0, 0.0]])
    found = amount_metrics(labels, labels + 1.0, None, weights, upper=upper)["covered_90"]
    np.testing.assert_allclose(found, [0.75, 0.25, np.nan])
    assert "covered_90" not in judge([0, 2], [1, 2])


def test_the_order_reversed_is_minus_one() -> None:
    """The worst possible order has the Gini and the rank correlation of the best, negated."""
    metrics = judge([0, 2, 10], [3, 2, 1])
    assert metrics["normalised_gini"] == pytest.approx(-1.0)
    assert metrics["spearman"] == pytest.approx(-1.0)


def test_equal_predictions_order_nothing() -> None:
    """Gini is 0, and the rank correlation is not defined."""
    metrics = judge([0, 2, 10], [4, 4, 4])
    assert metrics["normalised_gini"] == pytest.approx(0.0)
    assert np.isnan(metrics["spearman"])
    assert metrics["decile_mape"] == pytest.approx(0.0)


def test_nobody_spent() -> None:
    """Shares of nothing are not defined, errors are."""
    metrics = judge([0, 0], [1, 3])
    undefined = {name for name, value in metrics.items() if np.isnan(value)}
    assert undefined == {"normalised_gini", "spearman", "decile_mape", "total_ratio"}
    assert metrics["mae_of_mean"] == 2.0


def test_without_medians_their_error_is_left_out() -> None:
    """A model that gives only a mean is not judged by what it does not say."""
    assert "mae_of_median" not in judge([1, 2], [1, 2])


def test_decile_error_adds_up_over_deciles() -> None:
    """Ten readouts are ten deciles; too much in one and too little in another do not cancel."""
    labels = list(range(10))
    expected = [label + (0.4 if label % 2 else -0.4) for label in labels]
    metrics = judge(labels, expected)
    assert metrics["decile_mape"] == pytest.approx(10 * 0.4 / 45)
    assert metrics["total_ratio"] == pytest.approx(1.0)


cases = st.integers(3, 40).flatmap(
    lambda num: st.tuples(
        st.lists(st.integers(0, 6).map(float), min_size=num, max_size=num),
        st.lists(st.integers(0, 6).map(lambda k: k / 2), min_size=num, max_size=num),
        st.lists(st.integers(0, 3), min_size=num, max_size=num),
    ).filter(lambda case: len(set(case[0])) > 1 and len(set(case[1])) > 1)
)


def gini_by_area(labels: np.ndarray, order_by: np.ndarray) -> float:
    """Return 1 - 2 times the area under the Lorenz curve in an order, equal values as one step."""
    x, y = [0.0], [0.0]
    for value in np.unique(order_by):
        x.append(x[-1] + (order_by == value).mean())
        y.append(y[-1] + labels[order_by == value].sum() / labels.sum())
    return 1.0 - 2.0 * np.trapezoid(y, x)


@given(cases)
def test_gini_equals_the_area(case: tuple) -> None:
    """The covariance form equals the ratio of the areas between Lorenz curves and the diagonal."""
    labels, expected = np.array(case[0]), np.array(case[1])
    by_area = gini_by_area(labels, expected) / gini_by_area(labels, labels)
    assert judge(case[0], case[1])["normalised_gini"] == pytest.approx(by_area)


@given(cases)
def test_spearman_equals_scipy(case: tuple) -> None:
    """With ties on both sides."""
    expected = spearmanr(case[0], case[1]).statistic
    assert judge(case[0], case[1])["spearman"] == pytest.approx(expected)


@given(cases)
def test_a_weight_of_two_is_a_readout_twice(case: tuple) -> None:
    """Every metric but the binned one, whose bins stay those of all readouts."""
    labels, expected, weights = case
    if not sum(weights):
        weights = [1] * len(weights)
    weighted = judge(labels, expected, labels, weights)
    repeated = judge(*(np.repeat(column, weights).tolist() for column in (labels, expected, labels)))
    del weighted["decile_mape"], repeated["decile_mape"]
    assert weighted == pytest.approx(repeated, nan_ok=True, abs=1e-9)
