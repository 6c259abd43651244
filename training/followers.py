"""Starts the other processes of a fit, notices when one of them fails, and ends them.

The process that somebody started leads: it alone opens the run's folder, prepares, judges,
publishes and prints. Followers (``python -m training.follow``) live for one fit only. They read the
same store and settings, take their share of every pool, and leave nothing behind but a log.
It deliberately does not know what is fitted.
"""

import json
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import torch
from lightning_fabric.plugins.environments.lightning import find_free_network_port

from holdfast.errors import RunError
from training.entry import EXIT_ERROR, say_error

PROGRAM = ("-m", "training.follow")
LOG_NAME = "process_{rank}.log"
"""What a follower says, in the folder of the fit."""

GRACE_SECONDS = 10.0
"""How long the leader may take to notice by itself that a follower has failed."""

END_SECONDS = 120.0
"""How long followers may take to end after the last step."""

_ROOT = Path(__file__).resolve().parents[1]

Company = Callable[..., AbstractContextManager[None]]
"""Of ``fit_on``, ``folder`` and ``checkpoint``: a context in which the other processes of a fit run."""


def alone(**_: object) -> AbstractContextManager[None]:
    """Return the company of a trainer of one process: nobody."""
    return nullcontext()


@dataclass(frozen=True, slots=True, kw_only=True)
class Followers:
    """The other processes of every fit of a run.

    Attributes:
        settings: Resolved, as plain values.
        num_processes: With the leader.
        threads: Of PyTorch in each process.
    """

    settings: Mapping[str, Any]
    num_processes: int
    threads: int

    @contextmanager
    def __call__(self, *, fit_on: str, folder: Path, checkpoint: Path | None) -> Iterator[None]:
        """Run a context with the followers of one fit.

        Args:
            fit_on: Of the task.
            folder: Where checkpoints and the logs of followers lie.
            checkpoint: To go on from, or None.

        Raises:
            RunError: A follower failed; its last line and its log are named.
        """
        request = json.dumps(
            {
                "settings": dict(self.settings),
                "fit_on": fit_on,
                "folder": str(folder),
                "checkpoint": None if checkpoint is None else str(checkpoint),
            },
            default=str,
        )
        with _environment(self.num_processes, self.threads) as environment:
            team = _Team()
            try:
                for rank in range(1, self.num_processes):
                    team.start(rank, request, folder, environment | {"LOCAL_RANK": str(rank)})
                yield
                team.wait()
            except RuntimeError as error:
                # What the leader sees of a failed follower is a closed connection.
                team.raise_failed(error)
                raise
            finally:
                team.end()
                if torch.distributed.is_initialized():
                    torch.distributed.destroy_process_group()


class _Team:
    """Followers at work."""

    def __init__(self) -> None:
        self._processes: list[subprocess.Popen[str]] = []
        self._logs: list[Path] = []
        self._has_ended = threading.Event()
        self._has_failed = threading.Event()

    def start(self, rank: int, request: str, folder: Path, environment: Mapping[str, str]) -> None:
        """Start a follower; the pipe to it stays open for as long as this process lives."""
        log = folder / LOG_NAME.format(rank=rank)
        try:
            file: IO[bytes] = log.open("wb")
        except OSError as error:
            raise RunError(f"{log} cannot be written: {error.strerror}") from error
        with file:
            process = subprocess.Popen(
                [sys.executable, *PROGRAM],
                stdin=subprocess.PIPE,
                stdout=file,
                stderr=subprocess.STDOUT,
                env=dict(environment),
                text=True,
                # Ctrl-C is for the leader, which ends the others.
                start_new_session=True,
            )
        self._processes.append(process)
        self._logs.append(log)
        assert process.stdin is not None
        process.stdin.write(request + "\n")
        process.stdin.flush()
        threading.Thread(target=self._watch, args=(process,), daemon=True).start()

    def wait(self) -> None:
        """Wait until all have ended, as they do at the end of a fit.

        Raises:
            RunError: One of them failed.
        """
        for process in self._processes:
            try:
                process.wait(END_SECONDS)
            except subprocess.TimeoutExpired as error:
                raise RunError(f"a training process does not end: {self._said()}") from error
        if any(process.returncode for process in self._processes):
            raise RunError(self._said())

    def raise_failed(self, error: BaseException) -> None:
        """Raise in the words of the follower that failed, where one does within the time of grace.

        Raises:
            RunError: One of them failed.
        """
        if self._has_failed.wait(GRACE_SECONDS):
            raise RunError(self._said()) from error

    def end(self) -> None:
        """End all that still run."""
        self._has_ended.set()
        for process in self._processes:
            if process.poll() is None:
                process.kill()
            process.wait()
            assert process.stdin is not None
            process.stdin.close()

    def _watch(self, process: "subprocess.Popen[str]") -> None:
        if process.wait() and not self._has_ended.is_set():
            self._has_failed.set()
            # A collective on a GPU waits for a lost process without end, and no exception reaches it.
            if not self._has_ended.wait(GRACE_SECONDS):
                say_error(self._said())
                for other in self._processes:
                    other.kill()
                os._exit(EXIT_ERROR)

    def _said(self) -> str:
        """Return the end of a failed follower, in one line: of one with a reason, where there is one."""
        failed = [which for which, process in enumerate(self._processes) if process.poll()]
        named = [which for which in failed if self._processes[which].returncode == EXIT_ERROR]
        which = (named or failed or [0])[0]
        log = self._logs[which]
        lines = log.read_text(errors="replace").strip().splitlines()
        code = self._processes[which].returncode
        said = lines[-1].removeprefix("error: ") if lines else f"exit code {code}"
        return f"the training process of rank {which + 1} failed: {said} (see {log})"


@contextmanager
def _environment(num_processes: int, threads: int) -> Iterator[dict[str, str]]:
    """Set what Lightning reads about its processes, and leave the environment as it was."""
    packages = os.pathsep.join(filter(None, [str(_ROOT), os.environ.get("PYTHONPATH")]))
    own = {
        "LOCAL_RANK": "0",
        "NODE_RANK": "0",
        "WORLD_SIZE": str(num_processes),
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(find_free_network_port()),
        "OMP_NUM_THREADS": str(threads),
        "PYTHONPATH": packages,
    }
    before = {name: os.environ.get(name) for name in own}
    threads_before = torch.get_num_threads()
    os.environ.update(own)
    torch.set_num_threads(threads)
    try:
        yield dict(os.environ)
    finally:
        torch.set_num_threads(threads_before)
        for name, value in before.items():
            os.environ.pop(name, None)
            if value is not None:
                os.environ[name] = value
