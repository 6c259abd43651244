"""Every call ends with an answer, a status or its own cancellation, and harms no other call."""

import logging
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest.mock import create_autospec

import grpc
import numpy as np
import pytest
from artifact_builder import AS_OF_US, running_server
from google.rpc import error_details_pb2
from grpc_status import rpc_status
from hypothesis import given
from hypothesis import strategies as st

from builders import START_US, histories_of_lengths, random_histories, small_schema
from holdfast.histories import Histories
from holdfast.v1 import scoring_pb2 as pb
from holdfast.v1.scoring_pb2_grpc import ScoringServiceStub
from holdfast.wire import Limits, write_request
from serving import servicer as servicer_module
from serving.artifact import Artifact
from serving.predictor import Predictions, Predictor
from serving.server import ScoringServer
from serving.servicer import ScoringServicer

WAIT_SECONDS = 30
"""Long enough for any machine; only a broken test waits for it."""


class GatedPredictor(Predictor):
    """Lets a test stop every call before its runs, and make it fail."""

    def __init__(self, inner: Predictor) -> None:
        """Stand in for a predictor."""
        super().__init__(inner._session, inner._spec)
        self.entered = threading.Semaphore(0)
        self.gate = threading.Event()
        self.gate.set()
        self.failure: Exception | None = None
        self.num_done = 0

    def predict(self, histories: Histories, as_of_us: np.ndarray, **options: Any) -> Predictions:
        """Wait for the gate, then fail or predict."""
        self.entered.release()
        assert self.gate.wait(WAIT_SECONDS)
        if self.failure is not None:
            raise self.failure
        found = super().predict(histories, as_of_us, **options)
        self.num_done += 1
        return found


def request_for(histories: Histories, *, as_of_us: int = AS_OF_US) -> pb.ScoreRequest:
    """Return a request about everyone."""
    ids = [f"customer {index}" for index in range(histories.num_customers)]
    return write_request(histories, ids, as_of_us=as_of_us, schema=small_schema())


def request(seed: int = 0, num_customers: int = 5) -> pb.ScoreRequest:
    """Return a request about random customers."""
    return request_for(random_histories(np.random.default_rng(seed), num_customers, max_length=20))


@contextmanager
def connected(server: ScoringServer) -> Iterator[ScoringServiceStub]:
    """Open a plain channel."""
    with grpc.insecure_channel(f"127.0.0.1:{server.port}") as channel:
        yield ScoringServiceStub(channel)


@pytest.fixture(scope="module")
def stub(artifact_folder: Path) -> Iterator[ScoringServiceStub]:
    """Return a stub of a running server."""
    with running_server(artifact_folder, max_customers=50) as server, connected(server) as stub:
        yield stub


@contextmanager
def gated(
    artifact_folder: Path, **settings: Any
) -> Iterator[tuple[ScoringServiceStub, GatedPredictor, ScoringServer]]:
    """Run a server whose predictor the test holds."""
    with running_server(artifact_folder, **settings) as server, connected(server) as stub:
        artifact = Artifact.load(artifact_folder)
        predictor = GatedPredictor(artifact.predictor)
        server.servicer.open(replace(artifact, predictor=predictor))
        try:
            yield stub, predictor, server
        finally:
            predictor.gate.set()


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


def test_an_answer_names_the_model_and_has_one_entry_per_customer(stub: ScoringServiceStub) -> None:
    """Order, ids, targets with their horizons and levels, predictions and counts."""
    histories = random_histories(np.random.default_rng(0), 6)
    response = stub.Score(request_for(histories))
    assert (response.model, response.version) == ("small", "1")
    assert [target.name for target in response.targets] == ["churn", "spend", "orders"]
    assert list(response.targets[0].horizons_days) == [30, 60, 90]
    assert list(response.targets[1].quantile_levels) == [0.1, 0.5, 0.9]
    assert [entry.customer_id for entry in response.customers] == [f"customer {index}" for index in range(6)]
    lengths = np.diff(histories.offsets)
    for entry, length in zip(response.customers, lengths, strict=True):
        churn, spend, orders = entry.prediction.targets
        assert len(churn.time_to_event.probability) == 3
        assert len(spend.amount.quantiles) == 3
        assert orders.count.expected > 0
        seen = entry.observed
        assert seen.num_used + seen.num_truncated + seen.num_after == length
        assert not entry.HasField("error")


def test_the_numbers_are_the_predictors(artifact_folder: Path, stub: ScoringServiceStub) -> None:
    """What is sent is what the graph gave, to the last bit, on request curves and embeddings too."""
    histories = random_histories(np.random.default_rng(1), 12)
    asked = request_for(histories)
    asked.include_survival = asked.include_embedding = True
    response = stub.Score(asked)
    expected = Artifact.load(artifact_folder).predictor.predict(histories, np.full(12, AS_OF_US)).outputs
    entries = [entry.prediction for entry in response.customers]
    found = {
        "churn_probability": [entry.targets[0].time_to_event.probability for entry in entries],
        "churn_survival": [entry.targets[0].time_to_event.survival for entry in entries],
        "spend_expected": [entry.targets[1].amount.expected for entry in entries],
        "spend_quantiles": [entry.targets[1].amount.quantiles for entry in entries],
        "orders_expected": [entry.targets[2].count.expected for entry in entries],
        "embedding": [entry.embedding for entry in entries],
    }
    for name, values in expected.items():
        assert np.array(found[name], dtype=np.float32).tobytes() == values.tobytes(), name


def test_one_bad_customer_does_not_fail_the_rest(stub: ScoringServiceStub) -> None:
    """The bad one gets field, value and limit; the others get what they get without it."""
    good = stub.Score(request())
    asked = request()
    asked.customers[4].fields[1].values[0] = float("-inf")
    asked.customers[3].event_type[0] = 77
    response = stub.Score(asked)
    bad = response.customers[4]
    assert bad.customer_id == "customer 4"
    assert (bad.error.field, bad.error.value) == ("fields[amount].values[0]", "-inf")
    assert bad.error.limit == "it must be finite, or NaN where it is missing"
    assert not bad.HasField("prediction")
    assert not bad.HasField("observed")
    assert response.customers[3].error.field == "event_type[0]"
    for index in range(3):
        before, after = good.customers[index], response.customers[index]
        np.testing.assert_allclose(
            after.prediction.targets[0].time_to_event.probability,
            before.prediction.targets[0].time_to_event.probability,
            rtol=1e-5,
        )
        assert after.observed == before.observed


def test_nobody_and_only_bad_customers_are_answered(stub: ScoringServiceStub) -> None:
    """An empty batch has an empty answer; a batch of faults has faults."""
    nobody = request(num_customers=0)
    assert len(stub.Score(nobody).customers) == 0
    asked = request()
    for customer in asked.customers:
        customer.event_type.append(0)
    assert all(entry.HasField("error") for entry in stub.Score(asked).customers)


def test_unknown_values_are_counted_and_late_events_left_out(stub: ScoringServiceStub) -> None:
    """What training never saw and what comes after as_of is reported, not hidden."""
    histories = histories_of_lengths(np.random.default_rng(2), np.array([10]))
    histories = replace(histories, occurred_at_us=START_US + np.arange(10))
    codes = np.array([3, 0, 0, 0, 0, 0, 0, 0, 0, 3], dtype=np.int32)
    histories = replace(histories, event_type=replace(histories.event_type, codes=codes))
    channel = replace(histories.categorical["channel"], codes=np.full(10, -1, dtype=np.int32))
    asked = request_for(replace(histories, categorical={"channel": channel}), as_of_us=START_US + 6)
    observed = stub.Score(asked).customers[0].observed
    assert (observed.num_used, observed.num_after, observed.num_truncated, observed.num_unknown) == (
        7,
        3,
        0,
        1,
    )


@pytest.mark.parametrize(
    ("change", "field"),
    [
        (lambda r: r.ClearField("as_of"), "as_of"),
        (lambda r: setattr(r.as_of, "seconds", 10**15), "as_of"),
        (lambda r: r.field_dictionaries["amonut"].values.append("x"), "field_dictionaries"),
        (lambda r: r.customers.extend([pb.Customer()] * 60), "customers"),
    ],
)
def test_a_malformed_request_names_its_violation(stub: ScoringServiceStub, change: Any, field: str) -> None:
    """INVALID_ARGUMENT carries google.rpc.BadRequest, for programs, and says the same to people."""
    asked = request()
    change(asked)
    error = status_of(stub, asked)
    assert error.code() is grpc.StatusCode.INVALID_ARGUMENT
    violation = detail_of(error, error_details_pb2.BadRequest).field_violations[0]
    assert violation.field == field
    assert f"{violation.field}: {violation.description}" == error.details()


def test_another_model_and_another_schema_are_told_apart(stub: ScoringServiceStub) -> None:
    """NOT_FOUND for a name, FAILED_PRECONDITION for a schema; both accept what is there."""
    asked = request()
    asked.model = "x" * 1_000
    error = status_of(stub, asked)
    assert error.code() is grpc.StatusCode.NOT_FOUND
    assert len(error.details()) < 200
    asked.model, asked.schema_fingerprint = "small", "0123456789abcdef" * 100
    error = status_of(stub, asked)
    assert error.code() is grpc.StatusCode.FAILED_PRECONDITION
    assert len(error.details()) < 200
    asked.schema_fingerprint = stub.GetModel(pb.GetModelRequest(model="small")).schema.fingerprint
    assert len(stub.Score(asked).customers) == 5
    with pytest.raises(grpc.RpcError) as caught:
        stub.GetModel(pb.GetModelRequest(model="large"))
    assert caught.value.code() is grpc.StatusCode.NOT_FOUND


def test_a_hundred_thousand_events_are_scored_and_one_more_is_refused(stub: ScoringServiceStub) -> None:
    """The largest customer that is taken is answered; a larger one is named, its neighbour answered."""
    histories = histories_of_lengths(np.random.default_rng(3), np.array([100_000, 100_001, 2]))
    entries = stub.Score(request_for(histories)).customers
    observed = entries[0].observed
    assert (observed.num_used, observed.num_used + observed.num_truncated + observed.num_after) == (
        32,
        100_000,
    )
    assert (entries[1].error.field, entries[1].error.value) == ("occurred_at_us", "100001")
    assert entries[2].HasField("prediction")


def test_many_callers_at_once_each_get_their_own_answer(stub: ScoringServiceStub) -> None:
    """Answers are never exchanged or mixed between requests."""
    asked = [request(seed, num_customers=3 + seed % 7) for seed in range(40)]
    alone = [stub.Score(one) for one in asked]
    with ThreadPoolExecutor(8) as pool:
        together = list(pool.map(stub.Score, asked))
    assert together == alone
    assert len({response.SerializeToString() for response in alone}) == 40


def test_too_large_a_message_is_refused_and_the_server_lives(artifact_folder: Path) -> None:
    """The limit on bytes is gRPC's own, before anything is read."""
    with running_server(artifact_folder, max_message_bytes=2_000) as server, connected(server) as stub:
        assert status_of(stub, request(num_customers=40)).code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        assert len(stub.Score(request(num_customers=1)).customers) == 1


def test_bytes_that_are_no_message_are_refused_and_the_server_lives(
    stub: ScoringServiceStub, artifact_folder: Path
) -> None:
    """A broken client hears so."""
    with (
        running_server(artifact_folder) as server,
        grpc.insecure_channel(f"127.0.0.1:{server.port}") as channel,
    ):
        call = channel.unary_unary("/holdfast.v1.ScoringService/Score")
        with pytest.raises(grpc.RpcError):
            call(b"\xff\xff\xff nonsense", timeout=WAIT_SECONDS)
        assert len(ScoringServiceStub(channel).Score(request()).customers) == 5


NUMBERS = st.one_of(st.integers(-3, 12), st.integers(-(2**63), 2**63 - 1))
FLOATS = st.floats(width=32)
NAMES = st.sampled_from(["amount", "quantity", "channel", "region", "age", "amonut", ""])
COLUMNS = st.builds(
    pb.Column,
    name=NAMES,
    values=st.lists(FLOATS, max_size=3),
    codes=st.lists(st.integers(-(2**31), 2**31 - 1) | st.integers(-2, 3), max_size=3),
)
WILD = st.builds(
    pb.Customer,
    customer_id=st.text(max_size=5).filter(lambda text: text.isprintable()),
    occurred_at_us=st.lists(NUMBERS | st.just(START_US), max_size=3),
    event_type=st.lists(st.integers(0, 4) | st.integers(0, 2**32 - 1), max_size=3),
    fields=st.lists(COLUMNS, max_size=4),
    valid_from_us=st.lists(NUMBERS | st.just(START_US), max_size=3),
    attributes=st.lists(COLUMNS, max_size=3),
)


@given(customers=st.lists(WILD, max_size=3), include=st.booleans())
def test_no_request_whatsoever_makes_the_server_fail(
    stub: ScoringServiceStub, customers: list[pb.Customer], include: bool
) -> None:
    """Any well-formed message gets an entry per customer: a finite prediction, or an error with its field."""
    asked = request(num_customers=2)
    asked.customers.extend(customers)
    asked.include_survival = asked.include_embedding = include
    response = stub.Score(asked, timeout=WAIT_SECONDS)
    assert len(response.customers) == 2 + len(customers)
    assert all(entry.HasField("prediction") for entry in response.customers[:2])
    for entry in response.customers:
        if entry.HasField("error"):
            assert entry.error.field
            assert entry.error.limit
        else:
            assert np.isfinite(entry.prediction.targets[1].amount.expected)


def test_a_session_that_raises_is_internal_without_a_leak(
    artifact_folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The caller learns a number, the log has the rest under it, and the next call is answered."""
    with gated(artifact_folder) as (stub, predictor, _):
        predictor.failure = RuntimeError("secret of customer 17")
        with caplog.at_level(logging.ERROR):
            error = status_of(stub, request())
        assert error.code() is grpc.StatusCode.INTERNAL
        assert "secret" not in error.details()
        assert rpc_status.from_call(error) is None
        record = caplog.records[-1]
        assert record.failure in error.details()
        assert "secret of customer 17" in str(record.exc_info[1])
        predictor.failure = None
        assert len(stub.Score(request()).customers) == 5


def test_a_full_server_refuses_at_once_and_says_when_to_come_back(artifact_folder: Path) -> None:
    """One call too many is told to wait; those in flight are answered."""
    with gated(artifact_folder, max_in_flight=2, workers=2) as (stub, predictor, _):
        predictor.gate.clear()
        first, second = stub.Score.future(request(1)), stub.Score.future(request(2))
        for _ in range(2):
            assert predictor.entered.acquire(timeout=WAIT_SECONDS)
        error = status_of(stub, request(3))
        assert error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        assert detail_of(error, error_details_pb2.RetryInfo).retry_delay.seconds == 1
        predictor.gate.set()
        assert len(first.result(WAIT_SECONDS).customers) == 5
        assert len(second.result(WAIT_SECONDS).customers) == 5
        assert len(stub.Score(request(3)).customers) == 5


def tell(method: Any, done: threading.Event) -> Any:
    """Return the method, setting an event when it has run."""

    def wrapped(*arguments: Any) -> None:
        method(*arguments)
        done.set()

    return wrapped


def test_a_call_cancelled_in_the_middle_stops_and_harms_no_neighbour(
    artifact_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its worker ends before the next run, its place is free again, and the others are answered."""
    with gated(artifact_folder, max_in_flight=2, workers=2) as (stub, predictor, server):
        predictor.gate.clear()
        cancelled, neighbour = stub.Score.future(request(1)), stub.Score.future(request(2))
        for _ in range(2):
            assert predictor.entered.acquire(timeout=WAIT_SECONDS)
        knows = threading.Event()
        monkeypatch.setattr(servicer_module._Call, "cancel", tell(servicer_module._Call.cancel, knows))
        assert cancelled.cancel()
        assert knows.wait(WAIT_SECONDS)
        predictor.gate.set()
        assert len(neighbour.result(WAIT_SECONDS).customers) == 5
        assert len(stub.Score(request(3)).customers) == 5
        server.servicer.close()
        assert predictor.num_done == 2, "the cancelled call was scored to the end"


def test_a_call_whose_deadline_passes_in_the_queue_is_not_scored(artifact_folder: Path) -> None:
    """Work that nobody waits for is not begun."""
    with gated(artifact_folder, workers=1) as (stub, predictor, server):
        predictor.gate.clear()
        first = stub.Score.future(request(1))
        assert predictor.entered.acquire(timeout=WAIT_SECONDS)
        late = stub.Score.future(request(2), timeout=0.05)
        assert late.code() is grpc.StatusCode.DEADLINE_EXCEEDED
        predictor.gate.set()
        assert len(first.result(WAIT_SECONDS).customers) == 5
        assert len(stub.Score(request(3)).customers) == 5
        server.servicer.close()
        assert predictor.num_done == 2


async def test_a_deadline_that_passed_already_is_said_by_the_server(artifact_folder: Path) -> None:
    """Whoever still listens hears DEADLINE_EXCEEDED, not an internal error."""
    servicer = ScoringServicer(limits=Limits(), workers=1, max_in_flight=1)
    servicer.open(Artifact.load(artifact_folder))
    context = create_autospec(grpc.aio.ServicerContext, instance=True)
    context.time_remaining.return_value = 0.0
    context.abort.side_effect = grpc.aio.AbortError
    with pytest.raises(grpc.aio.AbortError):
        await servicer.Score(request(), context)
    assert context.abort.await_args.args[0] is grpc.StatusCode.DEADLINE_EXCEEDED
    servicer.close()


async def test_a_server_without_a_model_is_unavailable() -> None:
    """Until the golden cases have been replayed nobody is answered."""
    servicer = ScoringServicer(limits=Limits(), workers=1, max_in_flight=1)
    context = create_autospec(grpc.aio.ServicerContext, instance=True)
    context.abort.side_effect = grpc.aio.AbortError
    for call in (servicer.Score(request(), context), servicer.GetModel(pb.GetModelRequest(), context)):
        with pytest.raises(grpc.aio.AbortError):
            await call
        assert context.abort.await_args.args[0] is grpc.StatusCode.UNAVAILABLE
    servicer.close()
