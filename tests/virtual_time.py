"""An event loop whose clock stands still while anything runs and jumps while nothing does."""

import asyncio
import selectors
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

from benchmarks.serving.load import Answer

T = TypeVar("T")


class _Jumping(selectors.SelectSelector):
    def __init__(self, jump: Callable[[float], None]) -> None:
        super().__init__()
        self._jump = jump

    def select(self, timeout: float | None = None) -> list[Any]:
        """Let the time pass that would have been waited for."""
        assert timeout is not None, "nothing would ever happen again"
        self._jump(timeout)
        return []


class VirtualLoop(asyncio.SelectorEventLoop):
    """Seconds of a load take milliseconds, and the same load always takes the same time."""

    def __init__(self) -> None:
        """Begin at a time that is not zero."""
        self._now = 1_000.0
        super().__init__(_Jumping(self._jump))

    def time(self) -> float:
        """Return the clock's time."""
        return self._now

    def _jump(self, seconds: float) -> None:
        self._now += max(0.0, seconds)


def run(main: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine in virtual time."""
    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        return runner.run(main)


class OneWorker:
    """A simulated server: one worker, the same time for every call, and a queue that may be bounded."""

    def __init__(self, *, seconds: float, max_waiting: int | None = None) -> None:
        """Say how long a call takes, and how many may wait."""
        self.num_calls = 0
        self._seconds, self._max_waiting = seconds, max_waiting
        self._free_at = 0.0

    def backlog(self) -> float:
        """Return how long a call that comes now waits."""
        return max(0.0, self._free_at - asyncio.get_running_loop().time())

    async def send(self, request: bytes) -> Answer:
        """Answer when the worker has done everything that came before, and this."""
        del request
        self.num_calls += 1
        wait = self.backlog()
        if self._max_waiting is not None and wait > self._max_waiting * self._seconds:
            return Answer.REFUSED
        loop = asyncio.get_running_loop()
        self._free_at = loop.time() + wait + self._seconds
        await asyncio.sleep(wait + self._seconds)
        return Answer.OK
