"""Lengths are as agreed, histories end at the cutoff, and runs keep the budget."""

import numpy as np

from benchmarks.serving.engine import split_by_budget
from benchmarks.serving.workload import draw_lengths


def test_lengths_are_lognormal_with_a_limit() -> None:
    """The median is 29, a few reach the limit of 256, none is empty."""
    lengths = draw_lengths(20_000, max_events=256, rng=np.random.default_rng(2))
    assert 27 <= np.median(lengths) <= 31
    assert lengths.min() >= 1
    assert lengths.max() == 256
    assert 0.005 < (lengths == 256).mean() < 0.03


def test_runs_fill_the_budget_and_hold_every_customer_once() -> None:
    """A customer longer than the budget runs alone."""
    lengths = np.array([8, 8, 16, 16, 32, 300])
    assert split_by_budget(lengths, budget=48) == [(0, 3), (3, 4), (4, 5), (5, 6)]
    assert split_by_budget(lengths, budget=0) == [(row, row + 1) for row in range(6)]
    assert split_by_budget(lengths[:0], budget=48) == []
