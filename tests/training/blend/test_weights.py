"""Tests of the weights: on the simplex, equal without evidence, moved by it, never by the unknown."""

from dataclasses import replace

import numpy as np
import pytest
from scipy.optimize import minimize
from scipy.special import expit, softmax

from builders import small_schema
from training.blend.questions import Questions
from training.blend.weights import Judged, equal_weights, fit_weights
from training.outcomes import Outcomes

SCHEMA = small_schema()
QUESTIONS = Questions.of(SCHEMA)
ABLE = np.ones((3, len(QUESTIONS)), dtype=bool)


def judged(num: int = 4_000, *, seed: int = 0, noise: tuple[float, float, float] = (0.1, 1.0, 3.0)) -> Judged:
    """Return three experts who know the same truth, each with an error of its own."""
    rng = np.random.default_rng(seed)
    truth = rng.normal(size=(num, len(QUESTIONS)))
    answers = [truth + scale * rng.normal(size=truth.shape) for scale in noise]
    happened = (rng.random((num, 3)) < expit(truth[:, QUESTIONS.columns["churn"]])).astype(np.float32)
    amounts = np.exp(truth[:, -2:]) * rng.gamma(2.0, 0.5, (num, 2)) * (rng.random((num, 2)) < 0.7)
    values = {"spend": amounts[:, 0].astype(np.float32), "orders": amounts[:, 1].astype(np.float32)}
    return Judged(
        answers=answers,
        outcomes=Outcomes(happened={"churn": happened}, values=values),
        customer=np.arange(num),
    )


def rows(blend) -> np.ndarray:  # noqa: ANN001
    """Return [question, expert]."""
    return np.array([row for name in QUESTIONS.columns for row in blend.weights[name]])


def test_weights_lie_on_the_simplex_and_follow_the_better_expert() -> None:
    """Of probabilities, amounts and counts alike; level and sharpness do not matter."""
    world = judged()
    found = rows(fit_weights(world, QUESTIONS, ABLE, prior_std=1.0))
    assert (found >= 0).all()
    np.testing.assert_allclose(found.sum(axis=1), 1.0)
    assert (found[:, 0] > found[:, 1]).all()
    assert (found[:, 1] > found[:, 2]).all()
    moved = replace(world, answers=[0.5 * answer + 1.0 for answer in world.answers])
    shifted = rows(fit_weights(moved, QUESTIONS, ABLE, prior_std=1.0))
    np.testing.assert_allclose(shifted[:3], found[:3], atol=0.02)


def test_few_readouts_hardly_move_them() -> None:
    """A hundred cannot rank experts that nearly agree."""
    few = judged(100, noise=(0.3, 0.3, 0.4))
    found = rows(fit_weights(few, QUESTIONS, ABLE, prior_std=0.3))
    np.testing.assert_allclose(found, 1 / 3, atol=0.12)


def test_many_cutoffs_of_few_customers_count_as_few() -> None:
    """The same rows told by a tenth of the customers move the weights less."""
    world = judged(1_000)
    together = replace(world, customer=np.arange(1_000) // 10)
    one, other = (rows(fit_weights(w, QUESTIONS, ABLE, prior_std=1.0)) for w in (world, together))
    assert (np.abs(other - 1 / 3).max(axis=1) < np.abs(one - 1 / 3).max(axis=1)).all()


def test_the_fit_is_the_minimum_of_the_stated_loss() -> None:
    """Against a plain minimisation without gradients, for a probability."""
    world = judged(600)
    found = fit_weights(world, QUESTIONS, ABLE, prior_std=0.7).weights["churn"][1]
    logits = np.stack([answer[:, 1] for answer in world.answers], axis=1)
    happened = world.outcomes.happened["churn"][:, 1].astype(np.float64)

    def loss(parameters: np.ndarray) -> float:
        mixed = np.exp(parameters[3]) * (logits @ softmax(parameters[:3])) + parameters[4]
        log_loss = (np.logaddexp(0, mixed) - happened * mixed).sum()
        priors = np.square(parameters / np.array([0.7, 0.7, 0.7, 0.5, 2.0])).sum()
        return float(log_loss + 0.5 * priors)

    best = minimize(loss, np.zeros(5), method="Nelder-Mead", options={"maxiter": 4_000, "xatol": 1e-6}).x
    np.testing.assert_allclose(found, softmax(best[:3]), atol=2e-3)


def test_who_learned_nothing_gets_no_weight() -> None:
    """The others share it, fitted or equal."""
    able = ABLE.copy()
    able[1, :2] = False
    able[1:, 2] = False
    for found in (
        rows(fit_weights(judged(), QUESTIONS, able, prior_std=1.0)),
        rows(equal_weights(QUESTIONS, able)),
    ):
        assert (found[:2, 1] == 0).all()
        assert found[2].tolist() == [1.0, 0.0, 0.0]
        np.testing.assert_allclose(found.sum(axis=1), 1.0)
    assert rows(equal_weights(QUESTIONS, able))[0].tolist() == [0.5, 0.0, 0.5]


@pytest.mark.parametrize("known", [0, 20])
def test_without_known_outcomes_weights_stay_equal(known: int) -> None:
    """Censored windows, or a class with fewer cases than asked for."""
    world = judged(500)
    happened, values = world.outcomes.happened["churn"].copy(), dict(world.outcomes.values)
    happened[known:] = np.nan
    values = {name: column.copy() for name, column in values.items()}
    for column in values.values():
        column[known:] = np.nan
    blind = replace(world, outcomes=Outcomes(happened={"churn": happened}, values=values))
    np.testing.assert_array_equal(rows(fit_weights(blind, QUESTIONS, ABLE, prior_std=1.0)), 1 / 3)


def test_the_unknown_changes_nothing() -> None:
    """Rows without outcome may say anything; only the share of customers is counted with them."""
    world = judged(500)
    nothing = {
        name: np.append(column, np.float32([np.nan] * 9)) for name, column in world.outcomes.values.items()
    }
    happened = np.vstack([world.outcomes.happened["churn"], np.full((9, 3), np.nan, dtype=np.float32)])
    longer = Judged(
        answers=[np.vstack([answer, np.full((9, len(QUESTIONS)), 50.0)]) for answer in world.answers],
        outcomes=Outcomes(happened={"churn": happened}, values=nothing),
        customer=np.arange(509),
    )
    one, other = (rows(fit_weights(w, QUESTIONS, ABLE, prior_std=1.0)) for w in (world, longer))
    np.testing.assert_array_equal(one, other)
