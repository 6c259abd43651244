"""What a request says is read as it is meant, and every call ends with an answer or a status."""

import gc
import tracemalloc
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
from artifact_builder import AS_OF_US, running_server
from gated_server import WAIT_SECONDS, assert_alike, connected, detail_of, request, request_for, status_of
from google.protobuf.timestamp_pb2 import Timestamp
from google.rpc import error_details_pb2
from hypothesis import given
from hypothesis import strategies as st

from builders import START_US, histories_of_lengths, random_histories
from holdfast.v1 import scoring_pb2 as pb
from holdfast.v1.scoring_pb2_grpc import ScoringServiceStub
from serving.server import ScoringServer
from serving.settings import Settings


@pytest.fixture(scope="module")
def server(artifact_folder: Path) -> Iterator[ScoringServer]:
    """Return a running server."""
    with running_server(artifact_folder, max_customers=50) as server:
        yield server


@pytest.fixture(scope="module")
def stub(server: ScoringServer) -> Iterator[ScoringServiceStub]:
    """Return a stub of the running server."""
    with connected(server) as stub:
        yield stub


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


def test_the_numbers_are_the_predictors(server: ScoringServer, stub: ScoringServiceStub) -> None:
    """What is sent is what the graph gave, to the last bit, on request curves and embeddings too."""
    histories = random_histories(np.random.default_rng(1), 12)
    asked = request_for(histories)
    asked.include_survival = asked.include_embedding = True
    response = stub.Score(asked)
    # The server's own predictor: in other runs the last bits may differ.
    predictor = server.scorer.artifact().predictor
    expected = predictor.predict(histories, np.full(12, AS_OF_US)).outputs
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
    for one, other in zip(together, alone, strict=True):
        assert_alike(one, other)
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


WORDS = st.lists(st.text(max_size=3).filter(lambda text: text.isprintable()), max_size=4)
REQUESTS = st.builds(
    pb.ScoreRequest,
    model=st.sampled_from(["", "", "small", "large"]),
    schema_fingerprint=st.sampled_from(["", "", "0123456789abcdef"]),
    as_of=st.one_of(
        st.just(Timestamp(seconds=AS_OF_US // 1_000_000)),
        st.builds(Timestamp, seconds=NUMBERS, nanos=st.integers(-(2**31), 2**31 - 1)),
    ),
    event_types=WORDS,
    field_dictionaries=st.dictionaries(NAMES, st.builds(pb.Dictionary, values=WORDS), max_size=2),
    attribute_dictionaries=st.dictionaries(NAMES, st.builds(pb.Dictionary, values=WORDS), max_size=2),
    customers=st.lists(WILD, max_size=3),
    include_survival=st.booleans(),
    include_embedding=st.booleans(),
)
REFUSALS = {
    grpc.StatusCode.INVALID_ARGUMENT,
    grpc.StatusCode.NOT_FOUND,
    grpc.StatusCode.FAILED_PRECONDITION,
}


@pytest.fixture(scope="module")
def sound(stub: ScoringServiceStub) -> tuple[pb.ScoreRequest, pb.ScoreResponse]:
    """Return a sound request with its answer."""
    asked = request(num_customers=2)
    return asked, stub.Score(asked)


@given(asked=REQUESTS, place=st.integers(0, 10_000), byte=st.none() | st.integers(0, 255))
def test_no_request_whatsoever_makes_the_server_fail(
    stub: ScoringServiceStub,
    bytes_call: Any,
    sound: tuple[pb.ScoreRequest, pb.ScoreResponse],
    asked: pb.ScoreRequest,
    place: int,
    byte: int | None,
) -> None:
    """Any message, whole or with a byte changed: an entry per customer, or a refusal; never INTERNAL.

    A neighbour that is asked about at the same time gets its own numbers.
    """
    data = asked.SerializeToString()
    if byte is not None and data:
        place %= len(data)
        data = data[:place] + bytes([byte]) + data[place + 1 :]
    call = bytes_call.future(data, timeout=WAIT_SECONDS)
    neighbour = stub.Score.future(sound[0], timeout=WAIT_SECONDS)
    if call.exception(WAIT_SECONDS) is not None:
        assert call.code() in REFUSALS, call.details()
    else:
        response = pb.ScoreResponse.FromString(call.result())
        assert len(response.customers) == len(pb.ScoreRequest.FromString(data).customers)
        for entry in response.customers:
            if entry.HasField("error"):
                assert entry.error.field
                assert entry.error.limit
            else:
                assert np.isfinite(entry.prediction.targets[1].amount.expected)
    assert_alike(neighbour.result(WAIT_SECONDS), sound[1])


@pytest.fixture(scope="module")
def bytes_call(server: ScoringServer) -> Iterator[Any]:
    """Return the call of the running server that sends and gets bytes as they are."""
    with grpc.insecure_channel(f"127.0.0.1:{server.port}") as channel:
        yield channel.unary_unary("/holdfast.v1.ScoringService/Score")


async def test_a_server_that_is_loading_is_unavailable(artifact_folder: Path) -> None:
    """Until the golden cases have been replayed nobody is answered; both calls say so."""
    server = ScoringServer(Settings(artifact=artifact_folder, port=0))
    await server.start()
    async with grpc.aio.insecure_channel(f"127.0.0.1:{server.port}") as channel:
        stub = ScoringServiceStub(channel)
        for call, asked in ((stub.Score, request()), (stub.GetModel, pb.GetModelRequest())):
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await call(asked, timeout=WAIT_SECONDS)
            assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
            assert "loaded" in caught.value.details()
    await server.stop(0.0)


def test_metadata_beyond_the_limit_is_refused_and_the_server_lives(artifact_folder: Path) -> None:
    """The limit is gRPC's own, before the request is looked at."""
    with running_server(artifact_folder, max_metadata_bytes=2_000) as server, connected(server) as stub:
        with pytest.raises(grpc.RpcError) as caught:
            stub.Score(request(), metadata=(("x-much", "x" * 4_000),), timeout=WAIT_SECONDS)
        assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        assert len(stub.Score(request(), timeout=WAIT_SECONDS).customers) == 5


def test_too_many_events_of_a_request_are_refused_before_they_are_read(artifact_folder: Path) -> None:
    """However they are spread over its customers; the violation names the field."""
    with running_server(artifact_folder, max_events=20) as server, connected(server) as stub:
        histories = histories_of_lengths(np.random.default_rng(0), np.array([10, 11]))
        error = status_of(stub, request_for(histories))
        assert error.code() is grpc.StatusCode.INVALID_ARGUMENT
        violation = detail_of(error, error_details_pb2.BadRequest).field_violations[0]
        assert (violation.field, "at most 20" in violation.description) == ("customers", True)
        assert len(stub.Score(request_for(histories.take(np.array([0])))).customers) == 1


@pytest.fixture
def uncollected() -> Iterator[None]:
    """Keep Python from looking for cycles, as a server does while it has many objects."""
    gc.collect()
    gc.disable()
    tracemalloc.start()
    yield
    tracemalloc.stop()
    gc.enable()


@pytest.mark.usefixtures("uncollected")
@pytest.mark.parametrize("case", ["no such model", "no point in time", "a customer at fault", "overload"])
def test_a_call_that_is_not_answered_leaves_nothing_behind(
    server: ScoringServer, stub: ScoringServiceStub, case: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever ends it: its request would stay in memory until somebody looks for cycles."""
    asked = request_for(histories_of_lengths(np.random.default_rng(5), np.full(40, 600), span_days=300))
    if case == "no such model":
        asked.model = "another"
    elif case == "no point in time":
        asked.ClearField("as_of")
    elif case == "a customer at fault":
        for customer in asked.customers:
            customer.fields.add(name="undeclared")
    else:
        monkeypatch.setattr(server.scorer, "_max_queued_events", -1)
        served = server.scorer._served
        assert served is not None
        monkeypatch.setattr(served.batcher, "_waiting", {False: 1, True: 0})
    size = asked.ByteSize()

    def ask(times: int) -> int:
        for _ in range(times):
            with suppress(grpc.RpcError):
                stub.Score(asked)
        return tracemalloc.get_traced_memory()[0]

    before = ask(3)
    assert ask(12) - before < 3 * size


@pytest.mark.parametrize(
    "method",
    [
        "holdfast.v1.ScoringService/Score",
        "holdfast.v1.ScoringService/GetModel",
        *(f"inference.GRPCInferenceService/{name}" for name in ("ModelInfer", "ModelMetadata", "ModelReady")),
    ],
)
def test_what_is_no_request_is_refused(server: ScoringServer, method: str) -> None:
    """By either service, like any other request that is malformed."""
    with grpc.insecure_channel(f"127.0.0.1:{server.port}") as channel, pytest.raises(grpc.RpcError) as caught:
        channel.unary_unary(f"/{method}")(b"\xff\xff", timeout=WAIT_SECONDS)
    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert "request: got '2 bytes', but it must be a" in caught.value.details()
