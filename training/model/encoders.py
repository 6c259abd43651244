"""Three ways from events to what a readout knows of them, behind one interface.

They deliberately do not know targets: they return readout states, and event states on request.
"""

from typing import Protocol

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence

from training.model.attention import MAX_DAYS, Block, FeedForward, RotaryTime, Rotation
from training.model.config import ModelConfig
from training.model.packing import Packing
from training.model.recurrence import run_packed, run_recurrent
from training.model.timeline import AnyTimeline, PackedTimeline, Timeline

States = tuple[Float[Tensor, "batch readout channel"], Float[Tensor, "*events channel"] | None]


class Encoder(Protocol):
    """Embedded events and readouts to the states of the readouts."""

    def __call__(
        self,
        events: Float[Tensor, "*events channel"],
        readouts: Float[Tensor, "batch readout channel"],
        timeline: AnyTimeline,
        *,
        with_events: bool,
    ) -> States:
        """Return readout states, and the events' last states where they are asked for.

        A state of an event depends on no later event, and a readout on none that it cannot see.
        """


class TransformerEncoder(nn.Module):
    """Causal blocks for events; readouts attend to each layer's keys and values."""

    def __init__(self, config: ModelConfig) -> None:
        """Make the blocks."""
        super().__init__()
        self.rotary = RotaryTime(config) if config.rotary_days else None
        self.attention_days = config.attention_days
        self.blocks = nn.ModuleList([Block(config) for _ in range(config.depth)])

    def forward(
        self, events: Tensor, readouts: Tensor, timeline: AnyTimeline, *, with_events: bool
    ) -> States:
        """Run all layers; the last one for readouts only, unless event states are asked for."""
        rotations = [self._rotations(part) for part in timeline.parts]
        can_see = [self._in_sight(part) for part in timeline.parts]
        last = len(self.blocks) - 1
        for index, block in enumerate(self.blocks):
            goes_on = index < last or with_events
            events, readouts = block(events, readouts, timeline, rotations, can_see, with_events=goes_on)
        return readouts, events if with_events else None

    def _in_sight(self, timeline: Timeline) -> Bool[Tensor, "batch 1 readout length"]:
        """Return which events a readout attends to, with an axis for the heads."""
        is_visible = timeline.is_visible
        if self.attention_days is not None:
            is_visible = is_visible & (timeline.ages <= self.attention_days)
        return is_visible[:, None]

    def _rotations(self, timeline: Timeline) -> tuple[Rotation, Rotation]:
        """Return by what events and readouts are turned."""
        if self.rotary is None:
            return None, None
        # Only differences matter to the product, and float32 keeps those of small numbers.
        first = timeline.event_days[:, :1]
        since = [
            torch.clamp(d - first, -MAX_DAYS, MAX_DAYS) for d in (timeline.event_days, timeline.readout_days)
        ]
        return self.rotary(since[0]), self.rotary(since[1])


class GruEncoder(nn.Module):
    """A recurrent network over the events; a readout takes the state after the last one it sees."""

    def __init__(self, config: ModelConfig) -> None:
        """Make the recurrent layers and the readouts' feed-forward part."""
        super().__init__()
        dropout = config.dropout if config.depth > 1 else 0.0
        self.recurrent = nn.GRU(config.width, config.width, config.depth, batch_first=True, dropout=dropout)
        self.mix = nn.Linear(config.width, config.width)
        self.feed_forward = FeedForward(config)

    def forward(
        self, events: Tensor, readouts: Tensor, timeline: AnyTimeline, *, with_events: bool
    ) -> States:
        """Run over all events once, and gather per readout; a zero state where it sees none."""
        visible = timeline.readout_visible
        if torch.onnx.is_in_onnx_export():
            gathered = _exported(self.recurrent, events, visible)
            return self.feed_forward(readouts + self.mix(gathered)), None
        if isinstance(timeline, PackedTimeline):
            states = self._packed_states(events, timeline.packing)
        else:
            states = self._states(events)
        last = timeline.take(states, torch.clamp(visible - 1, min=0))
        gathered = torch.where((visible > 0)[..., None], last, 0.0)
        return self.feed_forward(readouts + self.mix(gathered)), states if with_events else None

    def _states(self, events: Tensor) -> Tensor:
        if runs_own_loop(events):
            return run_recurrent(self.recurrent, events, training=self.training)
        states: Tensor = self.recurrent(events)[0]
        return states

    def _packed_states(self, events: Tensor, packing: Packing) -> Tensor:
        if runs_own_loop(events):
            return run_packed(self.recurrent, events, packing.active, training=self.training)
        states: Tensor = self.recurrent(PackedSequence(events, torch.tensor(packing.active)))[0].data
        return states


def runs_own_loop(events: Tensor) -> bool:
    """Return whether the recurrent layer is computed here: on a GPU and under autocast PyTorch does it."""
    return events.device.type == "cpu" and not torch.is_autocast_enabled("cpu")


def _exported(
    recurrent: nn.GRU, events: Float[Tensor, "batch length channel"], visible: Int64[Tensor, "batch 1"]
) -> Float[Tensor, "batch 1 channel"]:
    """Return the state after the last visible event as ONNX's own operator GRU gives it; 0 where none is.

    The operator knows the lengths: it stops behind the longest history, whatever that is padded to.
    Left to itself, the exporter (torch 2.13) finds the operator for the first recurrent model of a
    process only: for the next one it unrolls the loop and freezes the length.
    """
    states, width = events.transpose(0, 1), recurrent.hidden_size
    lengths = visible.squeeze(1).to(torch.int32)
    for layer in range(recurrent.num_layers):
        weights = [_onnx_gates(getattr(recurrent, f"weight_{part}_l{layer}")) for part in ("ih", "hh")]
        biases = [_onnx_gates(getattr(recurrent, f"bias_{part}_l{layer}")) for part in ("ih", "hh")]
        length, batch, _ = states.shape
        of_all, last = torch.onnx.ops.symbolic_multi_out(
            "GRU",
            [states, *(weight[None] for weight in weights), torch.cat(biases)[None], lengths],
            # PyTorch applies the reset gate after the linear map.
            {"hidden_size": width, "linear_before_reset": 1},
            dtypes=(states.dtype, states.dtype),
            shapes=((length, 1, batch, width), (1, batch, width)),
        )
        states = of_all.squeeze(1)
    return last.transpose(0, 1)


def _onnx_gates(parameter: Tensor) -> Tensor:
    """Return PyTorch's gates (reset, update, new) in ONNX's order (update, reset, new)."""
    reset, update, new = parameter.chunk(3)
    return torch.cat([update, reset, new])


class NoEncoder(nn.Module):
    """No sequence at all: time bins and readout features through feed-forward blocks."""

    def __init__(self, config: ModelConfig) -> None:
        """Make the blocks."""
        super().__init__()
        self.blocks = nn.Sequential(*[FeedForward(config) for _ in range(config.depth)])

    def forward(
        self, events: Tensor, readouts: Tensor, timeline: AnyTimeline, *, with_events: bool
    ) -> States:
        """Leave the events alone."""
        del events, timeline
        assert not with_events, "the configuration refuses next-event prediction without an encoder"
        return self.blocks(readouts), None


def build_encoder(config: ModelConfig) -> nn.Module:
    """Return the encoder that a configuration asks for."""
    kinds: dict[str, type[nn.Module]] = {
        "transformer": TransformerEncoder,
        "gru": GruEncoder,
        "none": NoEncoder,
    }
    return kinds[config.encoder](config)
