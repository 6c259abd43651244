"""Which calls a candidate gets, to answer them or in the shadow of the version that is served.

It deliberately does not know where candidates come from, nor what a call is about. Nothing that a candidate
does reaches a caller but its answers: what it cannot answer, the version that is served does.
"""

import asyncio
import hashlib
import logging
import time
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Protocol, TypeVar

from holdfast.errors import RequestError
from serving.artifact import Artifact
from serving.calls import Call, Question
from serving.comparing import Answers, compared
from serving.engine import CANDIDATE, SERVED, Engine
from serving.errors import CallError, ExpiredError, OverloadedError, UnavailableError, forget_frames
from serving.recording import SEPARATOR, Noticed, Snapshot
from serving.scored import Scored
from serving.trial_recording import TrialRecorder

KEY = b"holdfast candidate"
"""Of the hash that says whom a candidate gets: the same in every process, of every version, for ever."""

SHADOW_EVENTS = 16_384
"""Most padded events that wait for a shadow; one call may have more where nothing else waits."""

SHADOW_SECONDS = 10.0
"""A call that a shadow has not scored by then is dropped."""

BUSY_SECONDS = 0.01
"""A shadow gives way as long as a call would have to wait for more than this."""

T = TypeVar("T")

_log = logging.getLogger(__name__)


class Ask(Protocol):
    """Has a model answer a question within some seconds, and tells what was noticed as well."""

    def __call__(
        self, engine: Engine, question: Question[T], seconds: float, /
    ) -> Awaitable[tuple[T, Noticed]]:
        """Ask."""


def place_of(customer_id: bytes) -> float:
    """Return where in [0, 1) a customer stands: a candidate gets whoever stands below its share."""
    digest = hashlib.blake2b(customer_id, digest_size=8, key=KEY).digest()
    # As many bits as a float has: none is rounded up to 1.
    return float((int.from_bytes(digest, "big") >> 11) / 2**53)


class Trial:
    """How calls are divided, and what was noticed of it; it lives on one event loop.

    Attributes:
        candidate: Who is tried out; None where there is nobody just now.
        is_shadow: Whether it answers nobody.
        recorder: What was noticed.
    """

    def __init__(self, *, share: float, is_shadow: bool) -> None:
        """Begin without a candidate.

        Args:
            share: Of the calls that a candidate gets, above 0 and up to 1.
            is_shadow: Whether it only scores them as well.
        """
        self.candidate: Engine | None = None
        self.is_shadow = is_shadow
        self.recorder = TrialRecorder()
        self._share = share
        self._asked: Engine | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._is_over = False

    def meet(self, served: Artifact) -> None:
        """Look whether the candidate can stand in for what is served; whenever either is another one."""
        candidate, self._asked = self.candidate, None
        if candidate is None:
            return
        hindrance = _hindrance(candidate.artifact, served)
        if hindrance is None:
            self._asked = candidate
        else:
            extra = {"version": candidate.artifact.manifest.version, "reason": hindrance}
            _log.warning("candidate set aside", extra=extra)

    def stop(self) -> None:
        """Ask no shadow any more, and wait for none; more than once does no harm."""
        self._is_over = True
        for task in self._tasks:
            task.cancel()

    def snapshot(self) -> Snapshot:
        """Return what was noticed so far, and how things stand."""
        processes = {}
        if self._asked is not None:
            manifest = self._asked.artifact.manifest
            processes = {f"{manifest.name}{SEPARATOR}{manifest.version}": 1}
        return {"totals": self.recorder.totals(), "states": {"candidate_processes": processes}}

    async def answer(
        self, question: Question[T], seconds: float, *, served: Callable[[], Engine | None], ask: Ask
    ) -> T:
        """Have a question answered by whom it falls to.

        Args:
            question: What is asked.
            seconds: How long the caller waits.
            served: Returns the model that is served just then.
            ask: Has a model answer.
        """
        engine, candidate = _there(served), self._asked
        if candidate is None:
            return (await ask(engine, question, seconds))[0]
        is_taken = question.customer_id is not None and place_of(question.customer_id) < self._share
        if not is_taken:
            return await self._counted(SERVED, engine, question, seconds, ask)
        if self.is_shadow:
            return await self._answered_and_shadowed(engine, question, seconds, ask)
        found = await self._tried(candidate, question, seconds, ask)
        if found:
            return found[0]
        # Another one may be served by now.
        other = _there(served)
        if _hindrance(other.artifact, engine.artifact, is_same_allowed=True) is not None:
            raise UnavailableError("the model was changed while the call was answered")
        seconds = question.deadline - time.monotonic()
        if seconds <= 0:
            raise ExpiredError
        return await self._counted(SERVED, other, question, seconds, ask)

    async def _counted(self, role: str, engine: Engine, question: Question[T], seconds: float, ask: Ask) -> T:
        started = time.monotonic()
        answer, noticed = await ask(engine, question, seconds)
        version = engine.artifact.manifest.version
        self.recorder.answered(role, version, noticed, seconds=time.monotonic() - started)
        return answer

    async def _tried(
        self, candidate: Engine, question: Question[T], seconds: float, ask: Ask
    ) -> tuple[T] | tuple[()]:
        """Return the candidate's answer; none where it could not give one."""
        version = candidate.artifact.manifest.version
        try:
            return (await self._counted(CANDIDATE, candidate, question, seconds, ask),)
        except (UnavailableError, ExpiredError):
            # The server is stopping, or nobody waits any more.
            raise
        except Exception as error:  # noqa: BLE001 (whatever it was, the caller is answered)
            self._fail(version, error)
        return ()

    def _fail(self, version: str, error: Exception) -> None:
        """Count and log what a candidate could not do, and keep nothing of it."""
        if isinstance(error, OverloadedError):
            self.recorder.failed(version, "overloaded")
        elif isinstance(error, ExpiredError):
            self.recorder.dropped("late")
        # What a request is refused for, the version that is served says, to its caller and to whoever counts;
        # other errors of a call mean that the server is stopping.
        elif not isinstance(error, RequestError | CallError):
            self.recorder.failed(version, "internal")
            _log.error("candidate failed", extra={"version": version}, exc_info=error)
        forget_frames(error)

    async def _answered_and_shadowed(
        self, engine: Engine, question: Question[T], seconds: float, ask: Ask
    ) -> T:
        """Answer by the version that is served, and ask the shadow when that is on its way."""
        kept: list[Scored] = []

        def writing(artifact: Artifact) -> Callable[[Scored], T]:
            write = question.writing(artifact)

            def write_and_keep(scored: Scored) -> T:
                kept.append(scored)
                return write(scored)

            return write_and_keep

        answer = await self._counted(SERVED, engine, question._replace(writing=writing), seconds, ask)
        # gRPC takes the answer in this step of the event loop; this is done in the next one.
        asyncio.get_running_loop().call_soon(self._shadow, engine, question, kept[-1])
        return answer

    def _shadow(self, served: Engine, question: Question[T], scored: Scored) -> None:
        """Ask the shadow what was answered a moment ago, unless there is no time or no room for it."""
        candidate = self._asked
        if candidate is None or self._is_over:
            return
        is_busy = partial(_is_busy, served)
        if is_busy():
            self.recorder.dropped("busy")
            return
        schema = served.artifact.manifest.schema
        answers = Answers.of(scored, schema)
        call = candidate.call(
            question.asked,
            question.as_of_us,
            lambda found: list(compared(answers, Answers.of(found, schema))),
            deadline=time.monotonic() + SHADOW_SECONDS,
            gives_way=is_busy,
        )
        waiting = candidate.batcher.waiting_events
        if waiting and waiting + sum(part.padded_events for part in call.parts) > SHADOW_EVENTS:
            call.parts = ()
            self.recorder.dropped("full")
            return
        task = asyncio.create_task(self._compare(candidate, call))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _compare(self, candidate: Engine, call: Call) -> None:
        """Wait for a shadow, and count what came of it."""
        version = candidate.artifact.manifest.version
        started = time.monotonic()
        try:
            found = await candidate.answered(call)
        except Exception as error:  # noqa: BLE001 (whatever it was, nobody waits for it)
            self._fail(version, error)
        else:
            assert call.noticed is not None
            self.recorder.answered(CANDIDATE, version, call.noticed, seconds=time.monotonic() - started)
            self.recorder.compared(version, found)


def _there(served: Callable[[], Engine | None]) -> Engine:
    engine = served()
    assert engine is not None, "a model once served is followed by another"
    return engine


def _is_busy(engine: Engine) -> bool:
    return engine.batcher.wait_seconds(is_large=False) > BUSY_SECONDS


def _hindrance(artifact: Artifact, served: Artifact, *, is_same_allowed: bool = False) -> str | None:
    """Return why a model cannot answer what another one is asked, if it cannot."""
    if artifact is served:
        return None if is_same_allowed else "it is the version that is served"
    found, wanted = artifact.manifest, served.manifest
    if found.schema.fingerprint() != wanted.schema.fingerprint():
        return "its schema is another than that of the version that is served"
    if {form.name for form in found.outputs} != {form.name for form in wanted.outputs}:
        return "its outputs are others than those of the version that is served"
    return None
