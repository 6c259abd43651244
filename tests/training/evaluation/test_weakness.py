"""Weakness: a group that is worse is named, one that chance made worse is not."""

import math

import numpy as np
import pytest
from scipy.stats import norm

from training.evaluation.weakness import SURE, Compared, chance, weakest
from training.metrics.bootstrap import Sample


def sample(value: float, spread: float, *, seed: int = 0) -> Sample:
    """Return a value whose replicates have exactly this spread."""
    draws = np.random.default_rng(seed).normal(size=400)
    draws = (draws - draws.mean()) / draws.std(ddof=1)
    return Sample(value=value, replicates=value + spread * draws)


def group(name: str, value: float, spread: float, *, metric: str = "auroc", error: float = 1.0) -> Compared:
    """Return a group with one metric."""
    return Compared(
        grouping="tenure", group=name, samples={metric: sample(value, spread, seed=1)}, error=error
    )


def test_chance_is_that_of_a_normal() -> None:
    """Two-sided, by the spread of the replicates; nothing is sure without a spread or a value."""
    assert chance(sample(0.2, 0.1)) == pytest.approx(2 * norm.sf(2.0))
    assert chance(Sample(value=0.2, replicates=np.zeros(0))) == 1.0
    assert chance(Sample(value=math.nan, replicates=np.ones(5))) == 1.0
    assert chance(Sample(value=0.2, replicates=np.full(5, 0.2))) == 1.0


def test_the_weakest_of_the_surely_weak_is_named() -> None:
    """Neither the better group, nor the lower one with a wide interval."""
    compared = [group("young", 0.60, 0.01), group("old", 0.9, 0.01), group("few", 0.55, 0.2)]
    (found,) = weakest({"auroc": sample(0.8, 0.005)}, compared)
    assert (found["metric"], found["group"], found["value"], found["whole"]) == ("auroc", "young", 0.60, 0.8)


def test_many_looks_ask_for_more() -> None:
    """A difference that one look would call sure is not, as one of many."""
    whole = {"auroc": sample(0.8, 1e-6)}
    one = group("young", 0.8 - 2.5 * 0.02, 0.02)
    assert weakest(whole, [one])
    assert not weakest(whole, [one, *(group(str(at), 0.8, 0.02) for at in range(9))])


@pytest.mark.parametrize("metric", ["gap", "total_ratio"])
def test_a_wrong_level_is_named_where_it_does_most_harm(metric: str) -> None:
    """A small sum far off matters less than a large one that is less so; both directions are wrong."""
    right, off, far = (0.0, -0.1, 0.3) if metric == "gap" else (1.0, 0.8, 3.0)
    compared = [
        group("small", far, 0.01, metric=metric, error=5.0),
        group("large", off, 0.01, metric=metric, error=500.0),
        group("right", right, 0.01, metric=metric, error=900.0),
    ]
    (found,) = weakest({metric: sample(right, 0.001)}, compared)
    assert found["group"] == "large"


def test_chance_alone_names_a_group_as_rarely_as_promised() -> None:
    """Of 400 worlds with ten groups like all, no more name one than is promised, give or take chance."""
    rng, named = np.random.default_rng(3), 0
    whole = {"auroc": Sample(value=0.8, replicates=np.full(200, 0.8))}
    for _ in range(400):
        compared = []
        for at in range(10):
            value = 0.8 + 0.02 * rng.normal()
            replicates = value + 0.02 * rng.normal(size=200)
            samples = {"auroc": Sample(value=value, replicates=replicates)}
            compared.append(Compared(grouping="g", group=str(at), samples=samples, error=1.0))
        named += bool(weakest(whole, compared))
    assert named / 400 < SURE + 3 * math.sqrt(SURE / 400)
