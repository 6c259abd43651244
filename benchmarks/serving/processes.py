"""Servers and workers as processes, each pinned to a core, and what they take of it.

It deliberately does not know what they do.
"""

import multiprocessing
import os
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self, TypeVar

T = TypeVar("T")
STOP_SECONDS = 20.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Cores:
    """Which core does what.

    Attributes:
        server: Of every server and of the bare engine.
        client: Of the load.
    """

    server: int
    client: int


def choose_cores() -> Cores:
    """Return the first two cores that are open to this process.

    Raises:
        SystemExit: There are fewer, or the system cannot pin a process to a core.
    """
    if not hasattr(os, "sched_setaffinity"):
        raise SystemExit("this benchmark pins processes to cores, which needs Linux")
    cores = sorted(os.sched_getaffinity(0))
    if len(cores) < 2:
        raise SystemExit("this benchmark needs two cores, one for the server and one for the client")
    return Cores(server=cores[0], client=cores[1])


@contextmanager
def pinned(core: int) -> Iterator[None]:
    """Let every process that is started within inherit one core."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {core})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def free_port() -> int:
    """Return a port on the loopback interface that nobody has taken yet."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port: int = found.getsockname()[1]
        return port


class ServerProcess:
    """A server in a session of its own on one core; a context manager that stops it, children included."""

    def __init__(
        self,
        command: Sequence[str | Path],
        *,
        core: int,
        folder: Path,
        log: Path,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        """Start it.

        Args:
            command: Program and arguments.
            core: The core that it and its children run on.
            folder: Its working directory.
            log: Where its output is written.
            environment: Variables beside those of this process.
        """
        self._log = log
        log.parent.mkdir(parents=True, exist_ok=True)
        threads = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
        with pinned(core), log.open("wb") as output:
            self._process = subprocess.Popen(
                [str(part) for part in command],
                cwd=folder,
                env={**os.environ, **threads, **(environment or {})},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._process.pid

    def wait_for(self, is_ready: Callable[[], bool], *, seconds: float) -> None:
        """Wait until the server is ready.

        Raises:
            SystemExit: It ended, or was not ready in time; with the end of its log.
        """
        limit = time.monotonic() + seconds
        while not is_ready():
            if self._process.poll() is not None or time.monotonic() > limit:
                tail = self._log.read_text(encoding="utf-8", errors="replace")[-2_000:]
                raise SystemExit(f"{self._process.args!r} did not get ready:\n{tail}")
            time.sleep(0.05)

    def resident_bytes(self) -> int:
        """Return the memory that it holds now."""
        for line in Path(f"/proc/{self.pid}/status").read_text(encoding="ascii").splitlines():
            if line.startswith("VmRSS:"):
                return int(line.split()[1]) * 1024
        raise ProcessLookupError(f"process {self.pid} has ended")

    def processor_seconds(self) -> float:
        """Return the processor time of all its threads so far, without children."""
        # The name in parentheses may hold anything; what follows does not.
        fields = Path(f"/proc/{self.pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def stop(self) -> None:
        """Ask it to stop, and end what is left of its session."""
        if self._process.poll() is None:
            self._process.terminate()
            try:
                self._process.wait(STOP_SECONDS)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
        try:
            os.killpg(self.pid, signal.SIGKILL)
        except ProcessLookupError:
            return

    def __enter__(self) -> Self:
        """Return the server."""
        return self

    def __exit__(self, *_: object) -> None:
        """Stop it."""
        self.stop()


class Worker:
    """One process on one core that calls functions, one after another; a context manager."""

    def __init__(self, core: int) -> None:
        """Start it with the first call.

        Args:
            core: The core that it runs on.
        """
        self._pool = ProcessPoolExecutor(
            max_workers=1,
            mp_context=multiprocessing.get_context("spawn"),
            initializer=os.sched_setaffinity,
            initargs=(0, {core}),
        )

    def call(self, function: Callable[..., T], *arguments: Any) -> T:
        """Call a function at module level there and return its result."""
        return self.start(function, *arguments).result()

    def start(self, function: Callable[..., T], *arguments: Any) -> "Future[T]":
        """Call a function at module level there, and go on."""
        return self._pool.submit(function, *arguments)

    def __enter__(self) -> Self:
        """Return the worker."""
        return self

    def __exit__(self, *_: object) -> None:
        """End the process."""
        self._pool.shutdown(wait=True, cancel_futures=True)
