"""When everything in a batch happened, and which events every cutoff sees: of rows, and of packed events.

It deliberately does not know what events and cutoffs contain.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor

from holdfast.encoding.packing import ACTIVE_ROWS
from training.model.packing import Layout, Packing, gather

MAX_AGE_DAYS = 1e5
"""Ages are clipped here, far beyond any history, so that nothing computed from one overflows."""


def event_ages(
    event_days: Float[Tensor, "batch length"], readout_days: Float[Tensor, "batch readout"]
) -> Float[Tensor, "batch readout length"]:
    """Return the age of every event at every readout, in days, between 0 and ``MAX_AGE_DAYS``."""
    return torch.clamp(readout_days[..., None] - event_days[:, None, :], 0.0, MAX_AGE_DAYS)


def visible_events(
    readout_visible: Int64[Tensor, "batch readout"], event_days: Float[Tensor, "batch length"]
) -> Bool[Tensor, "batch readout length"]:
    """Return which events every readout sees, as a boolean mask."""
    return torch.arange(event_days.shape[1], device=event_days.device) < readout_visible[..., None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Timeline:
    """Of events that are padded to rows.

    Attributes:
        event_days: Days of the events since the spec's origin.
        readout_days: Days of the cutoffs likewise.
        readout_visible: How many events of the row each cutoff sees.
        ages: Age of every event at every cutoff, in days, at least 0.
        is_visible: Which events each cutoff sees.
    """

    event_days: Float[Tensor, "batch length"]
    readout_days: Float[Tensor, "batch readout"]
    readout_visible: Int64[Tensor, "batch readout"]
    ages: Float[Tensor, "batch readout length"]
    is_visible: Bool[Tensor, "batch readout length"]

    @classmethod
    def of(cls, batch: Mapping[str, Tensor]) -> "Timeline":
        """Read a batch of ``holdfast.encoding.padding.pad_many``."""
        return cls.between(batch["event_days"], batch["readout_days"], batch["readout_visible"])

    @classmethod
    def between(cls, event_days: Tensor, readout_days: Tensor, readout_visible: Tensor) -> "Timeline":
        """Work out ages and what is visible."""
        return cls(
            event_days=event_days,
            readout_days=readout_days,
            readout_visible=readout_visible,
            ages=event_ages(event_days, readout_days),
            is_visible=visible_events(readout_visible, event_days),
        )

    @property
    def parts(self) -> Sequence["Timeline"]:
        """All rows, which have one length already."""
        return [self]

    def by_row(self, events: Float[Tensor, "batch length channel"]) -> Sequence[Tensor]:
        """Return events by row, per part."""
        return [events]

    def from_rows(self, parts: Sequence[Tensor]) -> Tensor:
        """Return the events of such parts as they lie."""
        (events,) = parts
        return events

    def split(self, readouts: Float[Tensor, "batch *axes"]) -> Sequence[Tensor]:
        """Return what there is per row, per part."""
        return [readouts]

    def joined(self, parts: Sequence[Tensor]) -> Tensor:
        """Return what :meth:`split` took apart."""
        (readouts,) = parts
        return readouts

    def take(
        self, events: Float[Tensor, "batch length channel"], positions: Int64[Tensor, "batch readout"]
    ) -> Float[Tensor, "batch readout channel"]:
        """Return events by their positions in their row."""
        return torch.gather(events, 1, positions[..., None].expand(-1, -1, events.shape[-1]))


@dataclass(frozen=True, slots=True, kw_only=True)
class PackedTimeline:
    """Of packed events: what cannot do without rows gets them in parts, each of rows of like length.

    Attributes:
        event_days: Days of the events since the spec's origin.
        readout_visible: How many events of its row each cutoff sees.
        packing: Where the events of a row lie.
        layout: Of the parts.
        parts: All rows in their order; behind the end of a row stands some other event, which no cutoff
            sees.
    """

    event_days: Float[Tensor, " event"]
    readout_visible: Int64[Tensor, "batch readout"]
    packing: Packing
    layout: Layout
    parts: Sequence[Timeline]

    @classmethod
    def of(cls, batch: Mapping[str, Tensor]) -> "PackedTimeline":
        """Read a batch of ``holdfast.encoding.packing.pack_many``."""
        event_days, readout_days = batch["event_days"], batch["readout_days"]
        packing = Packing.of(batch[ACTIVE_ROWS], device=event_days.device)
        visible = batch["readout_visible"]
        layout = packing.layout(len(readout_days))
        sizes = layout.num_rows
        days = layout.days_by_row(event_days)
        rows = zip(days, readout_days.split(sizes), visible.split(sizes), strict=True)
        return cls(
            event_days=event_days,
            readout_visible=visible,
            packing=packing,
            layout=layout,
            parts=[Timeline.between(*of_part) for of_part in rows],
        )

    def by_row(self, events: Float[Tensor, "event channel"]) -> Sequence[Tensor]:
        """Return events by row, per part."""
        return self.layout.by_row(events)

    def from_rows(self, parts: Sequence[Tensor]) -> Tensor:
        """Return the events of such parts as they lie, without what stands behind the ends of rows."""
        return self.layout.from_rows(parts)

    def split(self, readouts: Float[Tensor, "batch *axes"]) -> Sequence[Tensor]:
        """Return what there is per row, per part."""
        return readouts.split(self.layout.num_rows)

    def joined(self, parts: Sequence[Tensor]) -> Tensor:
        """Return what :meth:`split` took apart."""
        return torch.cat(list(parts))

    def take(
        self, events: Float[Tensor, "event channel"], positions: Int64[Tensor, "batch readout"]
    ) -> Float[Tensor, "batch readout channel"]:
        """Return events by their positions in their row; some other event where it has none."""
        rows = torch.arange(len(positions), device=positions.device)[:, None].expand_as(positions)
        return gather(events, self.packing.places(rows, positions))


AnyTimeline = Timeline | PackedTimeline
