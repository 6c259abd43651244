"""A process that serves, as its supervisor sees it: started, given orders, heard and stopped.

It deliberately decides nothing about the others, nor when any of this is to happen.
"""

import asyncio
import json
import sys
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

from holdfast.errors import ArtifactError, RunError
from serving.orders import END_TRIAL, NOTICED, PREPARE, PREPARE_CANDIDATE, SWAP, TRY_OUT
from serving.recording import EMPTY, Snapshot
from serving.settings import Settings
from serving.versions import Version

LONGEST_ANSWER = 64 * 1_024 * 1_024
"""Most bytes of a line. A refusal quotes the manifest, and that may hold a name of any length."""

LOOK_SECONDS = 1.0
"""How long a process may take to say what it noticed."""


class Child:
    """One of the processes.

    Attributes:
        pid: Its number.
        noticed: What it said last of what it noticed.
        is_listening: Whether calls come to it.
    """

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        """Keep a process that was started a moment ago."""
        self._process = process
        self.pid = process.pid
        self.noticed: Snapshot = EMPTY
        self.is_listening = False
        self._asked: dict[str, asyncio.Future[Any]] = {}
        self._listener: asyncio.Task[None] | None = None

    @classmethod
    async def start(cls, settings: Settings) -> "Child":
        """Start a process; it loads and measures the model, and does not listen yet."""
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, *_warning_flags(), "-m", "serving.member"),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            limit=LONGEST_ANSWER,
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
        self.is_listening = True
        self._listener = asyncio.create_task(self._hear_answers())

    async def look(self) -> None:
        """Have the process say what it noticed; where it takes too long, what it said last still holds."""
        # One that has ended says no more: its place is taken by another.
        with suppress(RunError, TimeoutError):
            self.noticed = await asyncio.wait_for(self._ask(NOTICED, None), LOOK_SECONDS)

    async def prepare(self, version: Version) -> str:
        """Have the process load another version, beside the one that it serves.

        Returns:
            The model and its version.

        Raises:
            ArtifactError: The version cannot be served.
            RunError: The process has ended.
        """
        return await self._prepare(PREPARE, version)

    async def prepare_candidate(self, version: Version) -> str:
        """Have the process load a candidate, as :meth:`prepare` does a version."""
        return await self._prepare(PREPARE_CANDIDATE, version)

    async def _prepare(self, order: str, version: Version) -> str:
        said = await self._ask(order, (str(version.folder), version.identity))
        if "refused" in said:
            raise ArtifactError(*said["refused"])
        model: str = said["model"]
        return model

    async def swap(self) -> None:
        """Have the process serve what it loaded last.

        Raises:
            RunError: The process has ended.
        """
        await self._ask(SWAP, None)

    async def try_out(self) -> None:
        """Have the process take as its candidate what it loaded last for that.

        Raises:
            RunError: The process has ended.
        """
        await self._ask(TRY_OUT, None)

    async def end_trial(self) -> None:
        """Have the process have no candidate any more.

        Raises:
            RunError: The process has ended.
        """
        await self._ask(END_TRIAL, None)

    async def _ask(self, name: str, order: Any) -> Any:
        """Give an order and return its answer; whoever asks again before it came waits for the same one.

        Raises:
            RunError: The process has ended.
        """
        if not self.is_listening:
            raise RunError(f"process {self.pid} has ended")
        answer = self._asked.get(name)
        if answer is None:
            answer = self._asked[name] = asyncio.get_running_loop().create_future()
            self._tell(json.dumps({name: order}))
        return await asyncio.shield(answer)

    async def _hear_answers(self) -> None:
        try:
            while True:
                for name, said in (await self.hear()).items():
                    self._asked.pop(name).set_result(said)
        except RunError as error:
            self.is_listening = False
            for answer in self._asked.values():
                answer.set_exception(error)
                # Nobody may be waiting for it any more.
                answer.exception()
            self._asked.clear()

    async def wait(self) -> int:
        """Return the exit code when the process has ended."""
        return await self._process.wait()

    async def stop(self, seconds: float) -> None:
        """Have the process end its calls and itself, at the latest after so many seconds."""
        self.is_listening = False
        if self._listener is not None:
            self._listener.cancel()
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


def _warning_flags() -> Sequence[str]:
    """Return the flags by which this interpreter was told about warnings, for the others."""
    return tuple(f"-W{option}" for option in sys.warnoptions)
