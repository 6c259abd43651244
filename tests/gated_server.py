"""A real server whose runs a test holds, lets go, or makes fail; and requests for it."""

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
from artifact_builder import AS_OF_US, running_server
from grpc_status import rpc_status

from builders import DAY, histories_of_lengths, random_histories, small_schema
from holdfast.histories import Histories
from holdfast.v1 import scoring_pb2 as pb
from holdfast.v1.scoring_pb2_grpc import ScoringServiceStub
from holdfast.wire import write_request
from serving.artifact import Artifact
from serving.batcher import Batcher
from serving.plan import RunPlan
from serving.predictor import PaddedRun, Predictor
from serving.scorer import Scorer
from serving.server import ScoringServer

WAIT_SECONDS = 30
"""Long enough for any machine; only a broken test waits for it."""


class GatedPredictor(Predictor):
    """Stops every run until its gate is open, and fails those that it is told to."""

    def __init__(self, inner: Predictor) -> None:
        """Stand in for a predictor."""
        super().__init__(inner._session, inner._spec)
        self.entered = threading.Semaphore(0)
        self.gate = threading.Event()
        self.gate.set()
        self.fails: Callable[[PaddedRun], bool] = lambda _: False
        self.num_customers: list[int] = []

    def with_plan(self, plan: RunPlan) -> "GatedPredictor":
        """Keep the gate."""
        self.plan = plan
        return self

    def close(self) -> None:
        """Hold whatever runs from now on, and forget who came before."""
        while self.entered.acquire(blocking=False):
            pass
        self.gate.clear()

    def run(self, run: PaddedRun, names: Sequence[str]) -> Any:
        """Wait for the gate, then fail or run."""
        self.entered.release()
        assert self.gate.wait(WAIT_SECONDS)
        self.num_customers.append(len(run.segments))
        if self.fails(run):
            raise RuntimeError("secret of customer 17")
        return super().run(run, names)


@dataclass(frozen=True, slots=True, kw_only=True)
class Gated:
    """A running server with one worker, and what it tells a test.

    Attributes:
        server: The server.
        stub: A stub of it.
        predictor: Its predictor.
        submitted: Released whenever a request has joined the queue.
        left: Released whenever a call has been answered or given up.
    """

    server: ScoringServer
    stub: ScoringServiceStub
    predictor: GatedPredictor
    submitted: threading.Semaphore
    left: threading.Semaphore

    def hold(self) -> Any:
        """Occupy the worker until the gate is opened, so that what comes next waits in the queue."""
        # Runs before this one have entered too: not they are waited for.
        while self.predictor.entered.acquire(blocking=False):
            pass
        self.predictor.gate.clear()
        first = self.ask(of_length(8, seed=99))
        assert self.predictor.entered.acquire(timeout=WAIT_SECONDS)
        return first

    def ask(self, asked: pb.ScoreRequest, *, stub: ScoringServiceStub | None = None, **options: Any) -> Any:
        """Send a request, and return its call once it waits in the queue."""
        while self.submitted.acquire(blocking=False):
            pass
        call = (stub or self.stub).Score.future(asked, **{"timeout": WAIT_SECONDS} | options)
        assert self.submitted.acquire(timeout=WAIT_SECONDS)
        return call

    def slow_down(self) -> None:
        """Make the server believe that it needs minutes for an event."""
        served = self.server.scorer._served
        assert served is not None
        served.batcher._pace.add(seconds=1e9, events=0)

    @contextmanager
    def giving_up(self) -> Iterator[None]:
        """Do what makes one caller leave, and wait until the server knows."""
        while self.left.acquire(blocking=False):
            pass
        yield
        assert self.left.acquire(timeout=WAIT_SECONDS)


@contextmanager
def gated(artifact_folder: Path, **settings: Any) -> Iterator[Gated]:
    """Run a server whose runs the test holds."""
    artifact = Artifact.load(artifact_folder)
    predictor = GatedPredictor(artifact.predictor)
    submitted, left = threading.Semaphore(0), threading.Semaphore(0)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Artifact, "load", lambda *_, **__: replace(artifact, predictor=predictor))
        patch.setattr(Batcher, "submit", _telling(Batcher.submit, submitted))
        patch.setattr(Scorer, "_leave", _telling(Scorer._leave, left))
        with (
            running_server(artifact_folder, **{"threads": 1} | settings) as server,
            connected(server) as stub,
        ):
            try:
                yield Gated(server=server, stub=stub, predictor=predictor, submitted=submitted, left=left)
            finally:
                predictor.gate.set()


def _telling(method: Any, told: threading.Semaphore) -> Any:
    def wrapped(*arguments: Any) -> None:
        method(*arguments)
        told.release()

    return wrapped


@contextmanager
def connected(server: ScoringServer) -> Iterator[ScoringServiceStub]:
    """Open a plain channel."""
    with grpc.insecure_channel(f"127.0.0.1:{server.port}") as channel:
        yield ScoringServiceStub(channel)


def request_for(histories: Histories, *, as_of_us: int = AS_OF_US) -> pb.ScoreRequest:
    """Return a request about everyone."""
    ids = [f"customer {index}" for index in range(histories.num_customers)]
    return write_request(histories, ids, as_of_us=as_of_us, schema=small_schema())


def request(seed: int = 0, num_customers: int = 5) -> pb.ScoreRequest:
    """Return a request about random customers."""
    return request_for(random_histories(np.random.default_rng(seed), num_customers, max_length=20))


def of_length(num_events: int, seed: int = 0) -> pb.ScoreRequest:
    """Return a request about one customer, all of whose events are used."""
    histories = histories_of_lengths(np.random.default_rng(seed), np.array([num_events]), span_days=300)
    return request_for(replace(histories, occurred_at_us=histories.occurred_at_us + 140 * DAY))


def status_of(stub: ScoringServiceStub, asked: pb.ScoreRequest) -> grpc.RpcError:
    """Return the status that a refused request gets."""
    with pytest.raises(grpc.RpcError) as caught:
        stub.Score(asked, timeout=WAIT_SECONDS)
    return caught.value


def detail_of(error: grpc.RpcError, kind: type) -> Any:
    """Return the one detail of a status."""
    status = rpc_status.from_call(error)
    detail = kind()
    assert status is not None
    assert status.details[0].Unpack(detail)
    return detail


def assert_alike(found: pb.ScoreResponse, expected: pb.ScoreResponse) -> None:
    """Compare answers: all but the last digits of their numbers are the same."""
    for left, right in zip(found.customers, expected.customers, strict=True):
        assert left.customer_id == right.customer_id
        assert left.observed == right.observed
        assert left.HasField("error") == right.HasField("error")
    np.testing.assert_allclose(_numbers(found), _numbers(expected), rtol=1e-5, atol=1e-6)


def _numbers(response: pb.ScoreResponse) -> list[float]:
    numbers: list[float] = []
    for entry in response.customers:
        for target in entry.prediction.targets:
            numbers += [*target.time_to_event.probability, *target.time_to_event.survival]
            numbers += [target.amount.expected, *target.amount.quantiles, target.count.expected]
        numbers += entry.prediction.embedding
    return numbers
