"""Servers as programs of their own, in one process or several: run, heard, asked and killed."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import grpc
from gated_server import WAIT_SECONDS, request
from grpc_health.v1 import health_pb2, health_pb2_grpc

from holdfast.v1 import scoring_pb2 as pb
from holdfast.v1.scoring_pb2_grpc import ScoringServiceStub

ROOT = Path(__file__).parents[1]
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
