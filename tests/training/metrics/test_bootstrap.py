"""Bootstrap: clustered by customer, paired between models, seeded, of honest width."""

import numpy as np
import pytest

from training.metrics import Bootstrap, probability_metrics
from training.metrics.bootstrap import Metrics, num_replicates_for


def mean_of(values: np.ndarray) -> Metrics:
    """Return the weighted mean of values as the metric ``mean``."""
    return lambda weights: {"mean": weights @ values / weights.sum(axis=-1)}


def test_width_is_that_of_the_standard_error() -> None:
    """For a mean of independent readouts the interval is the textbook's."""
    values = np.random.default_rng(0).normal(5.0, 2.0, 2_000)
    sample = Bootstrap(np.arange(2_000), num_replicates=2_000, seed=1).samples(mean_of(values))["mean"]
    estimate = sample.estimate()
    assert estimate.value == pytest.approx(values.mean())
    assert estimate.high - estimate.low == pytest.approx(2 * 1.96 * 2.0 / np.sqrt(2_000), rel=0.1)


def test_repeating_a_customers_readouts_adds_no_certainty() -> None:
    """Ten equal readouts of each customer give the interval of one, not one a third as wide."""
    values = np.random.default_rng(0).normal(size=300)
    once = Bootstrap(np.arange(300), num_replicates=300, seed=1).samples(mean_of(values))["mean"]
    tenfold = Bootstrap(np.repeat(np.arange(300), 10), num_replicates=300, seed=1)
    np.testing.assert_allclose(
        tenfold.samples(mean_of(np.repeat(values, 10)))["mean"].replicates, once.replicates
    )


def test_differences_are_paired() -> None:
    """Two models that differ by a constant differ by it in every replicate."""
    values = np.random.default_rng(0).normal(size=200)
    bootstrap = Bootstrap(np.arange(200), num_replicates=200, seed=1)
    one, other = (bootstrap.samples(mean_of(v))["mean"] for v in (values + 0.1, values))
    difference = one.minus(other).estimate()
    assert (difference.value, difference.low, difference.high) == pytest.approx((0.1, 0.1, 0.1))
    assert one.estimate().low < other.estimate().high


def test_seeded() -> None:
    """The same seed gives the same interval, another one another."""
    values = np.random.default_rng(0).normal(size=50)
    ends = [
        Bootstrap(np.arange(50), num_replicates=50, seed=seed).samples(mean_of(values))["mean"].estimate()
        for seed in (1, 1, 2)
    ]
    assert ends[0] == ends[1]
    assert ends[0] != ends[2]


def test_replicates_where_a_metric_is_not_defined_are_left_out() -> None:
    """NaN in some replicates does not spoil the interval; NaN in all leaves none."""
    bootstrap = Bootstrap(np.arange(20), num_replicates=50, seed=1)
    some = bootstrap.samples(lambda w: {"m": np.where(w[:, 0] > 0, w[:, 0], np.nan)})["m"].estimate()
    assert some.low >= 1.0
    never = bootstrap.samples(lambda w: {"m": np.full(len(w), np.nan)})["m"].estimate()
    assert np.isnan([never.value, never.low, never.high]).all()


def test_chunks_do_not_show(monkeypatch: pytest.MonkeyPatch) -> None:
    """Computed in pieces or at once, the replicates are the same."""
    values = np.random.default_rng(0).normal(size=40)
    at_once = Bootstrap(np.arange(40), num_replicates=30, seed=1).samples(mean_of(values))["mean"]
    monkeypatch.setattr("training.metrics.bootstrap._NUMBERS_AT_ONCE", 100)
    pieces = Bootstrap(np.arange(40), num_replicates=30, seed=1).samples(mean_of(values))["mean"]
    np.testing.assert_allclose(pieces.replicates, at_once.replicates)


def test_every_replicate_has_as_many_customers() -> None:
    """Drawn with replacement: the weights of a replicate add up to the number of customers."""
    bootstrap = Bootstrap(np.array([7, 9, 11]), num_replicates=20, seed=1)
    totals = bootstrap.samples(lambda w: {"total": w.sum(axis=-1)})["total"]
    assert set(totals.replicates.tolist()) == {3.0}


def test_no_replicates_give_no_interval() -> None:
    """The value alone remains."""
    sample = Bootstrap(np.arange(5), num_replicates=0, seed=1).samples(mean_of(np.arange(5.0)))["mean"]
    assert sample.value == 2.0
    assert np.isnan(sample.estimate().low)


def test_fewer_replicates_on_many_readouts() -> None:
    """Bounded on both sides."""
    assert [num_replicates_for(n) for n in (0, 10_000, 100_000, 10**7)] == [500, 500, 200, 100]


def test_some_readouts_with_the_customers_drawn_for_all() -> None:
    """A part gets, in every replicate, the weights that it has within the whole."""
    values = np.random.default_rng(0).normal(size=90)
    customer = np.arange(90) // 3
    bootstrap = Bootstrap(customer, num_replicates=30, seed=1)
    rows = np.arange(0, 90, 3)
    part = bootstrap.samples(mean_of(values[rows]), rows)["mean"]
    own = Bootstrap(customer[rows], num_replicates=30, seed=1).samples(mean_of(values[rows]))["mean"]
    assert part.value == pytest.approx(values[rows].mean())
    # Every customer is in the part: drawing only them draws the same.
    np.testing.assert_allclose(part.replicates, own.replicates)
    is_part = np.isin(np.arange(90), rows)
    np.testing.assert_array_equal(
        bootstrap.samples(mean_of(values[rows]), is_part)["mean"].replicates, part.replicates
    )


@pytest.mark.parametrize(("shift", "true_error"), [(0.0, 0.0), (0.08, 0.08)])
def test_the_interval_of_the_calibration_error_holds_the_truth(shift: float, true_error: float) -> None:
    """The value alone lies above it, of a known error and of none at all."""
    num_covered, values = 0, []
    for seed in range(20):
        rng = np.random.default_rng(seed)
        truth = rng.uniform(0.2, 0.8, 800)
        came = (rng.random(800) < truth).astype(np.float64)
        bootstrap = Bootstrap(np.arange(800), num_replicates=80, seed=seed)
        said = truth + shift
        sample = bootstrap.samples(lambda weights, y=came, p=said: probability_metrics(y, p, weights))
        estimate = sample["calibration_error"].estimate("squared")
        num_covered += estimate.low <= true_error <= estimate.high
        values.append(estimate.value)
    assert np.mean(values) > true_error
    assert num_covered >= 17
