"""Load: calls sent at scheduled times, or by a fixed number of callers, and when each was answered.

It deliberately knows no protocol: a call is a coroutine function that takes a request and says how it ended.
Time is the event loop's, so that a test can bring its own.
"""

import asyncio
import enum
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64, Int64
from numpy import ndarray


class Answer(enum.IntEnum):
    """How a call ended."""

    OK = 0
    REFUSED = 1
    """The server said that it has too much to do."""
    FAILED = 2
    """Any other error, or no answer in time."""


Send = Callable[[bytes], Awaitable[Answer]]
"""Sends one request and waits for its answer; never raises for what the server did."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Stream:
    """One kind of request in an open load.

    Attributes:
        requests: Sent in turn, from the first one again after the last.
        rate: Arrivals per second on average.
    """

    requests: Sequence[bytes]
    rate: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Arrivals:
    """A schedule: when each call is due, and of which stream it is.

    Attributes:
        seconds: Since the start, ascending.
        stream: Position among the streams.
    """

    seconds: Float64[ndarray, " call"]
    stream: Int64[ndarray, " call"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """What happened to every call of a load, in the order of the schedule.

    Attributes:
        scheduled: When it was due; seconds since the start of the load.
        started: When the client sent it.
        finished: When its answer came; infinite where none did.
        answer: As :class:`Answer`.
        stream: Position among the streams.
    """

    scheduled: Float64[ndarray, " call"]
    started: Float64[ndarray, " call"]
    finished: Float64[ndarray, " call"]
    answer: Int64[ndarray, " call"]
    stream: Int64[ndarray, " call"]

    def take(self, rows: ndarray) -> "Record":
        """Return some of the calls."""
        return Record(
            scheduled=self.scheduled[rows],
            started=self.started[rows],
            finished=self.finished[rows],
            answer=self.answer[rows],
            stream=self.stream[rows],
        )


def poisson_arrivals(rates: Sequence[float], *, seconds: float, rng: np.random.Generator) -> Arrivals:
    """Draw independent Poisson arrivals of several streams.

    Args:
        rates: Of the streams, per second.
        seconds: Length of the schedule.
        rng: What the draw comes from.

    Returns:
        The arrivals of all streams in order of time.
    """
    times, streams = [], []
    for stream, rate in enumerate(rates):
        # Given their number, the arrivals of a Poisson process are independent and uniform.
        drawn = rng.uniform(0.0, seconds, size=rng.poisson(rate * seconds))
        times.append(drawn)
        streams.append(np.full(len(drawn), stream, dtype=np.int64))
    moments = np.concatenate(times)
    order = np.argsort(moments, kind="stable")
    return Arrivals(seconds=moments[order], stream=np.concatenate(streams)[order])


class _Log:
    """Times and answers of calls while they happen; seconds since the log began."""

    def __init__(self, send: Send) -> None:
        self._send = send
        self._loop = asyncio.get_running_loop()
        self._origin = self._loop.time()
        self._rows: list[tuple[float, float, float, int, int]] = []

    def now(self) -> float:
        return self._loop.time() - self._origin

    async def call(self, request: bytes, *, scheduled: float, stream: int) -> None:
        started, finished, answer = self.now(), np.inf, Answer.FAILED
        try:
            answer = await self._send(request)
            finished = self.now()
        finally:
            # A call that is given up has no answer, but it was due.
            self._rows.append((scheduled, started, finished, answer, stream))

    def skip(self, *, scheduled: float, stream: int) -> None:
        """Note a call that was due and never sent."""
        self._rows.append((scheduled, np.inf, np.inf, Answer.FAILED, stream))

    def record(self) -> Record:
        rows = sorted(self._rows)
        columns = np.array(rows, dtype=np.float64).reshape(-1, 5).T
        return Record(
            scheduled=columns[0],
            started=columns[1],
            finished=columns[2],
            answer=columns[3].astype(np.int64),
            stream=columns[4].astype(np.int64),
        )


async def open_loop(
    send: Send,
    streams: Sequence[Stream],
    arrivals: Arrivals,
    *,
    max_outstanding: int,
    drain_seconds: float,
) -> Record:
    """Send every call when it is due, whether or not earlier ones were answered.

    A client that is late sends at once, and the delay counts as latency: the caller did wait.

    Args:
        send: Sends one request.
        streams: The kinds of requests.
        arrivals: When each call is due.
        max_outstanding: Unanswered calls at which the load is broken off: the server is far behind, and
            every call that is still due counts as failed.
        drain_seconds: How long answers are waited for after the last call.

    Returns:
        One row per scheduled call.
    """
    log = _Log(send)
    sent = [0] * len(streams)
    outstanding: set[asyncio.Task[None]] = set()
    is_broken_off = False
    async with asyncio.TaskGroup() as group:
        for due, stream in zip(arrivals.seconds.tolist(), arrivals.stream.tolist(), strict=True):
            if not is_broken_off:
                await asyncio.sleep(max(0.0, due - log.now()))
                is_broken_off = len(outstanding) >= max_outstanding
            if is_broken_off:
                log.skip(scheduled=due, stream=stream)
                continue
            requests = streams[stream].requests
            request = requests[sent[stream] % len(requests)]
            sent[stream] += 1
            task = group.create_task(log.call(request, scheduled=due, stream=stream))
            outstanding.add(task)
            task.add_done_callback(outstanding.discard)
        if outstanding:
            await asyncio.wait(set(outstanding), timeout=drain_seconds)
        for task in list(outstanding):
            task.cancel()
    return log.record()


async def closed_loop(
    send: Send,
    requests: Sequence[bytes],
    *,
    concurrency: int,
    max_seconds: float,
    max_calls: int | None = None,
) -> Record:
    """Keep a fixed number of calls in flight.

    Args:
        send: Sends one request.
        requests: Sent in turn, from the first one again after the last.
        concurrency: Calls in flight.
        max_seconds: No call is begun later than this.
        max_calls: No more calls than this.

    Returns:
        One row per call; each was due when it was sent.
    """
    log = _Log(send)
    num_sent = 0

    async def caller() -> None:
        nonlocal num_sent
        while log.now() < max_seconds and (max_calls is None or num_sent < max_calls):
            request = requests[num_sent % len(requests)]
            num_sent += 1
            await log.call(request, scheduled=log.now(), stream=0)

    async with asyncio.TaskGroup() as group:
        for _ in range(concurrency):
            group.create_task(caller())
    return log.record()
