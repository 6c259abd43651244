"""Traces: what a span says and what it never does, whose traces are taken, and a collector that fails."""

import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
from artifact_builder import running_server
from gated_server import WAIT_SECONDS, connected, gated, request
from open_inference_requests import infer_request, tensors_of

from builders import random_histories
from holdfast.errors import ConfigError
from holdfast.inference import open_inference_pb2_grpc
from holdfast.v1 import scoring_pb2 as pb
from holdfast.v1.scoring_pb2_grpc import ScoringServiceStub
from serving import tracing
from serving.settings import Settings
from serving.tracing import Tracer, check_tracing

pytest.importorskip("opentelemetry.exporter.otlp.proto.http", reason="the extra `tracing` is not installed")

ROOT = Path(__file__).parents[2]
ENDPOINT = "http://localhost:1/v1/traces"
SCORE = "holdfast.v1.ScoringService/Score"
TRACE_ID = 0x4BF92F3577B34DA6A3CE929D0E0E4736
SPAN_ID = 0x00F067AA0BA902B7


def caller(*, sampled: bool) -> tuple[tuple[str, str], ...]:
    """Return the metadata of a caller with a trace of its own."""
    return (("traceparent", f"00-{TRACE_ID:032x}-{SPAN_ID:016x}-0{int(sampled)}"),)


@pytest.fixture
def spans(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Keep spans in memory; they are there once the server has stopped."""
    from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

    exporter = InMemorySpanExporter()
    monkeypatch.setattr(tracing, "_exporter", lambda _: exporter)
    return exporter


@contextmanager
def traced(artifact: Path, *, endpoint: str = ENDPOINT, share: float = 1.0) -> Iterator[ScoringServiceStub]:
    """Run a server that traces, and give a stub of it."""
    settings = {"trace_endpoint": endpoint, "trace_share": share}
    with running_server(artifact, **settings) as server, connected(server) as stub:
        yield stub


def told(spans: Any) -> dict[str, Any]:
    """Return the spans by name; there is one of each."""
    found = {span.name: span for span in spans.get_finished_spans()}
    assert len(found) == len(spans.get_finished_spans())
    return found


def test_a_call_is_a_span_with_its_phases(artifact_folder: Path, spans: Any) -> None:
    """How much was asked of which model, how it ended, and when it waited and was scored."""
    asked = request()
    with traced(artifact_folder) as stub:
        stub.Score(asked, timeout=WAIT_SECONDS)
        stub.GetModel(pb.GetModelRequest(), timeout=WAIT_SECONDS)
    found = told(spans)
    assert set(found) == {SCORE, "queue", "score"}
    assert dict(found[SCORE].attributes) == {
        "rpc.system": "grpc",
        "rpc.service": "holdfast.v1.ScoringService",
        "rpc.method": "Score",
        "rpc.grpc.status_code": 0,
        "holdfast.model": "small",
        "holdfast.model_version": "1",
        "holdfast.customers": len(asked.customers),
        "holdfast.events": sum(len(one.event_type) for one in asked.customers),
    }
    whole, queue, score = found[SCORE], found["queue"], found["score"]
    assert {queue.parent.span_id, score.parent.span_id} == {whole.context.span_id}
    # By two clocks, which are compared once: some room for what lies between.
    assert whole.start_time - 1e7 <= queue.start_time <= queue.end_time == score.start_time
    assert score.start_time <= score.end_time <= whole.end_time + 1e7
    assert whole.resource.attributes["service.name"] == "holdfast"
    assert whole.status.is_unset


def test_calls_of_the_open_inference_protocol_too(artifact_folder: Path, spans: Any) -> None:
    """Its answers are not bytes when they leave the servicer."""
    asked = infer_request(tensors_of(random_histories(np.random.default_rng(3), 5)))
    with (
        running_server(artifact_folder, trace_endpoint=ENDPOINT, trace_share=1.0) as server,
        grpc.insecure_channel(f"127.0.0.1:{server.port}") as channel,
    ):
        stub = open_inference_pb2_grpc.GRPCInferenceServiceStub(channel)
        assert stub.ModelInfer(asked, timeout=WAIT_SECONDS).outputs
    assert told(spans)["inference.GRPCInferenceService/ModelInfer"].attributes["holdfast.customers"] == 5


def test_the_caller_decides_where_it_has_a_trace(artifact_folder: Path, spans: Any) -> None:
    """Whatever the share is; the span is a child of the caller's."""
    with traced(artifact_folder, share=0.0) as stub:
        stub.Score(request(), timeout=WAIT_SECONDS)
        stub.Score(request(), timeout=WAIT_SECONDS, metadata=caller(sampled=False))
        stub.Score(request(), timeout=WAIT_SECONDS, metadata=caller(sampled=True))
        stub.Score(request(), timeout=WAIT_SECONDS, metadata=(("traceparent", "nonsense"),))
    span = told(spans)[SCORE]
    assert (span.context.trace_id, span.parent.span_id) == (TRACE_ID, SPAN_ID)
    with traced(artifact_folder) as stub:
        stub.Score(request(), timeout=WAIT_SECONDS, metadata=caller(sampled=False))


def test_an_end_without_an_answer_is_told_by_its_status_alone(artifact_folder: Path, spans: Any) -> None:
    """Refused, failed and given up: with the code, and without a word of the request or of the error."""
    with gated(artifact_folder, trace_endpoint=ENDPOINT, trace_share=1.0) as at:
        malformed = request()
        malformed.ClearField("as_of")
        with pytest.raises(grpc.RpcError):
            at.stub.Score(malformed, timeout=WAIT_SECONDS)
        at.predictor.fails = lambda _: True
        with pytest.raises(grpc.RpcError):
            at.stub.Score(request(), timeout=WAIT_SECONDS)
        at.predictor.fails = lambda _: False
        held = at.hold()
        waiting = at.ask(request())
        with at.giving_up():
            waiting.cancel()
        at.predictor.gate.set()
        held.result(WAIT_SECONDS)
    found = [span for span in spans.get_finished_spans() if span.name == SCORE]
    ends = {span.attributes["rpc.grpc.status_code"]: span for span in found}
    codes = grpc.StatusCode
    wanted = (codes.INVALID_ARGUMENT, codes.INTERNAL, codes.CANCELLED, codes.OK)
    assert sorted(ends) == sorted(code.value[0] for code in wanted)
    assert ends[codes.INTERNAL.value[0]].status.status_code.name == "ERROR"
    assert ends[codes.INVALID_ARGUMENT.value[0]].status.is_unset
    said = "".join(span.to_json() for span in spans.get_finished_spans())
    assert "secret" not in said
    assert not any(span.events or span.status.description for span in found)
    assert not any(one.customer_id and f'"{one.customer_id}"' in said for one in request().customers)


def test_a_call_without_a_token_is_not_traced(artifact_folder: Path, spans: Any, tmp_path: Path) -> None:
    """Whoever may not ask shall not fill the collector either."""
    (tmp_path / "tokens").write_text("t" * 32, encoding="ascii")
    settings = {"trace_endpoint": ENDPOINT, "trace_share": 1.0, "token_file": tmp_path / "tokens"}
    with running_server(artifact_folder, **settings) as server, connected(server) as stub:
        with pytest.raises(grpc.RpcError) as caught:
            stub.Score(request(), timeout=WAIT_SECONDS)
        assert caught.value.code() is grpc.StatusCode.UNAUTHENTICATED
        stub.Score(request(), timeout=WAIT_SECONDS, metadata=(("authorization", f"Bearer {'t' * 32}"),))
    assert SCORE in told(spans)


def test_without_an_endpoint_nothing_is_traced_or_imported(artifact_folder: Path) -> None:
    """Off by default, in a process that has not seen OpenTelemetry."""
    assert Tracer.of(Settings(artifact=artifact_folder), services={}) is None
    code = (
        "import serving.command, sys; sys.exit(any(name.startswith('opentelemetry') for name in sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False)
    assert done.returncode == 0


@contextmanager
def collecting(*, answer: bool) -> Iterator[tuple[str, list[bytes]]]:
    """Run a collector on a free port; one that does not answer keeps whoever sends waiting."""
    bodies: list[bytes] = []
    done = threading.Event()

    class Collector(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            bodies.append(self.rfile.read(int(self.headers["Content-Length"])))
            if not answer:
                done.wait(WAIT_SECONDS)
                return
            self.send_response(200)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Collector)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/v1/traces", bodies
    finally:
        done.set()
        server.shutdown()
        thread.join(WAIT_SECONDS)
        server.server_close()


def test_a_collector_gets_spans_as_otlp(artifact_folder: Path) -> None:
    """By HTTP, as the protocol's own messages, at the latest when the server stops."""
    from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

    with collecting(answer=True) as (endpoint, bodies):
        with traced(artifact_folder, endpoint=endpoint) as stub:
            stub.Score(request(), timeout=WAIT_SECONDS)
        (body,) = bodies
    (resource,) = ExportTraceServiceRequest.FromString(body).resource_spans
    assert {span.name for one in resource.scope_spans for span in one.spans} == {SCORE, "queue", "score"}


@pytest.mark.parametrize("is_there", [True, False])
def test_a_slow_or_dead_collector_harms_no_call(
    artifact_folder: Path, *, is_there: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Calls are answered, and the stop waits for it no longer than it may."""
    monkeypatch.setattr(tracing, "LAST_SPANS_SECONDS", 0.2)
    with collecting(answer=False) as (endpoint, bodies), socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        dead = f"http://127.0.0.1:{unused.getsockname()[1]}/v1/traces"
        where = endpoint if is_there else dead
        with running_server(artifact_folder, trace_endpoint=where, trace_share=1.0) as server:
            with connected(server) as stub:
                for _ in range(3):
                    stub.Score(request(), timeout=WAIT_SECONDS)
            assert server._tracer is not None
            provider = server._tracer._provider
            flushing = threading.Thread(target=provider.force_flush, daemon=True)
            flushing.start()
            with connected(server) as stub:
                stub.Score(request(), timeout=WAIT_SECONDS)
            began = time.monotonic()
        # Nobody else waits in this stop: grace, workers and ports need far less than a flush of the library.
        assert time.monotonic() - began < tracing.EXPORT_SECONDS
        assert len(bodies) <= 1


def test_what_is_not_installed_is_told_in_one_line(
    artifact_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before anything listens; the names are those of a person's settings."""
    settings = Settings(artifact=artifact_folder, trace_endpoint=ENDPOINT)
    check_tracing(settings)
    monkeypatch.setattr(tracing, "_EXPORTER", "opentelemetry_that_is_not.here")
    with pytest.raises(ConfigError, match=r"--trace-endpoint \(HOLDFAST_TRACE_ENDPOINT\).*\.\[tracing\]"):
        check_tracing(settings)
    check_tracing(Settings(artifact=artifact_folder))
