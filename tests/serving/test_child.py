"""A process as its supervisor sees it: what is asked of it is answered, or said to be in vain."""

import asyncio
import os
import signal
from pathlib import Path

import pytest
from gated_server import WAIT_SECONDS

from holdfast.errors import RunError
from serving.child import Child
from serving.settings import Settings


async def test_whoever_asks_one_that_has_ended_is_told(artifact_folder: Path) -> None:
    """Nobody waits for an answer that never comes, whether it ended before it was asked or after."""
    child = await Child.start(Settings(artifact=artifact_folder, port=0, threads=1, budget_events=256))
    try:
        await child.hear()
        await child.listen()
        os.kill(child.pid, signal.SIGKILL)
        for _ in range(2):
            with pytest.raises(RunError, match=f"process {child.pid} "):
                await asyncio.wait_for(child.swap(), WAIT_SECONDS)
    finally:
        await child.stop(WAIT_SECONDS)
