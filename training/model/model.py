"""The sequence model: a batch of encoded events and readouts to raw outputs per target.

It deliberately does not know labels, losses, calibration or Lightning.
"""

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from typing import cast

import torch
from jaxtyping import Float
from torch import Tensor, nn

from holdfast.encoding import EncodingSpec
from holdfast.encoding.packing import ACTIVE_ROWS
from training.model.config import ModelConfig
from training.model.embedding import EventEmbedding, ReadoutEmbedding
from training.model.encoders import Encoder, build_encoder
from training.model.heads import AmountHead, CountHead, Head, NextEventHead, SurvivalHead
from training.model.neighbours import Neighbours
from training.model.outputs import AmountOutput, CountOutput, RawOutputs
from training.model.scales import TargetScales
from training.model.time_bins import TimeBins
from training.model.timeline import AnyTimeline, PackedTimeline, Timeline

MAX_INPUT = 32.0
"""Numeric inputs are clipped here once more; encoding clips scaled values far below."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """What the heads are told of readouts.

    Attributes:
        state: The last state.
        features: Readout features, clipped.
        calendar: Of the cutoffs, clipped.
    """

    state: Float[Tensor, "*axes channel"]
    features: Float[Tensor, "*axes feature"]
    calendar: Float[Tensor, "*axes 6"]


class SequenceModel(nn.Module):
    """Events, readout features and time to the parameters of every target's distribution.

    Events never see a readout, and a readout sees events with index below ``readout_visible`` only;
    rows and readouts do not see each other.
    """

    def __init__(self, spec: EncodingSpec, config: ModelConfig, scales: TargetScales) -> None:
        """Build the network.

        Args:
            spec: Sizes, bin edges and targets.
            config: Shape.
            scales: Where the targets lie; heads start there.
        """
        super().__init__()
        self.spec, self.config, self.scales = spec, config, scales
        uses_events = config.encoder != "none" or config.time_bins > 0
        self.event_embedding = EventEmbedding(spec, config) if uses_events else None
        self.neighbours = Neighbours(config) if uses_events and config.num_neighbours else None
        self.time_bins = TimeBins(config, history_days=spec.history_days) if config.time_bins else None
        num_sums = self.time_bins.num_sums if self.time_bins is not None else 0
        self.readout_embedding = ReadoutEmbedding(spec, config, num_sums=num_sums)
        self.encoder = build_encoder(config)
        self.norm = nn.LayerNorm(config.width)
        heads: Mapping[str, Callable[..., Head]] = {
            "time_to_event": SurvivalHead,
            "amount": AmountHead,
            "count": CountHead,
        }
        self.heads = nn.ModuleDict(
            {
                # A prefix, because a target may be called like an attribute of ModuleDict ("keys").
                f"head_{target.name}": heads[target.kind](
                    config, scales.targets[target.name], num_features=spec.readout_value_size
                )
                for target in spec.schema.targets
            }
        )
        has_next = config.use_next_event
        self.next_event = NextEventHead(config, num_types=len(spec.event_type)) if has_next else None

    def forward(self, batch: Mapping[str, Tensor], *, with_next_event: bool = False) -> RawOutputs:
        """Return the raw outputs of every readout.

        Args:
            batch: Tensors of ``holdfast.encoding.padding.pad_many`` by name; the length axis has at
                least one position. Other names are not read. Or those of
                ``holdfast.encoding.packing.pack_many``.
            with_next_event: Whether to add the auxiliary outputs, for training; needs
                ``config.use_next_event``.

        Returns:
            Outputs ``[batch, readout, ...]``; those of padded readouts mean nothing.
        """
        assert not with_next_event or self.next_event is not None, "the auxiliary head was not configured"
        told, event_states = self._through(batch, with_events=with_next_event)
        with _full_precision(told.state):
            raw = self.read(
                [head.outputs(told.state, told.features, told.calendar) for head in self.in_order()],
                told.state,
            )
            if self.next_event is None or event_states is None:
                return raw
            return replace(raw, next_event=self.next_event(event_states.float()))

    def tell(self, batch: Mapping[str, Tensor]) -> Told:
        """Return what the heads are told of every readout of a batch, see :meth:`forward`."""
        return self._through(batch, with_events=False)[0]

    def in_order(self) -> list[Head]:
        """Return the heads in the order of the targets."""
        return [cast("Head", self.heads[f"head_{target.name}"]) for target in self.spec.schema.targets]

    def read(self, outputs: Sequence[Tensor], state: Float[Tensor, "*axes channel"]) -> RawOutputs:
        """Return what the heads mean.

        Args:
            outputs: Of every head, in the order of the targets.
            state: What they were told.
        """
        survival: dict[str, Tensor] = {}
        amounts: dict[str, AmountOutput] = {}
        counts: dict[str, CountOutput] = {}
        for target, head, given in zip(self.spec.schema.targets, self.in_order(), outputs, strict=True):
            parameters = head.read(given)
            if isinstance(parameters, AmountOutput):
                amounts[target.name] = parameters
            elif isinstance(parameters, CountOutput):
                counts[target.name] = parameters
            else:
                survival[target.name] = parameters
        return RawOutputs(survival=survival, amounts=amounts, counts=counts, embedding=state)

    def _through(self, batch: Mapping[str, Tensor], *, with_events: bool) -> tuple[Told, Tensor | None]:
        """Return what the heads are told, and the events' last states where they are asked for."""
        values = torch.clamp(batch["readout_values"], -MAX_INPUT, MAX_INPUT)
        calendar = torch.clamp(batch["readout_calendar"], -MAX_INPUT, MAX_INPUT)
        is_packed, sums = ACTIVE_ROWS in batch, None
        timeline: AnyTimeline = PackedTimeline.of(batch) if is_packed else Timeline.of(batch)
        events = self._embedded_events(batch, timeline)
        if self.time_bins is not None:
            with _full_precision(events):
                sums = self.time_bins.over(events.float(), timeline)
        readouts = self.readout_embedding(batch["readout_ids"], values, calendar, sums)
        encoder = cast("Encoder", self.encoder)
        states, event_states = encoder(events, readouts, timeline, with_events=with_events)
        with _full_precision(values):
            return Told(state=self.norm(states.float()), features=values, calendar=calendar), event_states

    def _embedded_events(
        self, batch: Mapping[str, Tensor], timeline: AnyTimeline
    ) -> Float[Tensor, "*axes channel"]:
        if self.event_embedding is None:
            return batch["event_values"]
        values = torch.clamp(batch["event_values"], -MAX_INPUT, MAX_INPUT)
        embedded: Tensor = self.event_embedding(batch["event_ids"], values)
        if self.neighbours is None:
            return embedded
        if isinstance(timeline, PackedTimeline):
            return self.neighbours.forward_packed(embedded, timeline.packing)
        mixed: Tensor = self.neighbours(embedded)
        return mixed


def _full_precision(tensor: Tensor) -> AbstractContextManager[object]:
    """Return a context without autocast: counts, hazards and log amounts need float32's digits."""
    device = tensor.device.type
    # Without autocast there is nothing to switch off, and the exporter sees no context at all.
    return torch.autocast(device, enabled=False) if torch.is_autocast_enabled(device) else nullcontext()
