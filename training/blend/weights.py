"""How much each expert counts: equal weights, moved as far as a later window speaks for it.

It deliberately sees answers and outcomes only, and leaves level and sharpness to the calibration
that follows it.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Float64, Int64
from numpy import ndarray
from scipy.optimize import minimize
from scipy.special import expit, softmax

from training.blend.joined import BlendWeights
from training.blend.questions import Questions, is_survival
from training.outcomes import Outcomes

TWEEDIE_POWER = 1.5
MIN_CASES = 30
"""With fewer known outcomes of either kind, or fewer positive amounts, weights stay equal."""

_Loss = Callable[[ndarray, ndarray], tuple[float, ndarray, ndarray]]
"""Shares and other parameters to the loss and its gradients."""

_LEVEL_STD = 2.0
_LOG_SLOPE_STD = 0.5


@dataclass(frozen=True, slots=True, kw_only=True)
class Judged:
    """What the experts said about one window, and what came.

    Attributes:
        answers: Per expert, the sequence model's first, columns of the questions.
        outcomes: Of the same readouts.
        customer: Of every readout: cutoffs of one customer are no independent witnesses.
    """

    answers: Sequence[Float[ndarray, "readout question"]]
    outcomes: Outcomes
    customer: Int64[ndarray, " readout"]


def equal_weights(questions: Questions, is_able: Bool[ndarray, "expert question"]) -> BlendWeights:
    """Return the weights that need no window to be fitted on.

    Args:
        questions: The columns.
        is_able: Whether an expert learned to answer a question; the others get no weight.
    """
    shares = is_able / is_able.sum(axis=0)
    return _by_target(questions, shares)


def fit_weights(
    judged: Judged,
    questions: Questions,
    is_able: Bool[ndarray, "expert question"],
    *,
    prior_std: float,
    min_cases: int = MIN_CASES,
) -> BlendWeights:
    """Fit the weights of every question by themselves.

    Log loss for probabilities; for amounts and counts the Tweedie deviance of the mean, over its
    dispersion. Weights are a softmax with a normal prior around equality on its arguments. A few
    hundred readouts hardly tell experts apart that agree to the second digit, and the prior keeps
    what they cannot tell. Level and sharpness are fitted alongside and thrown away.

    Args:
        judged: Answers and outcomes of a window that is later than the experts' own.
        questions: The columns.
        is_able: Whether an expert learned to answer a question; the others get no weight.
        prior_std: Of the prior; near 0 weights stay equal.
        min_cases: Least number of outcomes of either kind, or of positive values.
    """
    shares = is_able / is_able.sum(axis=0)
    independent = len(np.unique(judged.customer)) / max(1, len(judged.customer))
    for target in questions.targets:
        columns = questions.columns[target.name]
        for position, column in enumerate(range(columns.start, columns.stop)):
            able = np.flatnonzero(is_able[:, column]).tolist()
            said = np.stack([judged.answers[expert][:, column] for expert in able], axis=1).astype(np.float64)
            if target.kind == "time_to_event":
                happened = judged.outcomes.happened[target.name][:, position]
                survived = happened if is_survival(target) else 1.0 - happened
                problem: _Problem | None = _survival_problem(said, survived, min_cases)
            else:
                problem = _amount_problem(said, judged.outcomes.values[target.name], min_cases)
            if problem is not None and len(able) > 1:
                shares[able, column] = problem.solve(weight=independent, prior_std=prior_std)
    return _by_target(questions, shares)


@dataclass(frozen=True, slots=True, kw_only=True)
class _SurvivalProblem:
    """Log loss of ``sigmoid(exp(a) sum_i w_i l_i + b)``."""

    logits: Float64[ndarray, "readout expert"]
    survived: Float64[ndarray, " readout"]

    def solve(self, *, weight: float, prior_std: float) -> Float64[ndarray, " expert"]:
        """Return the weights."""
        return _solve(self._loss, num=self.logits.shape[1], num_others=2, weight=weight, prior_std=prior_std)

    def _loss(
        self, shares: Float64[ndarray, " expert"], others: Float64[ndarray, " other"]
    ) -> tuple[float, ndarray, ndarray]:
        mixed, slope = self.logits @ shares, np.exp(others[0])
        logit = slope * mixed + others[1]
        loss = np.logaddexp(0.0, logit).sum() - (self.survived * logit).sum()
        pull = expit(logit) - self.survived
        gradient = np.array([slope * (pull * mixed).sum(), pull.sum()])
        prior = others / np.array([_LOG_SLOPE_STD, _LEVEL_STD])
        loss += 0.5 * np.square(prior).sum()
        gradient += prior / np.array([_LOG_SLOPE_STD, _LEVEL_STD])
        return float(loss), slope * (pull @ self.logits), gradient


@dataclass(frozen=True, slots=True, kw_only=True)
class _AmountProblem:
    """Tweedie deviance of ``exp(b) sum_i w_i E_i``, over twice its dispersion."""

    expected: Float64[ndarray, "readout expert"]
    actual: Float64[ndarray, " readout"]

    def solve(self, *, weight: float, prior_std: float) -> Float64[ndarray, " expert"]:
        """Return the weights."""
        equal = np.full(self.expected.shape[1], 1.0 / self.expected.shape[1])
        mean = self.expected @ equal
        mean *= self.actual.sum() / mean.sum()
        dispersion = float(np.mean(np.square(self.actual - mean) / mean**TWEEDIE_POWER))
        weight /= max(dispersion, 1e-12)
        return _solve(self._loss, num=len(equal), num_others=1, weight=weight, prior_std=prior_std)

    def _loss(
        self, shares: Float64[ndarray, " expert"], others: Float64[ndarray, " other"]
    ) -> tuple[float, ndarray, ndarray]:
        mixed, level = self.expected @ shares, np.exp(others[0])
        mean = level * mixed
        low, high = 1.0 - TWEEDIE_POWER, 2.0 - TWEEDIE_POWER
        loss = (mean**high / high - self.actual * mean**low / low).sum()
        pull = mean**-TWEEDIE_POWER * (mean - self.actual)
        return float(loss), level * (pull @ self.expected), np.array([(pull * mean).sum()])


_Problem = _SurvivalProblem | _AmountProblem


def _survival_problem(said: ndarray, survived: ndarray, min_cases: int) -> _Problem | None:
    is_known = np.isfinite(survived)
    said, survived = said[is_known], survived[is_known].astype(np.float64)
    if min(survived.sum(), len(survived) - survived.sum()) < min_cases:
        return None
    return _SurvivalProblem(logits=said, survived=survived)


def _amount_problem(said: ndarray, actual: ndarray, min_cases: int) -> _Problem | None:
    is_known = np.isfinite(actual)
    logs, actual = said[is_known], actual[is_known].astype(np.float64)
    if int((actual > 0).sum()) < min_cases:
        return None
    # In units of the mean, so that no power of a currency overflows.
    unit = actual.mean()
    expected = np.exp(np.clip(logs - np.log(unit), -20.0, 20.0))
    return _AmountProblem(expected=expected, actual=actual / unit)


def _solve(loss: _Loss, *, num: int, num_others: int, weight: float, prior_std: float) -> ndarray:
    """Minimise over the softmax's arguments and the other parameters, both from 0."""

    def value(parameters: ndarray) -> tuple[float, ndarray]:
        arguments, others = parameters[:num], parameters[num:]
        shares = softmax(arguments)
        own, of_shares, of_others = loss(shares, others)
        through = shares * (of_shares - shares @ of_shares)
        gradient = np.concatenate([weight * through + arguments / prior_std**2, weight * of_others])
        return weight * own + 0.5 * np.square(arguments).sum() / prior_std**2, gradient

    bounds = [(-20.0, 20.0)] * num + [(-5.0, 5.0)] * num_others
    fitted = minimize(value, np.zeros(num + num_others), jac=True, method="L-BFGS-B", bounds=bounds)
    found: ndarray = softmax(fitted.x[:num])
    return found


def _by_target(questions: Questions, shares: ndarray) -> BlendWeights:
    return BlendWeights(
        weights={
            name: tuple(tuple(row) for row in shares[:, columns].T.tolist())
            for name, columns in questions.columns.items()
        }
    )
