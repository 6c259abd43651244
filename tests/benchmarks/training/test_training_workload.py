"""The training benchmark measures what it says, and bears what is missing."""

from pathlib import Path

import numpy as np
import polars as pl
import pytest
import torch
from torch.nn.functional import scaled_dot_product_attention
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.training.arithmetic import OperatorCalls, more_formulas
from benchmarks.training.beside import lifestream
from benchmarks.training.loops import Rate
from benchmarks.training.workload import LAST_CUTOFF, MOST_EVENTS, synthetic_tables


def test_histories_are_of_the_lengths_that_are_named() -> None:
    """Lognormal with median 29, from 1 to 256 events up to the newest training cutoff; some go on after."""
    events, customers = synthetic_tables(3_000, np.random.default_rng(0))
    before = events.filter(pl.col("occurred_at") <= LAST_CUTOFF).group_by("customer_id").len()["len"]
    assert len(before) == len(customers) == 3_000
    assert before.median() == pytest.approx(29, abs=2)
    assert (before.min(), before.max()) == (1, MOST_EVENTS)
    share = 1 - before.sum() / len(events)
    assert 0.05 < share < 0.5


def test_a_missing_environment_is_nothing_to_fail_at(tmp_path: Path) -> None:
    """The benchmark goes on without the other library."""
    with lifestream(tmp_path, threads=1, log=tmp_path / "log") as peer:
        assert peer is None


def test_causal_attention_counts_half_of_its_pairs() -> None:
    """Two products forward and five backward over the pairs that a position may see."""
    query, key, value = (torch.randn(2, 4, 16, 8, requires_grad=True) for _ in range(3))
    pairs = 2 * 4 * 16 * 16 // 2
    with FlopCounterMode(display=False, custom_mapping=more_formulas()) as counter:
        attended = scaled_dot_product_attention(query, key, value, is_causal=True)
    assert counter.get_total_flops() == 2 * (2 * pairs * 8)
    with FlopCounterMode(display=False, custom_mapping=more_formulas()) as counter:
        torch.autograd.backward(attended.sum())
    assert counter.get_total_flops() == 5 * (2 * pairs * 8)


def test_products_that_are_added_in_place_count() -> None:
    """As those do that give a tensor of their own."""
    total, first, second = torch.zeros(4, 6), torch.randn(4, 5), torch.randn(5, 6)
    with FlopCounterMode(display=False, custom_mapping=more_formulas()) as counter:
        total.addmm_(first, second)
        total[:2].addmm_(first[:2], second)
    assert counter.get_total_flops() == 2 * 5 * 6 * (4 + 2)


def test_operators_are_what_computes_or_copies() -> None:
    """Views and memory that is only asked for are none."""
    values = torch.ones(4, 6)
    with OperatorCalls() as calls:
        torch.empty_like(values).copy_(values + 1)
        values[1:].t().unsqueeze(0).mul_(2)
    assert calls.num == 3


def test_rates_are_over_all_of_the_time() -> None:
    """Loading included."""
    rate = Rate(events=300, labels=60, seconds=2.0, step_seconds=1.0, num_steps=3)
    assert (rate.events_per_second, rate.labels_per_second) == (150.0, 30.0)
