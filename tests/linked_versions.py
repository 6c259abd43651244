"""A link to one of several versions of a model, and a server that follows it."""

import asyncio
import json
import shutil
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import grpc
import pytest
from gated_server import WAIT_SECONDS

from holdfast.v1.scoring_pb2_grpc import ScoringServiceStub
from serving import versions
from serving.server import ScoringServer
from serving.settings import Settings
from serving.versions import Version, Versions, beside, follow, version_at

FIXED = {"port": 0, "threads": 1, "budget_events": 256, "reload_seconds": 0.005}


def with_version(folder: Path, version: str, *, like: Path) -> Path:
    """Copy an artifact and give the copy another version."""
    shutil.copytree(like, folder)
    manifest = folder / "manifest.json"
    manifest.write_text(json.dumps(json.loads(manifest.read_text()) | {"version": version}))
    return folder


def point(link: Path, folder: Path) -> None:
    """Have a link point at a folder, in one step."""
    partial = link.with_name("partial")
    partial.symlink_to(folder)
    partial.replace(link)


def remove(link: Path) -> None:
    """Take the link away."""
    link.unlink()


def damaged(folder: Path) -> None:
    """Alter a byte of the graph."""
    data = bytearray((folder / "model.onnx").read_bytes())
    data[100] ^= 1
    (folder / "model.onnx").write_bytes(data)


def renamed(folder: Path) -> None:
    """Call the model another name."""
    path = folder / "manifest.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"name": "other"}))


def emptied(folder: Path) -> None:
    """Leave nothing in the folder."""
    for path in folder.iterdir():
        path.unlink()


def misses_of(monkeypatch: pytest.MonkeyPatch) -> threading.Semaphore:
    """Return what is released whenever a follower finds nothing where it looks."""
    missed = threading.Semaphore(0)

    def looked(path: Path) -> Version | None:
        found = version_at(path)
        if found is None:
            missed.release()
        return found

    monkeypatch.setattr(versions, "version_at", looked)
    return missed


class Followed:
    """A server that follows a link, and what became of the versions that it found."""

    def __init__(self, server: ScoringServer) -> None:
        """Stand between the server and its recorder."""
        self.server = server
        self.outcomes: asyncio.Queue[str] = asyncio.Queue()

    def tell(self, outcome: str) -> None:
        """Note what became of a version."""
        self.outcomes.put_nowait(outcome)

    async def outcome(self) -> str:
        """Wait for what becomes of the next version."""
        return await asyncio.wait_for(self.outcomes.get(), WAIT_SECONDS)


@asynccontextmanager
async def followed(link: Path, **given: object) -> AsyncIterator[Followed]:
    """Serve what a link points at, and follow it."""
    settings = Settings(artifact=link, **FIXED | given)
    server = ScoringServer(settings)
    await server.start()
    version = version_at(link)
    try:
        known = Versions(settings, await server.load(), version)
        told = Followed(server)

        async def swap(found: Version) -> None:
            await server.swap(found, known)

        async with beside(follow(settings, version, swap, tell=told.tell)):
            yield told
    finally:
        await server.stop(5.0)


@asynccontextmanager
async def asked(server: ScoringServer) -> AsyncIterator[ScoringServiceStub]:
    """Open a channel to a server."""
    async with grpc.aio.insecure_channel(f"127.0.0.1:{server.port}") as channel:
        yield ScoringServiceStub(channel)


def served(server: ScoringServer) -> str:
    """Return the version that is served."""
    return server.scorer.artifact().manifest.version
