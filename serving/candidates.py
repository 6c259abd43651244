"""The candidate of several processes: each of them has the same one, or none of them has any.

It deliberately does not look where candidates lie, nor start or end a process.
"""

import asyncio
import logging
from collections.abc import Callable, Coroutine, Sequence
from typing import Any

from holdfast.errors import ArtifactError, HoldfastError, RunError
from serving.child import Child
from serving.versions import Version

_log = logging.getLogger(__name__)


class Candidates:
    """Gives a candidate to all processes that listen, and later to those that come in the place of others."""

    def __init__(self, members: Callable[[], Sequence[Child]]) -> None:
        """Begin without one.

        Args:
            members: Returns the processes that there are just then.
        """
        self._members = members
        self._version: Version | None = None
        self._suspected: Version | None = None
        # One thing at a time: what a process loaded last is what it takes.
        self._lock = asyncio.Lock()
        self._tasks: set[asyncio.Task[None]] = set()

    async def try_out(self, version: Version) -> None:
        """Have all processes load a candidate, one after the other, and then all take it.

        Raises:
            ArtifactError: One of them refuses it, or it ended two; all go on with the candidate before.
            RunError: One of them has ended while it loaded it; likewise.
        """
        async with self._lock:
            models: dict[Child, str] = {}
            while member := next((one for one in self._listening() if one not in models), None):
                models[member] = await self._load(member, version)
            if not models:
                raise RunError("no process is there to load it")
            self._version = version
            await self._all(Child.try_out, tuple(models))
        model = next(iter(models.values()))
        _log.info("candidate", extra={"model": model, "artifact": str(version.folder)})

    async def end(self) -> None:
        """Have no candidate any more."""
        async with self._lock:
            self._version = None
            await self._all(Child.end_trial, self._listening())

    def greet(self, member: Child) -> None:
        """Give the candidate to a process that began to listen, in a while; nobody waits for that."""
        task = asyncio.create_task(self._give(member))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def stop(self) -> None:
        """Give it to nobody any more."""
        for task in self._tasks:
            task.cancel()

    async def _give(self, member: Child) -> None:
        async with self._lock:
            version = self._version
            if version is None or not member.is_listening:
                return
            try:
                await member.prepare_candidate(version)
                await member.try_out()
            except HoldfastError as error:
                # It serves without one.
                extra = {"pid": member.pid, "artifact": str(version.folder), "reason": str(error)}
                _log.error("no candidate", extra=extra)
            else:
                _log.info("candidate given", extra={"pid": member.pid, "artifact": str(version.folder)})

    def _listening(self) -> Sequence[Child]:
        return [member for member in self._members() if member.is_listening]

    async def _load(self, member: Child, version: Version) -> str:
        try:
            return await member.prepare_candidate(version)
        except RunError as error:
            # What ends two is hardly chance: no third one tries.
            if version == self._suspected:
                raise ArtifactError(version.folder, "processes end while they load it") from error
            self._suspected = version
            raise

    async def _all(
        self, order: Callable[[Child], Coroutine[Any, Any, None]], members: Sequence[Child]
    ) -> None:
        """Give an order to some processes; whichever has ended meanwhile needs it no more."""
        for ended in await asyncio.gather(*(order(member) for member in members), return_exceptions=True):
            if isinstance(ended, BaseException) and not isinstance(ended, RunError):
                raise ended
