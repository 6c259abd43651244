"""What waits for a worker, in the order in which it is taken.

It deliberately computes nothing, and does not know threads: whoever calls holds the lock.

Two lines wait side by side. In the one stand small requests, by arrival. In the
other stand the parts of larger ones, each behind its arrival by a multiple of what the parts before
it cost, so that requests of different sizes overtake each other. The first line goes first, except
that the second may claim a share of a server which the first could fill alone.
"""

import heapq
import itertools
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Generic, Protocol, TypeVar, runtime_checkable

STRETCH = 4.0
"""Large requests may claim a quarter of the server while smaller ones wait."""

P = TypeVar("P")
P_contra = TypeVar("P_contra", contravariant=True)
R = TypeVar("R")


@runtime_checkable
class Joint(Protocol[P_contra]):
    """Whether a part is encoded with those that it was asked about before."""

    def __call__(self, part: P_contra, *, is_first: bool) -> bool:
        """Answer, and remember that the part is among them."""


@dataclass(slots=True)
class _Line(Generic[P, R]):
    """Heaps of (urgency, number, ...): parts to encode, and runs of those that are encoded."""

    parts: list[tuple[float, int, P]] = field(default_factory=list)
    runs: list[tuple[float, int, R]] = field(default_factory=list)

    def __bool__(self) -> bool:
        return bool(self.parts or self.runs)

    @property
    def is_run_next(self) -> bool:
        return bool(self.runs) and not (self.parts and self.parts[0][:2] < self.runs[0][:2])


class Lines(Generic[P, R]):
    """The two lines."""

    def __init__(self) -> None:
        """Begin with nobody waiting."""
        self._small: _Line[P, R] = _Line()
        self._large: _Line[P, R] = _Line()
        self._numbers = itertools.count()
        self._large_due = 0.0

    def __bool__(self) -> bool:
        """Say whether anything waits."""
        return bool(self._small or self._large)

    def add_part(self, part: P, *, urgency: float, is_large: bool) -> None:
        """Queue what is to be encoded."""
        line = self._large if is_large else self._small
        heapq.heappush(line.parts, (urgency, next(self._numbers), part))

    def add_run(self, run: R, *, urgency: float, is_large: bool) -> None:
        """Queue what is to be sent through the graph."""
        line = self._large if is_large else self._small
        heapq.heappush(line.runs, (urgency, next(self._numbers), run))

    def take(self, now: float, *, join: Joint[P]) -> tuple[float, R | Sequence[P]]:
        """Take what is next: a run, or parts to be encoded together.

        Args:
            now: The time, on the clock of the urgencies.
            join: Asked about one part after the other whether it is taken with those before it.

        Returns:
            Its urgency, and the run or the parts.
        """
        is_large = bool(self._large) and (not self._small or now >= self._large_due)
        line = self._large if is_large else self._small
        if line.is_run_next:
            urgency, _, run = heapq.heappop(line.runs)
            return urgency, run
        urgency, _, first = heapq.heappop(line.parts)
        parts = [first]
        join(first, is_first=True)
        while line.parts and join(line.parts[0][2], is_first=False):
            parts.append(heapq.heappop(line.parts)[2])
        return urgency, parts

    def claim(self, now: float, *, seconds: float) -> None:
        """Note that the large line was given so much of the server: its next claim comes later."""
        self._large_due = now + STRETCH * seconds

    def clear(self) -> tuple[Sequence[P], Sequence[R]]:
        """Empty the lines and return what stood in them."""
        lines = (self._small, self._large)
        parts = [part for line in lines for _, _, part in line.parts]
        runs = [run for line in lines for _, _, run in line.runs]
        self._small, self._large = _Line(), _Line()
        return parts, runs
