"""What every service of the port asks: admits a request, has it scored, and waits for it.

It deliberately does not know gRPC: errors of :mod:`serving.errors` leave it, and one place turns
them into statuses. It lives on one event loop; the batcher's workers are beside it.
"""

import asyncio
import time
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from itertools import pairwise
from typing import Any, TypeVar

from jaxtyping import Int64
from numpy import ndarray

from holdfast.histories import Histories
from holdfast.wire import Limits
from serving.artifact import Artifact
from serving.asking import Asked, AskedHistories
from serving.batch import Part
from serving.batcher import MAX_JOINED_CUSTOMERS, MAX_JOINED_EVENTS, MAX_JOINED_PADDED, Batcher
from serving.calls import Call
from serving.drift import Drift
from serving.errors import ExpiredError, OverloadedError, UnavailableError, UnknownModelError
from serving.pace import Pace
from serving.plan import RunPlan
from serving.reading import read_together
from serving.recording import EMPTY, SEPARATOR, Recorder, Snapshot, added
from serving.scored import Scored
from serving.traced import CURRENT

MIN_RETRY_SECONDS = 0.01
LARGE_EVENTS = 4_096
"""A request of more padded events than this, and than a run holds, is large: it gives way to others."""
LARGE_SHARE_OF_QUEUE = 0.75
"""Large requests are refused in a queue as full as this: they leave room for the others."""

T = TypeVar("T")


class Scorer:
    """The model of a process, once it is loaded, and everything that waits for it.

    Attributes:
        limits: What a request may hold.
        recorder: What was noticed about calls and customers, and of versions of the model.
    """

    def __init__(self, *, limits: Limits, default_deadline_seconds: float, max_queued_events: int) -> None:
        """Begin without a model: calls are unavailable until :meth:`open`.

        Args:
            limits: What a request may hold.
            default_deadline_seconds: For callers that give none.
            max_queued_events: Most padded events that wait; a request for which there is no room
                is refused, unless nothing else waits. Large ones leave a quarter of it to others.
        """
        self.limits = limits
        self.recorder = Recorder()
        self._default_deadline_seconds = default_deadline_seconds
        self._max_queued_events = max_queued_events
        self._artifact: Artifact | None = None
        self._batcher: Batcher | None = None
        self._retiring: set[Batcher] = set()
        self._retired: Snapshot = EMPTY
        self._loop: asyncio.AbstractEventLoop | None = None
        self._refusal = "the model is still being loaded"
        self._num_open = 0
        self._is_idle = asyncio.Event()
        self._is_idle.set()
        self._ended: deque[tuple[Call, Any, Exception | None]] = deque()
        self._is_told = False

    def open(self, artifact: Artifact, *, workers: int, seconds_per_event: float) -> None:
        """Answer with this model from now on; called on the event loop that asks.

        What was asked of the model before is still answered by it.

        Args:
            artifact: The verified model.
            workers: Threads that score.
            seconds_per_event: What a padded event costs a worker, to begin with.
        """
        self._loop = asyncio.get_running_loop()
        if self._batcher is not None:
            self._retire(self._batcher, self._loop)
        read = partial(read_together, schema=artifact.manifest.schema, limits=self.limits)
        pace = Pace(seconds_per_event)
        self._batcher = Batcher(
            artifact.predictor,
            read,
            workers=workers,
            pace=pace,
            # Of its own: what workers count is guarded by their batcher's lock.
            recorder=Recorder(),
            drift=Drift(artifact.manifest.reference),
        )
        self._artifact = artifact

    def _retire(self, batcher: Batcher, loop: asyncio.AbstractEventLoop) -> None:
        """Have a batcher that is asked no more end when it has answered everything; what it counted stays."""

        def forget() -> None:
            self._retiring.remove(batcher)
            self._retired = added([self._retired, {**EMPTY, "totals": batcher.recorder.totals()}])

        def drained() -> None:
            # A loop that has been closed has nobody left who looks.
            with suppress(RuntimeError):
                loop.call_soon_threadsafe(forget)

        self._retiring.add(batcher)
        batcher.drain(drained)

    def refuse(self) -> None:
        """Be unavailable to every new call from now on; those that wait are still answered."""
        self._artifact, self._refusal = None, "the server is stopping"

    @property
    def is_ready(self) -> bool:
        """Whether new calls are answered."""
        return self._artifact is not None

    def snapshot(self) -> Snapshot:
        """Return what was noticed so far, and how things stand."""
        models = {}
        if self._artifact is not None:
            manifest = self._artifact.manifest
            models = {f"{manifest.name}{SEPARATOR}{manifest.version}": 1}
        states = {
            "requests_in_flight": {"": self._num_open},
            "waiting_padded_events": {"": sum(batcher.waiting_events for batcher in self._batchers())},
            "model_processes": models,
            **({} if self._batcher is None else self._batcher.drifted()),
        }
        recorders = [self.recorder, *(batcher.recorder for batcher in self._batchers())]
        totals: list[Snapshot] = [{**EMPTY, "totals": recorder.totals()} for recorder in recorders]
        return {"totals": added([self._retired, *totals])["totals"], "states": states}

    async def wait_idle(self) -> None:
        """Return as soon as no call waits."""
        await self._is_idle.wait()

    def close(self) -> None:
        """End the workers after what they do now, and whatever waits with an error; blocks."""
        self.refuse()
        for batcher in self._batchers():
            batcher.close(UnavailableError(self._refusal))

    def _batchers(self) -> Sequence[Batcher]:
        """Return those that still answer, the one of the model that is served last."""
        return [*self._retiring, *(() if self._batcher is None else (self._batcher,))]

    def artifact(self, name: str = "", version: str = "") -> Artifact:
        """Return the model that answers.

        Args:
            name: What it must be called; empty for any.
            version: Which one it must be; empty for any.

        Raises:
            UnavailableError: It is not loaded yet, or not served any more.
            UnknownModelError: There is none of that name or version.
        """
        if self._artifact is None:
            raise UnavailableError(self._refusal)
        manifest = self._artifact.manifest
        if name not in {"", manifest.name}:
            raise UnknownModelError(f"there is no model {name[:80]!r} here, only {manifest.name!r}")
        if version not in {"", manifest.version}:
            raise UnknownModelError(
                f"{manifest.name!r} has no version {version[:80]!r} here, only {manifest.version!r}"
            )
        return self._artifact

    async def score(
        self,
        histories: Histories,
        as_of_us: Int64[ndarray, " customer"],
        *,
        deadline_seconds: float | None = None,
    ) -> Scored:
        """Score customers whose histories are there.

        Args:
            histories: Columns whose lengths fit; their values may be anything, and a customer whose
                values cannot be scored harms nobody else.
            as_of_us: One plausible cutoff each, UTC microseconds.
            deadline_seconds: How long the caller waits; None for the default.

        Returns:
            Every output of the model.

        Raises:
            UnavailableError: The model is not served.
            OverloadedError: The answer would come too late, or there is no room in the queue.
            ExpiredError: The deadline passed before the answer.
        """
        asked = AskedHistories(histories=histories)
        return await self.answer(asked, as_of_us, lambda scored: scored, deadline_seconds=deadline_seconds)

    async def answer(
        self,
        asked: Asked,
        as_of_us: Int64[ndarray, " customer"],
        write: Callable[[Scored], T],
        *,
        deadline_seconds: float | None = None,
    ) -> T:
        """Score customers and write the answer.

        Cancelling the caller drops what has not been computed yet.

        Args:
            asked: About whom.
            as_of_us: One plausible cutoff each, UTC microseconds.
            write: Makes the answer of what was scored; it mostly runs on a worker, where many are
                written one after the other.
            deadline_seconds: How long the caller waits; None for the default.

        Returns:
            What ``write`` returns.

        Raises:
            RequestError: The request as a whole is malformed.
            UnavailableError: The model is not served.
            OverloadedError: The answer would come too late, or there is no room in the queue.
            ExpiredError: The deadline passed before the answer.
        """
        artifact = self.artifact()
        assert self._batcher is not None
        seconds = self._default_deadline_seconds if deadline_seconds is None else deadline_seconds
        if seconds <= 0:
            raise ExpiredError
        future: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        call = Call(future=future, write=write, deadline=time.monotonic() + seconds)
        call.parts = self._cut(call, artifact.predictor.plan, asked, as_of_us)
        call.num_left = len(call.parts)
        trace = CURRENT.get()
        if trace is not None:
            manifest = artifact.manifest
            trace.asked(manifest.name, manifest.version, num_events=asked.num_events)
        try:
            self._admit(self._batcher, call.parts, seconds)
        except OverloadedError:
            # As in _leave: a part knows its call.
            call.parts = ()
            raise
        self._num_open += 1
        self._is_idle.clear()
        self._batcher.submit(call.parts)
        try:
            return await future
        finally:
            if trace is not None:
                trace.ended(call.parts)
            self._leave(call)

    def _leave(self, call: Call) -> None:
        """Forget a call that was answered or cancelled: nobody waits for it any more."""
        call.is_dropped = True
        # A part knows its call: what is answered goes at once, not when cycles are collected.
        call.parts = ()
        self._num_open -= 1
        if not self._num_open:
            self._is_idle.set()

    def _cut(self, call: Call, plan: RunPlan, asked: Asked, as_of_us: ndarray) -> Sequence[Part]:
        """Return the parts of a request: one, unless it is larger than what is encoded in one go."""
        num_events = asked.num_events
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
                is_wanted=call.is_wanted,
                done=partial(self._tell, call),
            )
            for start, end in pairwise(cuts)
        ]

    def _admit(self, batcher: Batcher, parts: Sequence[Part], seconds: float) -> None:
        wait = batcher.wait_seconds(is_large=parts[0].is_large)
        if wait > seconds:
            message = f"the answer would wait for {wait:.3g} s, but the deadline is in {seconds:.3g} s"
            retry_seconds = max(wait - seconds, MIN_RETRY_SECONDS)
            raise OverloadedError(message, reason="deadline", retry_after_seconds=retry_seconds)
        # What was asked of versions before takes room as well.
        waiting, limit = sum(one.waiting_events for one in self._batchers()), self._max_queued_events
        if parts[0].is_large:
            limit = int(LARGE_SHARE_OF_QUEUE * limit)
        asked = sum(part.padded_events for part in parts)
        if waiting and waiting + asked > limit:
            message = f"{waiting} padded events wait, and with {asked} more they would exceed {limit}"
            excess = batcher.seconds_for(min(waiting + asked - limit, waiting))
            retry_seconds = max(excess, MIN_RETRY_SECONDS)
            raise OverloadedError(message, reason="queue", retry_after_seconds=retry_seconds)

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
            assert self._loop is not None
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
                assert call.noticed is not None
                self.recorder.answered(call.noticed)
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
