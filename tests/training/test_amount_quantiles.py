"""Where quantiles of amounts lie: moved where what came says so beyond chance, left alone elsewhere."""

import numpy as np
import pytest
import torch

from training.amount_quantiles import MIN_AMOUNTS, fit_scores
from training.model.distributions import SCORE_KNOTS, SCORE_LEVELS, lognormal_quantiles

LEVELS = (0.1, 0.25, 0.5, 0.75, 0.9)


def said(num: int, rng: np.random.Generator) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Return log probability of an amount, location and scale of so many customers."""
    positive, mu, sigma = rng.uniform(0.3, 1.0, num), rng.normal(3.0, 0.5, num), rng.uniform(0.3, 0.8, num)
    log_positive, location, scale = (torch.from_numpy(x) for x in (np.log(positive), mu, sigma))
    return log_positive, location, scale


def drawn(parameters: tuple[torch.Tensor, ...], scores: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Draw what came, so many scales from the location, or nothing."""
    log_positive, mu, sigma = (x.numpy() for x in parameters)
    is_positive = rng.random(len(mu)) < np.exp(log_positive)
    return np.where(is_positive, np.exp(mu + sigma * scores), 0.0)


def heaps(num: int, rng: np.random.Generator) -> np.ndarray:
    """Return scores of which two thirds lie in one heap and the rest far below."""
    return np.where(rng.random(num) < 0.67, rng.normal(0.6, 0.05, num), rng.normal(-1.2, 0.1, num))


def test_what_is_no_lognormal_is_covered_as_it_should_be() -> None:
    """On customers whom nothing was fitted on, at every level; the lognormal's own quantiles are far off."""
    rng = np.random.default_rng(0)
    parameters, others = said(4_000, rng), said(20_000, rng)
    scores = fit_scores(*parameters, drawn(parameters, heaps(4_000, rng), rng))
    assert scores is not None
    assert np.all(np.diff(scores) > 0)
    certain = (torch.zeros(20_000, dtype=torch.float64), *others[1:])
    came = drawn(certain, heaps(20_000, rng), rng)[:, None]
    own, moved = (
        (came <= lognormal_quantiles(*certain, LEVELS, given).numpy()).mean(axis=0) for given in ((), scores)
    )
    np.testing.assert_allclose(moved, LEVELS, atol=0.06)
    assert np.abs(own - LEVELS).max() > 0.2


def test_a_lognormal_is_mostly_left_alone() -> None:
    """What chance makes of one is no reason to move it."""
    moved = 0
    for seed in range(20):
        rng = np.random.default_rng(seed)
        parameters = said(1_000, rng)
        moved += fit_scores(*parameters, drawn(parameters, rng.normal(size=1_000), rng)) is not None
    assert moved <= 2


def test_few_amounts_and_unknown_ones_say_nothing() -> None:
    """Either half needs some; a censored window has none."""
    rng = np.random.default_rng(1)
    parameters = said(1_000, rng)
    came = drawn(parameters, heaps(1_000, rng), rng)
    assert fit_scores(*parameters, came) is not None
    few = np.where(np.cumsum(came > 0) < 2 * MIN_AMOUNTS - 1, came, np.nan)
    assert fit_scores(*parameters, few) is None
    assert fit_scores(*parameters, np.full(1_000, np.nan)) is None


@pytest.mark.parametrize("num", [250, 100_000])
def test_the_fewer_there_are_the_nearer_to_a_lognormal(num: int) -> None:
    """Fifty amounts speak for it."""
    rng = np.random.default_rng(2)
    parameters = (torch.zeros(num, dtype=torch.float64), *said(num, rng)[1:])
    scores = fit_scores(*parameters, drawn(parameters, np.full(num, 1.5), rng))
    share = num / (num + 50)
    expected = share * 1.5 + (1 - share) * np.array(SCORE_KNOTS)
    np.testing.assert_allclose(scores, expected, atol=1e-9)
    assert len(SCORE_LEVELS) == len(SCORE_KNOTS)
