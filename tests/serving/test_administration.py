"""The port of metrics and probes: what a real server says there, and to whom it does not."""

import asyncio
import http.client
import socket
from pathlib import Path

import grpc
import pytest
from artifact_builder import running_server
from gated_server import WAIT_SECONDS, gated, request
from prometheus_client.parser import text_string_to_metric_families

from holdfast.errors import RunError
from holdfast.v1.scoring_pb2_grpc import ScoringServiceStub
from serving.administration import MAX_HEAD_BYTES, Administration
from serving.server import ScoringServer
from serving.settings import Settings


def get(port: int, path: str, *, method: str = "GET") -> tuple[int, str]:
    """Ask, and return status and body."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=WAIT_SECONDS)
    try:
        connection.request(method, path)
        response = connection.getresponse()
        return response.status, response.read().decode()
    finally:
        connection.close()


def metrics(port: int) -> dict[str, float]:
    """Return every sample by name and labels, these in the order of their names."""
    status, text = get(port, "/metrics")
    assert status == 200
    return {
        " ".join((sample.name, *(value for _, value in sorted(sample.labels.items())))): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def test_calls_customers_and_runs_are_counted(artifact_folder: Path) -> None:
    """Whatever a call ends with: by status, by reason, by customer; and the model that answers is named."""
    with running_server(artifact_folder, metrics_port=0) as server:
        asked = request()
        num = len(asked.customers)
        with grpc.insecure_channel(f"127.0.0.1:{server.port}") as channel:
            stub = ScoringServiceStub(channel)
            answer = stub.Score(asked, timeout=WAIT_SECONDS)
            asked.model = "another"
            with pytest.raises(grpc.RpcError):
                stub.Score(asked, timeout=WAIT_SECONDS)
            asked.model = ""
            asked.ClearField("as_of")
            with pytest.raises(grpc.RpcError):
                stub.Score(asked, timeout=WAIT_SECONDS)
        found = metrics(server.administration.port)
    service = "holdfast.v1.ScoringService"
    assert found[f"holdfast_requests_total OK {service}"] == 1
    assert found[f"holdfast_requests_total NOT_FOUND {service}"] == 1
    assert found[f"holdfast_requests_total INVALID_ARGUMENT {service}"] == 1
    assert found["holdfast_refusals_total unknown_model"] == found["holdfast_refusals_total invalid"] == 1
    assert found["holdfast_customers_total scored"] == num
    assert found["holdfast_events_total used"] == sum(one.observed.num_used for one in answer.customers)
    assert found["holdfast_run_customers_sum"] == num
    assert found["holdfast_queue_wait_seconds_count"] == 1
    assert found[f"holdfast_request_seconds_count {service}"] == 3
    assert found["holdfast_requests_in_flight"] == found["holdfast_waiting_padded_events"] == 0
    assert found["holdfast_model_processes small 1"] == 1


def test_what_waits_and_what_is_refused_is_seen_while_it_lasts(artifact_folder: Path) -> None:
    """A call in the queue is in flight; one that would come too late is refused by reason."""
    with gated(artifact_folder, metrics_port=0) as at:
        held = at.hold()
        at.slow_down()
        with pytest.raises(grpc.RpcError):
            at.stub.Score(request(), timeout=1.0)
        found = metrics(at.server.administration.port)
        assert found["holdfast_requests_in_flight"] == 1
        assert found["holdfast_waiting_padded_events"] > 0
        assert found["holdfast_refusals_total deadline"] == 1
        at.predictor.gate.set()
        held.result(WAIT_SECONDS)


async def test_probes_tell_alive_from_ready(artifact_folder: Path) -> None:
    """Alive from the start, ready once the model answers, and not any more when the server stops."""
    server = ScoringServer(
        Settings(artifact=artifact_folder, port=0, threads=1, budget_events=256, metrics_port=0)
    )
    await server.start()

    async def status(path: str) -> int:
        return (await asyncio.to_thread(get, server.administration.port, path))[0]

    assert (await status("/livez"), await status("/readyz")) == (200, 503)
    await server.load()
    assert await status("/readyz") == 200
    server.scorer.refuse()
    assert (await status("/livez"), await status("/readyz")) == (200, 503)
    await server.stop(0.0)
    with pytest.raises(OSError, match="refused"):
        await status("/livez")


def test_anything_else_is_told_what_there_is(artifact_folder: Path) -> None:
    """Another path, another method, a head without end: no traceback, and the next one is answered."""
    with running_server(artifact_folder, metrics_port=0) as server:
        port = server.administration.port
        assert get(port, "/") == (404, "there are /metrics, /livez and /readyz\n")
        assert get(port, "/livez", method="POST")[0] == 405
        assert get(port, "/metrics?x=1", method="HEAD") == (200, "")
        with socket.create_connection(("127.0.0.1", port), timeout=WAIT_SECONDS) as raw:
            raw.sendall(b"x" * (2 * MAX_HEAD_BYTES))
            assert raw.recv(1) == b""
        assert get(port, "/livez") == (200, "alive\n")


def test_without_the_setting_there_is_no_port(artifact_folder: Path) -> None:
    """Off by default."""
    with running_server(artifact_folder) as server:
        assert server.administration.port == 0


async def test_a_port_that_is_taken_is_named() -> None:
    """One line with the address."""

    async def nothing() -> dict[str, dict[str, dict[str, int]]]:
        return {}

    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        administration = Administration(snapshot=nothing, is_ready=lambda: True)
        with pytest.raises(RunError, match=rf"cannot listen on 127.0.0.1:{port} for metrics"):
            await administration.start("127.0.0.1", port)
        await administration.stop()


def test_an_odd_wish_for_a_form_gets_the_plain_one(artifact_folder: Path) -> None:
    """Whatever stands in the header: an answer, and no trace in the log."""
    with running_server(artifact_folder, metrics_port=0) as server:
        port = server.administration.port
        for wish in ("application/openmetrics-text; version=abc", "a/b; version=; q=x", "\xff"):
            connection = http.client.HTTPConnection("127.0.0.1", port, timeout=WAIT_SECONDS)
            connection.request("GET", "/metrics", headers={"Accept": wish})
            response = connection.getresponse()
            assert response.status == 200
            assert b"holdfast_" in response.read()
            connection.close()
