"""Which segments share a micro-batch: by length and a budget of events, padded or packed.

It deliberately knows lengths only: no events, no labels, no tensors.
"""

from collections.abc import Iterator

import numpy as np
from jaxtyping import Int64
from numpy import ndarray

LENGTH_GRID = (
    *range(4, 33, 4),
    *(step * 2**power for power in range(3, 10) for step in (5, 6, 7, 8)),
)
"""Lengths are padded up to one of these: few shapes, at most a fifth of padding within a longer row."""

BATCH_COST_EVENTS = 512
"""What one more micro-batch of rows costs, in padded events: about the time of its launches on a CPU."""


def split_evenly(
    lengths: Int64[ndarray, " segment"], budget: int, rng: np.random.Generator | None = None
) -> Iterator[Int64[ndarray, " batch"]]:
    """Split segments into as few micro-batches of packed events as the budget allows, longest first.

    Args:
        lengths: Events of every segment.
        budget: Events of a micro-batch; one segment alone may exceed it. A segment counts as no fewer
            than the shortest length of the grid: its readouts take memory too.
        rng: Breaks ties between equal lengths at random; None keeps their order.

    Yields:
        Segments, in turn of like length: every position of a micro-batch costs something.
    """
    order = _longest_first(lengths, rng)
    ends = np.cumsum(np.maximum(lengths[order], LENGTH_GRID[0]))
    start = 0
    while start < len(order):
        taken = ends[start - 1] if start else 0
        # What is left is shared out evenly among the micro-batches that it takes at least.
        share = -(-(ends[-1] - taken) // -(-(ends[-1] - taken) // budget))
        end = max(start + 1, int(np.searchsorted(ends, taken + share, side="right")))
        yield order[start:end]
        start = end


def split_by_length(
    lengths: Int64[ndarray, " segment"], budget: int, rng: np.random.Generator | None = None
) -> Iterator[tuple[Int64[ndarray, " batch"], int]]:
    """Split segments into micro-batches of like length, longest first.

    Padding costs time, and so does every further batch: neighbouring lengths of the grid share a
    batch only where their padding is cheaper than one batch more.

    Args:
        lengths: Events of every segment.
        budget: Padded events of a micro-batch; one segment alone may exceed it.
        rng: Breaks ties between equal lengths at random; None keeps their order.

    Yields:
        Segments and the length of :data:`LENGTH_GRID` that they are padded to.
    """
    order = _longest_first(lengths, rng)
    padded = padded_lengths(lengths[order])
    for first, last in _cheapest_ranges(padded, budget):
        length = int(padded[first])
        size = max(1, budget // length)
        for start in range(first, last, size):
            yield order[start : min(start + size, last)], length


def _longest_first(lengths: ndarray, rng: np.random.Generator | None) -> ndarray:
    ties = rng.random(len(lengths)) if rng is not None else np.arange(len(lengths))
    return np.lexsort((ties, -lengths))


def _cheapest_ranges(padded: Int64[ndarray, " segment"], budget: int) -> list[tuple[int, int]]:
    """Return ranges of segments, each padded to its first length, that cost least together.

    Args:
        padded: Lengths of the grid, descending: a range may end only where they change.
        budget: Padded events of a micro-batch.
    """
    bounds = [0, *(np.flatnonzero(np.diff(padded)) + 1).tolist(), len(padded)] if len(padded) else [0]
    # The least cost of everything before a bound, and the bound where its last range begins.
    least, begins = [0.0], [0]
    for end in range(1, len(bounds)):
        costs = []
        for begin in range(end):
            length, num = int(padded[bounds[begin]]), bounds[end] - bounds[begin]
            num_batches = -(-num // max(1, budget // length))
            costs.append(least[begin] + num * length + num_batches * BATCH_COST_EVENTS)
        begins.append(int(np.argmin(costs)))
        least.append(costs[begins[-1]])
    ranges, end = [], len(bounds) - 1
    while end > 0:
        ranges.append((bounds[begins[end]], bounds[end]))
        end = begins[end]
    return ranges[::-1]


def padded_lengths(lengths: Int64[ndarray, " segment"]) -> Int64[ndarray, " segment"]:
    """Return, for each length, the smallest of the grid that holds it."""
    padded: ndarray = np.array(LENGTH_GRID, dtype=np.int64)[np.searchsorted(LENGTH_GRID, lengths)]
    return padded
