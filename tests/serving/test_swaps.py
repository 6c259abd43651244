"""Versions come and go under a live server: none costs a call, a bad one does no harm, back is at once."""

import asyncio
import shutil
import threading
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
from artifact_builder import AS_OF_US, build_artifact
from gated_server import WAIT_SECONDS, GatedPredictor, assert_alike, request
from linked_versions import FIXED, asked, damaged, emptied, followed, point, renamed, served, with_version
from open_inference_requests import infer_request, tensors_of

from builders import random_histories, small_schema, small_spec
from holdfast.client import AsyncScoringClient
from holdfast.inference.open_inference_pb2_grpc import GRPCInferenceServiceStub
from serving.artifact import Artifact
from serving.open_inference import servicer as open_inference
from serving.open_inference.inputs import read_inputs
from serving.server import ScoringServer
from serving.settings import Settings
from serving.versions import Versions, version_at

AS_OF = datetime.fromtimestamp(AS_OF_US / 1e6, UTC)


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
