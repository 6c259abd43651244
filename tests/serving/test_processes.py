"""Several processes are one server: ready together, replaced one by one, stopped together."""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.request import urlopen

import grpc
import pytest
import trustme
from artifact_builder import build_artifact
from gated_server import WAIT_SECONDS, assert_alike, request
from grpc_health.v1 import health_pb2, health_pb2_grpc
from issued import TOKENS, bearer, credentials_of, issue, shown_by, write_tls, write_tokens

from builders import small_schema, small_spec
from holdfast.errors import RunError
from holdfast.v1 import scoring_pb2 as pb
from holdfast.v1.scoring_pb2_grpc import ScoringServiceStub
from serving.processes import supervise
from serving.settings import Settings

ROOT = Path(__file__).parents[2]
FIXED = ("--threads", "1", "--budget-events", "256")


@contextmanager
def running(*flags: str, num_processes: int = 2) -> Iterator["subprocess.Popen[str]"]:
    """Run ``python -m serving``."""
    processes = ("--processes", str(num_processes))
    command = [sys.executable, "-W", "error", "-m", "serving", *processes, *FIXED, *flags]
    with subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE, text=True) as process:
        try:
            yield process
        finally:
            process.kill()


def events_of(process: "subprocess.Popen[str]") -> Iterator[dict[str, Any]]:
    """Yield what is logged."""
    assert process.stderr is not None
    yield from map(json.loads, process.stderr)


def until(events: Iterator[dict[str, Any]], name: str, logger: str = "serving.processes") -> dict[str, Any]:
    """Return the next event of a name, mostly of the supervisor."""
    return next(event for event in events if event["event"] == name and event["logger"] == logger)


def ask(port: int) -> Any:
    """Ask by a connection of its own, since a connection stays with one process."""
    options = (("grpc.use_local_subchannel_pool", 1),)
    with grpc.insecure_channel(f"127.0.0.1:{port}", options=options) as channel:
        health = health_pb2_grpc.HealthStub(channel)
        status = health.Check(health_pb2.HealthCheckRequest(), timeout=WAIT_SECONDS, wait_for_ready=True)
        assert status.status == health_pb2.HealthCheckResponse.SERVING
        return ScoringServiceStub(channel).Score(request(), timeout=WAIT_SECONDS, wait_for_ready=True)


def probe(metrics_port: int, name: str) -> str:
    """Return what the port of administration says."""
    with urlopen(f"http://127.0.0.1:{metrics_port}/{name}", timeout=WAIT_SECONDS) as response:
        said: str = response.read().decode()
    return said


def num_answered(metrics_port: int) -> int:
    """Return how many calls all processes together have answered."""
    shown = probe(metrics_port, "metrics").splitlines()
    return sum(int(float(line.split()[-1])) for line in shown if line.startswith("holdfast_requests_total"))


def test_a_process_that_dies_is_replaced_and_all_stop_together(artifact_folder: Path, tmp_path: Path) -> None:
    """One port, one SERVING; after a kill the others answer, and another one comes; then none is left.

    Metrics speak for all of them, and do not forget what the one that died had counted.
    """
    port_file = tmp_path / "port"
    flags = ("--artifact", str(artifact_folder), "--port", "0", "--port-file", str(port_file))
    with running(*flags, "--metrics-port", "0") as process:
        events = events_of(process)
        metrics_port = until(events, "metrics")["port"]
        port = until(events, "serving")["port"]
        assert port_file.read_text() == f"{port}\n"
        expected = ask(port)
        for _ in range(8):
            assert_alike(ask(port), expected)
        assert num_answered(metrics_port) == 9
        children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
        assert len(children) == 2
        os.kill(int(children[0]), signal.SIGKILL)
        died = until(events, "process died")
        assert (str(died["pid"]), died["exit_code"]) == (children[0], -signal.SIGKILL)
        assert_alike(ask(port), expected)
        until(events, "process replaced")
        for _ in range(8):
            assert_alike(ask(port), expected)
        assert num_answered(metrics_port) == 18
        assert probe(metrics_port, "readyz") == "ready\n"
        process.send_signal(signal.SIGTERM)
        rest = [event["event"] for event in events]
        assert process.wait(WAIT_SECONDS) == 0
    assert rest.count("stopped") == 2
    assert not port_file.exists()
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", port))


def test_an_artifact_that_is_refused_ends_the_whole(tmp_path: Path) -> None:
    """The process says why, the supervisor that it could not start, and nothing is left running."""
    with running("--artifact", str(tmp_path), "--port", "0") as process:
        _, shown = process.communicate(timeout=WAIT_SECONDS)
    assert process.returncode == 2
    assert "manifest.json: it cannot be read" in shown
    assert "Traceback" not in shown
    assert shown.splitlines()[-1].startswith("cannot serve: process ")


async def test_a_taken_port_is_said(tmp_path: Path) -> None:
    """Nobody shares the port of a server that is not theirs."""
    with socket.socket() as taken:
        taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(RunError, match=f"cannot listen on 127.0.0.1:{port}"):
            await supervise(Settings(artifact=tmp_path, port=port, processes=2))


def replaced_by(
    process: "subprocess.Popen[str]", events: Iterator[dict[str, Any]], name: str
) -> dict[str, Any]:
    """Kill one of the processes and return the next event of a name."""
    os.kill(children_of(process)[0], signal.SIGKILL)
    return until(events, name)


def children_of(process: "subprocess.Popen[str]") -> list[int]:
    """Return the numbers of the processes that serve."""
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text(encoding="ascii")
    return [int(number) for number in children.split()]


def reader_of(path: Path, process: "subprocess.Popen[str]") -> int:
    """Return the number of the process that has a file open."""
    opened = [
        (number, descriptor.resolve())
        for number in children_of(process)
        for descriptor in Path(f"/proc/{number}/fd").iterdir()
    ]
    return next(number for number, found in opened if found == path)


def schema_of(port: int) -> str:
    """Return the fingerprint of the schema of whoever answers a connection of its own."""
    options = (("grpc.use_local_subchannel_pool", 1),)
    with grpc.insecure_channel(f"127.0.0.1:{port}", options=options) as channel:
        stub = ScoringServiceStub(channel)
        model = stub.GetModel(pb.GetModelRequest(), timeout=WAIT_SECONDS, wait_for_ready=True)
    fingerprint: str = model.schema.fingerprint
    return fingerprint


@pytest.fixture
def current(artifact_folder: Path, tmp_path: Path) -> Path:
    """Return a link to version 1; version 2 lies beside it as ``second``."""
    for name, version in (("first", "1"), ("second", "2")):
        shutil.copytree(artifact_folder, tmp_path / name)
        manifest = tmp_path / name / "manifest.json"
        manifest.write_text(json.dumps(json.loads(manifest.read_text()) | {"version": version}))
    point(tmp_path / "current", tmp_path / "first")
    return tmp_path / "current"


def point(link: Path, folder: Path) -> None:
    """Have a link point at a folder, in one step."""
    partial = link.with_name("partial")
    partial.symlink_to(folder)
    partial.replace(link)


@pytest.mark.parametrize("num_processes", [1, 2])
def test_all_processes_go_over_to_another_version(current: Path, num_processes: int) -> None:
    """They load it one by one and swap together; one that is replaced later serves it too.

    A version that is refused by one is served by none.
    """
    logger = "serving.server" if num_processes == 1 else "serving.processes"
    flags = ("--artifact", str(current), "--port", "0", "--metrics-port", "0", "--reload-seconds", "0.02")
    with running(*flags, num_processes=num_processes) as process:
        events = events_of(process)
        metrics_port = until(events, "metrics", logger)["port"]
        port = until(events, "serving", logger)["port"]
        assert {ask(port).version for _ in range(8)} == {"1"}
        point(current, current.with_name("second"))
        until(events, "serving", logger)
        assert {ask(port).version for _ in range(8)} == {"2"}
        if num_processes > 1:
            replaced_by(process, events, "process replaced")
            assert {ask(port).version for _ in range(8)} == {"2"}
        (current.with_name("first") / "model.onnx").write_bytes(b"nothing")
        point(current, current.with_name("first"))
        refused = until(events, "version refused", "serving.versions")
        assert "model.onnx" in refused["reason"]
        assert {ask(port).version for _ in range(8)} == {"2"}
        shown = probe(metrics_port, "metrics")
        assert f'holdfast_model_processes{{model="small",version="2"}} {num_processes}.0' in shown
        for outcome in ("served", "refused"):
            assert f'holdfast_versions_total{{outcome="{outcome}"}} 1.0' in shown
        process.send_signal(signal.SIGTERM)
        assert process.wait(WAIT_SECONDS) == 0


@pytest.mark.parametrize("is_held", [False, True])
def test_one_that_is_started_meanwhile_goes_over_as_well(current: Path, is_held: bool) -> None:
    """Whether it listens after the others went over or while they still load, in the end all serve one."""
    schema = replace(small_schema(), lookback_days=small_schema().lookback_days + 1)
    other = build_artifact(current.with_name("other"), spec=small_spec(schema=schema))
    flags = ("--artifact", str(current), "--port", "0", "--reload-seconds", "0.02")
    with running(*flags) as process:
        events = events_of(process)
        port = until(events, "serving")["port"]
        replaced_by(process, events, "process died")
        held = children_of(process)[0]
        if is_held:
            os.kill(held, signal.SIGSTOP)
        point(current, other)
        if is_held:
            until(events, "process replaced")
            os.kill(held, signal.SIGCONT)
        until(events, "serving")
        if not is_held:
            until(events, "process replaced")
        # Only the schema tells them apart: both are called version 1.
        assert {schema_of(port) for _ in range(8)} == {schema.fingerprint()}
        process.terminate()
        assert process.wait(WAIT_SECONDS) == 0


def test_a_version_that_ends_two_processes_is_not_given_a_third(current: Path) -> None:
    """The others serve on. What it is that ends them is not for them to find out, one after the other."""
    second = current.with_name("second")
    (second / "model.onnx").unlink()
    # Whoever loads it waits here for the rest, and can be ended meanwhile.
    os.mkfifo(second / "model.onnx")
    flags = ("--artifact", str(current), "--port", "0", "--reload-seconds", "0.02")
    with running(*flags) as process:
        events = events_of(process)
        port = until(events, "serving")["port"]
        point(current, second)
        reasons = []
        for _ in range(2):
            with (second / "model.onnx").open("wb"):
                os.kill(reader_of(second / "model.onnx", process), signal.SIGKILL)
                reasons.append(until(events, "version refused", "serving.versions")["reason"])
        assert "ended with exit code -9" in reasons[0]
        assert "processes end while they load it" in reasons[1]
        assert {ask(port).version for _ in range(8)} == {"1"}
        process.terminate()
        assert process.wait(WAIT_SECONDS) == 0


def test_what_comes_after_all_have_died_is_what_lies_there_then(current: Path) -> None:
    """Where what they served is gone, no version waits for one that serves; meanwhile nobody is ready."""
    flags = ("--artifact", str(current), "--port", "0", "--metrics-port", "0", "--reload-seconds", "0.02")
    with running(*flags) as process:
        events = events_of(process)
        metrics_port = until(events, "metrics")["port"]
        port = until(events, "serving")["port"]
        shutil.rmtree(current.with_name("first"))
        children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text(encoding="ascii")
        for child in children.split():
            os.kill(int(child), signal.SIGKILL)
        for _ in children.split():
            until(events, "process died")
        with pytest.raises(HTTPError, match="503"):
            probe(metrics_port, "readyz")
        point(current, current.with_name("second"))
        for _ in range(2):
            until(events, "process replaced")
        assert {ask(port).version for _ in range(8)} == {"2"}
        assert probe(metrics_port, "readyz") == "ready\n"
        process.send_signal(signal.SIGTERM)
        assert process.wait(WAIT_SECONDS) == 0


def test_all_processes_serve_one_model(artifact_folder: Path, tmp_path: Path) -> None:
    """One that replaces another serves what that one served, or nothing, where no version is loaded anew."""
    first, second, link = tmp_path / "first", tmp_path / "second", tmp_path / "current"
    for folder in (first, second):
        shutil.copytree(artifact_folder, folder)
    manifest = json.loads((second / "manifest.json").read_text())
    (second / "manifest.json").write_text(json.dumps(manifest | {"version": "20991231T000000Z"}))
    link.symlink_to(first)
    with running("--artifact", str(link), "--port", "0", "--reload-seconds", "0") as process:
        events = events_of(process)
        until(events, "serving")
        link.unlink()
        link.symlink_to(second)
        replaced_by(process, events, "process replaced")
        shutil.copy(second / "manifest.json", first / "manifest.json")
        said = replaced_by(process, events, "another model")
        assert said["model"].endswith("20991231T000000Z")
        process.terminate()
        assert process.wait(WAIT_SECONDS) == 0


def test_every_process_asks_for_tls_and_a_token_and_follows_what_changes(
    artifact_folder: Path, authority: trustme.CA, tmp_path: Path
) -> None:
    """Files are looked at by each of them; so does one that takes the place of another."""
    own, other = issue(authority), issue(authority)
    files = write_tls(tmp_path, own) | write_tokens(tmp_path, TOKENS[0])
    flags = [part for name, path in files.items() for part in (f"--{name.replace('_', '-')}", str(path))]
    options = (("grpc.use_local_subchannel_pool", 1),)

    def is_accepted(token: str) -> bool:
        with grpc.secure_channel(f"127.0.0.1:{port}", credentials_of(authority), options) as channel:
            stub = ScoringServiceStub(channel)
            call = stub.Score.future(request(), timeout=WAIT_SECONDS, wait_for_ready=True, **bearer(token))
            assert call.code() in {grpc.StatusCode.OK, grpc.StatusCode.UNAUTHENTICATED}
            return call.code() is grpc.StatusCode.OK

    def connect_often(token: str) -> list[bool]:
        return [is_accepted(token) for _ in range(8)]

    with running("--artifact", str(artifact_folder), "--port", "0", *flags) as process:
        events = events_of(process)
        port = until(events, "serving")["port"]
        assert connect_often(TOKENS[0]) == [True] * 8
        write_tls(tmp_path, other)
        write_tokens(tmp_path, TOKENS[1])
        shown = {shown_by(port, authority) for _ in range(8)}
        assert shown == {other.cert_chain_pems[0].bytes()}
        give_up_at = time.monotonic() + WAIT_SECONDS
        while not all(connect_often(TOKENS[1])):
            assert time.monotonic() < give_up_at
        replaced_by(process, events, "process replaced")
        assert connect_often(TOKENS[1]) == [True] * 8
        assert connect_often(TOKENS[0]) == [False] * 8
        process.terminate()
        assert process.wait(WAIT_SECONDS) == 0


def test_a_process_that_waits_for_the_others_can_be_stopped(artifact_folder: Path) -> None:
    """A stop during the start does not take the grace of calls that nobody has made."""
    settings = Settings(artifact=artifact_folder, port=0, processes=2, threads=1, budget_events=256)
    command = [sys.executable, "-m", "serving.member"]
    streams = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL}
    with subprocess.Popen(command, cwd=ROOT, text=True, **streams) as process:
        try:
            assert process.stdin is not None
            assert process.stdout is not None
            process.stdin.write(f"{settings.model_dump_json()}\n")
            process.stdin.flush()
            assert json.loads(process.stdout.readline())["measured"]["threads"] == 1
            process.terminate()
            assert process.wait(WAIT_SECONDS) == 0
        finally:
            process.kill()
