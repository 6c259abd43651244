"""The BG/NBD and the Pareto/NBD model of repeat buying: likelihoods and what follows from them.

It deliberately knows neither customers nor calendar: frequency, recency and tenure come as
arrays, in any one unit of time. Written here because no library of theirs is both kept and small:
``lifetimes`` had its last release in 2020, ``btyd`` is a beta of 2022, and ``pymc-marketing`` brings
25 packages, a compiler and a sampler among them, for what are two formulas.

In both models customers buy as a Poisson process while they are alive, at rates that are gamma
distributed over customers with shape ``r`` and rate ``alpha``, and drop out unseen. So a history
(``x`` repeat purchases, the last at ``t_x``, observed up to ``T``) is followed by no purchase until
``T + h`` with probability

    P(X(T, T + h) = 0 | x, t_x, T) = L(x, t_x, T + h) / L(x, t_x, T),

because the same history observed for longer *is* the history with nothing in between. That, and
not the probability of being alive, is what churn by inactivity means.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from typing import ClassVar, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float64
from numpy import ndarray
from scipy.optimize import minimize
from scipy.special import betaln, gammaln, hyp2f1, logsumexp

LOG_BOUNDS = (-7.0, 9.0)
"""Of every fitted parameter: past them a distribution is a point or flat, whatever the data says."""

NUM_NODES = 48
_NODES, _WEIGHTS = np.polynomial.legendre.leggauss(NUM_NODES)

SILENCE_NODES, SILENCE_WEIGHTS = np.polynomial.legendre.leggauss(24)
"""Fewer, because a served graph takes the same ones; for fits of real data the log odds differ by less than a
thousandth."""

LEAST_LENGTH = 1e-6
"""Of a stretch of log time: one without any has a logarithm all the same."""

LEAST_CHANCE = 1e-5
"""Of a purchase, and of none, by a customer who is alive."""


@runtime_checkable
class Buying(Protocol):
    """A model of repeat buying with its parameters."""

    def log_likelihood(
        self,
        num_repeat: Float64[ndarray, " customer"],
        last: Float64[ndarray, " customer"],
        tenure: Float64[ndarray, " customer"],
    ) -> Float64[ndarray, " customer"]:
        """Return the log-likelihood of histories (``x``, ``t_x``, ``T``)."""

    def expected_purchases(
        self,
        num_repeat: Float64[ndarray, " customer"],
        last: Float64[ndarray, " customer"],
        tenure: Float64[ndarray, " customer"],
        horizon: float,
    ) -> Float64[ndarray, " customer"]:
        """Return the expected number of purchases in ``(T, T + horizon]``."""


def no_purchase_probability(
    model: Buying,
    num_repeat: Float64[ndarray, " customer"],
    last: Float64[ndarray, " customer"],
    tenure: Float64[ndarray, " customer"],
    horizon: float,
) -> Float64[ndarray, " customer"]:
    """Return the probability that nothing is bought in ``(T, T + horizon]``; see the module."""
    longer = model.log_likelihood(num_repeat, last, tenure + horizon)
    return np.exp(np.minimum(longer - model.log_likelihood(num_repeat, last, tenure), 0.0))


@dataclass(frozen=True, slots=True, kw_only=True)
class BgNbd:
    """BG/NBD: after every purchase a customer drops out with a probability, beta distributed.

    Fader, Hardie and Lee (2005), "Counting your customers" the easy way: an alternative to the
    Pareto/NBD model, Marketing Science 24(2).

    Attributes:
        r: Shape of the rates.
        alpha: Rate parameter of the rates, in units of time.
        a: First parameter of the dropout probability.
        b: Second one.
    """

    r: float
    alpha: float
    a: float
    b: float
    start: ClassVar[tuple[float, ...]] = (0.5, 8.0, 1.0, 2.5)
    log_bounds: ClassVar[tuple[tuple[float, float], ...]] = (LOG_BOUNDS,) * 4

    def log_likelihood(self, num_repeat: ndarray, last: ndarray, tenure: ndarray) -> ndarray:
        """Return equation (6) of the paper, in logs."""
        r, alpha, a, b, x = self.r, self.alpha, self.a, self.b, num_repeat
        common = gammaln(r + x) - gammaln(r) + r * np.log(alpha) - betaln(a, b)
        alive = betaln(a, b + x) - (r + x) * np.log(alpha + tenure)
        gone = betaln(a + 1.0, b + np.maximum(x, 1.0) - 1.0) - (r + x) * np.log(alpha + last)
        return common + np.where(x > 0, np.logaddexp(alive, gone), alive)

    def expected_purchases(
        self, num_repeat: ndarray, last: ndarray, tenure: ndarray, horizon: float
    ) -> ndarray:
        """Return equation (10) of the paper.

        Its hypergeometric function is taken by Euler's transformation, whose first two parameters
        do not grow with ``x``: as printed it overflows for customers who buy hundreds of times.
        """
        r, alpha, b, x = self.r, self.alpha, self.b, num_repeat
        # At a = 1 the formula is 0 / 0.
        a = self.a if abs(self.a - 1.0) > 1e-4 else 1.0 + 1e-4
        left = (alpha + tenure) / (alpha + tenure + horizon)
        series = left ** (a - 1.0) * hyp2f1(a + b - 1.0 - r, a - 1.0, a + b + x - 1.0, 1.0 - left)
        log_odds = (r + x) * (np.log(alpha + tenure) - np.log(alpha + last))
        odds_gone = np.where(
            x > 0, a / (b + np.maximum(x, 1.0) - 1.0) * np.exp(np.minimum(log_odds, 700.0)), 0.0
        )
        return np.maximum((a + b + x - 1.0) / (a - 1.0) * (1.0 - series) / (1.0 + odds_gone), 0.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class ParetoNbd:
    """Pareto/NBD: a customer's life is exponential, at rates that are gamma distributed.

    Schmittlein, Morrison and Colombo (1987), Counting your customers: who are they and what will
    they do next?, Management Science 33(1). The likelihood is left as the integral over the time
    of dropping out, by Gauss and Legendre, instead of a difference of hypergeometric functions.

    Attributes:
        r: Shape of the rates of buying.
        alpha: Their rate parameter, in units of time.
        s: Shape of the rates of dropping out.
        beta: Their rate parameter, in units of time.
    """

    r: float
    alpha: float
    s: float
    beta: float
    start: ClassVar[tuple[float, ...]] = (0.5, 8.0, 0.6, 12.0)
    log_bounds: ClassVar[tuple[tuple[float, float], ...]] = ((-7.0, 4.0), (-7.0, 6.0), LOG_BOUNDS, LOG_BOUNDS)
    """Rates vary by an eighth between customers at least: of those who are more alike float32, in which a
    graph computes, keeps too few digits."""

    def log_likelihood(self, num_repeat: ndarray, last: ndarray, tenure: ndarray) -> ndarray:
        """Return the logarithm of alive at ``T``, or gone at some time between ``t_x`` and ``T``."""
        return np.logaddexp(self._log_alive(num_repeat, tenure), self._log_gone(num_repeat, last, tenure))

    def expected_purchases(
        self, num_repeat: ndarray, last: ndarray, tenure: ndarray, horizon: float
    ) -> ndarray:
        """Return the mean of the posterior rate times the life expected within the horizon."""
        alive = np.exp(self._log_alive(num_repeat, tenure) - self.log_likelihood(num_repeat, last, tenure))
        log_ratio = np.log(self.beta + tenure) - np.log(self.beta + tenure + horizon)
        power = self.s - 1.0
        life = -np.expm1(power * log_ratio) / power if abs(power) > 1e-9 else -log_ratio
        return alive * (self.r + num_repeat) / (self.alpha + tenure) * (self.beta + tenure) * life

    def log_odds_of_silence(
        self, num_repeat: ndarray, last: ndarray, tenure: ndarray, horizon: float
    ) -> ndarray:
        """Return the log odds of no purchase in ``(T, T + horizon]``, in a form that float32 bears.

        Over the likelihood of being alive at ``T``, being gone has the odds of an integral up to ``T``, and
        the next purchase comes within the horizon with that over the density of its time: no two
        large numbers are taken from each other.
        """
        places = 0.5 + 0.5 * SILENCE_NODES
        shape, now = (self.r + num_repeat)[:, None], np.log(self.alpha + tenure)[:, None]
        dropout_now = np.log(self.beta + tenure)[:, None]
        # Even steps of log(alpha + time), of which one power is the derivative of time.
        length = np.maximum(now - np.log(self.alpha + last)[:, None], LEAST_LENGTH)
        place = now - length * places
        time = np.maximum(np.exp(place) - self.alpha, 0.0)
        logs = shape * (now - place) + place + self.s * dropout_now
        logs = logs - (self.s + 1.0) * np.log(self.beta + time) + np.log(0.5 * SILENCE_WEIGHTS * length)
        gone = np.log(self.s) + logsumexp(logs, axis=1)
        length = np.log(self.alpha + tenure + horizon)[:, None] - now
        since = length * places
        dropout = np.log(self.beta + np.exp(now + since) - self.alpha) - dropout_now
        density = np.exp(-shape * since - self.s * dropout) * (0.5 * SILENCE_WEIGHTS * length)
        bought = np.clip((shape * density).sum(axis=1), LEAST_CHANCE, 1.0 - LEAST_CHANCE)
        return np.logaddexp(np.log1p(-bought), gone) - np.log(bought)

    def _log_common(self, num_repeat: ndarray) -> ndarray:
        r, s = self.r, self.s
        return gammaln(r + num_repeat) - gammaln(r) + r * np.log(self.alpha) + s * np.log(self.beta)

    def _log_alive(self, num_repeat: ndarray, tenure: ndarray) -> ndarray:
        buying = (self.r + num_repeat) * np.log(self.alpha + tenure)
        return self._log_common(num_repeat) - buying - self.s * np.log(self.beta + tenure)

    def _log_gone(self, num_repeat: ndarray, last: ndarray, tenure: ndarray) -> ndarray:
        # Even steps of log(alpha + time): the integrand falls like a power of it.
        begin, end = np.log(self.alpha + last), np.log(self.alpha + tenure)
        half = np.maximum(end - begin, 1e-12) / 2.0
        place = (begin + half)[:, None] + half[:, None] * _NODES
        time = np.maximum(np.exp(place) - self.alpha, 0.0)
        # One of the powers of (alpha + time) is the derivative of time.
        logs = (1.0 - self.r - num_repeat)[:, None] * place - (self.s + 1.0) * np.log(self.beta + time)
        most = logs.max(axis=1)
        sums = (np.exp(logs - most[:, None]) * _WEIGHTS).sum(axis=1) * half
        return self._log_common(num_repeat) + np.log(self.s) + most + np.log(sums)


@dataclass(frozen=True, slots=True, kw_only=True)
class GammaGamma:
    """What a purchase brings: gamma distributed, at scales that are gamma distributed over customers.

    Fader, Hardie and Lee (2005), RFM and CLV: using iso-value curves for customer base analysis,
    Journal of Marketing Research 42(4), appendix; there the first purchase is left out of the mean,
    here every purchase counts.

    Attributes:
        p: Shape of a customer's purchases.
        q: Shape of the scales; above 1, or there would be no mean.
        gamma: Their rate parameter, in units of the amount.
    """

    p: float
    q: float
    gamma: float
    start: ClassVar[tuple[float, ...]] = (4.0, 3.0, 1.0)

    def log_likelihood(self, num: ndarray, mean: ndarray) -> ndarray:
        """Return the log-density of a positive mean over ``num`` purchases."""
        p, q, gamma = self.p, self.q, self.gamma
        total = num * mean
        constant = gammaln(p * num + q) - gammaln(p * num) - gammaln(q) + q * np.log(gamma)
        return constant + p * num * np.log(total) - np.log(mean) - (p * num + q) * np.log(gamma + total)

    def expected_value(self, num: ndarray, mean: ndarray) -> ndarray:
        """Return the expected value of a purchase: between the customer's mean and everybody's."""
        return self.expected_after(num, num * mean)

    def expected_after(self, num: ndarray, total: ndarray) -> ndarray:
        """Return the same of purchases that brought ``total`` together."""
        return self.p * (self.gamma + total) / (self.p * num + self.q - 1.0)


BuyingKind = type[BgNbd] | type[ParetoNbd]


def fit_buying(kind: BuyingKind, num_repeat: ndarray, last: ndarray, tenure: ndarray) -> BgNbd | ParetoNbd:
    """Fit a model of repeat buying by maximum likelihood.

    Args:
        kind: Which one.
        num_repeat: ``x`` of every customer; at least one is positive.
        last: ``t_x``.
        tenure: ``T``.
    """
    # Many customers share a history where time is counted in days: each is computed once.
    rows, count = np.unique(np.stack([num_repeat, last, tenure], axis=1), axis=0, return_counts=True)

    def loss(values: ndarray) -> float:
        logs = _named(kind, values).log_likelihood(*rows.T)
        return -float(count @ logs) / float(count.sum())

    return _named(kind, _minimised(loss, np.array(kind.start), kind.log_bounds))


def fit_gamma_gamma(num: ndarray, mean: ndarray) -> GammaGamma:
    """Fit by maximum likelihood.

    Args:
        num: Purchases of every customer.
        mean: Their mean amounts, all positive.
    """
    unit = float(mean.mean())
    scaled = mean / unit

    def loss(values: ndarray) -> float:
        p, excess, gamma = values
        return -float(GammaGamma(p=p, q=1.0 + excess, gamma=gamma).log_likelihood(num, scaled).mean())

    p, excess, gamma = _minimised(
        loss, np.array(GammaGamma.start) - np.array([0.0, 1.0, 0.0]), (LOG_BOUNDS,) * 3
    )
    return GammaGamma(p=float(p), q=1.0 + float(excess), gamma=float(gamma) * unit)


def _named(kind: BuyingKind, values: ndarray) -> BgNbd | ParetoNbd:
    return kind(**{field.name: float(value) for field, value in zip(fields(kind), values, strict=True)})


def _minimised(
    loss: Callable[[ndarray], float], start: ndarray, log_bounds: Sequence[tuple[float, float]]
) -> ndarray:
    """Return positive parameters, searched on their logarithms."""
    found = minimize(
        lambda logs: loss(np.exp(logs)),
        np.log(start),
        method="L-BFGS-B",
        bounds=list(log_bounds),
        options={"maxiter": 200},
    )
    answer: ndarray = np.exp(found.x)
    return answer
