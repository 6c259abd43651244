"""Inputs to channels: ids by embeddings, numbers by linear maps and piecewise-linear encodings.

It deliberately does not know time: ages belong to the time bins, angles to attention.
"""

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn

from holdfast.encoding import EncodingSpec
from holdfast.encoding.spec import CALENDAR_SIZE
from holdfast.vocabulary import UNKNOWN_ID
from training.model.config import ModelConfig
from training.model.dropout import Dropout

_LEAST_BIN_WIDTH = 1e-4
"""Scaled values are standard deviations; bins narrower than this would divide by almost nothing."""

_EMBEDDING_STD = 0.1


class PiecewiseLinear(nn.Module):
    """Piecewise-linear encoding of numeric columns, each with bin edges of its own.

    Gorishniy, Rubachev and Babenko, On Embeddings for Numerical Features in Tabular Deep Learning
    (2022), equation 1: a bin gives 0 below it, 1 above it and the share in between. Deviation: all
    bins are clipped to [0, 1]; what lies outside the edges is left to the linear map beside it.
    """

    chosen: Tensor
    lows: Tensor
    scales: Tensor

    def __init__(self, edges: Sequence[Sequence[float]], *, num_columns: int) -> None:
        """Keep the bins of all columns side by side.

        Args:
            edges: Ascending edges per column; fewer than two leave the column out. Edges that
                coincide, or nearly so, in float32 are merged, because a bin without width gives NaN.
            num_columns: How many columns there are; those behind the last edges have no bins.
        """
        super().__init__()
        merged = [_distinct(column) for column in edges]
        self.num_bins = sum(max(0, len(column) - 1) for column in merged)
        columns = [index for index, column in enumerate(merged) for _ in column[1:]]
        lows = [low for column in merged for low in column[:-1]]
        widths = [high - low for column in merged for low, high in pairwise(column)]
        # A product with zeros and a single one per bin repeats every column exactly, and takes a tenth of
        # the time of gathering single numbers.
        chosen = torch.zeros(num_columns, self.num_bins)
        chosen[columns, range(self.num_bins)] = 1.0
        self.register_buffer("chosen", chosen, persistent=False)
        self.register_buffer("lows", torch.tensor(lows, dtype=torch.float32), persistent=False)
        self.register_buffer("scales", 1.0 / torch.tensor(widths, dtype=torch.float32), persistent=False)

    def forward(self, values: Float[Tensor, "*axes column"]) -> Float[Tensor, "*axes bin"]:
        """Return the share of every bin that lies below the value."""
        return torch.clamp((values @ self.chosen - self.lows) * self.scales, 0.0, 1.0)


def _distinct(edges: Sequence[float]) -> list[float]:
    kept: list[float] = []
    for edge in np.asarray(edges, dtype=np.float32).tolist():
        if not kept or edge - kept[-1] >= _LEAST_BIN_WIDTH:
            kept.append(edge)
    return kept


class IdEmbedding(nn.Module):
    """The sum of one embedding per id column, in one table.

    The unknown id starts at zero, the neutral value, because training history may hold none of it.
    """

    offsets: Tensor

    def __init__(self, sizes: Sequence[int], width: int) -> None:
        """Make a table of ``sum(sizes)`` rows."""
        super().__init__()
        offsets = np.cumsum([0, *sizes])
        self.table = nn.Embedding(max(1, int(offsets[-1])), width)
        nn.init.normal_(self.table.weight, std=_EMBEDDING_STD)
        with torch.no_grad():
            for offset in offsets[:-1]:
                self.table.weight[int(offset) + UNKNOWN_ID] = 0.0
        self.register_buffer("offsets", torch.tensor(offsets[:-1], dtype=torch.int64), persistent=False)

    def forward(self, ids: Int64[Tensor, "*axes column"]) -> Float[Tensor, "*axes channel"]:
        """Return the summed embeddings."""
        if len(self.offsets) == 1:
            return self.table(ids.squeeze(-1))
        rows = ids + self.offsets
        if torch.compiler.is_exporting():
            return self.table(rows).sum(dim=-2)
        # One operation sums while it looks up; forward and backward take half of the time on a CPU.
        summed = nn.functional.embedding_bag(rows.flatten(0, -2), self.table.weight, mode="sum")
        return summed.unflatten(0, rows.shape[:-1])


class NumberEmbedding(nn.Module):
    """One linear map of numeric columns and, where asked, of their piecewise-linear encodings."""

    def __init__(self, num_columns: int, edges: Sequence[Sequence[float]], width: int) -> None:
        """Take all columns linearly, and the columns of ``edges`` (the first ones) piecewise as well."""
        super().__init__()
        self.bins = PiecewiseLinear(edges, num_columns=num_columns)
        self.linear = nn.Linear(num_columns + self.bins.num_bins, width)

    def forward(self, values: Float[Tensor, "*axes column"]) -> Float[Tensor, "*axes channel"]:
        """Return the sum of both encodings."""
        if self.bins.num_bins:
            values = torch.cat([values, self.bins(values)], dim=-1)
        return self.linear(values)


class EventEmbedding(nn.Module):
    """Events to channels: type and categorical fields, numeric values, gap and calendar."""

    def __init__(self, spec: EncodingSpec, config: ModelConfig) -> None:
        """Take sizes and edges from the spec."""
        super().__init__()
        self.ids = IdEmbedding(spec.event_id_sizes, config.width)
        # The calendar stands last: hour, weekday and day of the year, two columns each.
        self.num_values = spec.event_value_size - {"year": 0, "week": 2, "none": 6}[config.event_calendar]
        self.values = NumberEmbedding(self.num_values, event_edges(spec, config), config.width)
        self.dropout = Dropout(config.dropout)

    def forward(
        self,
        event_ids: Int64[Tensor, "*axes id_column"],
        event_values: Float[Tensor, "*axes value_column"],
    ) -> Float[Tensor, "*axes channel"]:
        """Return one vector per event; it depends on nothing but the event."""
        return self.dropout(self.ids(event_ids) + self.values(event_values[..., : self.num_values]))


class ReadoutEmbedding(nn.Module):
    """Readout features to channels, through one hidden layer, because recency and counts interact."""

    def __init__(self, spec: EncodingSpec, config: ModelConfig, *, num_sums: int) -> None:
        """Take sizes and edges from the spec; ``num_sums`` features come from the time bins."""
        super().__init__()
        self.has_calendar = config.calendar == "input"
        edges = [scale.edges for scale in spec.readout.scales] if config.use_piecewise_linear else []
        self.ids = IdEmbedding(spec.readout_id_sizes, config.width) if spec.readout_id_sizes else None
        self.values = NumberEmbedding(spec.readout_value_size, edges, config.width)
        num_others = num_sums + (CALENDAR_SIZE if self.has_calendar else 0)
        self.others = nn.Linear(num_others, config.width) if num_others else None
        hidden = config.feed_forward_multiple * config.width
        self.mix = nn.Sequential(
            nn.GELU(),
            nn.Linear(config.width, hidden),
            nn.GELU(),
            Dropout(config.dropout),
            nn.Linear(hidden, config.width),
        )
        self.dropout = Dropout(config.dropout)

    def forward(
        self,
        readout_ids: Int64[Tensor, "batch readout id_column"],
        readout_values: Float[Tensor, "batch readout feature"],
        readout_calendar: Float[Tensor, "batch readout calendar_column"],
        sums: Float[Tensor, "batch readout sum"] | None,
    ) -> Float[Tensor, "batch readout channel"]:
        """Return one vector per readout."""
        state = self.values(readout_values)
        if self.ids is not None:
            state = state + self.ids(readout_ids)
        others = [
            part for part in (sums, readout_calendar if self.has_calendar else None) if part is not None
        ]
        if self.others is not None:
            state = state + self.others(torch.cat(others, dim=-1))
        state = self.dropout(state)
        return state + self.mix(state)


def event_edges(spec: EncodingSpec, config: ModelConfig) -> list[Sequence[float]]:
    """Return the bin edges of the leading columns of ``event_values``: value and flag per field, gap."""
    if not config.use_piecewise_linear:
        return []
    edges: list[Sequence[float]] = []
    for name in spec.schema.numeric_fields:
        edges += [spec.numeric[name].edges, ()]
    return [*edges, spec.gap.edges]
