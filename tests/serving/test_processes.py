"""Several processes are one server: ready together, replaced one by one, stopped together."""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import grpc
import pytest
import trustme
from gated_server import WAIT_SECONDS, assert_alike, request
from issued import TOKENS, bearer, credentials_of, issue, shown_by, write_tls, write_tokens
from served_processes import (
    ROOT,
    ask,
    events_of,
    num_answered,
    probe,
    replaced_by,
    running,
    until,
)

from holdfast.errors import RunError
from holdfast.v1.scoring_pb2_grpc import ScoringServiceStub
from serving.processes import supervise
from serving.settings import Settings


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
