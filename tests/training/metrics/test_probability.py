"""Probability metrics against scikit-learn, brute force and hand-made cases."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import average_precision_score, brier_score_loss, log_loss, roc_auc_score

from training.metrics import probability_metrics
from training.metrics.probability import NUM_CALIBRATION_BINS


def judge(
    labels: list[float], predicted: list[float], weights: list[float] | None = None
) -> dict[str, float]:
    """Return the metrics of one weighting as numbers."""
    counted = np.array([weights or [1.0] * len(labels)], dtype=np.float64)
    made = probability_metrics(np.array(labels), np.array(predicted), counted)
    return {name: float(value[0]) for name, value in made.items()}


def test_by_hand() -> None:
    """Five readouts whose figures fit on a napkin: pairs 5 of 6, precision at 1, 1/2 and 2/3."""
    metrics = judge([1, 0, 1, 0, 0], [0.9, 0.8, 0.7, 0.2, 0.1])
    assert metrics["auroc"] == pytest.approx(5 / 6)
    assert metrics["average_precision"] == pytest.approx((1 + 2 / 3) / 2)
    assert metrics["brier"] == pytest.approx((0.01 + 0.64 + 0.09 + 0.04 + 0.01) / 5)
    # Half a readout is the top tenth: all of it a 1, against 2 of 5.
    assert metrics["lift_at_10"] == pytest.approx(2.5)


def test_equal_predictions_say_nothing() -> None:
    """All ties: half of all pairs, the base rate as precision, a lift of 1, and no order decides."""
    metrics = judge([0, 1, 1, 0], [0.5] * 4)
    assert metrics["auroc"] == 0.5
    assert metrics["average_precision"] == pytest.approx(0.5)
    assert metrics["lift_at_10"] == pytest.approx(1.0)
    assert metrics["calibration_error"] == pytest.approx(0.0)
    assert metrics["log_loss"] == pytest.approx(np.log(2))


def test_ties_at_the_edge_of_the_top_tenth_are_taken_in_part() -> None:
    """Of 20 readouts 2 are the top; one is sure, the other is a third of three that are equal."""
    predicted = [0.9, 0.5, 0.5, 0.5] + [0.1] * 16
    labels = [1, 1, 0, 0] + [0] * 16
    assert judge(labels, predicted)["lift_at_10"] == pytest.approx((1 + 1 / 3) / 2 / (2 / 20))


@pytest.mark.parametrize("label", [0, 1])
def test_one_class_has_no_ranking(label: int) -> None:
    """AUROC is not defined, and says so, while log loss is."""
    metrics = judge([label] * 3, [0.2, 0.5, 0.7])
    assert np.isnan(metrics["auroc"])
    assert np.isfinite(metrics["log_loss"])
    assert np.isnan(metrics["average_precision"]) == (label == 0)


def test_a_sure_error_stays_finite() -> None:
    """Probability 0 of what happened costs as much as 1e-7 of it."""
    assert judge([1, 0], [0.0, 1.0])["log_loss"] == pytest.approx(-np.log(1e-7), rel=1e-6)


def test_calibration_error_by_hand() -> None:
    """15 bins of two readouts each: every bin predicts .2 too much in half of its readouts."""
    num = 2 * NUM_CALIBRATION_BINS
    predicted = np.linspace(0.01, 0.99, num)
    labels = np.zeros(num)
    by_hand = np.mean([abs(predicted[2 * b : 2 * b + 2].mean()) for b in range(NUM_CALIBRATION_BINS)])
    assert judge(labels.tolist(), predicted.tolist())["calibration_error"] == pytest.approx(by_hand)


def test_perfectly_calibrated_groups_have_no_error() -> None:
    """Equal predictions share a bin, so a share of 1 in 4 at .25 is exact."""
    predicted = [0.25] * 40 + [0.75] * 40
    labels = ([1, 0, 0, 0] * 10) + ([1, 1, 1, 0] * 10)
    assert judge(labels, predicted)["calibration_error"] == pytest.approx(0.0, abs=1e-12)


cases = st.integers(2, 60).flatmap(
    lambda num: st.tuples(
        st.lists(st.integers(0, 1), min_size=num, max_size=num).filter(lambda x: 0 < sum(x) < len(x)),
        # Few distinct values, so that ties are everywhere.
        st.lists(st.integers(0, 12).map(lambda k: k / 12), min_size=num, max_size=num),
        st.lists(st.integers(0, 3), min_size=num, max_size=num),
    )
)


@given(cases)
def test_equal_to_scikit_learn(case: tuple[list[int], list[float], list[int]]) -> None:
    """On any labels, ties and whole weights, zero among them, where both classes have weight."""
    labels, predicted, weights = (np.array(column) for column in case)
    if len(set(labels[weights > 0])) < 2:
        weights = np.ones_like(weights)
    ours = judge(labels.tolist(), predicted.tolist(), weights.tolist())
    safe = np.clip(predicted, 1e-7, 1 - 1e-7)
    assert ours["auroc"] == pytest.approx(roc_auc_score(labels, predicted, sample_weight=weights))
    expected = average_precision_score(labels, predicted, sample_weight=weights)
    assert ours["average_precision"] == pytest.approx(expected)
    assert ours["log_loss"] == pytest.approx(log_loss(labels, safe, sample_weight=weights))
    assert ours["brier"] == pytest.approx(brier_score_loss(labels, predicted, sample_weight=weights))


@given(cases)
def test_auroc_is_the_share_of_ordered_pairs(case: tuple[list[int], list[float], list[int]]) -> None:
    """Counted pair by pair, ties as half."""
    labels, predicted, _ = case
    pairs = [
        (a > b) + (a == b) / 2
        for a, x in zip(predicted, labels, strict=True)
        for b, y in zip(predicted, labels, strict=True)
        if x == 1 and y == 0
    ]
    assert judge(labels, predicted)["auroc"] == pytest.approx(np.mean(pairs))


@given(cases)
def test_a_weight_of_two_is_a_readout_twice(case: tuple[list[int], list[float], list[int]]) -> None:
    """Every metric but the binned one, whose bins stay those of all readouts."""
    labels, predicted, weights = case
    if not sum(weights):
        weights = [1] * len(weights)
    weighted = judge(labels, predicted, weights)
    repeated = judge(np.repeat(labels, weights).tolist(), np.repeat(predicted, weights).tolist())
    del weighted["calibration_error"], repeated["calibration_error"]
    assert weighted == pytest.approx(repeated, nan_ok=True)


@given(cases, st.randoms(use_true_random=False))
def test_the_order_of_readouts_does_not_matter(case: tuple, random: object) -> None:
    """Ties included."""
    labels, predicted, weights = case
    weights = [weight + 1 for weight in weights]
    order = list(range(len(labels)))
    random.shuffle(order)
    shuffled = ([column[i] for i in order] for column in (labels, predicted, weights))
    assert judge(*shuffled) == pytest.approx(judge(labels, predicted, weights))


def test_many_weightings_at_once_equal_one_at_a_time() -> None:
    """Every row of the weights is a question of its own."""
    rng = np.random.default_rng(1)
    labels, predicted = rng.integers(0, 2, 50), rng.random(50)
    weights = rng.integers(0, 4, (6, 50)).astype(np.float64)
    together = probability_metrics(labels, predicted, weights)
    for i in range(6):
        alone = judge(labels.tolist(), predicted.tolist(), weights[i].tolist())
        assert {name: value[i] for name, value in together.items()} == pytest.approx(alone)
