"""Models of repeat buying: published figures, simulated customers, and the limits of the arithmetic."""

from dataclasses import astuple

import numpy as np
import pytest
from scipy.integrate import quad
from scipy.special import gammaln

from training.baselines.buying import (
    BgNbd,
    Buying,
    GammaGamma,
    ParetoNbd,
    fit_buying,
    fit_gamma_gamma,
    no_purchase_probability,
)

BG_NBD = BgNbd(r=0.243, alpha=4.414, a=0.793, b=2.426)
"""Of the CDNOW sample in weeks, as published (Fader, Hardie and Lee 2005, table 2)."""

PARETO_NBD = ParetoNbd(r=0.553, alpha=10.578, s=0.606, beta=11.669)
"""Likewise."""

GAMMA_GAMMA = GammaGamma(p=6.25, q=3.74, gamma=15.44)


def one(*values: float) -> tuple[np.ndarray, ...]:
    """Return arrays of one customer."""
    return tuple(np.array([float(value)]) for value in values)


def bg_nbd_customers(model: BgNbd, until: np.ndarray, rng: np.random.Generator) -> list[np.ndarray]:
    """Return the times of every customer's repeat purchases up to a time, simulated one by one."""
    histories = []
    for end in until:
        rate, drop = rng.gamma(model.r, 1 / model.alpha), rng.beta(model.a, model.b)
        times, now = [], 0.0
        while rate > 0:
            now += rng.exponential(1 / rate)
            if now > end:
                break
            times.append(now)
            if rng.random() < drop:
                break
        histories.append(np.array(times))
    return histories


def pareto_nbd_customers(model: ParetoNbd, until: np.ndarray, rng: np.random.Generator) -> list[np.ndarray]:
    """Return the same for customers who live for an exponential time."""
    histories = []
    for end in until:
        rate, drop = rng.gamma(model.r, 1 / model.alpha), rng.gamma(model.s, 1 / model.beta)
        life = min(rng.exponential(1 / drop), end)
        histories.append(np.sort(rng.uniform(0, life, rng.poisson(rate * life))))
    return histories


def summaries(histories: list[np.ndarray], tenure: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return x, t_x and T of histories that are looked at until a time."""
    seen = [times[times <= tenure] for times in histories]
    x = np.array([float(len(times)) for times in seen])
    last = np.array([times[-1] if len(times) else 0.0 for times in seen])
    return x, last, np.full(len(x), tenure)


SIMULATED = [(BG_NBD, bg_nbd_customers), (PARETO_NBD, pareto_nbd_customers)]


def test_published_expectations() -> None:
    """The worked example of the BG/NBD's authors, and the one that R's BTYD documents for the Pareto/NBD."""
    assert BG_NBD.expected_purchases(*one(2, 30.43, 38.86), 39.0) == pytest.approx(1.226, abs=5e-4)
    assert PARETO_NBD.expected_purchases(*one(26, 30.86, 31), 52.0) == pytest.approx(25.456, abs=0.01)
    # p gamma / (q - 1), everybody's mean.
    assert GAMMA_GAMMA.expected_value(*one(0, 0)) == pytest.approx(6.25 * 15.44 / 2.74)


@pytest.mark.parametrize(("model", "simulate"), SIMULATED, ids=["bg_nbd", "pareto_nbd"])
def test_churn_is_the_share_of_simulated_customers_without_a_purchase(model: Buying, simulate) -> None:  # noqa: ANN001
    """Over all, and among those who bought never, once and often: P(no purchase), not P(alive)."""
    tenure, horizon = 30.0, 20.0
    histories = simulate(model, np.full(20_000, tenure + horizon), np.random.default_rng(0))
    x, last, cutoff = summaries(histories, tenure)
    is_gone = np.array([not (times > tenure).any() for times in histories])
    bought = np.array([float((times > tenure).sum()) for times in histories])
    churn = no_purchase_probability(model, x, last, cutoff, horizon)
    expected = model.expected_purchases(x, last, cutoff, horizon)
    groups = (x == 0, x == 1, (x > 1) & (last < 15), (x > 1) & (last >= 15))
    for group in (np.ones(len(x), dtype=bool), *groups):
        error = np.sqrt(0.25 / group.sum())
        assert churn[group].mean() == pytest.approx(is_gone[group].mean(), abs=4 * error)
        spread = bought[group].std() / np.sqrt(group.sum())
        assert expected[group].mean() == pytest.approx(bought[group].mean(), abs=4 * spread)


@pytest.mark.parametrize(("model", "simulate"), SIMULATED, ids=["bg_nbd", "pareto_nbd"])
def test_fitting_finds_what_customers_were_made_with(model: BgNbd | ParetoNbd, simulate) -> None:  # noqa: ANN001
    """At least as likely as the truth, and the same churn to a hundredth."""
    history = summaries(simulate(model, np.full(6_000, 40.0), np.random.default_rng(1)), 40.0)
    fitted = fit_buying(type(model), *history)
    assert fitted.log_likelihood(*history).mean() >= model.log_likelihood(*history).mean() - 1e-6
    asked = one(1, 10, 40)
    assert no_purchase_probability(fitted, *asked, 26.0) == pytest.approx(
        no_purchase_probability(model, *asked, 26.0), abs=0.03
    )


@pytest.mark.parametrize(("x", "last", "tenure"), [(0, 0, 5), (1, 3, 30), (7, 29, 30), (400, 90, 104)])
def test_pareto_likelihood_is_its_integral(x: float, last: float, tenure: float) -> None:
    """Adaptive quadrature over the time of dropping out, for few and for very many purchases."""
    r, alpha, s, beta = astuple(PARETO_NBD)
    scale = (r + x) * np.log(alpha + last)

    def gone(time: float) -> float:
        return s * np.exp(scale - (r + x) * np.log(alpha + time) - (s + 1) * np.log(beta + time))

    integral = quad(gone, last, tenure, epsabs=0, epsrel=1e-10)[0]
    alive = np.exp(scale - (r + x) * np.log(alpha + tenure) - s * np.log(beta + tenure))
    common = gammaln(r + x) - gammaln(r) + r * np.log(alpha) + s * np.log(beta) - scale
    want = common + np.log(alive + integral)
    assert PARETO_NBD.log_likelihood(*one(x, last, tenure)) == pytest.approx(want, rel=1e-9)


@pytest.mark.parametrize("model", [BG_NBD, PARETO_NBD], ids=["bg_nbd", "pareto_nbd"])
def test_customers_who_buy_hundreds_of_times(model: Buying) -> None:
    """Nothing overflows: who bought daily until yesterday goes on, who stopped a year ago does not."""
    x, last, tenure = np.full(2, 700.0), np.array([103.9, 52.0]), np.full(2, 104.0)
    churn = no_purchase_probability(model, x, last, tenure, 4.0)
    expected = model.expected_purchases(x, last, tenure, 4.0)
    assert churn[0] < 0.4
    assert churn[1] > 0.99
    assert expected[0] > 10
    assert 0 <= expected[1] < 0.1


@pytest.mark.parametrize("shape", [1.0, 1.0 + 1e-6])
def test_expectations_have_no_hole_at_one(shape: float) -> None:
    """Both closed forms are 0 / 0 at a = 1 and s = 1."""
    asked = one(3, 10, 20)
    near = BgNbd(r=0.5, alpha=5.0, a=1.01, b=2.0).expected_purchases(*asked, 10.0)
    here = BgNbd(r=0.5, alpha=5.0, a=shape, b=2.0).expected_purchases(*asked, 10.0)
    assert here == pytest.approx(near, rel=0.01)
    near = ParetoNbd(r=0.5, alpha=5.0, s=1.01, beta=9.0).expected_purchases(*asked, 10.0)
    here = ParetoNbd(r=0.5, alpha=5.0, s=shape, beta=9.0).expected_purchases(*asked, 10.0)
    assert here == pytest.approx(near, rel=0.01)


def test_gamma_gamma_is_the_mean_of_simulated_customers() -> None:
    """Of those with like means so far, and fitting finds the parameters again."""
    rng = np.random.default_rng(2)
    rate = rng.gamma(GAMMA_GAMMA.q, 1 / GAMMA_GAMMA.gamma, 60_000)
    num = rng.integers(1, 6, len(rate)).astype(np.float64)
    mean = rng.gamma(GAMMA_GAMMA.p * num, 1 / rate) / num
    true_value = GAMMA_GAMMA.p / rate
    value = GAMMA_GAMMA.expected_value(num, mean)
    for group in (num == 1, num == 5, mean > 60, mean < 20):
        error = true_value[group].std() / np.sqrt(group.sum())
        assert value[group].mean() == pytest.approx(true_value[group].mean(), abs=4 * error)
    fitted = fit_gamma_gamma(num, mean)
    assert fitted.expected_value(*one(2, 50)) == pytest.approx(
        GAMMA_GAMMA.expected_value(*one(2, 50)), rel=0.02
    )


def test_gamma_gamma_density_integrates_to_one() -> None:
    """Over all means of three purchases."""
    density = quad(lambda m: float(np.exp(GAMMA_GAMMA.log_likelihood(*one(3, m)))[0]), 0, np.inf)[0]
    assert density == pytest.approx(1.0, abs=1e-6)
