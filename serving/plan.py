"""Which customers share a run of the graph, and how long each is padded.

It deliberately knows lengths alone: neither requests nor their events, nor how long a run takes.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
from jaxtyping import Int64
from numpy import ndarray

from holdfast.native import inner, native

LENGTH_STEP = 8
STEPS_PER_OCTAVE = 16
"""Padded lengths are multiples of 8, above 128 a sixteenth of a power of two apart: few shapes."""

MAX_BATCH = 64
"""Most customers of a run: batches beyond it are no faster, and every shape more is memory."""

MOST_WORTH_OF_MANY = 5 / 8
"""Padding that is worth a run less, per customer, where there are enough of them to fill one: lengths lie
close enough then, and what is computed for padding alone stays under 15 % of what is used."""

DEFAULT_BUDGET_EVENTS = 1_024
DEFAULT_MERGE_EVENTS = 96


@dataclass(frozen=True, slots=True, kw_only=True)
class Runs:
    """Customers in the order in which they go through the graph, some of them together.

    Attributes:
        segments: Their segments of the encoding, run after run.
        widths: What each one's events are padded to: one length per run.
        shapes: How many customers each run has, and what their events are padded to.
    """

    segments: Int64[ndarray, " segment"]
    widths: Int64[ndarray, " segment"]
    shapes: Sequence[tuple[int, int]]

    def parts(self, *, most_padded: int) -> "Iterator[Runs]":
        """Yield them a few runs at a time: no more padded events than these, but for a single run."""
        padded = [size * length for size, length in self.shapes]
        if sum(padded) <= most_padded:
            yield self
            return
        start, row, left = 0, 0, most_padded
        shapes: list[tuple[int, int]] = []
        for shape, own in zip(self.shapes, padded, strict=True):
            if shapes and own > left:
                yield Runs(segments=self.segments[start:row], widths=self.widths[start:row], shapes=shapes)
                start, left, shapes = row, most_padded, []
            shapes.append(shape)
            row, left = row + shape[0], left - own
        yield Runs(segments=self.segments[start:], widths=self.widths[start:], shapes=shapes)


@dataclass(frozen=True, slots=True, kw_only=True)
class RunPlan:
    """How runs are formed: by length, up to a budget.

    Attributes:
        max_events: Most events that an encoded history has.
        budget_events: Padded events of a run; a single customer may exceed it.
        merge_events: Padding that is worth a run less: what a run costs beside its padded events, in those.
        lengths: The ascending lengths that histories are padded to; the last one holds them all.
    """

    max_events: int
    budget_events: int = DEFAULT_BUDGET_EVENTS
    merge_events: int = DEFAULT_MERGE_EVENTS
    lengths: Int64[ndarray, " length"] = field(init=False, repr=False, compare=False)
    _place: Int64[ndarray, " num_events"] = field(init=False, repr=False, compare=False)
    _padded_lengths: tuple[int, ...] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        """Lay out the grid and look up what every number of events is padded to."""
        lengths = length_grid(self.max_events)
        object.__setattr__(self, "lengths", lengths)
        object.__setattr__(self, "_place", np.searchsorted(lengths, np.arange(self.max_events + 1)))
        # Asked about every customer of every request, one by one: there a tuple is quicker.
        object.__setattr__(self, "_padded_lengths", tuple(lengths[self._place].tolist()))

    def padded_length(self, num_events: int) -> int:
        """Return what one history is padded to, at most."""
        return self._padded_lengths[min(num_events, self.max_events)]

    def capacity(self, length: int) -> int:
        """Return how many customers of a padded length a run takes."""
        return _capacity(length, self.budget_events)

    def runs(self, lengths: Int64[ndarray, " segment"]) -> Runs:
        """Form runs of some segments, the longest first.

        Args:
            lengths: Events of every segment.

        Returns:
            Every segment in exactly one run.
        """
        num = len(lengths)
        if num == 1:
            length = self.padded_length(int(lengths[0]))
            return Runs(segments=np.zeros(1, dtype=np.int64), widths=np.array([length]), shapes=[(1, length)])
        formed = np.empty((4, num), dtype=np.int64)
        worth = self.merge_events
        if num >= MAX_BATCH:
            worth = min(worth, int(MOST_WORTH_OF_MANY * num))
        _form_runs(lengths, self._place, self.lengths, self.budget_events, worth, formed)
        sizes, lengths = formed[_SIZES:].tolist()
        shapes = [shape for shape in zip(sizes, lengths, strict=True) if shape[0]]
        return Runs(segments=formed[_ORDER], widths=formed[_WIDTHS], shapes=shapes)


_MOST_COST = np.iinfo(np.int64).max

_ORDER, _WIDTHS, _SIZES, _LENGTHS = range(4)
"""Of runs: the segments, run after run; what each is padded to; then by run how many it has, and what those
are padded to, with zeros behind."""


@inner
def _capacity(length: int, budget_events: int) -> int:
    """Return how many customers of a padded length a run takes."""
    return max(1, min(MAX_BATCH, budget_events // length))


@native("formed")
def _form_runs(
    num_events: Int64[ndarray, " segment"],
    place_of: Int64[ndarray, " num_events"],
    lengths: Int64[ndarray, " length"],
    budget_events: int,
    merge_events: int,
    formed: Int64[ndarray, "4 segment"],
) -> None:
    """Write the runs: of all ways to cut the segments' order, the cheapest."""
    order, widths, sizes, run_lengths = formed[_ORDER], formed[_WIDTHS], formed[_SIZES], formed[_LENGTHS]
    num = len(num_events)
    # A counting sort, the longest first: it keeps the order of those of one padded length.
    free = np.zeros(len(lengths) + 1, dtype=np.int64)
    for segment in range(num):
        free[len(lengths) - place_of[min(num_events[segment], len(place_of) - 1)]] += 1
    for rank in range(len(lengths)):
        free[rank + 1] += free[rank]
    for segment in range(num):
        place = place_of[min(num_events[segment], len(place_of) - 1)]
        rank = len(lengths) - 1 - place
        order[free[rank]] = segment
        widths[free[rank]] = lengths[place]
        free[rank] += 1
    # What the first so many cost at least, and where their last run begins then: a run costs what it pads to
    # and what it is worth to have one less. Where two ways cost the same, the one of fewer runs is taken.
    costs, begins = np.zeros(num + 1, dtype=np.int64), np.zeros(num + 1, dtype=np.int64)
    for end in range(1, num + 1):
        costs[end] = _MOST_COST
        for begin in range(max(end - MAX_BATCH, 0), end):
            cost = costs[begin] + merge_events + (end - begin) * widths[begin]
            if cost < costs[end] and end - begin <= _capacity(widths[begin], budget_events):
                costs[end], begins[end] = cost, begin
    # From the last one to the first; then their sizes are turned round, and widths are those of the runs.
    num_runs, end = 0, num
    while end > 0:
        begin = begins[end]
        for place in range(begin, end):
            widths[place] = widths[begin]
        sizes[num_runs] = end - begin
        run_lengths[num_runs] = widths[begin]
        num_runs, end = num_runs + 1, begin
    sizes[num_runs:] = 0
    run_lengths[num_runs:] = 0
    for run in range(num_runs // 2):
        other = num_runs - 1 - run
        sizes[run], sizes[other] = sizes[other], sizes[run]
        run_lengths[run], run_lengths[other] = run_lengths[other], run_lengths[run]


def length_grid(max_events: int) -> Int64[ndarray, " length"]:
    """Return the ascending lengths that histories are padded to; the last one holds them all."""
    lengths = [LENGTH_STEP]
    while lengths[-1] < max_events:
        octave = 1 << (lengths[-1].bit_length() - 1)
        lengths.append(lengths[-1] + max(LENGTH_STEP, octave // STEPS_PER_OCTAVE))
    return np.array(lengths, dtype=np.int64)
