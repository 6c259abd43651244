"""Several processes behind one port: started, kept alive and stopped as a whole.

It deliberately scores nothing and loads no model. Every process is started anew rather than forked,
since gRPC and ONNX Runtime do not survive a fork. None of them listens before all are ready, so that
whoever is told SERVING speaks for the whole; one that dies is replaced while the others go on.
"""

import asyncio
import json
import logging
import signal
import socket
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

from holdfast.errors import RunError
from serving.administration import Administration
from serving.cores import num_cores
from serving.recording import EMPTY, Snapshot, added
from serving.server import port_file
from serving.settings import Settings

FIRST_PAUSE_SECONDS = 0.1
LONGEST_PAUSE_SECONDS = 30.0
"""How long a process that died is let alone: twice as long every time, until one has lived that long."""

LOOK_SECONDS = 1.0
"""How long a process may take to say what it noticed."""

KILL_AFTER_SECONDS = 5.0
"""What a process may take beyond the grace of its calls."""

_log = logging.getLogger(__name__)


class _Member:
    """One of the processes."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process
        self.pid = process.pid
        self.noticed: Snapshot = EMPTY
        self._is_listening = False
        self._hearing: asyncio.Task[dict[str, Any]] | None = None

    @classmethod
    async def start(cls, settings: Settings) -> "_Member":
        """Start a process; it loads and measures the model, and does not listen yet."""
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, *_warning_flags(), "-m", "serving.member"),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            # A terminal's Ctrl-C is for the supervisor, who tells them all.
            start_new_session=True,
        )
        member = cls(process)
        member._tell(settings.model_dump_json())
        return member

    async def hear(self) -> dict[str, Any]:
        """Return what the process says next.

        Raises:
            RunError: It has ended.
        """
        assert self._process.stdout is not None
        line = await self._process.stdout.readline()
        if not line:
            code = await self._process.wait()
            raise RunError(f"process {self.pid} ended with exit code {code}: its own last line says why")
        said: dict[str, Any] = json.loads(line)
        return said

    async def listen(self) -> None:
        """Have the process listen, and return when it does.

        Raises:
            RunError: It has ended.
        """
        self._tell("listen")
        await self.hear()
        self._is_listening = True

    async def look(self) -> None:
        """Have the process say what it noticed; where it takes too long, what it said last still holds."""
        if not self._is_listening:
            return
        hearing = self._hearing
        if hearing is None:
            self._tell("noticed")
            hearing = self._hearing = asyncio.create_task(self.hear())
        await asyncio.wait((hearing,), timeout=LOOK_SECONDS)
        if hearing.done() and self._hearing is hearing:
            self._hearing = None
            # One that has ended says no more: its place is taken by another.
            with suppress(RunError):
                self.noticed = hearing.result()

    async def wait(self) -> int:
        """Return the exit code when the process has ended."""
        return await self._process.wait()

    async def stop(self, seconds: float) -> None:
        """Have the process end its calls and itself, at the latest after so many seconds."""
        self._is_listening = False
        if self._hearing is not None:
            self._hearing.cancel()
        with suppress(ProcessLookupError):
            self._process.terminate()
        try:
            await asyncio.wait_for(self._process.wait(), seconds)
        except TimeoutError:
            with suppress(ProcessLookupError):
                self._process.kill()
            await self._process.wait()

    def _tell(self, line: str) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(f"{line}\n".encode())


class _Group:
    """All processes of a server."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._members: list[_Member] = []
        self._keepers: list[asyncio.Task[None]] = []
        self._ended: Snapshot = EMPTY
        self._model = ""
        self.is_ready = False

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
        self.is_ready = True
        self._keepers = [asyncio.create_task(self._keep(place)) for place in range(self._settings.processes)]

    async def stop(self) -> None:
        """End all of them at the same time."""
        self.is_ready = False
        for keeper in self._keepers:
            keeper.cancel()
        await asyncio.gather(*self._keepers, return_exceptions=True)
        seconds = self._settings.grace_seconds + KILL_AFTER_SECONDS
        await asyncio.gather(*(member.stop(seconds) for member in self._members))

    async def noticed(self) -> Snapshot:
        """Return what all of them noticed, those that have died included."""
        await asyncio.gather(*(member.look() for member in self._members))
        return added([self._ended, *(member.noticed for member in self._members)])

    async def _add(self) -> None:
        self._members.append(await _Member.start(self._settings))

    async def _prepared(self, member: _Member) -> None:
        """Wait until a process is ready; one with another model than the first one is stopped.

        Raises:
            RunError: It has ended, or its model is another one.
        """
        model = (await member.hear())["model"]
        if model != self._model:
            _log.error("another model", extra={"pid": member.pid, "model": model, "wanted": self._model})
            await member.stop(KILL_AFTER_SECONDS)
            reason = f"the artifact is {model} now and was {self._model}: start the server anew"
            raise RunError(reason)

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
            other: _Member | None = None
            while other is None:
                await asyncio.sleep(pause)
                pause = min(2 * pause, LONGEST_PAUSE_SECONDS)
                try:
                    other = await _Member.start(self._settings)
                except OSError as error:
                    # The machine has no process to spare just now.
                    _log.error("process not started", extra={"reason": str(error)})
            # What the former had counted stays counted; how things stood with it does not.
            self._ended = added([self._ended, {**EMPTY, "totals": self._members[place].noticed["totals"]}])
            self._members[place] = other
            with suppress(RunError):
                await self._prepared(other)
                await other.listen()
                _log.info("process replaced", extra={"pid": other.pid})


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
        # A link may point elsewhere by the time that a process is replaced.
        artifact = settings.artifact.resolve()
        own = {"artifact": artifact, "port": port, "threads": threads}
        own |= {"port_file": None, "metrics_port": None}
        group = _Group(settings.model_copy(update=own))
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


def _warning_flags() -> Sequence[str]:
    """Return the flags by which this interpreter was told about warnings, for the others."""
    return tuple(f"-W{option}" for option in sys.warnoptions)
