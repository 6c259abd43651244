"""What every service of the port asks: admits a request, has it scored, and waits for it.

It deliberately does not know gRPC: errors of :mod:`serving.errors` leave it, and one place turns
them into statuses. It lives on one event loop; the workers of its models are beside it.
"""

import asyncio
import time
from collections.abc import Callable, Sequence
from typing import TypeVar

from jaxtyping import Int64
from numpy import ndarray

from holdfast.wire import Limits
from serving.artifact import Artifact
from serving.asking import Asked
from serving.batch import Part
from serving.calls import Question
from serving.engine import CANDIDATE, SHADOW, Engine
from serving.errors import ExpiredError, OverloadedError, UnavailableError, UnknownModelError
from serving.recording import EMPTY, SEPARATOR, Noticed, Recorder, Snapshot, added
from serving.scored import Scored
from serving.traced import CURRENT
from serving.trial import Trial

MIN_RETRY_SECONDS = 0.01
LARGE_SHARE_OF_QUEUE = 0.75
"""Large requests are refused in a queue as full as this: they leave room for the others."""

T = TypeVar("T")


class Scorer:
    """The model of a process, once it is loaded, a candidate beside it, and everything that waits for them.

    Attributes:
        limits: What a request may hold.
        recorder: What was noticed about calls and customers, and of versions of the model.
    """

    def __init__(
        self,
        *,
        limits: Limits,
        default_deadline_seconds: float,
        max_queued_events: int,
        trial: Trial | None = None,
    ) -> None:
        """Begin without a model: calls are unavailable until :meth:`open`.

        Args:
            limits: What a request may hold.
            default_deadline_seconds: For callers that give none.
            max_queued_events: Most padded events that wait; a request for which there is no room
                is refused, unless nothing else waits. Large ones leave a quarter of it to others.
            trial: Which calls a candidate gets; None where there never is one.
        """
        self.limits = limits
        self.recorder = Recorder()
        self._default_deadline_seconds = default_deadline_seconds
        self._max_queued_events = max_queued_events
        self._trial = trial
        self._served: Engine | None = None
        self._retiring: set[Engine] = set()
        self._retired: Snapshot = EMPTY
        self._refusal: str | None = "the model is still being loaded"
        self._num_open = 0
        self._is_idle = asyncio.Event()
        self._is_idle.set()

    def open(self, artifact: Artifact, *, workers: int, seconds_per_event: float) -> None:
        """Answer with this model from now on; called on the event loop that asks.

        What was asked of the model before is still answered by it.

        Args:
            artifact: The verified model.
            workers: Threads that score.
            seconds_per_event: What a padded event costs a worker, to begin with.
        """
        former = self._served
        self._served = Engine(
            artifact, limits=self.limits, workers=workers, seconds_per_event=seconds_per_event
        )
        self._refusal = None
        if former is not None:
            self._retire(former)
        if self._trial is not None:
            self._trial.meet(artifact)

    def try_out(self, artifact: Artifact, *, workers: int, seconds_per_event: float) -> None:
        """Have this model as the candidate from now on, beside the one that is served.

        Args:
            artifact: The verified model.
            workers: Threads that score where it answers.
            seconds_per_event: What a padded event costs a worker, to begin with.
        """
        assert self._trial is not None
        assert self._served is not None
        candidate = Engine(
            artifact,
            limits=self.limits,
            workers=workers,
            seconds_per_event=seconds_per_event,
            role=SHADOW if self._trial.is_shadow else CANDIDATE,
        )
        self._change_candidate(candidate)

    def end_trial(self) -> None:
        """Have no candidate from now on; what it was asked before is still answered by it."""
        self._change_candidate(None)

    def _change_candidate(self, candidate: Engine | None) -> None:
        assert self._trial is not None
        former, self._trial.candidate = self._trial.candidate, candidate
        if former is not None:
            self._retire(former)
        if self._served is not None:
            self._trial.meet(self._served.artifact)

    def _retire(self, engine: Engine) -> None:
        """Have an engine that is asked no more end when it has answered everything; what it counted stays."""

        def forget() -> None:
            self._retiring.remove(engine)
            if engine.role != SHADOW:
                self._retired = added([self._retired, {**EMPTY, "totals": engine.batcher.recorder.totals()}])

        self._retiring.add(engine)
        engine.drain(forget)

    def refuse(self) -> None:
        """Be unavailable to every new call from now on; those that wait are still answered."""
        self._refusal = "the server is stopping"
        if self._trial is not None:
            self._trial.stop()

    @property
    def is_ready(self) -> bool:
        """Whether new calls are answered."""
        return self._refusal is None

    def snapshot(self) -> Snapshot:
        """Return what was noticed so far, and how things stand."""
        models = {}
        if self._served is not None and self.is_ready:
            manifest = self._served.artifact.manifest
            models = {f"{manifest.name}{SEPARATOR}{manifest.version}": 1}
        counted = [engine.batcher for engine in self._engines() if engine.role != SHADOW]
        states = {
            "requests_in_flight": {"": self._num_open},
            "waiting_padded_events": {"": sum(batcher.waiting_events for batcher in counted)},
            "model_processes": models,
            **({} if self._served is None else self._served.batcher.drifted()),
        }
        recorders = [self.recorder, *(batcher.recorder for batcher in counted)]
        totals: list[Snapshot] = [{**EMPTY, "totals": recorder.totals()} for recorder in recorders]
        found: list[Snapshot] = [self._retired, *totals]
        if self._trial is not None:
            found.append(self._trial.snapshot())
        shown = added(found)
        return {"totals": shown["totals"], "states": {**shown["states"], **states}}

    async def wait_idle(self) -> None:
        """Return as soon as no call waits."""
        await self._is_idle.wait()

    def close(self) -> None:
        """End the workers after what they do now, and whatever waits with an error; blocks.

        Nobody must be answered any more when it is called: see :meth:`refuse`.
        """
        self._refusal = "the server is stopping"
        for engine in self._engines():
            engine.batcher.close(UnavailableError(self._refusal))

    def _engines(self) -> Sequence[Engine]:
        """Return those that still answer."""
        candidate = None if self._trial is None else self._trial.candidate
        return [
            *self._retiring,
            *(engine for engine in (candidate, self._served) if engine is not None),
        ]

    def artifact(self, name: str = "", version: str = "") -> Artifact:
        """Return the model that is served.

        Args:
            name: What it must be called; empty for any.
            version: Which one it must be; empty for any.

        Raises:
            UnavailableError: It is not loaded yet, or not served any more.
            UnknownModelError: There is none of that name or version.
        """
        served = self._answering()
        manifest = served.artifact.manifest
        if name not in {"", manifest.name}:
            raise UnknownModelError(f"there is no model {name[:80]!r} here, only {manifest.name!r}")
        if version not in {"", manifest.version}:
            raise UnknownModelError(
                f"{manifest.name!r} has no version {version[:80]!r} here, only {manifest.version!r}"
            )
        return served.artifact

    def _answering(self) -> Engine:
        """Return the engine of the model that is served.

        Raises:
            UnavailableError: It is not loaded yet, or not served any more.
        """
        if self._served is None or self._refusal is not None:
            raise UnavailableError(self._refusal)
        return self._served

    async def answer(
        self,
        asked: Asked,
        as_of_us: Int64[ndarray, " customer"],
        writing: Callable[[Artifact], Callable[[Scored], T]],
        *,
        deadline_seconds: float | None = None,
        customer_id: bytes | None = None,
    ) -> T:
        """Score customers and write the answer.

        Cancelling the caller drops what has not been computed yet.

        Args:
            asked: About whom; columns whose lengths fit, whose values may be anything: a customer whose
                values cannot be scored harms nobody else.
            as_of_us: One plausible cutoff each, UTC microseconds.
            writing: Returns what makes the answer of what was scored by a model. That mostly runs on a
                worker, where many are written one after the other.
            deadline_seconds: How long the caller waits; None for the default.
            customer_id: Of the first customer, which says whether a candidate may answer; None where it
                may not.

        Returns:
            What was written.

        Raises:
            RequestError: The request as a whole is malformed.
            UnavailableError: The model is not served.
            OverloadedError: The answer would come too late, or there is no room in the queue.
            ExpiredError: The deadline passed before the answer.
        """
        served = self._answering()
        seconds = self._default_deadline_seconds if deadline_seconds is None else deadline_seconds
        if seconds <= 0:
            raise ExpiredError
        question = Question(asked, as_of_us, writing, time.monotonic() + seconds, customer_id)
        self._num_open += 1
        self._is_idle.clear()
        try:
            if self._trial is None:
                return (await self._ask(served, question, seconds))[0]
            return await self._trial.answer(question, seconds, served=lambda: self._served, ask=self._ask)
        finally:
            self._leave()

    def _leave(self) -> None:
        """Forget a call that was answered or cancelled: nobody waits for it any more."""
        self._num_open -= 1
        if not self._num_open:
            self._is_idle.set()

    async def _ask(self, engine: Engine, question: Question[T], seconds: float) -> tuple[T, Noticed]:
        """Have a model answer, and return what was noticed as well."""
        asked, as_of_us, writing, deadline, _ = question
        call = engine.call(asked, as_of_us, writing(engine.artifact), deadline=deadline)
        try:
            self._admit(engine, call.parts, seconds)
        except OverloadedError:
            # A part knows its call: what is refused goes at once, not when cycles are collected.
            call.parts = ()
            raise
        trace = CURRENT.get()
        if trace is None:
            answer: T = await engine.answered(call)
        else:
            answer = await trace.answered(engine, call)
        assert call.noticed is not None
        self.recorder.answered(call.noticed)
        return answer, call.noticed

    def _admit(self, engine: Engine, parts: Sequence[Part], seconds: float) -> None:
        batcher = engine.batcher
        wait = batcher.wait_seconds(is_large=parts[0].is_large)
        if wait > seconds:
            message = f"the answer would wait for {wait:.3g} s, but the deadline is in {seconds:.3g} s"
            retry_seconds = max(wait - seconds, MIN_RETRY_SECONDS)
            raise OverloadedError(message, reason="deadline", retry_after_seconds=retry_seconds)
        # What was asked of other versions takes room as well; a shadow has a room of its own.
        engines = (one for one in self._engines() if one.role != SHADOW)
        waiting, limit = sum(one.batcher.waiting_events for one in engines), self._max_queued_events
        if parts[0].is_large:
            limit = int(LARGE_SHARE_OF_QUEUE * limit)
        asked = sum(part.padded_events for part in parts)
        if waiting and waiting + asked > limit:
            message = f"{waiting} padded events wait, and with {asked} more they would exceed {limit}"
            excess = batcher.seconds_for(min(waiting + asked - limit, waiting))
            retry_seconds = max(excess, MIN_RETRY_SECONDS)
            raise OverloadedError(message, reason="queue", retry_after_seconds=retry_seconds)
