"""Where the events of a batch lie that were packed position after position, without padding.

It deliberately knows only lengths: see :func:`holdfast.encoding.packing.pack_many` for the order.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int64
from torch import Tensor
from torch.nn import functional as F

from training.model.config import ModelConfig


def can_pack(config: ModelConfig) -> bool:
    """Return whether a model reads packed events.

    Attention compares all events of a row with each other, and neighbours are a convolution along it:
    both want rows.
    """
    return config.encoder == "gru" and not config.num_neighbours


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

    def before(self, events: Tensor) -> Tensor:
        """Return those ``[event, ...]`` that one of their row follows, in the order of :meth:`after`."""
        device = self.offsets.device
        active = torch.tensor(self.active, device=device)
        back = torch.repeat_interleave(active[:-1], active[1:])
        places = torch.arange(self.active[0], self.num_events, device=device) - back
        return torch.index_select(events, 0, places)

    def after(self, events: Tensor) -> Tensor:
        """Return those ``[event, ...]`` that follow another one of their row."""
        return events[self.active[0] :]

    def blocks(self, num_rows: int) -> Iterator[tuple[slice, Int64[Tensor, "row position"]]]:
        """Yield runs of rows of like length and where their events lie, for what cannot do without rows.

        A block holds the rows that are longer than half of its longest one; the last one those without
        any event as well. Behind the end of a row stands some other event, to be masked.
        """
        length, begin = len(self.active), 0
        while begin < num_rows:
            end = self.active[length // 2] if length > 1 else num_rows
            if end > begin:
                rows = torch.arange(begin, end, device=self.offsets.device)[:, None].expand(-1, length)
                positions = torch.arange(length, device=rows.device).expand_as(rows)
                yield slice(begin, end), self.places(rows, positions)
            length, begin = max(1, length // 2), end


def gather(
    events: Float[Tensor, "event channel"], places: Int64[Tensor, "*axes"]
) -> Float[Tensor, "*axes channel"]:
    """Return events by their places; its gradient is a sum in a fixed order, and a quick one."""
    return F.embedding(places, events)
