"""Tests of the predicted distributions against SciPy and NumPy in float64."""

import numpy as np
import pytest
import scipy.special
import scipy.stats
import torch

from training.model.distributions import (
    SCORE_KNOTS,
    SCORE_LEVELS,
    log_event,
    log_event_by,
    log_masses,
    log_sigmoid,
    log_survival,
    lognormal_log_mean,
    lognormal_quantiles,
    normal_quantile,
)

LEVELS = (0.001, 0.1, 0.25, 0.5, 0.75, 0.9, 0.999)


def random_logits(*shape: int, spread: float = 3.0) -> np.ndarray:
    """Return hazard logits in float32."""
    return np.random.default_rng(0).normal(0, spread, shape).astype(np.float32)


def test_survival_is_the_product_of_survived_hazards() -> None:
    """S(k) is the product of (1 - hazard) up to bin k."""
    logits = random_logits(50, 12)
    expected = np.cumprod(1.0 - scipy.special.expit(logits.astype(np.float64)), axis=-1)
    np.testing.assert_allclose(log_survival(torch.from_numpy(logits)).exp().numpy(), expected, rtol=2e-5)


def test_masses_are_differences_of_survival_and_add_up_to_one() -> None:
    """The mass of bin k is S(k - 1) - S(k); what is left is "later"."""
    logits = random_logits(50, 12)
    survived = np.cumprod(1.0 - scipy.special.expit(logits.astype(np.float64)), axis=-1)
    padded = np.concatenate([np.ones((50, 1)), survived, np.zeros((50, 1))], axis=1)
    masses = log_masses(torch.from_numpy(logits)).exp().numpy()
    np.testing.assert_allclose(masses, -np.diff(padded, axis=1), rtol=1e-4, atol=1e-12)
    np.testing.assert_allclose(masses.sum(axis=1), 1.0, rtol=1e-5)


@pytest.mark.parametrize("logit", [-200.0, -50.0, 50.0, 200.0])
def test_extreme_hazards_stay_finite_and_exact_in_log_space(logit: float) -> None:
    """A hazard of e^-200 is no zero: its log is -200, and nothing overflows."""
    logits = torch.full((1, 12), logit)
    masses = log_masses(logits)
    assert torch.isfinite(masses).all()
    k = np.arange(12)
    expected = k * -np.logaddexp(0, logit) - np.logaddexp(0, -logit)
    np.testing.assert_allclose(masses[0, :12].numpy(), expected, rtol=1e-5, atol=1e-30)
    np.testing.assert_allclose(
        log_sigmoid(logits)[0].numpy(), -np.logaddexp(0, -logit), rtol=1e-5, atol=1e-30
    )


def test_event_by_a_bin_is_one_minus_survival() -> None:
    """The event came by the end of bin 7 unless it was survived."""
    logits = torch.from_numpy(random_logits(20, 12)).double()
    np.testing.assert_allclose(
        log_event_by(logits, bin_end=7).exp(), 1 - log_survival(logits)[:, 6].exp(), rtol=1e-9
    )


def test_the_probability_of_an_event_keeps_its_digits_in_float32() -> None:
    """From an event in a million years to a sure one, where ``1 - S`` would be rounded to 0 or 1."""
    hazard = np.geomspace(1e-12, 200.0, 400).astype(np.float32)
    exact = np.log(-np.expm1(-hazard.astype(np.float64)))
    np.testing.assert_allclose(log_event(torch.from_numpy(hazard)).numpy(), exact, rtol=1e-6, atol=2e-7)
    assert torch.isfinite(log_event(torch.zeros(1))).all()


def test_the_normal_quantile_agrees_with_scipy_everywhere() -> None:
    """Eight digits of the approximation, float32's own rounding near 1 apart."""
    p = np.concatenate([np.geomspace(1e-6, 0.5, 400), 1 - np.geomspace(1e-4, 0.5, 400)])
    exact = scipy.stats.norm.ppf(p)
    np.testing.assert_allclose(normal_quantile(torch.from_numpy(p)).numpy(), exact, atol=3e-8)
    single = normal_quantile(torch.from_numpy(p.astype(np.float32))).numpy()
    np.testing.assert_allclose(
        single, scipy.stats.norm.ppf(p.astype(np.float32).astype(np.float64)), atol=2e-5
    )


def test_the_normal_quantile_never_falls() -> None:
    """At 1/2, where the sign changes, too: a higher probability must not give a lower quantile."""
    p = torch.linspace(0.0, 1.0, 200_001, dtype=torch.float64)
    assert (torch.diff(normal_quantile(p)) >= 0).all()


@pytest.mark.parametrize("p", [-3.0, 0.0, 1.0, 7.0, 1e30])
def test_the_normal_quantile_of_anything_finite_is_finite(p: float) -> None:
    """Probabilities outside of (0, 1) are clipped, since both branches of a where are computed."""
    assert abs(normal_quantile(torch.tensor([p])).item()) < 5.0


def test_quantiles_and_mean_of_the_zero_inflated_lognormal() -> None:
    """Against SciPy: the quantile of the positive part at (level - zero mass) / positive mass."""
    rng = np.random.default_rng(1)
    positive, mu, sigma = rng.uniform(0.05, 1.0, 200), rng.normal(3, 2, 200), rng.uniform(0.1, 2.5, 200)
    tensors = [torch.from_numpy(x) for x in (np.log(positive), mu, sigma)]
    quantiles = lognormal_quantiles(*tensors, LEVELS).numpy()
    within = (np.array(LEVELS) - (1 - positive[:, None])) / positive[:, None]
    expected = scipy.stats.lognorm.ppf(np.clip(within, 1e-6, 1), sigma[:, None], scale=np.exp(mu)[:, None])
    expected = np.where(within > 0, expected, 0.0)
    np.testing.assert_allclose(quantiles, expected, rtol=1e-5)
    assert (np.diff(quantiles, axis=1) >= 0).all()
    mean = positive * scipy.stats.lognorm.mean(sigma, scale=np.exp(mu))
    np.testing.assert_allclose(lognormal_log_mean(*tensors).exp().numpy(), mean, rtol=1e-9)


def test_moved_quantiles_lie_where_they_were_told_to() -> None:
    """Linear on the normal's scale between levels, shifted beyond them; a lognormal's own move nothing."""
    rng = np.random.default_rng(2)
    mu, sigma = rng.normal(3, 2, 50), rng.uniform(0.1, 2.5, 50)
    certain = [torch.from_numpy(x) for x in (np.zeros(50), mu, sigma)]
    levels = np.array([0.01, *SCORE_LEVELS, 0.3, 0.6, 0.99])
    to = np.sort(rng.normal(0.5, 1.0, len(SCORE_LEVELS)))
    score = scipy.stats.norm.ppf(levels)
    expected = np.interp(score, SCORE_KNOTS, to)
    expected += np.minimum(score - SCORE_KNOTS[0], 0.0) + np.maximum(score - SCORE_KNOTS[-1], 0.0)
    found = lognormal_quantiles(*certain, levels.tolist(), tuple(to.tolist())).numpy()
    np.testing.assert_allclose(
        (np.log(found) - mu[:, None]) / sigma[:, None], np.tile(expected, (50, 1)), atol=1e-6
    )
    own = lognormal_quantiles(*certain, LEVELS).numpy()
    np.testing.assert_allclose(lognormal_quantiles(*certain, LEVELS, SCORE_KNOTS).numpy(), own, rtol=1e-6)


def test_no_quantile_is_moved_beyond_what_a_float_holds() -> None:
    """Whatever the scores are."""
    wild = tuple(np.linspace(-1e6, 1e6, len(SCORE_LEVELS)).tolist())
    quantiles = lognormal_quantiles(
        torch.zeros(3), torch.full((3,), 70.0), torch.full((3,), 2.5), LEVELS, wild
    )
    assert torch.isfinite(quantiles).all()
    assert (torch.diff(quantiles, dim=1) >= 0).all()


def test_quantiles_are_zero_without_positive_mass_and_finite_with_nothing_else() -> None:
    """The two ends of the zero mass, in float32 as the graph computes them."""
    ends = torch.tensor([-600.0, -40.0, 0.0])
    quantiles = lognormal_quantiles(ends, torch.full((3,), 70.0), torch.full((3,), 2.5), LEVELS)
    assert (quantiles[:2] == 0).all()
    assert torch.isfinite(quantiles).all()
    assert (quantiles[2] > 0).all()
