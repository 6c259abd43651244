"""A server that answers as a test says, and a relay that counts what its callers send."""

import socket
import threading
from collections.abc import Iterator
from concurrent import futures
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import replace
from typing import Any

import grpc

from builders import START_US, small_spec
from holdfast.description import ModelDescription, read_model, write_model
from holdfast.retries import PUSHBACK_KEY
from holdfast.v1 import scoring_pb2 as pb
from holdfast.v1.scoring_pb2_grpc import ScoringServiceServicer, add_ScoringServiceServicer_to_server
from holdfast.wire import Limits

Refusal = grpc.StatusCode | tuple[grpc.StatusCode, tuple[tuple[str, Any], ...]]
"""A status, or one with trailing metadata."""


class Scripted(ScoringServiceServicer):
    """Describes a model, and answers Score with refusals from a list before it echoes."""

    def __init__(self, refusals: list[Refusal], descriptions: list[ModelDescription]) -> None:
        """Keep what to answer with."""
        self.refusals, self.descriptions = refusals, descriptions
        self.fingerprints: list[str] = []
        self.peers: list[str] = []
        self.authorizations: list[str] = []
        self.seconds_left: list[float] = []
        self.num_customers: list[int] = []
        self.num_events: list[int] = []
        self.may_answer = threading.Event()
        self.may_answer.set()

    def GetModel(self, request: pb.GetModelRequest, context: grpc.ServicerContext) -> pb.GetModelResponse:  # noqa: N802 (gRPC's name)
        """Give the next description; the last one stays."""
        first = self.descriptions[0]
        if len(self.descriptions) > 1:
            self.descriptions.pop(0)
        return write_model(first)

    def Score(self, request: pb.ScoreRequest, context: grpc.ServicerContext) -> pb.ScoreResponse:  # noqa: N802 (gRPC's name)
        """Give the next refusal, or an entry for everyone."""
        self.peers.append(context.peer())
        sent: dict[str, Any] = dict(iter(context.invocation_metadata()))
        self.authorizations += [sent["authorization"]] if "authorization" in sent else []
        self.seconds_left.append(context.time_remaining())
        self.fingerprints.append(request.schema_fingerprint)
        self.num_customers.append(len(request.customers))
        self.num_events.append(sum(len(customer.occurred_at_us) for customer in request.customers))
        self.may_answer.wait(timeout=30)
        if self.refusals:
            refusal = self.refusals.pop(0)
            code, metadata = refusal if isinstance(refusal, tuple) else (refusal, ())
            context.set_trailing_metadata(metadata)
            context.abort(code, "scripted")
        error = pb.CustomerError(field="f", value="v", limit="l")
        entries = [pb.CustomerResult(customer_id=c.customer_id, error=error) for c in request.customers]
        return pb.ScoreResponse(customers=entries)


def describe(fingerprint: str, **limits: int) -> ModelDescription:
    """Return a description of the small schema under some fingerprint, of a server with some limits."""
    spec = small_spec()
    response = pb.GetModelResponse(
        name="m", version="1", schema=pb.Schema(activity=["visit"], lookback_days=1)
    )
    description = read_model(response)
    return replace(
        description,
        schema=replace(spec.schema, targets=()),
        schema_fingerprint=fingerprint,
        created_at="2025-01-01T00:00:00Z",
        limits=Limits(**limits),
    )


@contextmanager
def scripted(
    *refusals: Refusal,
    descriptions: list[ModelDescription] | None = None,
    threads: int = 2,
    max_message_bytes: int = -1,
) -> Iterator[Any]:
    """Run a scripted server; yields it and its address."""
    servicer = Scripted(list(refusals), descriptions or [describe("a")])
    options = [("grpc.max_receive_message_length", max_message_bytes)]
    server = grpc.server(futures.ThreadPoolExecutor(threads), options=options)
    add_ScoringServiceServicer_to_server(servicer, server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    try:
        yield servicer, f"127.0.0.1:{port}"
    finally:
        server.stop(None).wait()


ONE = [{"customer_id": 1, "occurred_at": START_US, "event_type": "visit"}]


def pushback(milliseconds: str) -> Refusal:
    """Return the refusal of a full server that says when to come back."""
    return grpc.StatusCode.RESOURCE_EXHAUSTED, ((PUSHBACK_KEY, milliseconds),)


@contextmanager
def counting_relay(address: str) -> Iterator[tuple[str, list[int]]]:
    """Forward connections to an address; yields its own and the sizes of what callers sent."""
    sizes: list[int] = []
    host, _, port = address.rpartition(":")

    def forward(source: socket.socket, sink: socket.socket, counted: list[int]) -> None:
        with suppress(OSError):
            while data := source.recv(65_536):
                counted.append(len(data))
                sink.sendall(data)
        for end in (source, sink):
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)

    with (
        ExitStack() as opened,
        socket.create_server(("127.0.0.1", 0)) as listening,
        futures.ThreadPoolExecutor(8) as pool,
    ):
        listening.settimeout(30)

        def accept() -> None:
            with suppress(OSError):
                while True:
                    caller, _ = listening.accept()
                    called = socket.create_connection((host, int(port)))
                    for end in (caller, called):
                        opened.callback(end.close)
                    pool.submit(forward, caller, called, sizes)
                    pool.submit(forward, called, caller, [])

        pool.submit(accept)
        yield f"127.0.0.1:{listening.getsockname()[1]}", sizes
        listening.shutdown(socket.SHUT_RDWR)
