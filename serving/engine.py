"""One model with its queue and its workers: cuts what is asked, and waits for what they say.

It deliberately admits and refuses nobody: whoever asks has decided that. It lives on one event loop; the
batcher's workers are beside it.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from itertools import pairwise
from typing import Any

from jaxtyping import Int64
from numpy import ndarray

from holdfast.wire import Limits
from serving.artifact import Artifact
from serving.asking import Asked
from serving.batch import Part
from serving.batcher import MAX_JOINED_CUSTOMERS, MAX_JOINED_EVENTS, MAX_JOINED_PADDED, NICENESS, Batcher
from serving.calls import Call
from serving.drift import Drift
from serving.errors import ExpiredError
from serving.pace import Pace
from serving.reading import read_together
from serving.recording import Recorder

LARGE_EVENTS = 4_096
"""A request of more padded events than this, and than a run holds, is large: it gives way to others."""

ROLES = SERVED, CANDIDATE, SHADOW = "served", "candidate", "shadow"
"""What a model is there for: it answers, it answers some of the calls, or it answers nobody."""

SHADOW_NICENESS = 15
"""How far the worker of a shadow stands behind the event loop, and with it behind all others."""


class Engine:
    """A model that is asked.

    Attributes:
        artifact: The model.
        role: What it is there for.
        batcher: Its queue and workers.
    """

    def __init__(
        self,
        artifact: Artifact,
        *,
        limits: Limits,
        workers: int,
        seconds_per_event: float,
        role: str = SERVED,
    ) -> None:
        """Start the workers; called on the event loop that asks.

        Args:
            artifact: The verified model.
            limits: What a request may hold.
            workers: Threads that score; a shadow has one, whatever is said here.
            seconds_per_event: What a padded event costs a worker, to begin with.
            role: One of :data:`ROLES`. Drift speaks of the model that is served alone.
        """
        self.artifact, self.role = artifact, role
        self._loop = asyncio.get_running_loop()
        self._ended: deque[tuple[Call, Any, Exception | None]] = deque()
        self._is_told = False
        self.batcher = Batcher(
            artifact.predictor,
            partial(read_together, schema=artifact.manifest.schema, limits=limits),
            workers=1 if role == SHADOW else workers,
            pace=Pace(seconds_per_event),
            # Of its own: what workers count is guarded by their batcher's lock.
            recorder=Recorder(),
            drift=Drift(artifact.manifest.reference if role == SERVED else ()),
            niceness=SHADOW_NICENESS if role == SHADOW else NICENESS,
        )

    def call(
        self,
        asked: Asked,
        as_of_us: Int64[ndarray, " customer"],
        write: Callable[..., Any],
        *,
        deadline: float,
        gives_way: Callable[[], bool] | None = None,
    ) -> Call:
        """Return a call about some customers, cut into parts and not submitted yet.

        Args:
            asked: About whom.
            as_of_us: One plausible cutoff each, UTC microseconds.
            write: Makes the answer of what was scored.
            deadline: When nobody waits any more, by the monotonic clock.
            gives_way: Says that the rest of it shall not be done; asked by workers.
        """
        call = Call(write=write, deadline=deadline, future=self._loop.create_future())
        is_wanted = call.is_wanted
        if gives_way is not None:

            def is_wanted() -> bool:
                return call.is_wanted() and not gives_way()

        call.parts = self._cut(call, asked, as_of_us, is_wanted)
        call.num_left = len(call.parts)
        return call

    async def answered(self, call: Call) -> Any:
        """Submit a call and return its answer; to be cancelled drops what has not been computed yet."""
        self.batcher.submit(call.parts)
        try:
            return await call.future
        finally:
            call.is_dropped = True
            # A part knows its call: what is answered goes at once, not when cycles are collected.
            call.parts = ()

    def drain(self, drained: Callable[[], None]) -> None:
        """Have the workers end once everything that was submitted has ended.

        Args:
            drained: Called on the event loop then.
        """

        def tell() -> None:
            # A loop that has been closed has nobody left who looks.
            with suppress(RuntimeError):
                self._loop.call_soon_threadsafe(drained)

        self.batcher.drain(tell)

    def _cut(
        self, call: Call, asked: Asked, as_of_us: Int64[ndarray, " customer"], is_wanted: Callable[[], bool]
    ) -> Sequence[Part]:
        """Return the parts of a request: one, unless it is larger than what is encoded in one go."""
        plan, num_events = self.artifact.predictor.plan, asked.num_events
        padded = [plan.padded_length(num) for num in num_events]
        is_large = sum(padded) > max(plan.budget_events, LARGE_EVENTS)
        cuts: Sequence[int] = (0, len(padded))
        if is_large:
            cuts = _cuts(padded, num_events)
        return [
            Part(
                asked=asked if len(cuts) == 2 else asked.part(start, end),
                as_of_us=as_of_us[start:end],
                padded_events=sum(padded[start:end]),
                sent_events=sum(num_events[start:end]),
                is_large=is_large,
                is_wanted=is_wanted,
                done=partial(self._tell, call),
            )
            for start, end in pairwise(cuts)
        ]

    def _tell(self, call: Call, part: Part, error: Exception | None) -> None:
        """Note that a part has ended, and have the event loop look at it; called on workers."""
        answer: Any = None
        if error is None and part.predictions is None:
            error = ExpiredError()
        elif error is None and len(call.parts) == 1:
            answer, error = call.written()
        self._ended.append((call, answer, error))
        if not self._is_told:
            self._is_told = True
            # A loop that has been closed has nobody left who waits.
            with suppress(RuntimeError):
                self._loop.call_soon_threadsafe(self._look)

    def _look(self) -> None:
        self._is_told = False
        while self._ended:
            call, answer, error = self._ended.popleft()
            call.num_left -= 1
            if call.future.done():
                continue
            if error is None and not call.num_left and len(call.parts) > 1:
                answer, error = call.written()
            if error is not None:
                call.is_dropped = True
                call.future.set_exception(error)
            elif not call.num_left:
                call.future.set_result(answer)


def _cuts(padded: Sequence[int], num_events: Sequence[int]) -> Sequence[int]:
    """Return where a large request is cut: its first row, and one past the last row of every part."""
    cuts = [0]
    padded_left, events_left, customers_left = MAX_JOINED_PADDED, MAX_JOINED_EVENTS, MAX_JOINED_CUSTOMERS
    for row, (length, num) in enumerate(zip(padded, num_events, strict=True)):
        padded_left, events_left, customers_left = padded_left - length, events_left - num, customers_left - 1
        if min(padded_left, events_left, customers_left) < 0 and row > cuts[-1]:
            cuts.append(row)
            padded_left, events_left = MAX_JOINED_PADDED - length, MAX_JOINED_EVENTS - num
            customers_left = MAX_JOINED_CUSTOMERS - 1
    return [*cuts, len(padded)]
