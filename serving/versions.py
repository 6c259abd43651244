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
    """The version that is served, the one before it, and the one that may come next.

    The one before stays loaded: to go back to it takes no time.
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

    async def prepare(self, version: Version) -> Prepared:
        """Load, verify and warm a version up beside the one that is served.

        It is run as the one that is served was found to run best: a measurement beside calls that
        are answered would find anything.

        Raises:
            ArtifactError: It cannot be served, or is another model.
        """
        known = (self._served, self._former, self._next)
        loaded = next((one for one in known if one is not None and one.version == version), None)
        if loaded is None:
            loaded = _Loaded(await asyncio.to_thread(self._load, version), version)
        self._next = loaded
        return loaded.prepared

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
        try:
            with _told_when_slow(found):
                await swap(found)
        except Exception as error:  # noqa: BLE001 (whatever it was, what is served goes on)
            # What ails a process may pass; what ails the version stays.
            refused = None if isinstance(error, RunError) else found
            is_foreseen = isinstance(error, HoldfastError)
            extra = {"artifact": str(found.folder), "reason": str(error)}
            _log.error("version refused", extra=extra, exc_info=None if is_foreseen else error)
            tell("refused")
        else:
            served, refused = found, None
            tell("served")


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
async def beside(work: Coroutine[Any, Any, None]) -> AsyncIterator[None]:
    """Have something go on until the end of the block; that it ends before is an error, and logged."""
    task = asyncio.create_task(work)
    task.add_done_callback(_tell_of_end)
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


def _tell_of_end(task: "asyncio.Task[None]") -> None:
    if not task.cancelled() and task.exception() is not None:
        _log.error("no version is followed any more", exc_info=task.exception())
