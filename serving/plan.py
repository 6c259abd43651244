"""Which customers share a run of the graph, and how long each is padded.

It deliberately knows lengths alone: neither requests nor their events, nor how long a run takes.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from jaxtyping import Int64
from numpy import ndarray

LENGTH_STEP = 8
STEPS_PER_OCTAVE = 16
"""Padded lengths are multiples of 8, above 128 a sixteenth of a power of two apart: few shapes."""

MAX_BATCH = 64
"""Most customers of a run: batches beyond it are no faster, and every shape more is memory."""

DEFAULT_BUDGET_EVENTS = 1_024
DEFAULT_MERGE_EVENTS = 24


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """Customers that go through the graph together.

    Attributes:
        segments: Their segments of the encoding.
        length: What their events are padded to.
    """

    segments: Int64[ndarray, " batch"]
    length: int

    @property
    def padded_events(self) -> int:
        """What the run computes."""
        return len(self.segments) * self.length


@dataclass(frozen=True, slots=True, kw_only=True)
class RunPlan:
    """How runs are formed: by length, up to a budget.

    Attributes:
        max_events: Most events that an encoded history has.
        budget_events: Padded events of a run; a single customer may exceed it.
        merge_events: Padding that is worth a run less: customers of a shorter padded length join a
            run of longer ones as long as that pads no more events than this.
        lengths: The ascending lengths that histories are padded to; the last one holds them all.
    """

    max_events: int
    budget_events: int = DEFAULT_BUDGET_EVENTS
    merge_events: int = DEFAULT_MERGE_EVENTS
    lengths: Int64[ndarray, " length"] = field(init=False, repr=False, compare=False)
    _padded: Int64[ndarray, " num_events"] = field(init=False, repr=False, compare=False)
    _padded_lengths: tuple[int, ...] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        """Lay out the grid and look up what every number of events is padded to."""
        lengths = length_grid(self.max_events)
        object.__setattr__(self, "lengths", lengths)
        places = np.searchsorted(lengths, np.arange(self.max_events + 1))
        object.__setattr__(self, "_padded", lengths[places])
        # Asked about every customer of every request, one by one: there a tuple is quicker.
        object.__setattr__(self, "_padded_lengths", tuple(self._padded.tolist()))

    def padded(self, num_events: Int64[ndarray, " customer"]) -> Int64[ndarray, " customer"]:
        """Return what histories of so many events are padded to, at most."""
        return self._padded.take(num_events, mode="clip")

    def padded_length(self, num_events: int) -> int:
        """Return what one history is padded to, at most."""
        return self._padded_lengths[min(num_events, self.max_events)]

    def capacity(self, length: int) -> int:
        """Return how many customers of a padded length a run takes."""
        return max(1, min(MAX_BATCH, self.budget_events // length))

    def runs(self, lengths: Int64[ndarray, " segment"]) -> Sequence[Run]:
        """Form runs of some segments, the longest first.

        Args:
            lengths: Events of every segment.

        Returns:
            Every segment in exactly one run.
        """
        if not len(lengths):
            return []
        if len(lengths) == 1:
            return [Run(segments=np.zeros(1, dtype=np.int64), length=self.padded_length(int(lengths[0])))]
        padded = self.padded(lengths)
        order = np.argsort(-padded, kind="stable")
        sizes, starts = np.unique(-padded[order], return_index=True)
        ends = [*starts[1:].tolist(), len(order)]
        runs: list[Run] = []
        first, length = 0, 0
        for size, start, end in zip((-sizes).tolist(), starts.tolist(), ends, strict=True):
            is_joined = (
                first < start
                and end - first <= self.capacity(length)
                and (end - start) * (length - size) <= self.merge_events
            )
            if is_joined:
                continue
            if first < start:
                runs.append(Run(segments=order[first:start], length=length))
            first, length = start, size
            capacity = self.capacity(length)
            while end - first > capacity:
                runs.append(Run(segments=order[first : first + capacity], length=length))
                first += capacity
        if first < len(order):
            runs.append(Run(segments=order[first:], length=length))
        return runs


def length_grid(max_events: int) -> Int64[ndarray, " length"]:
    """Return the ascending lengths that histories are padded to; the last one holds them all."""
    lengths = [LENGTH_STEP]
    while lengths[-1] < max_events:
        octave = 1 << (lengths[-1].bit_length() - 1)
        lengths.append(lengths[-1] + max(LENGTH_STEP, octave // STEPS_PER_OCTAVE))
    return np.array(lengths, dtype=np.int64)
