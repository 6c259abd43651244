"""Loads as a process of its own runs them; every function here is called in that process.

It deliberately keeps nothing between two loads but the process itself.
"""

import asyncio
import selectors
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np

from benchmarks.serving.load import Record, Stream, closed_loop, open_loop, poisson_arrivals
from benchmarks.serving.transports import Target, Transport, open_transport

T = TypeVar("T")
TIMEOUT_SECONDS = 10.0
DRAIN_SECONDS = 5.0
MAX_OUTSTANDING = 4_096


@dataclass(frozen=True, slots=True, kw_only=True)
class ClosedPlan:
    """A fixed number of calls in flight.

    Attributes:
        requests: Sent in turn.
        concurrency: Calls in flight.
        max_seconds: No call is begun later than this.
        max_calls: No more calls than this; None for any number.
    """

    requests: Sequence[bytes]
    concurrency: int
    max_seconds: float
    max_calls: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenPlan:
    """Calls at Poisson times.

    Attributes:
        streams: The kinds of requests.
        seconds: Length of the schedule, warm-up included.
        seed: Of the draw of the times.
    """

    streams: Sequence[Stream]
    seconds: float
    seed: int


def run_plan(target: Target, plan: ClosedPlan | OpenPlan) -> Record:
    """Run a load against a target."""

    async def run(transport: Transport) -> Record:
        if isinstance(plan, ClosedPlan):
            return await closed_loop(
                transport.send,
                plan.requests,
                concurrency=plan.concurrency,
                max_seconds=plan.max_seconds,
                max_calls=plan.max_calls,
            )
        rng = np.random.default_rng(plan.seed)
        arrivals = poisson_arrivals([stream.rate for stream in plan.streams], seconds=plan.seconds, rng=rng)
        return await open_loop(
            transport.send,
            plan.streams,
            arrivals,
            max_outstanding=MAX_OUTSTANDING,
            drain_seconds=DRAIN_SECONDS,
        )

    return _with_transport(target, run)


def ask_each(target: Target, requests: Sequence[bytes]) -> list[bytes]:
    """Return the answers to some requests, sent one after another."""

    async def run(transport: Transport) -> list[bytes]:
        return [await transport.ask(request) for request in requests]

    return _with_transport(target, run)


def _with_transport(target: Target, run: Callable[[Transport], Coroutine[Any, Any, T]]) -> T:
    async def main() -> T:
        transport = open_transport(target, timeout_seconds=TIMEOUT_SECONDS)
        try:
            return await run(transport)
        finally:
            await transport.close()

    # select() waits to the microsecond; epoll, the default, rounds up to the next millisecond, which would
    # send every call late.
    with asyncio.Runner(loop_factory=lambda: asyncio.SelectorEventLoop(selectors.SelectSelector())) as runner:
        return runner.run(main())
