"""Versions of the model: which one lies where the server was told to look, and which are loaded.

It deliberately swaps nothing: whoever follows a folder hands over what to do with another version.
"""

import asyncio
import hashlib
import logging
import os
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from holdfast.errors import ArtifactError, HoldfastError, RunError
from holdfast.manifest import MANIFEST_NAME
from serving.preparing import Prepared, prepare
from serving.settings import Settings
from serving.watching import state_of

SLOW_SECONDS = 60.0
"""After as long a line says that a version is still being loaded."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Version:
    """What lies in a folder at some time.

    Attributes:
        folder: Where it lies, links resolved.
        identity: Another one wherever a file came, went, was written or made readable since.
    """

    folder: Path
    identity: str


def version_at(path: Path) -> Version | None:
    """Return what lies at a path now, or what it links to; None where there is no folder."""
    try:
        # Not Path.resolve(), whose error for links in a circle was none of the system's before Python 3.13.
        folder = Path(os.path.realpath(path, strict=True))
        # What leads nowhere, or went a moment ago, is a file without a state.
        states = sorted((file.name, state_of(file)) for file in folder.iterdir())
    except OSError:
        return None
    identity = hashlib.sha256(repr((str(folder), states)).encode()).hexdigest()
    return Version(folder=folder, identity=identity)


class _Loaded(NamedTuple):
    """A model that is loaded, and what it was loaded from; None where nobody knows any more."""

    prepared: Prepared
    version: Version | None


class Versions:
    """The version that is served, the one before it, the one that may come next, and a candidate.

    The one before stays loaded: to go back to it takes no time. A candidate that is to be served
    is there already as well.
    """

    def __init__(self, settings: Settings, served: Prepared, version: Version | None) -> None:
        """Keep what is served already.

        Args:
            settings: What the server was told.
            served: The model that is served.
            version: What lay in its folder before it was loaded.
        """
        self._settings = settings
        self._served = _Loaded(served, version)
        self._former: _Loaded | None = None
        self._next: _Loaded | None = None
        self._candidate: _Loaded | None = None
        self._next_candidate: _Loaded | None = None

    async def prepare(self, version: Version) -> Prepared:
        """Load, verify and warm a version up beside the one that is served.

        It is run as the one that is served was found to run best: a measurement beside calls that
        are answered would find anything.

        Raises:
            ArtifactError: It cannot be served, or is another model.
        """
        self._next = await self._loaded(version)
        return self._next.prepared

    async def prepare_candidate(self, version: Version) -> Prepared:
        """Load, verify and warm up a version that is to be tried out, as :meth:`prepare` does.

        Raises:
            ArtifactError: It cannot be served, or is another model.
        """
        self._next_candidate = await self._loaded(version)
        return self._next_candidate.prepared

    async def _loaded(self, version: Version) -> _Loaded:
        known = (self._served, self._former, self._next, self._candidate, self._next_candidate)
        loaded = next((one for one in known if one is not None and one.version == version), None)
        return loaded or _Loaded(await asyncio.to_thread(self._load, version), version)

    def _load(self, version: Version) -> Prepared:
        served = self._served.prepared
        settings = self._settings.model_copy(update={"artifact": version.folder})
        prepared = prepare(settings, like=served.measured)
        name, wanted = prepared.artifact.manifest.name, served.artifact.manifest.name
        if name != wanted:
            raise ArtifactError(
                version.folder / MANIFEST_NAME, f"it is model {name!r}, and this server serves {wanted!r}"
            )
        return prepared

    async def swap(self, serve: Callable[[Prepared], Awaitable[None]]) -> None:
        """Serve the version that was prepared last."""
        assert self._next is not None
        await serve(self._next.prepared)
        self._former, self._served, self._next = self._served, self._next, None

    def try_out(self, take: Callable[[Prepared], None]) -> None:
        """Have as the candidate the version that was prepared for it last; one that is it already stays."""
        candidate, self._next_candidate = self._next_candidate, None
        assert candidate is not None
        if candidate is not self._candidate:
            take(candidate.prepared)
            self._candidate = candidate

    def end_trial(self, take: Callable[[None], None]) -> None:
        """Have no candidate, and keep none in memory."""
        take(None)
        self._candidate = self._next_candidate = None


async def follow(
    settings: Settings,
    served: Version | None,
    swap: Callable[[Version], Awaitable[None]],
    *,
    tell: Callable[[str], None],
) -> None:
    """Look again and again where the artifact lies, and swap as soon as it is another version.

    A version that is refused is not tried again before something about its folder changes.

    Args:
        settings: Where to look, and how often.
        served: What is served now.
        swap: Serves another version; what is served goes on where it raises.
        tell: Is told the outcome: ``served`` or ``refused``.
    """
    path, refused, is_missing = settings.artifact, None, False
    while settings.reload_seconds:
        await asyncio.sleep(settings.reload_seconds)
        found = await asyncio.to_thread(version_at, path)
        if found is None and not is_missing:
            _log.warning(
                "artifact missing", extra={"artifact": str(path), "reason": "what is loaded is served"}
            )
        is_missing = found is None
        if found is None or found in {served, refused}:
            continue
        error = await _error_of(found, swap, refusal="version refused")
        tell("served" if error is None else "refused")
        if error is None:
            served = found
        # What ails a process may pass; what ails the version stays.
        refused = None if error is None or isinstance(error, RunError) else found


async def follow_candidate(
    path: Path,
    reload_seconds: float,
    *,
    try_out: Callable[[Version], Awaitable[None]],
    end: Callable[[], Awaitable[None]],
    tell: Callable[[str], None],
) -> None:
    """Look at once, and then again and again, where a candidate lies, and try out what is found there.

    A candidate that is refused is not tried again before something about its folder changes.

    Args:
        path: Where to look.
        reload_seconds: How often; 0 for once.
        try_out: Has another version as the candidate; the one before it goes on where it raises.
        end: Has no candidate any more.
        tell: Is told what became of it: ``taken``, ``refused`` or ``gone``.
    """
    taken: Version | None = None
    refused: Version | None = None
    is_missing = False
    while True:
        found = await asyncio.to_thread(version_at, path)
        if found is None and not is_missing:
            _log.warning(
                "candidate missing", extra={"artifact": str(path), "reason": "there is none just now"}
            )
            if taken is not None:
                taken = None
                await end()
                tell("gone")
        is_missing = found is None
        if found is not None and found not in {taken, refused}:
            error = await _error_of(found, try_out, refusal="candidate refused")
            tell("taken" if error is None else "refused")
            if error is None:
                taken = found
            refused = None if error is None or isinstance(error, RunError) else found
        if not reload_seconds:
            return
        await asyncio.sleep(reload_seconds)


async def _error_of(
    found: Version, swap: Callable[[Version], Awaitable[None]], *, refusal: str
) -> Exception | None:
    """Go over to a version, and return what stood in the way, which is logged."""
    try:
        with _told_when_slow(found):
            await swap(found)
    except Exception as error:  # noqa: BLE001 (whatever it was, what is served goes on)
        is_foreseen = isinstance(error, HoldfastError)
        extra = {"artifact": str(found.folder), "reason": str(error)}
        _log.error(refusal, extra=extra, exc_info=None if is_foreseen else error)
        return error
    return None


@contextmanager
def _told_when_slow(version: Version) -> Iterator[None]:
    """Log where the block takes long: no other version is looked for meanwhile."""
    extra = {"artifact": str(version.folder), "seconds": SLOW_SECONDS}
    timer = asyncio.get_running_loop().call_later(
        SLOW_SECONDS, partial(_log.warning, "version takes long to load", extra=extra)
    )
    try:
        yield
    finally:
        timer.cancel()


@asynccontextmanager
async def beside(*works: Coroutine[Any, Any, None]) -> AsyncIterator[None]:
    """Have something go on until the end of the block; what ends it before with an error is logged."""
    tasks = [asyncio.create_task(work) for work in works]
    for task in tasks:
        task.add_done_callback(_tell_of_end)
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def _tell_of_end(task: "asyncio.Task[None]") -> None:
    if not task.cancelled() and task.exception() is not None:
        _log.error("no version is followed any more", exc_info=task.exception())
