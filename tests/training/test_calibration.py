"""Tests of calibration: what it recovers, what it must not break, and when it keeps out."""

from dataclasses import replace

import numpy as np
import pytest
import scipy.optimize
import scipy.special
import torch

from builders import small_schema
from holdfast.plain import from_plain, to_plain
from holdfast.schema import Target, horizon_grid_days
from training.calibration import (
    MAX_LOG_FACTOR,
    Calibration,
    SurvivalCalibration,
    _coarsened,
    _negative_log_likelihood,
    calibrated,
    fit_calibration,
    fit_log_factor,
    fit_survival,
)
from training.labels import Labels
from training.losses import survival_loss
from training.model.distributions import SCORE_KNOTS
from training.model.graph import answer
from training.model.outputs import AmountOutput, CountOutput, RawOutputs

NUM_BINS = 12
CHURN = small_schema().targets[0]
ONE_HORIZON = replace(CHURN, horizons_days=(90,))


def drawn(logits: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Return exact intervals drawn from hazards."""
    comes = rng.random(logits.shape) < scipy.special.expit(logits)
    lower = np.where(comes.any(axis=1), comes.argmax(axis=1), NUM_BINS).astype(np.int64)
    return lower, lower + 1


def survival_at(logits: np.ndarray, fitted: SurvivalCalibration | None = None) -> np.ndarray:
    """Return the survival curve, calibrated where told."""
    if fitted is not None:
        logits = fitted.slope * logits + np.array(fitted.intercepts)
    return np.cumprod(1 - scipy.special.expit(logits), axis=1)


def test_a_model_that_is_right_is_left_almost_alone() -> None:
    """Labels drawn from the predicted hazards: slope 1, intercepts 0, within sampling error."""
    rng = np.random.default_rng(0)
    logits = rng.normal(-2.5, 1.0, (20_000, 1)) + np.zeros(NUM_BINS)
    fitted = fit_survival(logits, *drawn(logits, rng), CHURN)
    assert fitted is not None
    assert fitted.slope == pytest.approx(1.0, abs=0.05)
    np.testing.assert_allclose(fitted.intercepts, 0.0, atol=0.12)


@pytest.mark.parametrize(("slope", "shift"), [(0.5, 0.4), (1.6, -0.7)])
def test_a_wrong_slope_and_level_are_recovered(slope: float, shift: float) -> None:
    """Too sharp and too flat, too high and too low."""
    rng = np.random.default_rng(1)
    logits = rng.normal(-2.5, 1.0, (20_000, 1)) + np.zeros(NUM_BINS)
    fitted = fit_survival(logits, *drawn(slope * logits + shift, rng), CHURN)
    assert fitted is not None
    assert fitted.slope == pytest.approx(slope, rel=0.08)
    np.testing.assert_allclose(fitted.intercepts, shift, atol=0.15)


@pytest.mark.parametrize("target", [CHURN, ONE_HORIZON])
def test_mean_predictions_equal_observed_shares_at_every_horizon(target: Target) -> None:
    """Whatever is wrong between horizons: at those that are asked for the level is right afterwards."""
    rng = np.random.default_rng(2)
    logits = rng.normal(-2.5, 1.0, (20_000, 1)) + np.zeros(NUM_BINS)
    true = logits + np.linspace(-1.0, 1.5, NUM_BINS)
    lower, upper = drawn(true, rng)
    fitted = fit_survival(logits, lower, upper, target)
    grid = horizon_grid_days(target)
    for horizon in target.horizons_days:
        end = grid.index(float(horizon)) + 1
        predicted = survival_at(logits, fitted)[:, end - 1].mean()
        assert predicted == pytest.approx((lower >= end).mean(), abs=0.005)


def test_labels_that_only_say_whether_are_enough() -> None:
    """(0, K) or (K, K + 1) with one horizon is logistic regression on the outcome."""
    rng = np.random.default_rng(3)
    logits = rng.normal(-2.5, 1.0, (10_000, 1)) + np.zeros(NUM_BINS)
    exact, _ = drawn(logits - 0.8, rng)
    came = exact < NUM_BINS
    lower, upper = np.where(came, 0, NUM_BINS), np.where(came, NUM_BINS, NUM_BINS + 1)
    whether = fit_survival(logits, lower, upper, ONE_HORIZON)
    precise = fit_survival(logits, exact, exact + 1, ONE_HORIZON)
    assert whether is not None
    assert precise is not None
    np.testing.assert_allclose(whether.intercepts, precise.intercepts, atol=1e-6)
    assert survival_at(logits, whether)[:, -1].mean() == pytest.approx(1 - came.mean(), abs=0.005)


def test_intervals_are_coarsened_to_the_horizons_and_never_sharpened() -> None:
    """Ends at bins 4, 8 and 12: what is known shrinks to what is known there."""
    lower, upper = np.array([0, 3, 4, 5, 11, 12, 6, 0, 0]), np.array([1, 4, 5, 9, 12, 13, 13, 13, 12])
    low, high = _coarsened(lower, upper, np.array([4, 8, 12]), num_bins=NUM_BINS)
    np.testing.assert_array_equal(low, [0, 0, 4, 4, 8, 12, 4, 0, 0])
    np.testing.assert_array_equal(high, [4, 4, 8, 12, 12, 13, 13, 13, 12])
    assert ((low <= lower) & (high >= upper)).all()


def test_the_likelihood_and_its_gradient_are_right() -> None:
    """Value against the training loss, gradient against finite differences."""
    rng = np.random.default_rng(4)
    logits = rng.normal(-1, 1, (40, NUM_BINS))
    lower = rng.choice([0, 4, 8, 12], 40)
    upper = np.array([rng.choice([u for u in (4, 8, 12, 13) if u > low]) for low in lower])
    bins = np.arange(NUM_BINS)
    is_survived = bins < lower[:, None]
    is_between = (bins >= lower[:, None]) & (bins < upper[:, None]) & (upper[:, None] <= NUM_BINS)
    args = (logits, is_survived, is_between, bins // 4)
    parameters = np.array([0.3, -0.5, 0.2, 0.7])
    value, _ = _negative_log_likelihood(parameters, *args)
    moved = torch.from_numpy(np.exp(0.3) * logits + parameters[1:][bins // 4])
    likelihood = survival_loss(moved, torch.from_numpy(lower), torch.from_numpy(upper)).sum().item()
    prior = 0.5 * ((0.3 / 0.5) ** 2 + ((parameters[1:] / 2.0) ** 2).sum())
    assert value == pytest.approx(likelihood + prior, rel=1e-9)
    error = scipy.optimize.check_grad(
        lambda p: _negative_log_likelihood(p, *args)[0],
        lambda p: _negative_log_likelihood(p, *args)[1],
        parameters,
    )
    assert error < 1e-4


def test_too_few_cases_change_nothing() -> None:
    """29 events, or 29 survivors, are no ground to stand on; unknown labels do not count as either."""
    logits = np.zeros((1000, NUM_BINS))
    for num_events in (29, 971):
        lower = np.where(np.arange(1000) < num_events, 2, NUM_BINS)
        assert fit_survival(logits, lower, lower + 1, CHURN) is None
    lower = np.where(np.arange(1000) < 500, 2, 0)
    assert fit_survival(logits, lower, np.where(lower == 2, 3, NUM_BINS + 1), CHURN) is None
    lower = np.where(np.arange(1000) < 30, 2, NUM_BINS)
    assert fit_survival(logits, lower, lower + 1, CHURN) is not None


def test_separable_and_extreme_outputs_give_a_finite_positive_slope() -> None:
    """Perfect prediction, anti-prediction, constants, logits of +-200: the fit never runs away."""
    for sign in (1.0, -1.0, 0.0):
        for size in (1.0, 200.0):
            came = np.arange(400) % 2 == 0
            logits = np.where(came, 1.0, -1.0)[:, None] * sign * size + np.zeros(NUM_BINS)
            lower = np.where(came, 0, NUM_BINS)
            fitted = fit_survival(logits, lower, lower + 1, CHURN)
            assert fitted is not None
            assert 0.15 < fitted.slope < 6.0
            assert np.isfinite(fitted.intercepts).all()


def test_any_correction_keeps_the_curve_monotone_in_the_horizon() -> None:
    """Even intercepts that fall steeply from bin to bin cannot let survival rise."""
    logits = torch.from_numpy(np.random.default_rng(5).normal(0, 3, (100, NUM_BINS))).float()
    raw = make_raw(logits, torch.zeros(100))
    wild = SurvivalCalibration(slope=3.0, intercepts=tuple(np.linspace(10, -10, NUM_BINS).tolist()))
    answers = answer(calibrated(raw, Calibration(survival={"churn": wild})), small_schema(), (0.5,))
    assert (torch.diff(answers["churn_survival"], dim=1) <= 0).all()
    assert (torch.diff(answers["churn_probability"], dim=1) <= 0).all()


def make_raw(logits: torch.Tensor, mu: torch.Tensor, *, tied_to: str | None = "churn") -> RawOutputs:
    """Return outputs of the small schema."""
    return RawOutputs(
        survival={"churn": logits},
        amounts={
            "spend": AmountOutput(
                positive_logit=torch.ones_like(mu),
                mu=mu,
                sigma=torch.full_like(mu, 0.8),
                unit=1.0,
                tied_to=tied_to,
                tied_bin=NUM_BINS,
            )
        },
        counts={"orders": CountOutput(log_rate=mu / 10, log_dispersion=None)},
        embedding=torch.zeros(len(mu), 2),
    )


def make_labels(lower: np.ndarray, spend: np.ndarray, orders: np.ndarray) -> Labels:
    """Return exact labels of the small schema."""
    return Labels(
        lower={"churn": lower.astype(np.int64)},
        upper={"churn": lower.astype(np.int64) + 1},
        values={"spend": spend.astype(np.float32), "orders": orders.astype(np.float32)},
    )


@pytest.mark.parametrize("tied_to", ["churn", None])
def test_predicted_totals_equal_actual_ones(tied_to: str | None) -> None:
    """Also where the zero mass moved with the calibrated curve; censored windows are left out."""
    rng = np.random.default_rng(6)
    logits = rng.normal(-2, 1, (4000, NUM_BINS))
    lower, _ = drawn(logits - 1.0, rng)
    spend = np.where(lower < NUM_BINS, rng.lognormal(4, 1, 4000), 0.0)
    orders = rng.poisson(1.5, 4000).astype(float)
    spend[:500], orders[:500] = np.nan, np.nan
    raw = make_raw(
        torch.from_numpy(logits).float(), torch.from_numpy(rng.normal(3, 1, 4000)).float(), tied_to=tied_to
    )
    calibration = fit_calibration(raw, make_labels(lower, spend, orders), small_schema(), model="blend")
    answers = answer(calibrated(raw, calibration), small_schema(), (0.5,))
    assert answers["spend_expected"][500:].sum().item() == pytest.approx(np.nansum(spend), rel=1e-4)
    assert answers["orders_expected"][500:].sum().item() == pytest.approx(np.nansum(orders), rel=1e-4)
    share = answers["churn_survival"][:, -1].mean().item()
    assert share == pytest.approx((lower == NUM_BINS).mean(), abs=0.01)


def test_few_positive_amounts_and_wild_totals_are_kept_in_bounds() -> None:
    """29 positive values change nothing; one amount of 1e12 changes by no more than the bound."""
    logs = np.zeros(1000)
    actual = np.zeros(1000)
    actual[:29] = 50.0
    assert fit_log_factor(logs, actual) is None
    actual[:30] = 1e12
    assert fit_log_factor(logs, actual) == MAX_LOG_FACTOR
    assert fit_log_factor(logs + 500.0, np.ones(1000)) == -MAX_LOG_FACTOR
    assert fit_log_factor(logs, np.full(1000, np.nan)) is None


def test_the_shape_of_amounts_is_found_where_the_level_is_right(caplog: pytest.LogCaptureFixture) -> None:
    """After the factor: amounts in two heaps, twice as high as said, have quantiles there. The log tells."""
    caplog.set_level("INFO")
    rng = np.random.default_rng(8)
    num = 4000
    heaps = np.where(rng.random(num) < 0.3, 10.0, 40.0) * rng.lognormal(0.0, 0.02, num)
    raw = make_raw(torch.full((num, NUM_BINS), -2.0), torch.full((num,), 2.0), tied_to=None)
    never = np.full(num, NUM_BINS)
    calibration = fit_calibration(raw, make_labels(never, heaps, np.ones(num)), small_schema(), model="blend")
    assert set(calibration.scores) == {"spend"}
    # Of a blend and of its sequence model alone one may be moved and the other not.
    (told,) = caplog.messages
    assert told.startswith("spend: ")
    assert told.endswith("the quantiles of model 'blend' are moved")
    assert calibration.shape == Calibration(scores=calibration.scores)
    certain = replace(raw.amounts["spend"], positive_logit=torch.full((num,), 30.0))
    raw = replace(raw, amounts={"spend": certain})
    levels = (0.2, 0.5, 0.8)
    plain, moved = (
        answer(calibrated(raw, one), small_schema(), levels)["spend_quantiles"][0].numpy()
        for one in (replace(calibration, scores={}), calibration)
    )
    np.testing.assert_allclose(moved, [10.0, 40.0, 40.0], rtol=0.1)
    assert np.abs(plain / [10.0, 40.0, 40.0] - 1).max() > 0.3


def test_an_empty_calibration_is_the_identity() -> None:
    """Bit for bit, so that an uncalibrated graph is the model itself."""
    raw = make_raw(torch.randn(20, NUM_BINS), torch.randn(20))
    same = calibrated(raw, Calibration())
    assert torch.equal(same.survival["churn"], raw.survival["churn"])
    assert torch.equal(same.amounts["spend"].mu, raw.amounts["spend"].mu)
    assert torch.equal(same.counts["orders"].log_rate, raw.counts["orders"].log_rate)


def test_calibration_survives_plain_values() -> None:
    """A checkpoint or a manifest can hold it."""
    calibration = Calibration(
        survival={"churn": SurvivalCalibration(slope=1.1, intercepts=(0.1,) * NUM_BINS)},
        log_factors={"spend": 0.2},
        scores={"spend": SCORE_KNOTS},
    )
    assert from_plain(Calibration, to_plain(calibration)) == calibration
