"""Tests of the heads: where they start, and that no state drives them out of bounds."""

import math
from typing import Any

import pytest
import torch
from model_cases import load_config

from training.model.heads import LOCATION_BOUND, AmountHead, CountHead, FoldedHeads, HeadLinear, SurvivalHead
from training.model.scales import MAX_ABS_LOCATION, MAX_SPREAD, TargetScale

WIDTH = 16


def inputs(size: float = 0.0) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Return state, features and calendar, all of one size."""
    return torch.full((3, WIDTH), size), torch.full((3, 5), size), torch.full((3, 6), size)


def test_heads_start_at_the_base_rates() -> None:
    """With an empty state the prediction is what the training labels say as a whole."""
    config = load_config()
    hazards = tuple(0.01 * k for k in range(1, 13))
    survival = SurvivalHead(config, TargetScale(hazards=hazards), num_features=5)
    torch.testing.assert_close(torch.sigmoid(survival(*inputs()))[0], torch.tensor(hazards))
    amount = AmountHead(config, TargetScale(location=4.0, spread=1.5, base_rate=0.3), num_features=5)(
        *inputs()
    )
    assert torch.sigmoid(amount.positive_logit)[0].item() == pytest.approx(0.3, rel=1e-5)
    assert amount.mu[0].item() == pytest.approx(4.0)
    assert amount.sigma[0].item() == pytest.approx(1.5, rel=1e-5)
    assert amount.unit == pytest.approx(math.exp(4.0))
    count = CountHead(config, TargetScale(base_rate=2.5), num_features=5)(*inputs())
    assert torch.exp(count.log_rate)[0].item() == pytest.approx(2.5, rel=1e-5)


@pytest.mark.parametrize("size", [-1e30, -1e4, 1e4, 1e30])
def test_no_state_drives_an_amount_or_a_count_out_of_float32(size: float) -> None:
    """At the outermost scales that are allowed: mean and count stay finite, sigma in its range."""
    scale = TargetScale(location=MAX_ABS_LOCATION, spread=MAX_SPREAD, base_rate=0.999)
    amount = AmountHead(load_config(sigma_range=(0.1, 4.0)), scale, num_features=5)
    count = CountHead(load_config(), TargetScale(spread=MAX_SPREAD, base_rate=1e12), num_features=5)
    with torch.no_grad():
        for parameter in (*amount.parameters(), *count.parameters()):
            parameter.fill_(1.0)
    out = amount(*inputs(size))
    assert ((out.sigma >= 0.1 - 1e-6) & (out.sigma <= 4.0 + 1e-6)).all()
    assert (abs(out.mu - MAX_ABS_LOCATION) <= LOCATION_BOUND * MAX_SPREAD + 1e-3).all()
    assert torch.isfinite(torch.exp(out.mu + out.sigma**2 / 2 + 3.0)).all()
    assert torch.isfinite(torch.exp(count(*inputs(size)).log_rate + 3.0)).all()


def test_features_and_calendar_reach_the_output_linearly_and_can_be_switched_off() -> None:
    """Doubling the calendar doubles its term; without the levers neither has weights."""
    linear = HeadLinear(load_config(), num_features=5, biases=[0.0, 0.0])
    with torch.no_grad():
        for parameter in linear.parameters():
            parameter.normal_()
    state, features, calendar = torch.randn(4, WIDTH), torch.randn(4, 5), torch.randn(4, 6)
    base = linear(state, features, torch.zeros(4, 6))
    once, twice = linear(state, features, calendar) - base, linear(state, features, 2 * calendar) - base
    torch.testing.assert_close(twice, 2 * once, atol=1e-4, rtol=1e-4)
    bare = HeadLinear(load_config(calendar="input", use_linear_path=False), num_features=5, biases=[0.0])
    assert {name.split(".")[0] for name, _ in bare.named_parameters()} == {"deep"}


def test_a_poisson_has_no_dispersion() -> None:
    """The distribution of counts is a lever."""
    head = CountHead(load_config(count_distribution="poisson"), TargetScale(), num_features=5)
    assert head(*inputs()).log_dispersion is None


@pytest.mark.parametrize(
    "levers", [{}, {"use_linear_path": False}, {"calendar": "input"}, {"count_distribution": "poisson"}]
)
def test_folded_heads_give_what_the_heads_give(levers: dict[str, Any]) -> None:
    """As one map, whatever a head leaves out; each reads its own outputs back."""
    config = load_config(**levers)
    heads = [
        SurvivalHead(config, TargetScale(hazards=(0.1, 0.2, 0.3)), num_features=5),
        AmountHead(config, TargetScale(location=4.0, spread=1.5, base_rate=0.3), num_features=5),
        CountHead(config, TargetScale(base_rate=2.5), num_features=5),
    ]
    generator = torch.Generator().manual_seed(0)
    told = [torch.randn(7, size, generator=generator) for size in (WIDTH, 5, 6)]
    with torch.no_grad():
        for parameter in (p for head in heads for p in head.parameters()):
            parameter.normal_(generator=generator)
        found = FoldedHeads(heads)(*told)
        for head, outputs in zip(heads, found, strict=True):
            torch.testing.assert_close(outputs, head.outputs(*told), atol=1e-5, rtol=1e-5)
        read = heads[1].read(found[1])
    torch.testing.assert_close(read.mu, heads[1](*told).mu, atol=1e-5, rtol=1e-5)
