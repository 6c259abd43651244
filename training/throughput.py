"""How quickly a fit goes: events and labels by the second, padding, time left, memory.

It deliberately measures wall time from step to step, loading and all, and knows no terminal.
"""

import resource
import sys
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch

WINDOW_STEPS = 20
"""Steps that rates are taken over: one step's time tells little on a shared machine."""

_GIB = 2**30


@dataclass(frozen=True, slots=True, kw_only=True)
class Pace:
    """Where a fit stands.

    Attributes:
        step: Steps taken, those of an earlier start among them.
        num_steps: Steps of the whole fit.
        seconds_per_step: Over the last steps, without validations.
        events_per_second: Real events, over the last steps.
        labels_per_second: Supervised cutoffs, over the last steps.
        padding_share: Share of padded places that hold no event, over the last steps.
        seconds_taken: Since this start, validations and all.
        seconds_left: What the steps to come will take, with validations as often as until now.
    """

    step: int
    num_steps: int
    seconds_per_step: float
    events_per_second: float
    labels_per_second: float
    padding_share: float
    seconds_taken: float
    seconds_left: float

    @property
    def seconds_in_all(self) -> float:
        """What this start takes from its first step to the last, as far as can be told."""
        return self.seconds_taken + self.seconds_left


@dataclass(frozen=True, slots=True, kw_only=True)
class _Mark:
    at: float
    events: int
    labels: int
    padded: int


class Throughput:
    """Counts steps against a clock."""

    def __init__(self, *, step: int, num_steps: int, clock: Callable[[], float]) -> None:
        """Start the clock.

        Args:
            step: Steps that an earlier start had taken.
            num_steps: Steps of the whole fit.
            clock: Seconds since whenever.
        """
        self._clock, self._first, self._num_steps = clock, step, num_steps
        self._begin = clock()
        self._paused_at: float | None = None
        self._paused = self._left_out = 0.0
        self._num_taken = 0
        start = _Mark(at=self._begin, events=0, labels=0, padded=0)
        self._marks: deque[_Mark] = deque([start], maxlen=WINDOW_STEPS + 1)

    def pause(self) -> None:
        """Stop counting time towards steps: a validation begins."""
        self._paused_at = self._clock()

    def go_on(self) -> None:
        """Count again."""
        if self._paused_at is not None:
            self._paused += self._clock() - self._paused_at
            self._paused_at = None

    def leave_out(self, seconds: float) -> None:
        """Count so much less time towards steps, and none like it towards those left: it comes once."""
        self._paused += seconds
        self._left_out += seconds

    def took(self, *, events: int, labels: int, padded: int) -> Pace:
        """Count a step and return where the fit stands."""
        now, last = self._clock(), self._marks[-1]
        self._num_taken += 1
        self._marks.append(
            _Mark(
                at=now - self._paused,
                events=last.events + events,
                labels=last.labels + labels,
                padded=last.padded + padded,
            )
        )
        oldest, newest = self._marks[0], self._marks[-1]
        seconds = max(newest.at - oldest.at, 1e-9)
        num_events, num_padded = newest.events - oldest.events, newest.padded - oldest.padded
        step, taken = self._first + self._num_taken, now - self._begin
        lasting = (taken - self._left_out) / self._num_taken
        return Pace(
            step=step,
            num_steps=self._num_steps,
            seconds_per_step=seconds / (len(self._marks) - 1),
            events_per_second=num_events / seconds,
            labels_per_second=(newest.labels - oldest.labels) / seconds,
            padding_share=1.0 - num_events / max(1, num_padded),
            seconds_taken=taken,
            seconds_left=lasting * max(0, self._num_steps - step),
        )


def resident_gib() -> float:
    """Return this process's resident memory; its peak where the system does not tell what it is now."""
    try:
        pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
        return pages * resource.getpagesize() / _GIB
    except (OSError, ValueError, IndexError):
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return peak / _GIB if sys.platform == "darwin" else peak * 1024 / _GIB


def device_gib(device: torch.device) -> float | None:
    """Return the most memory of a GPU that tensors have held; None of any other device."""
    return torch.cuda.max_memory_allocated(device) / _GIB if device.type == "cuda" else None
