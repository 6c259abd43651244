"""All events that training may see, encoded once and held on the device, which gathers them there.

It deliberately knows no cutoff and no label: a micro-batch says which rows its segments are.
"""

import logging
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Literal

import numpy as np
import torch
from jaxtyping import Int64
from numpy import ndarray
from torch import Tensor
from torch.autograd.profiler import record_function

from holdfast.encoding import Cutoffs, EncodingSpec, encode_readouts
from holdfast.encoding.encode import EncodedReadouts
from holdfast.encoding.events import encode_events, numeric_fields
from holdfast.encoding.packing import ACTIVE_ROWS, active_rows
from holdfast.encoding.padding import GAP, IS_FIRST, pad_readouts
from holdfast.errors import RunError
from holdfast.histories import Histories, prefix_sum, search_sorted
from training.model.packing import Packing
from training.pages import release_pages

Residence = Literal["auto", True, False]
"""Whether the device holds the events; ``auto``: a CUDA device does, where they fit."""

MOST_OF_FREE_MEMORY = 0.5
"""Share of a GPU's free memory that ``auto`` gives to events; activations and optimiser want the rest."""

EVENTS_AT_ONCE = 262_144
"""Events that are encoded at a time: some 60 MB of memory beside those on the device."""

SEGMENT_ROW, SEGMENT_LENGTH = "segment_row", "segment_length"
"""Names of what a micro-batch brings instead of its events: first row and number of every segment's."""

_MIB = 2**20
_log = logging.getLogger(__name__)


class SeenEvents:
    """The events of a store up to an instant, numbered without those after it."""

    def __init__(self, histories: Histories, *, until_us: int) -> None:
        """Count them.

        Args:
            histories: The whole store.
            until_us: The last instant that training may see, inclusive.
        """
        first, last = histories.offsets[:-1], histories.offsets[1:]
        seen = search_sorted(histories.occurred_at_us, first, last, np.full(len(first), until_us))
        release_pages(histories)
        self._histories, self._until_us = histories, until_us
        self._offsets = prefix_sum(seen - first)

    @property
    def num(self) -> int:
        """How many there are."""
        return int(self._offsets[-1])

    def num_bytes(self, spec: EncodingSpec) -> int:
        """Return how much memory they take on the device, with the row of padding."""
        return (self.num + 1) * 4 * (len(spec.event_id_sizes) + spec.event_value_size + 1)

    def encode(
        self,
        histories: Histories,
        cutoffs: Cutoffs,
        spec: EncodingSpec,
        *,
        customers: Int64[ndarray, " customer"],
    ) -> EncodedReadouts:
        """Return what cutoffs are told, and which of these events their segments hold.

        Args:
            histories: Of some customers.
            cutoffs: Theirs, in segments.
            spec: The fitted encoding.
            customers: Their positions in the store.
        """
        encoded, customer = encode_readouts(histories, cutoffs, spec), customers[cutoffs.customer]
        # A segment is the history of its last cutoff, and begins behind what that leaves out.
        start = self._offsets[customer] + encoded.num_truncated[cutoffs.offsets[1:] - 1]
        end = start + encoded.lengths
        assert (end <= self._offsets[customer + 1]).all(), "training sees no event of a later time"
        return replace(encoded, segment_start=start, segment_end=end)

    def encoded(self, spec: EncodingSpec) -> Iterator[tuple[ndarray, ndarray, ndarray]]:
        """Encode them, a bounded number at a time, in their order: ids, values and days, without padding."""
        num = len(self._histories.occurred_at_us)
        for start in range(0, num, EVENTS_AT_ONCE):
            # From one event before: its time is what the gap of the first one is taken from.
            begin = max(0, start - 1)
            rows = np.arange(begin, min(start + EVENTS_AT_ONCE, num))
            part = self._histories.take_events(rows, np.array([0, len(rows)]))
            events = encode_events(part, numeric_fields(part, spec.schema.numeric_fields), spec)
            is_kept = np.append(part.occurred_at_us <= self._until_us, False)
            is_kept[: start - begin] = False
            yield events.ids[is_kept], events.values[is_kept], events.days[is_kept]
            release_pages(self._histories)


class ResidentEvents:
    """Encoded events on a device, a row of padding behind the last one."""

    def __init__(self, seen: SeenEvents, spec: EncodingSpec, *, device: torch.device) -> None:
        """Encode them and copy them there, part by part."""
        self.seen = seen
        rows = seen.num + 1
        # Zeros, because that is what padding is. Ids fit into 32 bits here; the model wants 64.
        self._ids = torch.zeros(rows, len(spec.event_id_sizes), dtype=torch.int32, device=device)
        self._values = torch.zeros(rows, spec.event_value_size, device=device)
        self._days = torch.zeros(rows, device=device)
        start = 0
        for ids, values, days in seen.encoded(spec):
            end = start + len(days)
            self._ids[start:end] = torch.from_numpy(ids.astype(np.int32))
            self._values[start:end] = torch.from_numpy(values)
            self._days[start:end] = torch.from_numpy(days)
            start = end
        assert start == seen.num

    @record_function("gather")
    def gathered(self, inputs: Mapping[str, Tensor], *, length: int | None) -> dict[str, Tensor]:
        """Return a micro-batch's inputs with its events: what it would bring from memory, to the last bit.

        Args:
            inputs: On the device; instead of events they have first rows and numbers.
            length: What events are padded to; None packs them.
        """
        others = dict(inputs)
        first, num = others.pop(SEGMENT_ROW), others.pop(SEGMENT_LENGTH)
        if length is None:
            packing = Packing.of(others[ACTIVE_ROWS], device=first.device)
            segments, places = packing.rows, packing.positions
            opening: tuple[slice | int, ...] = (slice(packing.active[0]),)
        else:
            segments = torch.arange(len(first), device=first.device)[:, None]
            places, opening = torch.arange(length, device=first.device), (slice(None), 0)
        is_real = places < num[segments]
        rows = torch.where(is_real, first[segments] + places, len(self._days) - 1)
        values = self._values[rows]
        # What holdfast.encoding.padding.mark_first does. The gap of padding is 0 already.
        values[(*opening, GAP)] = 0.0
        values[(*opening, IS_FIRST)] = is_real[opening].to(values.dtype)
        events = {"event_ids": self._ids[rows].long(), "event_values": values, "event_days": self._days[rows]}
        return events | others


def pad_places(
    encoded: EncodedReadouts, segments: Int64[ndarray, " batch"], *, num_readouts: int, is_packed: bool
) -> Mapping[str, ndarray]:
    """Return what ``pad_many`` or ``pack_many`` do, but of events only where they are."""
    lengths = encoded.lengths[segments]
    return {
        SEGMENT_ROW: encoded.segment_start[segments],
        SEGMENT_LENGTH: lengths,
        **({ACTIVE_ROWS: active_rows(lengths)} if is_packed else {}),
        **pad_readouts(encoded, segments, num_readouts=num_readouts),
    }


def resident_events(
    histories: Histories, spec: EncodingSpec, *, wanted: Residence, until_us: int, device: torch.device
) -> ResidentEvents | None:
    """Put all events that training may see on the device, if that is wanted and possible.

    Args:
        histories: The whole store.
        spec: The fitted encoding.
        wanted: See :data:`Residence`.
        until_us: The last instant that training may see, inclusive.
        device: Where the model computes.

    Returns:
        The events; None where pools bring their own.

    Raises:
        RunError: They are wanted for certain and there is no room.
    """
    free = free_bytes(device)
    if not wanted or (wanted == "auto" and free is None):
        return None
    seen = SeenEvents(histories, until_us=until_us)
    needed = seen.num_bytes(spec)
    figures = f"{seen.num:,} encoded events take {needed / _MIB:,.0f} MiB"
    if free is not None:
        figures += f" of the {free / _MIB:,.0f} MiB that are free on {device}"
        if wanted == "auto" and needed > MOST_OF_FREE_MEMORY * free:
            _log.info(
                f"resident: off, pools bring their events: {figures}, more than {MOST_OF_FREE_MEMORY:.0%}"
            )
            return None
        if needed > free:
            raise RunError(f"batching.resident=true: {figures}; auto or false leaves them in main memory")
    _log.info("resident: %s, and are gathered there", figures)
    return ResidentEvents(seen, spec, device=device)


def free_bytes(device: torch.device) -> int | None:
    """Return how much memory tensors can still take on a CUDA device; None of any other device."""
    if device.type != "cuda":
        return None
    free, _ = torch.cuda.mem_get_info(device)
    # What PyTorch keeps for itself and no tensor holds, an earlier fit's for one, is as good as free.
    return free + torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
