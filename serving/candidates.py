"""The candidate of several processes: each of them has the same one, or none of them has any.

It deliberately does not look where candidates lie, nor start or end a process.
"""

import asyncio
import logging
from collections.abc import Callable, Sequence

from holdfast.errors import HoldfastError, RunError
from serving.child import Child
from serving.loading import Loading, have_all
from serving.versions import Version

_log = logging.getLogger(__name__)


class Candidates:
    """Gives a candidate to all processes that listen, and later to those that come in the place of others."""

    def __init__(self, members: Callable[[], Sequence[Child]]) -> None:
        """Begin without one.

        Args:
            members: Returns the processes that there are just then.
        """
        self._loading = Loading(members, Child.prepare_candidate)
        self._version: Version | None = None
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
            models = await self._loading.load(version)
            if not models:
                raise RunError("no process is there to load it")
            self._version = version
            await have_all(models, Child.try_out)
        model = next(iter(models.values()))
        _log.info("candidate", extra={"model": model, "artifact": str(version.folder)})

    async def end(self) -> None:
        """Have no candidate any more."""
        async with self._lock:
            self._version = None
            await have_all(self._loading.listening(), Child.end_trial)

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
