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
        rows: Of every event.
        positions: Of every event in its row.
    """

    active: list[int]
    offsets: Int64[Tensor, " length"]
    rows: Int64[Tensor, " event"]
    positions: Int64[Tensor, " event"]

    @classmethod
    def of(cls, active: Int64[Tensor, " length"], *, device: torch.device | None = None) -> "Packing":
        """Lay out events of which so many stand at each position.

        Args:
            active: How many rows have an event at each position, in main memory: what there is to compute
                follows from it, and a device would have to be waited for.
            device: Where the events lie; None says that they lie there as well.
        """
        counts, active_list = active.to(device, non_blocking=True), active.tolist()
        num = sum(active_list)
        offsets = torch.cumsum(counts, dim=0) - counts
        each = torch.arange(len(counts), device=counts.device)
        positions = torch.repeat_interleave(each, counts, output_size=num)
        rows = torch.arange(num, device=counts.device) - offsets[positions]
        return cls(active=active_list, offsets=offsets, rows=rows, positions=positions)

    @property
    def num_events(self) -> int:
        """How many events there are."""
        return len(self.rows)

    def places(
        self, rows: Int64[Tensor, "*axes"], positions: Int64[Tensor, "*axes"]
    ) -> Int64[Tensor, "*axes"]:
        """Return where events lie; where a row has no event at a position, that of any other event."""
        return torch.clamp(self.offsets[positions] + rows, max=self.num_events - 1)

    def before(self, events: Tensor) -> Tensor:
        """Return those ``[event, ...]`` that one of their row follows, in the order of :meth:`after`."""
        places = self.places(self.after(self.rows), self.after(self.positions) - 1)
        return torch.index_select(events, 0, places)

    def after(self, events: Tensor) -> Tensor:
        """Return those ``[event, ...]`` that follow another one of their row."""
        return events[self.active[0] :]

    def layout(self, num_rows: int) -> "Layout":
        """Lay out rows in parts of like length, for what cannot do without rows.

        A part holds the rows that are longer than two thirds of its longest one; the last one those
        without any event as well. More parts would pad less and start more often.
        """
        shapes: list[tuple[int, int]] = []
        begin = 0
        while begin < num_rows:
            length = max(1, sum(num > begin for num in self.active))
            end = self.active[2 * length // 3] if length > 1 else num_rows
            shapes.append((end - begin, length))
            begin = end
        device, num_places = self.offsets.device, sum(num * length for num, length in shapes)
        sizes, lengths = torch.tensor(shapes, device=device).T
        width = torch.repeat_interleave(lengths, sizes, output_size=num_rows)
        starts = torch.cumsum(width, dim=0) - width
        each = torch.arange(num_rows, device=device)
        rows = torch.repeat_interleave(each, width, output_size=num_places)
        positions = torch.arange(num_places, device=device) - starts[rows]
        places = self.places(rows, positions)
        return Layout(shapes=shapes, places=places, back=starts[self.rows] + self.positions)


@dataclass(frozen=True, slots=True, kw_only=True)
class Layout:
    """Packed events by row, in parts of rows of like length, and back.

    Attributes:
        shapes: Of every part, how many rows it has and how long they are.
        places: Where the events of all parts lie, row after row; behind the end of a row stands some
            other event.
        back: Where every event stands among those.
    """

    shapes: Sequence[tuple[int, int]]
    places: Int64[Tensor, " place"]
    back: Int64[Tensor, " event"]

    @property
    def num_rows(self) -> list[int]:
        """How many rows every part has."""
        return [num for num, _ in self.shapes]

    def by_row(self, events: Float[Tensor, "event channel"]) -> list[Tensor]:
        """Return the parts ``[row, position, channel]``; nothing may depend on what stands behind a row."""
        return self._parts(cast("Tensor", _ByRow.apply(events, self.places, self.back)))

    def days_by_row(self, days: Float[Tensor, " event"]) -> list[Tensor]:
        """Return times of events by row, ``[row, position]``."""
        return self._parts(days.index_select(0, self.places))

    def from_rows(self, parts: Sequence[Tensor]) -> Float[Tensor, "event channel"]:
        """Return the events of such parts in their packed order."""
        together = torch.cat([part.flatten(0, 1) for part in parts])
        return cast("Tensor", _FromRows.apply(together, self.back))

    def _parts(self, together: Tensor) -> list[Tensor]:
        parts = together.split([num * length for num, length in self.shapes])
        return [part.unflatten(0, shape) for part, shape in zip(parts, self.shapes, strict=True)]


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


class _FromRows(torch.autograd.Function):
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
