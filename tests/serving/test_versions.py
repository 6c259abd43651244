"""Versions come and go under a live server: none costs a call, a bad one does no harm, back is at once."""

import asyncio
import json
import shutil
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
from artifact_builder import AS_OF_US, build_artifact
from gated_server import WAIT_SECONDS, GatedPredictor, assert_alike, request
from open_inference_requests import infer_request, tensors_of

from builders import random_histories, small_schema, small_spec
from holdfast.client import AsyncScoringClient
from holdfast.errors import RunError
from holdfast.inference.open_inference_pb2_grpc import GRPCInferenceServiceStub
from holdfast.v1.scoring_pb2_grpc import ScoringServiceStub
from serving import versions as versions_module
from serving.artifact import Artifact
from serving.open_inference import servicer as open_inference
from serving.open_inference.inputs import read_inputs
from serving.server import ScoringServer
from serving.settings import Settings
from serving.versions import Version, Versions, beside, follow, version_at

FIXED = {"port": 0, "threads": 1, "budget_events": 256, "reload_seconds": 0.005}
AS_OF = datetime.fromtimestamp(AS_OF_US / 1e6, UTC)


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


@pytest.fixture
def link(artifact_folder: Path, tmp_path: Path) -> Path:
    """Return a link to version 1; version 2 lies beside it as ``second``."""
    with_version(tmp_path / "first", "1", like=artifact_folder)
    with_version(tmp_path / "second", "2", like=artifact_folder)
    point(tmp_path / "current", tmp_path / "first")
    return tmp_path / "current"


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
        versions = Versions(settings, await server.load(), version)
        told = Followed(server)

        async def swap(found: Version) -> None:
            await server.swap(found, versions)

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


async def test_another_version_is_served_without_a_call_lost(link: Path) -> None:
    """Callers ask all the while, each is answered by one version, and new calls soon by the new one."""
    versions_seen: list[str] = []
    async with followed(link) as found:
        async with asked(found.server) as stub:
            is_over = asyncio.Event()
            expected = await stub.Score(request())

            async def ask_on() -> None:
                while not is_over.is_set():
                    answer = await stub.Score(request(), timeout=WAIT_SECONDS)
                    versions_seen.append(answer.version)
                    assert_alike(answer, expected)

            asking = [asyncio.create_task(ask_on()) for _ in range(4)]
            for turn in range(6):
                point(link, link.with_name(("second", "first")[turn % 2]))
                assert await found.outcome() == "served"
            is_over.set()
            await asyncio.gather(*asking)
            assert (await stub.Score(request())).version == "1"
        shown = found.server.scorer.snapshot()
    assert {"1", "2"} == set(versions_seen)
    # What all of them ran is counted, whichever of them is gone.
    assert sum(shown["totals"]["customers"].values()) == 5 * (len(versions_seen) + 2)
    assert shown["states"]["model_processes"] == {"small\t1": 1}
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("score-")]


async def test_a_call_in_flight_is_answered_by_the_version_that_took_it(
    link: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is not asked of the other one again, and its workers end when it is answered."""
    held: list[GatedPredictor] = []
    load = Artifact.load

    def load_gated(folder: Path, **options: object) -> Artifact:
        artifact = load(folder, **options)
        held.append(GatedPredictor(artifact.predictor))
        return replace(artifact, predictor=held[-1])

    monkeypatch.setattr(Artifact, "load", load_gated)
    async with followed(link) as found, asked(found.server) as stub:
        held[0].gate.clear()
        waiting = asyncio.ensure_future(stub.Score(request(), timeout=WAIT_SECONDS))
        assert await asyncio.to_thread(held[0].entered.acquire, timeout=WAIT_SECONDS)
        point(link, link.with_name("second"))
        assert await found.outcome() == "served"
        assert (await stub.Score(request())).version == "2"
        assert found.server.scorer.snapshot()["states"]["waiting_padded_events"][""] > 0
        held[0].gate.set()
        assert (await waiting).version == "1"


async def test_going_back_loads_nothing(link: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The version before the one that is served is still there, warm."""
    async with followed(link) as found:
        point(link, link.with_name("second"))
        assert await found.outcome() == "served"

        def load(*_: object, **__: object) -> Artifact:
            raise AssertionError("it is loaded already")

        monkeypatch.setattr(Artifact, "load", load)
        point(link, link.with_name("first"))
        assert await found.outcome() == "served"
        assert served(found.server) == "1"


def damaged(folder: Path) -> None:
    """Alter a byte of the graph."""
    path = folder / "model.onnx"
    data = bytearray(path.read_bytes())
    data[100] ^= 1
    path.write_bytes(data)


def renamed(folder: Path) -> None:
    """Call the model another name."""
    path = folder / "manifest.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"name": "other"}))


def emptied(folder: Path) -> None:
    """Leave nothing in the folder."""
    for path in folder.iterdir():
        path.unlink()


@pytest.mark.parametrize(
    ("harm", "reason"),
    [
        (damaged, "model.onnx: "),
        (renamed, "it is model 'other', and this server serves 'small'"),
        (emptied, "manifest.json: it cannot be read"),
    ],
)
async def test_a_version_that_cannot_be_served_is_refused_once(
    link: Path, caplog: pytest.LogCaptureFixture, harm: Callable[[Path], None], reason: str
) -> None:
    """What is served goes on, one line says why, and the version is tried again when it has changed."""
    second = link.with_name("second")
    harm(second)
    async with followed(link) as found:
        point(link, second)
        assert await found.outcome() == "refused"
        refusals = [record for record in caplog.records if record.message == "version refused"]
        assert reason in refusals[0].reason  # type: ignore[attr-defined]
        assert served(found.server) == "1"
        shutil.rmtree(second)
        with_version(link.with_name("third"), "2", like=link.with_name("first")).rename(second)
        # Whatever was found half made on the way was refused as well.
        while await found.outcome() == "refused":
            pass
        assert served(found.server) == "2"


async def test_what_ails_the_process_alone_is_tried_again(link: Path) -> None:
    """A version is not to blame for a process that ended while it loaded it."""
    tried: list[Version] = []
    outcomes: list[str] = []
    done = asyncio.Event()

    async def swap(found: Version) -> None:
        tried.append(found)
        if len(tried) == 1:
            raise RunError("process 7 ended")
        done.set()

    settings = Settings(artifact=link, **FIXED)
    async with beside(follow(settings, None, swap, tell=outcomes.append)):
        await asyncio.wait_for(done.wait(), WAIT_SECONDS)
    assert tried == [version_at(link)] * 2
    assert outcomes[0] == "refused"


async def test_a_version_that_takes_long_is_told(
    link: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever waits for it learns that it is being loaded, and one that is quick is not told of."""
    monkeypatch.setattr(versions_module, "SLOW_SECONDS", 0.0)
    done = asyncio.Event()

    async def swap(found: Version) -> None:
        while not caplog.records:
            await asyncio.to_thread(version_at, found.folder)
        monkeypatch.setattr(versions_module, "SLOW_SECONDS", WAIT_SECONDS)
        if found.folder.name == "second":
            done.set()
        point(link, link.with_name("second"))

    async with beside(follow(Settings(artifact=link, **FIXED), None, swap, tell=lambda _: None)):
        await asyncio.wait_for(done.wait(), WAIT_SECONDS)
    assert [record.message for record in caplog.records] == ["version takes long to load"]


async def test_an_unforeseen_error_ends_nothing(link: Path, caplog: pytest.LogCaptureFixture) -> None:
    """It is logged with its trace, and the next version is found all the same."""
    tried: list[Version] = []
    done = asyncio.Event()

    async def swap(found: Version) -> None:
        tried.append(found)
        if len(tried) == 1:
            point(link, link.with_name("second"))
            raise MemoryError("no room")
        done.set()

    async with beside(follow(Settings(artifact=link, **FIXED), None, swap, tell=lambda _: None)):
        await asyncio.wait_for(done.wait(), WAIT_SECONDS)
    assert [version.folder.name for version in tried] == ["first", "second"]
    assert [record.exc_info is not None for record in caplog.records] == [True]


async def test_a_folder_that_is_gone_is_said_once(
    link: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is loaded is served on, and what comes in its place is found."""
    missed = threading.Semaphore(0)

    def looked(path: Path) -> Version | None:
        found = version_at(path)
        if found is None:
            missed.release()
        return found

    monkeypatch.setattr(versions_module, "version_at", looked)
    async with followed(link) as found:
        remove(link)
        for _ in range(3):
            assert await asyncio.to_thread(missed.acquire, timeout=WAIT_SECONDS)
        assert served(found.server) == "1"
        point(link, link.with_name("second"))
        assert await found.outcome() == "served"
    assert [record.message for record in caplog.records].count("artifact missing") == 1


async def test_a_request_that_was_read_for_the_version_before_is_read_again(
    link: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Reading of large tensors lets other calls in between, and with them another version."""
    num_read = 0
    loop = asyncio.get_running_loop()

    def read(*given: Any, **options: Any) -> Any:
        nonlocal num_read
        num_read += 1
        if num_read == 1:
            swapped = asyncio.run_coroutine_threadsafe(server.swap(other, versions), loop)
            swapped.result(WAIT_SECONDS)
        return read_inputs(*given, **options)

    monkeypatch.setattr(open_inference, "read_inputs", read)
    monkeypatch.setattr(open_inference, "BYTES_ON_THE_LOOP", 0)
    settings = Settings(artifact=link, **FIXED)
    server = ScoringServer(settings)
    await server.start()
    versions = Versions(settings, await server.load(), version_at(link))
    other = version_at(link.with_name("second"))
    assert other is not None
    histories = random_histories(np.random.default_rng(0), 3)
    async with grpc.aio.insecure_channel(f"127.0.0.1:{server.port}") as channel:
        answer = await GRPCInferenceServiceStub(channel).ModelInfer(infer_request(tensors_of(histories)))
    await server.stop(5.0)
    assert (answer.model_version, num_read) == ("2", 2)


def test_a_version_is_another_one_when_a_file_is_written(link: Path) -> None:
    """Links are resolved; what tells versions apart is where they lie and what was written."""
    found = version_at(link)
    assert found is not None
    assert found.folder == link.with_name("first")
    assert version_at(link.with_name("first")) == found
    (link / "report.html").write_text("<p>another</p>")
    assert version_at(link) != found
    assert version_at(link.with_name("none")) is None


def test_a_file_that_becomes_readable_makes_another_version(link: Path) -> None:
    """It was refused before, and nothing else about it changes."""
    found = version_at(link)
    (link / "model.onnx").chmod(0o600)
    assert version_at(link) != found


def test_a_link_that_leads_nowhere_is_a_file_like_others(link: Path) -> None:
    """Beside what the manifest names anything may lie; that it went or came is seen all the same."""
    (link / ".lock").symlink_to("nowhere")
    found = version_at(link)
    assert found is not None
    (link / ".lock").unlink()
    assert version_at(link) not in {found, None}


@pytest.mark.parametrize("target", ["current", "first/manifest.json"])
def test_what_is_no_folder_is_no_version(link: Path, target: str) -> None:
    """Links in a circle lead to nothing, and a link to a file to no folder."""
    remove(link)
    link.symlink_to(target)
    assert version_at(link) is None


async def test_a_client_learns_of_another_schema_by_itself(link: Path) -> None:
    """What it knew of the model is asked for again, and the batch is scored."""
    schema = replace(small_schema(), lookback_days=small_schema().lookback_days + 1)
    other = build_artifact(link.with_name("other"), spec=small_spec(schema=schema))
    rows = [{"customer_id": "anna", "occurred_at": AS_OF - timedelta(days=3), "event_type": "purchase"}]
    async with followed(link) as found, AsyncScoringClient(f"127.0.0.1:{found.server.port}") as client:
        before = await client.score(rows, as_of=AS_OF)
        point(link, other)
        assert await found.outcome() == "served"
        after = await client.score(rows, as_of=AS_OF)
        assert (await client.model()).schema == schema
    assert [result.fault for result in (*before, *after)] == [None, None]
