"""A process as its supervisor sees it: what is asked of it is answered, or said to be in vain."""

import asyncio
import json
import os
import shutil
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from gated_server import WAIT_SECONDS

from holdfast.errors import ArtifactError, RunError
from serving.child import Child
from serving.settings import Settings
from serving.versions import Version


@asynccontextmanager
async def listening(artifact_folder: Path) -> AsyncIterator[Child]:
    """Run a process that serves."""
    child = await Child.start(Settings(artifact=artifact_folder, port=0, threads=1, budget_events=256))
    try:
        await child.hear()
        await child.listen()
        yield child
    finally:
        await child.stop(WAIT_SECONDS)


async def test_whoever_asks_one_that_has_ended_is_told(artifact_folder: Path) -> None:
    """Nobody waits for an answer that never comes, whether it ended before it was asked or after."""
    async with listening(artifact_folder) as child:
        os.kill(child.pid, signal.SIGKILL)
        for _ in range(2):
            with pytest.raises(RunError, match=f"process {child.pid} "):
                await asyncio.wait_for(child.swap(), WAIT_SECONDS)


async def test_an_answer_may_be_long(artifact_folder: Path, tmp_path: Path) -> None:
    """A refusal quotes what is refused, and more comes after it."""
    folder = shutil.copytree(artifact_folder, tmp_path / "other")
    manifest = folder / "manifest.json"
    manifest.write_text(json.dumps(json.loads(manifest.read_text()) | {"name": "long" * 50_000}))
    async with listening(artifact_folder) as child:
        for _ in range(2):
            with pytest.raises(ArtifactError, match="it is model 'longlong"):
                await asyncio.wait_for(child.prepare(Version(folder=folder, identity="")), WAIT_SECONDS)
