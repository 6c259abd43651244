"""Tests of attention against explicit softmax sums, and of the rotary angles."""

import numpy as np
import pytest
import torch
from model_cases import load_config

from training.model.attention import Block, RotaryTime, Rotation, rotate


@pytest.fixture
def block() -> Block:
    """Return a block with random weights and without dropout."""
    torch.manual_seed(0)
    return Block(load_config()).eval()


def test_rotation_depends_on_the_distance_in_days_only() -> None:
    """Moving query and key by the same time changes no product."""
    rotary = RotaryTime(load_config())
    query, key = torch.randn(1, 2, 3, 8), torch.randn(1, 2, 3, 8)
    days = torch.tensor([[0.0, 3.5, 41.0]])

    def products(shift: float) -> torch.Tensor:
        rotation = rotary(days + shift)
        return rotate(query, rotation) @ rotate(key, rotation).transpose(-1, -2)

    torch.testing.assert_close(products(0.0), products(500.25), atol=1e-3, rtol=1e-3)
    assert not torch.allclose(products(0.0), query @ key.transpose(-1, -2), atol=1e-2)


def test_rotation_keeps_lengths_and_turns_by_the_wavelength() -> None:
    """After one shortest wavelength the fastest pair is back where it was."""
    rotary = RotaryTime(load_config(rotary_days=(2.0, 100.0)))
    states = torch.randn(1, 1, 1, 8)
    turned = rotate(states, rotary(torch.tensor([[2.0]])))
    assert turned.norm().item() == pytest.approx(states.norm().item(), rel=1e-5)
    torch.testing.assert_close(turned[..., [0, 4]], states[..., [0, 4]], atol=1e-5, rtol=1e-5)
    assert not torch.allclose(turned[..., [1, 5]], states[..., [1, 5]], atol=1e-2)


def explicit_readout(
    block: Block, readout: torch.Tensor, events: torch.Tensor, num_visible: int
) -> torch.Tensor:
    """Return one readout's next state by a loop over heads, with softmax over visible events and the sink."""
    width, heads = events.shape[-1], block.num_heads
    weight, bias = block.query_key_value.weight, block.query_key_value.bias
    normed = block.norm(events[:num_visible])
    query = block.norm(readout) @ weight[:width].T + bias[:width]
    key = normed @ weight[width : 2 * width].T + bias[width : 2 * width]
    value = normed @ weight[2 * width :].T + bias[2 * width :]
    merged = []
    for head in range(heads):
        part = slice(head * width // heads, (head + 1) * width // heads)
        keys = torch.cat([key[:, part], block.sink[0, head]])
        values = torch.cat([value[:, part], block.sink[1, head]])
        weights = np.exp((keys @ query[part]).detach().numpy().astype(np.float64) / np.sqrt(width / heads))
        merged.append(torch.from_numpy(weights / weights.sum()).float() @ values)
    attended = readout + block.out(torch.cat(merged))
    return attended + block.feed_forward.down(
        torch.nn.functional.gelu(block.feed_forward.up(block.feed_forward.norm(attended)))
    )


def next_readouts(
    block: Block,
    readouts: torch.Tensor,
    events: torch.Tensor,
    can_see: torch.Tensor,
    *,
    of_events: Rotation = None,
    of_readouts: Rotation = None,
) -> torch.Tensor:
    """Return the states of readouts after they took from events what they see."""
    key, value = block.heads(block.projected(events, with_query=False), of_events)
    query = block.questions(readouts)
    return block.after(readouts, block.from_events(query, of_readouts, key, value, can_see))


def next_events(block: Block, events: torch.Tensor) -> torch.Tensor:
    """Return the states of events after they took from those before them."""
    heads = block.heads(block.projected(events, with_query=True), None)
    return block.after(events, block.among_events(*heads))


@pytest.mark.parametrize("num_visible", [0, 1, 3, 5])
def test_a_readout_attends_to_what_it_sees_and_to_the_sink(block: Block, num_visible: int) -> None:
    """Against an explicit softmax; with nothing visible all weight lies on the sink."""
    events, readout = torch.randn(1, 5, 16), torch.randn(1, 1, 16)
    can_see = (torch.arange(5) < num_visible)[None, None, None]
    found = next_readouts(block, readout, events, can_see)
    expected = explicit_readout(block, readout[0, 0], events[0], num_visible)
    torch.testing.assert_close(found[0, 0], expected, atol=1e-5, rtol=1e-5)


def test_the_sink_has_no_time(block: Block) -> None:
    """Moving events and readout by the same days changes no share: the sink's key is not rotated."""
    events, readout = torch.randn(1, 5, 16), torch.randn(1, 1, 16)
    rotary = RotaryTime(load_config())
    days, cutoff = torch.tensor([[0.0, 2.0, 7.0, 30.0, 31.0]]), torch.tensor([[40.0]])
    can_see = torch.ones(1, 1, 1, 5, dtype=torch.bool)

    def attended(shift: float) -> torch.Tensor:
        turned = {"of_events": rotary(days + shift), "of_readouts": rotary(cutoff + shift)}
        return next_readouts(block, readout, events, can_see, **turned)

    torch.testing.assert_close(attended(0.0), attended(123.25), atol=1e-4, rtol=1e-4)


def test_events_and_keys_are_the_same_with_and_without_the_event_states(block: Block) -> None:
    """The shortcut of the last layer gives readouts the keys and values of the full one."""
    events, rotation = torch.randn(2, 5, 16), RotaryTime(load_config())(torch.rand(2, 5) * 100)
    _, key, value = block.heads(block.projected(events, with_query=True), rotation)
    short_key, short_value = block.heads(block.projected(events, with_query=False), rotation)
    torch.testing.assert_close(key, short_key)
    torch.testing.assert_close(value, short_value)


def test_events_look_only_back(block: Block) -> None:
    """Changing the third event leaves the states of the first two bit for bit."""
    events = torch.randn(1, 5, 16)
    before = next_events(block, events)
    events[0, 2] += 1.0
    after = next_events(block, events)
    assert torch.equal(before[:, :2], after[:, :2])
    assert not torch.equal(before[:, 2:], after[:, 2:])
