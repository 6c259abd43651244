"""A server's life: silent until its golden cases agree, found by standard tools, stopped without a loss."""

import asyncio
import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Awaitable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
from artifact_builder import AS_OF_US, running_server
from gated_server import WAIT_SECONDS, GatedPredictor
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

from builders import random_histories, small_schema
from holdfast.errors import ArtifactError, RunError, SchemaMismatchError
from holdfast.v1 import scoring_pb2 as pb
from holdfast.v1.scoring_pb2_grpc import ScoringServiceStub
from holdfast.wire import Limits, write_request
from serving import entry_loops, row_loops, wire_loops
from serving import server as server_module
from serving.artifact import Artifact
from serving.preparing import prepare
from serving.rehearsing import rehearse
from serving.server import ScoringServer, port_file, serve
from serving.settings import Settings

ROOT = Path(__file__).parents[2]
SERVING = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING
SERVICES = ("", "holdfast.v1.ScoringService")


def request() -> pb.ScoreRequest:
    """Return a request about three customers."""
    histories = random_histories(np.random.default_rng(0), 3)
    return write_request(histories, ["a", "b", "c"], as_of_us=AS_OF_US, schema=small_schema())


async def soon(awaited: Awaitable[Any]) -> Any:
    """Wait, but not for ever."""
    return await asyncio.wait_for(awaited, WAIT_SECONDS)


@pytest.fixture
async def server(artifact_folder: Path) -> AsyncIterator[ScoringServer]:
    """Return a started server that has not loaded its artifact yet."""
    server = ScoringServer(Settings(artifact=artifact_folder, port=0, threads=1, budget_events=256))
    await server.start()
    yield server
    await soon(server.stop(0.0))


async def test_health_says_serving_only_after_the_artifact_is_loaded(server: ScoringServer) -> None:
    """Before: NOT_SERVING, and calls are UNAVAILABLE. After: SERVING, and calls are answered."""
    async with grpc.aio.insecure_channel(f"127.0.0.1:{server.port}") as channel:
        health = health_pb2_grpc.HealthStub(channel)
        scoring = ScoringServiceStub(channel)
        watch = health.Watch(health_pb2.HealthCheckRequest())
        assert (await soon(watch.read())).status == NOT_SERVING
        for service in SERVICES:
            status = await health.Check(health_pb2.HealthCheckRequest(service=service))
            assert status.status == NOT_SERVING
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await scoring.Score(request())
        assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
        await server.load()
        assert (await soon(watch.read())).status == SERVING
        for service in SERVICES:
            assert (await health.Check(health_pb2.HealthCheckRequest(service=service))).status == SERVING
        assert len((await scoring.Score(request())).customers) == 3
        watch.cancel()


async def test_an_artifact_that_is_refused_never_says_serving(server: ScoringServer, tmp_path: Path) -> None:
    """A failed load leaves the server as it was."""
    server._settings = server._settings.model_copy(update={"artifact": tmp_path})
    with pytest.raises(ArtifactError):
        await server.load()
    async with grpc.aio.insecure_channel(f"127.0.0.1:{server.port}") as channel:
        status = await health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest())
    assert status.status == NOT_SERVING


def test_what_is_compiled_is_compiled_before_the_first_request(artifact_folder: Path) -> None:
    """A request is read and an answer written before anybody can ask."""
    for loop in (wire_loops.outline, row_loops.read_rows, entry_loops.write_entries):
        loop._run = None
    prepared = prepare(Settings(artifact=artifact_folder, threads=1, budget_events=64))
    for loop in (wire_loops.outline, row_loops.read_rows, entry_loops.write_entries):
        assert loop._run is not None
    answer = pb.ScoreResponse.FromString(rehearse(prepared.artifact, limits=Limits()))
    assert [one.customer_id for one in answer.customers] == ["first", "second"]
    assert all(one.HasField("prediction") for one in answer.customers)


async def test_the_schema_that_must_be_served_is_checked(artifact_folder: Path) -> None:
    """A deployment that names its schema does not serve another."""
    server = ScoringServer(Settings(artifact=artifact_folder, schema_fingerprint="f" * 16))
    with pytest.raises(SchemaMismatchError):
        await server.load()
    await server.stop(0.0)


async def test_reflection_lists_the_services(server: ScoringServer) -> None:
    """Tools such as grpcurl need no proto file."""
    async with grpc.aio.insecure_channel(f"127.0.0.1:{server.port}") as channel:
        stub = reflection_pb2_grpc.ServerReflectionStub(channel)
        asked = reflection_pb2.ServerReflectionRequest(list_services="")
        answers = [answer async for answer in stub.ServerReflectionInfo(iter([asked]))]
        names = {service.name for service in answers[0].list_services_response.service}
        asked = reflection_pb2.ServerReflectionRequest(file_containing_symbol="holdfast.v1.ScoringService")
        answers = [answer async for answer in stub.ServerReflectionInfo(iter([asked]))]
    assert {"holdfast.v1.ScoringService", "grpc.health.v1.Health"} <= names
    assert answers[0].file_descriptor_response.file_descriptor_proto


async def test_a_taken_port_is_said(server: ScoringServer, artifact_folder: Path) -> None:
    """Two servers never share a port without anybody noticing."""
    second = ScoringServer(Settings(artifact=artifact_folder, port=server.port))
    with pytest.raises(RunError, match=f"cannot listen on 127.0.0.1:{server.port}"):
        await second.start()
    await second.stop(0.0)


async def test_a_stop_without_a_start_ends(artifact_folder: Path) -> None:
    """Whatever fails first, stopping is safe."""
    await soon(ScoringServer(Settings(artifact=artifact_folder)).stop(5.0))


async def test_a_watcher_of_health_does_not_hold_a_stop_up(artifact_folder: Path) -> None:
    """A balancer's stream never ends by itself; the grace is for calls that are scored."""
    server = ScoringServer(Settings(artifact=artifact_folder, port=0))
    await server.start()
    await server.load()
    async with grpc.aio.insecure_channel(f"127.0.0.1:{server.port}") as channel:
        watch = health_pb2_grpc.HealthStub(channel).Watch(health_pb2.HealthCheckRequest())
        assert (await soon(watch.read())).status == SERVING
        await asyncio.wait_for(server.stop(10 * WAIT_SECONDS), WAIT_SECONDS)
        assert (await watch.read()).status == NOT_SERVING


@pytest.fixture
def predictor(artifact_folder: Path, monkeypatch: pytest.MonkeyPatch) -> GatedPredictor:
    """Make servers of this test load an artifact whose runs wait."""
    artifact = Artifact.load(artifact_folder)
    gated = GatedPredictor(artifact.predictor)
    gated.gate.clear()
    monkeypatch.setattr(Artifact, "load", lambda *_, **__: replace(artifact, predictor=gated))
    return gated


async def serving(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> tuple["asyncio.Task[None]", int]:
    """Run :func:`serve`, and return it with its port as soon as it is serving."""
    known: asyncio.Future[int] = asyncio.get_running_loop().create_future()

    def file(_path: Path | None, port: int) -> AbstractContextManager[None]:
        known.set_result(port)
        return nullcontext()

    monkeypatch.setattr(server_module, "port_file", file)
    task = asyncio.create_task(serve(settings))
    await asyncio.wait((task, known), return_when=asyncio.FIRST_COMPLETED, timeout=WAIT_SECONDS)
    return task, known.result()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_a_signal_drains_what_is_in_flight(
    predictor: GatedPredictor,
    artifact_folder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    number: int,
) -> None:
    """Health turns first, new calls are refused, the call in flight is answered, then the server ends."""
    settings = Settings(
        artifact=artifact_folder, port=0, port_file=tmp_path / "port", grace_seconds=WAIT_SECONDS
    )
    task, port = await serving(settings, monkeypatch)
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        scoring, health = ScoringServiceStub(channel), health_pb2_grpc.HealthStub(channel)
        watch = health.Watch(health_pb2.HealthCheckRequest())
        assert (await soon(watch.read())).status == SERVING
        answer = asyncio.ensure_future(scoring.Score(request()))
        assert await asyncio.to_thread(predictor.entered.acquire, timeout=WAIT_SECONDS)
        os.kill(os.getpid(), number)
        assert (await soon(watch.read())).status == NOT_SERVING
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await soon(scoring.GetModel(pb.GetModelRequest()))
        assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
        assert not task.done()
        predictor.gate.set()
        assert len((await soon(answer)).customers) == 3
        await soon(task)


async def test_what_is_not_done_within_the_grace_is_cancelled(
    predictor: GatedPredictor, artifact_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A call that hangs does not keep the server from ending; its caller hears so."""
    settings = Settings(artifact=artifact_folder, port=0, port_file=tmp_path / "port", grace_seconds=0.1)
    task, port = await serving(settings, monkeypatch)
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        answer = asyncio.ensure_future(ScoringServiceStub(channel).Score(request()))
        assert await asyncio.to_thread(predictor.entered.acquire, timeout=WAIT_SECONDS)
        os.kill(os.getpid(), signal.SIGTERM)
        with pytest.raises(grpc.aio.AioRpcError):
            await soon(answer)
        predictor.gate.set()
        await soon(task)


async def test_a_signal_while_loading_ends_the_server(
    artifact_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody has to wait for a large artifact in order to stop."""
    loading, gate = threading.Event(), threading.Event()

    def load(*_: object, **__: object) -> Artifact:
        loading.set()
        assert gate.wait(WAIT_SECONDS)
        raise ArtifactError(artifact_folder, "stopped anyway")

    monkeypatch.setattr(Artifact, "load", load)
    task = asyncio.create_task(serve(Settings(artifact=artifact_folder, port=0)))
    assert await asyncio.to_thread(loading.wait, WAIT_SECONDS)
    os.kill(os.getpid(), signal.SIGTERM)
    await soon(task)
    gate.set()


def names_in(folder: Path) -> list[str]:
    """Return what lies in a folder."""
    return [path.name for path in folder.iterdir()]


def test_a_port_file_is_removed_by_whom_it_belongs_to(tmp_path: Path) -> None:
    """A server that never served leaves another one's alone; so does one whose file was written over."""
    path = tmp_path / "port"
    with port_file(path, 1):
        assert path.read_text() == "1\n"
        with port_file(path, 2):
            path.write_text("1\n")
        assert path.read_text() == "1\n"
    assert not path.exists()
    with pytest.raises(RunError, match="no file"), port_file(Path(os.devnull), 1):
        pass
    assert Path(os.devnull).is_char_device()


@pytest.mark.parametrize("name", ["none/port", "folder", ""])
async def test_a_port_file_that_cannot_be_written_is_said(
    artifact_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """Whoever waits for the file would wait for ever; nothing of it is left, and a folder stays."""
    (tmp_path / "folder").mkdir()
    monkeypatch.chdir(tmp_path)
    with pytest.raises(RunError, match="port file"):
        await soon(serve(Settings(artifact=artifact_folder, port=0, port_file=Path(name))))
    assert names_in(tmp_path) == ["folder"]


def run_server(*flags: str) -> "subprocess.Popen[str]":
    """Start ``python -m serving`` as a person would."""
    command = [sys.executable, "-W", "error", "-m", "serving", *flags]
    return subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def test_the_program_serves_says_where_and_stops(artifact_folder: Path, tmp_path: Path) -> None:
    """From the command line: a port of its own, one JSON line per event, exit code 0 after SIGTERM."""
    port_file = tmp_path / "port"
    flags = ("--artifact", str(artifact_folder), "--port", "0", "--port-file", str(port_file))
    process = run_server(*flags)
    assert process.stderr is not None
    lines = []
    for line in process.stderr:
        lines.append(json.loads(line))
        if lines[-1]["event"] == "serving":
            break
    port = lines[-1]["port"]
    with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
        assert (
            len(
                ScoringServiceStub(channel)
                .Score(request(), timeout=WAIT_SECONDS, wait_for_ready=True)
                .customers
            )
            == 3
        )
        assert port_file.read_text() == f"{port}\n"
    process.send_signal(signal.SIGTERM)
    out, rest = process.communicate(timeout=WAIT_SECONDS)
    events = [line["event"] for line in lines] + [json.loads(line)["event"] for line in rest.splitlines()]
    assert process.returncode == 0
    assert events == ["listening", "measured", "serving", "stopping", "stopped"]
    assert out == ""
    assert not port_file.exists()


IMPORTS_THAT_LAST = """
import runpy, signal, sys, time, types
class Lasting(types.ModuleType):
    def __getattr__(self, name):
        signal.raise_signal(getattr(signal, sys.argv[1]))
        time.sleep(60)
sys.modules["serving.command"] = Lasting("serving.command")
runpy.run_module("serving", run_name="__main__")
"""


@pytest.mark.parametrize("name", ["SIGTERM", "SIGINT"])
def test_a_signal_before_everything_is_imported_is_a_stop_like_any_other(name: str) -> None:
    """At once, with exit code 0 and without a word: there is nothing to end yet."""
    command = [sys.executable, "-c", IMPORTS_THAT_LAST, name]
    done = subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, timeout=WAIT_SECONDS, check=False
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


@pytest.mark.parametrize(
    ("flags", "reason"),
    [
        (("--artifact", "nowhere"), "nowhere/manifest.json: it cannot be read"),
        (("--port", "0"), "--artifact (HOLDFAST_ARTIFACT): got None"),
        (("--artifact", "nowhere", "--host", "256.1.1.1"), "cannot listen on 256.1.1.1:50051"),
        (
            ("--artifact", "nowhere", "--tls-key", "k"),
            "--tls-certificate (HOLDFAST_TLS_CERTIFICATE): got None",
        ),
        (
            ("--artifact", "nowhere", "--token-file", "t", "--processes", "2"),
            "got 't', but it cannot be read",
        ),
    ],
)
def test_a_start_that_fails_is_one_line_and_exit_code_2(flags: tuple[str, ...], reason: str) -> None:
    """The last line says what is wrong; there is no traceback."""
    process = run_server(*flags)
    _, shown = process.communicate(timeout=WAIT_SECONDS)
    assert process.returncode == 2
    last = shown.splitlines()[-1]
    assert last.startswith("cannot serve: ")
    assert reason in last
    assert "Traceback" not in shown


def test_servers_of_one_process_do_not_disturb_each_other(artifact_folder: Path) -> None:
    """Tests, and programs that embed a server, may run several."""
    with running_server(artifact_folder) as one, running_server(artifact_folder) as other:
        assert one.port != other.port
        for server in (one, other):
            with grpc.insecure_channel(f"127.0.0.1:{server.port}") as channel:
                assert len(ScoringServiceStub(channel).Score(request()).customers) == 3
