"""Attention of events among themselves, and of readouts to the events before their cutoff.

It deliberately does not know what events and readouts contain, nor what is predicted.
"""

import math
from collections.abc import Sequence

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch.nn import functional as F

from training.model.config import ModelConfig
from training.model.dropout import Dropout
from training.model.timeline import AnyTimeline

MAX_DAYS = 1e5
"""Times relative to a row's first event are clipped here, so that every angle is finite."""

Heads = Float[Tensor, "batch head position head_channel"]


class RotaryTime(nn.Module):
    """Continuous-time rotary angles: the product of a query and a key then depends on their distance in days.

    Su et al., RoFormer (2021), section 3.4.2, with days in the place of positions and wavelengths
    that are spaced geometrically between two bounds.
    """

    frequencies: Tensor

    def __init__(self, config: ModelConfig) -> None:
        """Space the wavelengths."""
        super().__init__()
        num_pairs = config.width // config.num_heads // 2
        shortest, longest = config.rotary_days
        wavelengths = torch.logspace(math.log10(shortest), math.log10(longest), num_pairs)
        self.register_buffer("frequencies", 2 * math.pi / wavelengths, persistent=False)

    def forward(
        self, days: Float[Tensor, "batch position"]
    ) -> tuple[Float[Tensor, "batch 1 position pair"], Float[Tensor, "batch 1 position pair"]]:
        """Return cosines and sines.

        Args:
            days: Relative to any time of the row; a float32 keeps its precision only near zero.
        """
        angles = days[:, None, :, None] * self.frequencies
        return torch.cos(angles), torch.sin(angles)


Rotation = tuple[Tensor, Tensor] | None


def rotate(states: Heads, rotation: Rotation) -> Heads:
    """Turn every pair of channels (first half, second half) by its angle."""
    if rotation is None:
        return states
    cosine, sine = rotation
    first, second = states.chunk(2, dim=-1)
    return torch.cat([first * cosine - second * sine, first * sine + second * cosine], dim=-1)


class Block(nn.Module):
    """One pre-norm block with one set of weights for events and for readouts.

    A readout's attention has one learned key and value beside the events: a readout that sees no
    event attends to that alone, where a softmax over nothing would be NaN. The key takes part
    before any rotation, so that it has no time of its own.
    """

    def __init__(self, config: ModelConfig) -> None:
        """Make the weights."""
        super().__init__()
        self.num_heads = config.num_heads
        self.head_width = config.width // config.num_heads
        self.norm = nn.LayerNorm(config.width)
        self.query_key_value = nn.Linear(config.width, 3 * config.width)
        self.sink = nn.Parameter(torch.randn(2, config.num_heads, 1, self.head_width) * 0.1)
        self.out = nn.Linear(config.width, config.width)
        self.feed_forward = FeedForward(config)
        self.dropout = Dropout(config.dropout)

    def forward(
        self,
        events: Tensor,
        readouts: Float[Tensor, "batch readout channel"],
        timeline: AnyTimeline,
        rotations: Sequence[tuple[Rotation, Rotation]],
        can_see: Sequence[Tensor],
        *,
        with_events: bool,
    ) -> tuple[Tensor, Float[Tensor, "batch readout channel"]]:
        """Return the next states of events and of readouts.

        Args:
            events: As they lie: ``[batch, length, channel]``, or packed ``[event, channel]``.
            readouts: The states of the readouts.
            timeline: Of the batch; events attend to each other within its parts.
            rotations: Per part, of its events and of its readouts.
            can_see: Per part, which events a readout attends to, ``[batch, 1, readout, length]``.
            with_events: Whether events go on; if not, only readouts do, from what the events were.
        """
        projected = timeline.by_row(self.projected(events, with_query=with_events))
        queries = timeline.split(self.questions(readouts))
        of_events: list[Tensor] = []
        of_readouts: list[Tensor] = []
        parts = zip(projected, queries, rotations, can_see, strict=True)
        for rows, query, (turn, readouts_turn), seen in parts:
            heads = self.heads(rows, turn)
            if with_events:
                of_events.append(self.among_events(*heads))
            of_readouts.append(self.from_events(query, readouts_turn, heads[-2], heads[-1], seen))
        if with_events:
            events = self.after(events, timeline.from_rows(of_events))
        return events, self.after(readouts, timeline.joined(of_readouts))

    def projected(
        self, events: Float[Tensor, "*axes channel"], *, with_query: bool
    ) -> Float[Tensor, "*axes part_channel"]:
        """Return what events attend with side by side: queries, where they are asked for, keys and values."""
        if with_query:
            return self.query_key_value(self.norm(events))
        width = events.shape[-1]
        return F.linear(
            self.norm(events), self.query_key_value.weight[width:], self.query_key_value.bias[width:]
        )

    def heads(
        self, projected: Float[Tensor, "batch length part_channel"], rotation: Rotation
    ) -> tuple[Tensor, ...]:
        """Return what :meth:`projected` gives by heads, all but the values turned, as :data:`Heads`."""
        num_parts = projected.shape[-1] // (self.num_heads * self.head_width)
        *turned, value = (self._split(part) for part in projected.chunk(num_parts, dim=-1))
        return (*(rotate(part, rotation) for part in turned), value)

    def among_events(self, query: Heads, key: Heads, value: Heads) -> Float[Tensor, "batch position channel"]:
        """Return what events take from those up to themselves.

        Causal; right padding needs no mask, since no real event looks to its right.
        """
        return self._merge(F.scaled_dot_product_attention(query, key, value, is_causal=True))

    def questions(self, readouts: Float[Tensor, "batch readout channel"]) -> Heads:
        """Return the readouts' queries, not yet turned."""
        width = readouts.shape[-1]
        weight, bias = self.query_key_value.weight[:width], self.query_key_value.bias[:width]
        return self._split(F.linear(self.norm(readouts), weight, bias)) / math.sqrt(self.head_width)

    def from_events(
        self,
        query: Float[Tensor, "batch head readout head_channel"],
        rotation: Rotation,
        key: Float[Tensor, "batch head length head_channel"],
        value: Float[Tensor, "batch head length head_channel"],
        can_see: Bool[Tensor, "batch 1 readout length"],
    ) -> Float[Tensor, "batch readout channel"]:
        """Return what readouts take from the events that they can see, and from the sink."""
        sink_key, sink_value = self.sink[0], self.sink[1]
        to_events = rotate(query, rotation) @ key.transpose(-2, -1)
        to_events = torch.where(can_see, to_events, float("-inf"))
        to_sink = query @ sink_key.transpose(-2, -1)
        weights = torch.softmax(torch.cat([to_events, to_sink], dim=-1), dim=-1)
        return self._merge(weights[..., :-1] @ value + weights[..., -1:] * sink_value)

    def after(
        self, states: Float[Tensor, "*axes channel"], taken: Float[Tensor, "*axes channel"]
    ) -> Float[Tensor, "*axes channel"]:
        """Return the next states of events or readouts after what they took from others."""
        return self.feed_forward(states + self.dropout(self.out(taken)))

    def _split(self, states: Float[Tensor, "batch position channel"]) -> Heads:
        return states.unflatten(-1, (self.num_heads, self.head_width)).transpose(1, 2)

    @staticmethod
    def _merge(states: Heads) -> Float[Tensor, "batch position channel"]:
        return states.transpose(1, 2).flatten(start_dim=2)


class FeedForward(nn.Module):
    """The pre-norm feed-forward part of a block, its residual included."""

    def __init__(self, config: ModelConfig) -> None:
        """Make the weights."""
        super().__init__()
        hidden = config.feed_forward_multiple * config.width
        self.norm = nn.LayerNorm(config.width)
        self.up = nn.Linear(config.width, hidden)
        self.down = nn.Linear(hidden, config.width)
        self.dropout = Dropout(config.dropout)

    def forward(self, states: Float[Tensor, "*axes channel"]) -> Float[Tensor, "*axes channel"]:
        """Return the next states."""
        return states + self.dropout(self.down(F.gelu(self.up(self.norm(states)))))
