"""Clients against real servers: every form of table, batches in several requests, errors as promised."""

import asyncio
import socket
import sys
import threading
from collections.abc import Iterator
from concurrent import futures
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import grpc
import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from artifact_builder import AS_OF_US, build_artifact, running_server

from builders import START_US, small_schema, small_spec
from holdfast import calls
from holdfast.calls import Ask, time_us
from holdfast.client import AsyncScoringClient, ScoringClient
from holdfast.description import ModelDescription, read_model, write_model
from holdfast.errors import ConfigError, DataError, ServiceError
from holdfast.results import CustomerResult, to_columns
from holdfast.retries import PUSHBACK_KEY
from holdfast.tables import read_tables
from holdfast.v1 import scoring_pb2 as pb
from holdfast.v1.scoring_pb2_grpc import ScoringServiceServicer, add_ScoringServiceServicer_to_server
from holdfast.wire import Limits
from serving.server import ScoringServer

AS_OF = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=AS_OF_US)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ScoringServer]:
    """Return a running server of the small artifact."""
    folder = build_artifact(tmp_path_factory.mktemp("client") / "artifact")
    with running_server(folder, max_customers=20) as server:
        yield server


@pytest.fixture
def client(server: ScoringServer) -> Iterator[ScoringClient]:
    """Return a client of it."""
    with ScoringClient(f"127.0.0.1:{server.port}") as client:
        yield client


def table(num_customers: int = 50, num_events: int = 400) -> pl.DataFrame:
    """Return unsorted events of many customers, with missing and unknown values."""
    rng = np.random.default_rng(7)
    occurred_at = START_US + rng.integers(0, 460 * 24, num_events) * 3_600_000_000
    return pl.DataFrame(
        {
            "customer_id": rng.integers(0, num_customers, num_events),
            "occurred_at": pl.Series(occurred_at).cast(pl.Datetime("us", "UTC")),
            "event_type": rng.choice(["purchase", "visit", "complaint"], num_events),
            "amount": np.where(rng.random(num_events) < 0.2, np.nan, rng.normal(10, 5, num_events)),
            "channel": rng.choice(["web", "phone"], num_events),
        }
    )


CUSTOMERS = pl.DataFrame({"customer_id": [3, 999], "region": ["north", "south"], "age": [20, None]})


def assert_close(found: CustomerResult, expected: CustomerResult) -> None:
    """Compare two answers: a run of another size may round the last bit in another way."""
    left, right = found.to_dict(), expected.to_dict()
    assert left.keys() == right.keys()
    for name, value in right.items():
        assert left[name] == (pytest.approx(value, rel=1e-5, abs=1e-6) if isinstance(value, float) else value)


@pytest.mark.parametrize("form", ["Polars", "pandas", "Arrow", "rows", "generator"])
def test_every_form_of_table_gives_the_same_answer(client: ScoringClient, form: str) -> None:
    """One batch, whatever library holds it, blocking and asyncio."""
    events, customers = table(), CUSTOMERS
    forms = {
        "Polars": (events, customers),
        "pandas": (
            pd.DataFrame(events.to_dict(as_series=False)),
            pd.DataFrame(customers.to_dict(as_series=False)),
        ),
        "Arrow": (pa.table(events.to_dict(as_series=False)), pa.table(customers.to_dict(as_series=False))),
        "rows": (events.to_dicts(), customers.to_dicts()),
        "generator": (iter(events.to_dicts()), iter(customers.to_dicts())),
    }
    expected = client.score(events, as_of=AS_OF, customers=customers)
    given, attributes = forms[form]
    found = client.score(given, as_of=AS_OF, customers=attributes)
    assert to_columns(found) == to_columns(expected)
    assert [result.fault for result in found] == [None] * len(found)
    assert [result.customer_id for result in found[:2]] == [3, 999]
    assert found[1].observed is not None
    assert found[1].observed.num_used == 0


async def test_the_asyncio_client_answers_alike(server: ScoringServer, client: ScoringClient) -> None:
    """Requests of one batch in flight together come back in the order of the customers."""
    expected = client.score(table(), as_of=AS_OF, include_survival=True, include_embedding=True)
    async with AsyncScoringClient(f"127.0.0.1:{server.port}", max_concurrent_requests=3) as asking:
        assert (await asking.model()).name == "small"
        found, again = await asyncio.gather(
            asking.score(table(), as_of=AS_OF, include_survival=True, include_embedding=True),
            asking.score(
                iter(table().to_dicts()), as_of=AS_OF, include_survival=True, include_embedding=True
            ),
        )
    assert found == again == expected


def test_survival_and_embedding_come_only_on_request(client: ScoringClient) -> None:
    """They are larger than the rest of an answer together."""
    plain = client.score(table(), as_of=AS_OF)[0]
    assert (plain.predictions["churn"].survival, plain.embedding) == ({}, ())
    full = client.score(table(), as_of=AS_OF, include_survival=True, include_embedding=True)[0]
    assert len(full.predictions["churn"].survival) == 12
    assert len(full.embedding) == 4
    assert full.predictions["churn"].probability == plain.predictions["churn"].probability
    curve = full.predictions["churn"].survival
    assert [curve[float(days)] for days in (30, 60, 90)] == list(
        plain.predictions["churn"].probability.values()
    )


def test_a_batch_is_split_into_requests_that_the_server_takes(client: ScoringClient) -> None:
    """50 customers pass a server that takes 20 at a time, in order, and alone they get the same."""
    results = client.score(table(), as_of=AS_OF)
    assert [r.customer_id for r in results] == table()["customer_id"].unique(maintain_order=True).to_list()
    for result in results[::11]:
        alone = client.score(table().filter(pl.col("customer_id") == result.customer_id), as_of=AS_OF)
        assert len(alone) == 1
        assert_close(alone[0], result)


def test_splitting_counts_customers_events_and_bytes(server: ScoringServer, client: ScoringClient) -> None:
    """Requests stay below every limit, and a customer too large for one is sent alone all the same."""
    description = client.model()
    events = pl.DataFrame(
        {"customer_id": np.repeat(np.arange(6), [1, 1, 70_000, 40_000, 40_000, 1])}
    ).with_columns(occurred_at=pl.lit(START_US), event_type=pl.lit("visit"))
    tabled = read_tables(events, small_schema())
    ask = Ask(as_of_us=AS_OF_US)
    assert [ids for _, ids in ask.requests(tabled, description)] == [[0, 1], [2], [3], [4, 5]]
    few = replace(description, limits=Limits(max_events=2))
    assert [ids for _, ids in ask.requests(tabled, few)] == [[0, 1], [2], [3], [4], [5]]
    small = replace(description, limits=Limits(max_message_bytes=500_000))
    assert [ids for _, ids in ask.requests(tabled, small)] == [[0, 1], [2], [3], [4], [5]]


def test_a_bad_customer_is_data_and_the_others_are_answered(client: ScoringClient) -> None:
    """An infinite amount spoils its own customer only; the fault can be read by people and programs."""
    events = table().to_dicts()
    events[10]["amount"] = float("inf")
    culprit = events[10]["customer_id"]
    good = {r.customer_id: r for r in client.score(table(), as_of=AS_OF)}
    for result in client.score(events, as_of=AS_OF):
        if result.customer_id == culprit:
            assert result.fault is not None
            assert result.fault.field.startswith("fields[amount].values[")
            assert result.to_dict()["fault"].endswith("but it must be finite, or NaN where it is missing")
        else:
            assert_close(result, good[result.customer_id])


def test_no_customers_are_no_requests(client: ScoringClient) -> None:
    """An empty batch is answered with an empty list."""
    assert client.score([], as_of=AS_OF) == []


def test_a_point_in_time_needs_a_zone(client: ScoringClient) -> None:
    """Nothing is assumed about a time without one, nor about what is no time."""
    with pytest.raises(DataError, match=r"as_of: .*no time zone"):
        client.score(table(), as_of=datetime(2025, 1, 1))  # noqa: DTZ001
    for other in (None, 5, "2025-01-01"):
        with pytest.raises(DataError, match=r"as_of: .*datetime with a zone"):
            time_us(other)


def test_zones_of_the_point_in_time_do_not_matter() -> None:
    """The same instant in any zone is the same cutoff, pandas' own type too."""
    tokyo = pd.Timestamp("2025-06-01T09:00:00", tz="Asia/Tokyo")
    assert time_us(tokyo) == time_us(datetime(2025, 6, 1, tzinfo=UTC)) == 1_748_736_000_000_000


def test_a_model_by_another_name_is_not_found(server: ScoringServer) -> None:
    """A client that wants one model is never answered by another."""
    with ScoringClient(f"127.0.0.1:{server.port}", model="large") as client:
        with pytest.raises(ServiceError, match="'large'") as caught:
            client.score(table(), as_of=AS_OF)
        assert caught.value.code == "NOT_FOUND"


def test_nobody_listening_is_unavailable() -> None:
    """After its tries the client says so; it does not hang."""
    with futures.ThreadPoolExecutor() as pool:
        empty = grpc.server(pool)
        port = empty.add_insecure_port("127.0.0.1:0")
        empty.start()
        empty.stop(None).wait()
    with ScoringClient(f"127.0.0.1:{port}") as client, pytest.raises(ServiceError) as caught:
        client.model()
    assert caught.value.code == "UNAVAILABLE"


def test_violations_are_read_where_the_server_names_them(
    client: ScoringClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With googleapis-common-protos they are data; without it the reason says the same in words."""
    early = datetime(1960, 1, 1, tzinfo=UTC)
    with pytest.raises(ServiceError, match="between 1971 and 2200") as caught:
        client.score(table(), as_of=early)
    assert (caught.value.code, caught.value.violations[0][0]) == ("INVALID_ARGUMENT", "as_of")
    monkeypatch.setitem(sys.modules, "google.rpc", None)
    with pytest.raises(ServiceError, match="between 1971 and 2200") as caught:
        client.score(table(), as_of=early)
    assert caught.value.violations == ()


Refusal = grpc.StatusCode | tuple[grpc.StatusCode, tuple[tuple[str, Any], ...]]
"""A status, or one with trailing metadata."""


class Scripted(ScoringServiceServicer):
    """Describes a model, and answers Score with refusals from a list before it echoes."""

    def __init__(self, refusals: list[Refusal], descriptions: list[ModelDescription]) -> None:
        """Keep what to answer with."""
        self.refusals, self.descriptions = refusals, descriptions
        self.fingerprints: list[str] = []
        self.peers: list[str] = []
        self.seconds_left: list[float] = []
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
        self.seconds_left.append(context.time_remaining())
        self.fingerprints.append(request.schema_fingerprint)
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


def describe(fingerprint: str) -> ModelDescription:
    """Return a description of the small schema under some fingerprint."""
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
        limits=Limits(),
    )


@contextmanager
def scripted(
    *refusals: Refusal, descriptions: list[ModelDescription] | None = None, threads: int = 2
) -> Iterator[Any]:
    """Run a scripted server; yields it and its address."""
    servicer = Scripted(list(refusals), descriptions or [describe("a")])
    server = grpc.server(futures.ThreadPoolExecutor(threads))
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


async def score_both_ways(address: str, **options: Any) -> list[CustomerResult]:
    """Score once with either client; the second one's results."""
    with ScoringClient(address, **options) as client:
        await asyncio.to_thread(client.score, ONE, as_of=AS_OF)
    async with AsyncScoringClient(address, **options) as client:
        return await client.score(ONE, as_of=AS_OF)


async def test_a_full_server_is_tried_again_when_it_says_when() -> None:
    """Both clients come back after a pushback; a deadline that would pass first ends it at once."""
    with scripted(pushback("20"), pushback("20")) as (servicer, address):
        assert len(await score_both_ways(address)) == 1
        assert len(servicer.fingerprints) == 4
    with scripted(pushback("5000")) as (servicer, address):
        with ScoringClient(address, timeout_seconds=4) as client, pytest.raises(ServiceError) as caught:
            client.score(ONE, as_of=AS_OF)
        assert caught.value.code == "RESOURCE_EXHAUSTED"
        assert len(servicer.fingerprints) == 1


def test_tries_are_bounded_and_share_one_deadline() -> None:
    """A server that never recovers is asked four times, each try with what is left of the time."""
    away = (grpc.StatusCode.UNAVAILABLE, ((PUSHBACK_KEY, "200"),))
    with scripted(*[away] * 9) as (servicer, address):
        with ScoringClient(address, timeout_seconds=10) as client, pytest.raises(ServiceError) as caught:
            client.score(ONE, as_of=AS_OF)
        assert caught.value.code == "UNAVAILABLE"
    assert len(servicer.seconds_left) == 4
    # gRPC rounds what it sends by about a hundredth.
    assert servicer.seconds_left[0] < 10.5
    assert servicer.seconds_left[3] < servicer.seconds_left[0] - 0.4


def test_a_deadline_of_the_batch_holds_beside_that_of_each_request() -> None:
    """The server is told the nearer one, and a batch whose time is up is not sent any further."""
    with scripted() as (servicer, address), ScoringClient(address, timeout_seconds=20) as client:
        client.score(ONE, as_of=AS_OF, timeout_seconds=600)
        client.score(ONE, as_of=AS_OF, timeout_seconds=5)
        # gRPC rounds what it sends by about a hundredth.
        assert 6 < servicer.seconds_left[0] < 21
        assert servicer.seconds_left[1] < 6
        with pytest.raises(ServiceError) as caught:
            client.score(ONE, as_of=AS_OF, timeout_seconds=1e-9)
    assert caught.value.code == "DEADLINE_EXCEEDED"
    assert len(servicer.seconds_left) == 2


async def test_several_channels_are_as_many_connections(monkeypatch: pytest.MonkeyPatch) -> None:
    """Requests in flight together arrive over different connections; one channel has one."""
    monkeypatch.setattr(calls, "MAX_CUSTOMERS_PER_REQUEST", 1)
    rows = [{"customer_id": i, "occurred_at": START_US, "event_type": "visit"} for i in range(9)]
    for num in (1, 3):
        with scripted(threads=4) as (servicer, address):
            async with AsyncScoringClient(address, num_channels=num) as client:
                await client.score(rows, as_of=AS_OF)
            assert len(set(servicer.peers)) == num
            servicer.peers.clear()
            with ScoringClient(address, num_channels=num) as client:
                client.score(rows, as_of=AS_OF)
            assert {servicer.peers.count(peer) for peer in servicer.peers} == {9 // num}


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


async def test_large_requests_are_compressed_when_told_to() -> None:
    """Fewer bytes leave the machine, the server reads the same, and small requests stay as they are."""
    rows = [{"customer_id": 1, "occurred_at": START_US, "event_type": "visit"}] * 20_000
    for limit, is_small in ((None, False), (10_000_000, False), (1_000, True)):
        with scripted() as (servicer, address), counting_relay(address) as (relay, sizes):
            with ScoringClient(relay, compress_above_bytes=limit) as client:
                await asyncio.to_thread(client.score, rows, as_of=AS_OF)
            async with AsyncScoringClient(relay, compress_above_bytes=limit) as client:
                await client.score(rows, as_of=AS_OF)
            assert servicer.num_events == [20_000, 20_000]
            assert (sum(sizes) < 50_000) == is_small


@pytest.mark.parametrize(
    ("options", "field"),
    [
        ({"num_channels": 0}, "num_channels"),
        ({"timeout_seconds": 0}, "timeout_seconds"),
        ({"compress_above_bytes": -1}, "compress_above_bytes"),
    ],
)
async def test_numbers_without_a_meaning_are_refused(options: dict[str, Any], field: str) -> None:
    """Naming argument, value and limit, before anything is opened."""
    for kind in (ScoringClient, AsyncScoringClient):
        with pytest.raises(ConfigError, match=f"^{field}: got"):
            kind("localhost:1", **options)


def test_horizons_and_quantiles_can_be_chosen(client: ScoringClient) -> None:
    """Only what is asked for is answered, under its own keys and with the same numbers."""
    full = client.score(table(), as_of=AS_OF)
    some = client.score(table(), as_of=AS_OF, horizons_days=[90, 30], include_quantiles=False)
    for left, right in zip(some, full, strict=True):
        probability = right.predictions["churn"].probability
        assert list(left.predictions["churn"].probability) == [30, 90]
        for days, value in left.predictions["churn"].probability.items():
            assert value == pytest.approx(probability[days], rel=1e-5)
        assert left.predictions["spend"].quantiles == {}
        assert left.predictions["spend"].expected == pytest.approx(
            right.predictions["spend"].expected, rel=1e-5
        )
    with pytest.raises(ServiceError, match=r"\[30, 60, 90\]") as caught:
        client.score(table(), as_of=AS_OF, horizons_days=[30, 45])
    assert (caught.value.code, caught.value.violations[0][0]) == ("INVALID_ARGUMENT", "horizons_days[1]")


def test_eligible_are_the_active_ones(client: ScoringClient) -> None:
    """A customer whose last purchase lies before the lookback is answered, and said not to be eligible."""
    rows = [
        {"customer_id": name, "occurred_at": AS_OF - timedelta(days=days), "event_type": event_type}
        for name, days, event_type in (
            ("now", 10, "purchase"),
            ("then", 181, "purchase"),
            ("visit", 1, "visit"),
        )
    ]
    results = client.score(rows, as_of=AS_OF)
    assert {result.customer_id: result.observed.is_eligible for result in results} == {
        "now": True,
        "then": False,
        "visit": False,
    }


def test_unavailable_is_tried_again_and_nothing_else_is() -> None:
    """A server that restarts is waited for; a refusal is reported at once."""
    with scripted(grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.UNAVAILABLE) as (servicer, address):
        with ScoringClient(address) as client:
            assert len(client.score(ONE, as_of=AS_OF)) == 1
        assert len(servicer.fingerprints) == 3
    for code in (
        grpc.StatusCode.INTERNAL,
        grpc.StatusCode.RESOURCE_EXHAUSTED,
        grpc.StatusCode.DEADLINE_EXCEEDED,
    ):
        with scripted(code) as (servicer, address), ScoringClient(address) as client:
            with pytest.raises(ServiceError, match="scripted") as caught:
                client.score(ONE, as_of=AS_OF)
            assert caught.value.code == code.name
            assert len(servicer.fingerprints) == 1


@pytest.mark.parametrize("events", [ONE, iter(ONE)], ids=["rows", "generator"])
def test_a_changed_schema_is_asked_for_again_once(events: Any) -> None:
    """A server that was given a new model is answered with the new schema, all events included."""
    precondition = grpc.StatusCode.FAILED_PRECONDITION
    with scripted(precondition, descriptions=[describe("a"), describe("b")]) as (servicer, address):
        with ScoringClient(address) as client:
            assert len(client.score(events, as_of=AS_OF)) == 1
        assert servicer.fingerprints == ["a", "b"]
        assert servicer.num_events == [1, 1]
    with scripted(precondition, precondition) as (_, address), ScoringClient(address) as client:
        with pytest.raises(ServiceError) as caught:
            client.score(ONE, as_of=AS_OF)
        assert caught.value.code == "FAILED_PRECONDITION"


async def test_a_changed_schema_is_asked_for_again_by_the_asyncio_client() -> None:
    """Likewise for asyncio, where a failing request ends the others of the batch."""
    precondition = grpc.StatusCode.FAILED_PRECONDITION
    with scripted(precondition, descriptions=[describe("a"), describe("b")]) as (servicer, address):
        async with AsyncScoringClient(address) as client:
            assert len(await client.score(iter(ONE), as_of=AS_OF)) == 1
        assert servicer.fingerprints == ["a", "b"]
    with scripted(precondition, precondition) as (_, address):
        async with AsyncScoringClient(address) as client:
            with pytest.raises(ServiceError) as caught:
                await client.score(ONE, as_of=AS_OF)
    assert caught.value.code == "FAILED_PRECONDITION"


async def test_one_failing_request_ends_a_batch_of_the_asyncio_client(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The error arrives, no task is left behind, and the rest of the batch is not sent."""
    monkeypatch.setattr(calls, "MAX_CUSTOMERS_PER_REQUEST", 1)
    rows = [{"customer_id": i, "occurred_at": START_US, "event_type": "visit"} for i in range(40)]
    with scripted(grpc.StatusCode.INTERNAL) as (servicer, address):
        async with AsyncScoringClient(address, max_concurrent_requests=2) as client:
            with pytest.raises(ServiceError, match="INTERNAL"):
                await client.score(rows, as_of=AS_OF)
        assert len(servicer.fingerprints) < 40
    assert len(asyncio.all_tasks()) == 1


async def test_errors_of_the_asyncio_client_are_ours() -> None:
    """Nobody listening and a deadline passed are ServiceErrors with their code."""
    with scripted() as (_, address):
        pass
    async with AsyncScoringClient(address) as client:
        with pytest.raises(ServiceError) as caught:
            await client.model()
        assert caught.value.code == "UNAVAILABLE"


def test_a_deadline_that_passes_is_reported() -> None:
    """A caller waits no longer than it said, even for a server that never answers."""
    with scripted() as (servicer, address), ScoringClient(address, timeout_seconds=0.2) as client:
        client.model()
        servicer.may_answer.clear()
        with pytest.raises(ServiceError) as caught:
            client.score(ONE, as_of=AS_OF)
        servicer.may_answer.set()
    assert caught.value.code == "DEADLINE_EXCEEDED"


def test_tls_is_spoken_where_credentials_are_given(server: ScoringServer) -> None:
    """A plain server is not mistaken for a safe one."""
    credentials = grpc.ssl_channel_credentials()
    with ScoringClient(f"127.0.0.1:{server.port}", credentials=credentials, timeout_seconds=20) as client:
        with pytest.raises(ServiceError) as caught:
            client.model()
        assert caught.value.code == "UNAVAILABLE"


async def test_tls_is_spoken_by_the_asyncio_client_too(server: ScoringServer) -> None:
    """Likewise for asyncio."""
    credentials = grpc.ssl_channel_credentials()
    async with AsyncScoringClient(f"127.0.0.1:{server.port}", credentials=credentials) as client:
        with pytest.raises(ServiceError) as caught:
            await client.model()
    assert caught.value.code == "UNAVAILABLE"


def test_events_of_every_kind_of_text_are_scored(client: ScoringClient) -> None:
    """Ids and categories of any Unicode are answered; a lone surrogate is named before it is sent."""
    texts = ["", "a\x00", "\U0001f6d2", "e\u0301", "\u202egnp", "\uffff"]
    rows = [
        {"customer_id": text, "occurred_at": START_US, "event_type": text, "channel": text} for text in texts
    ]
    results = client.score(rows, as_of=AS_OF)
    assert [result.customer_id for result in results] == texts
    assert [result.observed.num_unknown for result in results if result.observed] == [0] * len(texts)
    for bad in ({"customer_id": "\ud800"}, {"event_type": "\ud800"}):
        with pytest.raises(DataError, match="surrogates"):
            client.score([rows[0] | bad], as_of=AS_OF)
