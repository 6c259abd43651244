"""Where the events of a batch lie that were packed position after position, without padding.

It deliberately knows only lengths: see :func:`holdfast.encoding.packing.pack_many` for the order.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, cast

import torch
from jaxtyping import Float, Int64
from torch import Tensor
from torch.nn import functional as F


@dataclass(frozen=True, slots=True, kw_only=True)
class Packing:
    """The order of packed events.

    Attributes:
        active: How many rows have an event at each position: descending, at least 1.
        offsets: Where each position begins.
        num_events: How many events there are.
    """

    active: list[int]
    offsets: Int64[Tensor, " length"]
    num_events: int

    @classmethod
    def of(cls, active: Int64[Tensor, " length"]) -> "Packing":
        """Lay out events of which so many stand at each position."""
        ends = torch.cumsum(active, dim=0)
        return cls(active=active.tolist(), offsets=ends - active, num_events=int(ends[-1]))

    def places(
        self, rows: Int64[Tensor, "*axes"], positions: Int64[Tensor, "*axes"]
    ) -> Int64[Tensor, "*axes"]:
        """Return where events lie; where a row has no event at a position, that of any other event."""
        return torch.clamp(self.offsets[positions] + rows, max=self.num_events - 1)

    def seats(self) -> tuple[Int64[Tensor, " event"], Int64[Tensor, " event"]]:
        """Return the row of every event, and its position there."""
        device = self.offsets.device
        active = torch.tensor(self.active, device=device)
        positions = torch.repeat_interleave(torch.arange(len(active), device=device), active)
        return torch.arange(self.num_events, device=device) - self.offsets[positions], positions

    def before(self, events: Tensor) -> Tensor:
        """Return those ``[event, ...]`` that one of their row follows, in the order of :meth:`after`."""
        rows, positions = (self.after(seats) for seats in self.seats())
        return torch.index_select(events, 0, self.places(rows, positions - 1))

    def after(self, events: Tensor) -> Tensor:
        """Return those ``[event, ...]`` that follow another one of their row."""
        return events[self.active[0] :]

    def layout(self, num_rows: int) -> "Layout":
        """Lay out rows in parts of like length, for what cannot do without rows.

        A part holds the rows that are longer than half of its longest one; the last one those without
        any event as well.
        """
        device, places = self.offsets.device, []
        length, begin, num_places = len(self.active), 0, 0
        rows, positions = self.seats()
        where = torch.empty_like(rows)
        while begin < num_rows:
            end = self.active[length // 2] if length > 1 else num_rows
            if end > begin:
                row = torch.arange(begin, end, device=device)[:, None].expand(-1, length)
                position = torch.arange(length, device=device).expand_as(row)
                places.append(self.places(row, position))
                inside = torch.nonzero((rows >= begin) & (rows < end)).squeeze(1)
                where[inside] = num_places + (rows[inside] - begin) * length + positions[inside]
                num_places += (end - begin) * length
            length, begin = max(1, length // 2), end
        return Layout(places=places, back=where)


@dataclass(frozen=True, slots=True, kw_only=True)
class Layout:
    """Packed events by row, in parts of rows of like length, and back.

    Attributes:
        places: Of every part, where its events lie, as int64 ``[row, position]``; behind the end of a row
            stands some other event.
        back: Where every event stands among those of all parts.
    """

    places: Sequence[Tensor]
    back: Int64[Tensor, " event"]

    @property
    def num_rows(self) -> list[int]:
        """Of every part."""
        return [len(places) for places in self.places]

    def by_row(self, events: Float[Tensor, "event channel"]) -> list[Tensor]:
        """Return the parts ``[row, position, channel]``; nothing may depend on what stands behind a row."""
        places = torch.cat([of_part.flatten() for of_part in self.places])
        parts = cast("Tensor", _ByRow.apply(events, places, self.back)).split(
            [p.numel() for p in self.places]
        )
        return [part.view(*of_part.shape, -1) for part, of_part in zip(parts, self.places, strict=True)]

    def packed(self, parts: Sequence[Tensor]) -> Float[Tensor, "event channel"]:
        """Return the events of such parts in their packed order."""
        together = torch.cat([part.flatten(0, 1) for part in parts])
        return cast("Tensor", _Packed.apply(together, self.back))


class _ByRow(torch.autograd.Function):
    """Takes events to rows, where each stands once as itself: its gradient need not be a sum."""

    @staticmethod
    def forward(ctx: Any, events: Tensor, places: Tensor, back: Tensor) -> Tensor:
        """Return ``[place, channel]``."""
        ctx.save_for_backward(back)
        return events.index_select(0, places)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None]:
        """Leave out the gradient of what stands behind a row, which is zero."""
        (back,) = ctx.saved_tensors
        return gradient.index_select(0, back), None, None


class _Packed(torch.autograd.Function):
    """Takes events from rows."""

    @staticmethod
    def forward(ctx: Any, rows: Tensor, back: Tensor) -> Tensor:
        """Return ``[event, channel]``."""
        ctx.num_places = len(rows)
        ctx.save_for_backward(back)
        return rows.index_select(0, back)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        """Return zeros behind the rows."""
        (back,) = ctx.saved_tensors
        return gradient.new_zeros(ctx.num_places, gradient.shape[1]).index_copy_(0, back, gradient), None


def gather(
    events: Float[Tensor, "event channel"], places: Int64[Tensor, "*axes"]
) -> Float[Tensor, "*axes channel"]:
    """Return events by their places; its gradient is a sum in a fixed order, and a quick one."""
    return F.embedding(places, events)
