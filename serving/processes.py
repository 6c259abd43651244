"""Several processes behind one port: started, kept alive and stopped as a whole.

It deliberately scores nothing and loads no model. Every process is started anew rather than forked,
since gRPC and ONNX Runtime do not survive a fork. None of them listens before all are ready, so that
whoever is told SERVING speaks for the whole; one that dies is replaced while the others go on.
"""

import asyncio
import logging
import signal
import socket
import time
from collections.abc import Coroutine, Iterator
from contextlib import suppress
from typing import Any

from holdfast.errors import RunError
from serving.administration import Administration
from serving.candidates import Candidates
from serving.child import Child
from serving.cores import num_cores
from serving.loading import Loading, have_all
from serving.recording import EMPTY, Recorder, Snapshot, added
from serving.server import port_file
from serving.settings import Settings
from serving.versions import Version, beside, follow, follow_candidate, version_at

FIRST_PAUSE_SECONDS = 0.1
LONGEST_PAUSE_SECONDS = 30.0
"""How long a process that died is let alone: twice as long every time, until one has lived that long."""

KILL_AFTER_SECONDS = 5.0
"""What a process may take beyond the grace of its calls."""

_log = logging.getLogger(__name__)


class _Group:
    """All processes of a server.

    A process is started with the settings of that moment, says which model it has loaded, and listens from
    when it is told to until it ends. A version is loaded by those that listen. Before they swap, settings and
    model become those of the version: whoever is started afterwards loads it by itself, and whoever was
    started before and comes to listen too late to be asked is stopped and started once more.
    """

    def __init__(self, settings: Settings, version: Version | None) -> None:
        self._settings, self._version = settings, version
        self._members: list[Child] = []
        self._keepers: list[asyncio.Task[None]] = []
        self._ended: Snapshot = EMPTY
        self._loading = Loading(lambda: self._members, Child.prepare)
        self.candidates = Candidates(lambda: self._members)
        self.recorder = Recorder()
        self._model = ""
        self._is_open = False

    @property
    def is_ready(self) -> bool:
        """Whether calls are answered: all were ready together, and one at least is there now."""
        return self._is_open and any(member.is_listening for member in self._members)

    async def start(self) -> None:
        """Start all processes, and have them listen when every one of them is ready.

        Raises:
            RunError: One of them ended.
        """
        # The first one measures without the others around it, and what it finds holds for them all.
        await self._add()
        said = await self._members[0].hear()
        self._model = said["model"]
        self._settings = self._settings.model_copy(update=said["measured"])
        for _ in range(self._settings.processes - 1):
            await self._add()
        await asyncio.gather(*(self._prepared(member) for member in self._members[1:]))
        await asyncio.gather(*(member.listen() for member in self._members))
        self._is_open = True
        self._keepers = [asyncio.create_task(self._keep(place)) for place in range(self._settings.processes)]

    async def stop(self) -> None:
        """End all of them at the same time."""
        self._is_open = False
        self.candidates.stop()
        for keeper in self._keepers:
            keeper.cancel()
        await asyncio.gather(*self._keepers, return_exceptions=True)
        seconds = self._settings.grace_seconds + KILL_AFTER_SECONDS
        await asyncio.gather(*(member.stop(seconds) for member in self._members))

    async def noticed(self) -> Snapshot:
        """Return what all of them noticed, those that have died included."""
        await asyncio.gather(*(member.look() for member in self._members))
        own: Snapshot = {**EMPTY, "totals": self.recorder.totals()}
        return added([self._ended, own, *(member.noticed for member in self._members)])

    async def swap(self, version: Version) -> None:
        """Have all processes load another version, one after the other, and then all serve it.

        Raises:
            ArtifactError: One of them refuses it, or it ended two; all go on with what they serve.
            RunError: One of them has ended while it loaded it; likewise.
        """
        models = await self._loading.load(version)
        if not models and version_at(self._settings.artifact) == self._version:
            raise RunError("no process is there to load it")
        # Where nobody was left to load it, whoever is started next says what model it is.
        self._model = next(iter(models.values()), "")
        self._settings = self._settings.model_copy(update={"artifact": version.folder})
        self._version = version
        await have_all(models, Child.swap)
        _log.info("serving", extra={"model": self._model, "artifact": str(version.folder)})

    def following(self, settings: Settings, served: Version | None) -> Iterator[Coroutine[Any, Any, None]]:
        """Yield what goes on beside the processes: looking for versions, and for candidates.

        Args:
            settings: What the server was told.
            served: What is served now.
        """
        yield follow(settings, served, self.swap, tell=self.recorder.found_version)
        if settings.candidate is not None:
            yield follow_candidate(
                settings.candidate,
                settings.reload_seconds,
                try_out=self.candidates.try_out,
                end=self.candidates.end,
                tell=self.recorder.found_candidate,
            )

    async def _add(self) -> None:
        self._members.append(await Child.start(self._settings))

    async def _prepared(self, member: Child) -> None:
        """Wait until a process is ready; one with another model than the first one is stopped.

        Raises:
            RunError: It has ended, or its model is another one.
        """
        model = (await member.hear())["model"]
        self._model = self._model or model
        if model != self._model:
            _log.error("another model", extra={"pid": member.pid, "model": model, "wanted": self._model})
            await member.stop(KILL_AFTER_SECONDS)
            raise RunError(f"the artifact is {model} now and was {self._model}")

    async def _keep(self, place: int) -> None:
        """Put another process in the place of one that died, again and again."""
        pause = FIRST_PAUSE_SECONDS
        while True:
            born = time.monotonic()
            code = await self._members[place].wait()
            if time.monotonic() - born > LONGEST_PAUSE_SECONDS:
                pause = FIRST_PAUSE_SECONDS
            extra = {"pid": self._members[place].pid, "exit_code": code, "pause_seconds": pause}
            _log.error("process died", extra=extra)
            other: Child | None = None
            while other is None:
                await asyncio.sleep(pause)
                pause = min(2 * pause, LONGEST_PAUSE_SECONDS)
                settings = self._settings
                try:
                    other = await Child.start(settings)
                except OSError as error:
                    # The machine has no process to spare just now.
                    _log.error("process not started", extra={"reason": str(error)})
            # What the former had counted stays counted; how things stood with it does not.
            self._ended = added([self._ended, {**EMPTY, "totals": self._members[place].noticed["totals"]}])
            self._members[place] = other
            with suppress(RunError):
                await self._prepared(other)
                await other.listen()
                if settings is self._settings:
                    _log.info("process replaced", extra={"pid": other.pid})
                    self.candidates.greet(other)
                else:
                    # It came too late to be asked for the version that the others went over to.
                    await other.stop(settings.grace_seconds + KILL_AFTER_SECONDS)


async def supervise(settings: Settings) -> None:
    """Serve with several processes until SIGTERM or SIGINT.

    Args:
        settings: What the server was told; threads are per process.

    Raises:
        RunError: The address cannot be listened on, or a process could not start.
    """
    stopping = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopping.set)
    with _reserved(settings.host, settings.port) as reserved:
        port = reserved.getsockname()[1]
        threads = settings.threads or max(1, num_cores() // settings.processes)
        version = version_at(settings.artifact)
        # A link may point elsewhere by the time that a process is replaced.
        artifact = settings.artifact if version is None else version.folder
        own = {"artifact": artifact, "port": port, "threads": threads}
        own |= {"port_file": None, "metrics_port": None}
        group = _Group(settings.model_copy(update=own), version)
        administration = Administration(snapshot=group.noticed, is_ready=lambda: group.is_ready)
        if settings.metrics_port is not None:
            await administration.start(settings.metrics_host, settings.metrics_port)
            _log.info("metrics", extra={"host": settings.metrics_host, "port": administration.port})
        stopped = asyncio.create_task(stopping.wait())
        started = asyncio.create_task(group.start())
        try:
            await asyncio.wait((started, stopped), return_when=asyncio.FIRST_COMPLETED)
            if started.done():
                await started
                with port_file(settings.port_file, port):
                    _log.info("serving", extra={"port": port, "processes": settings.processes})
                    async with beside(*group.following(settings, version)):
                        await stopped
            started.cancel()
        finally:
            stopped.cancel()
            await group.stop()
            await administration.stop()


def _reserved(host: str, port: int) -> socket.socket:
    """Return a socket that holds the port for the processes to share, and never listens itself.

    Raises:
        RunError: The port is taken, or the address is none of this machine.
    """
    try:
        family, kind, _, _, address = socket.getaddrinfo(host.strip("[]"), port, type=socket.SOCK_STREAM)[0]
        # Asked without sharing first: another server that shares its port must not share ours unseen.
        with socket.socket(family, kind) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(address)
        reserved = socket.socket(family, kind)
        reserved.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        reserved.bind(address)
    except OSError as error:
        raise RunError(
            f"cannot listen on {host}:{port}: is the port taken, the address this machine's?"
        ) from error
    return reserved
