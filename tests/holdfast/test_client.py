"""Clients against real servers: every form of table, batches in several requests, errors as promised."""

import asyncio
import sys
import threading
from collections.abc import Iterator
from concurrent import futures
from contextlib import contextmanager
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
from holdfast.errors import DataError, ServiceError
from holdfast.results import CustomerResult, to_columns
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
    ask = Ask(as_of_us=AS_OF_US, include_survival=False, include_embedding=False)
    assert [ids for _, ids in ask.requests(tabled, description)] == [[0, 1], [2], [3], [4, 5]]
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


class Scripted(ScoringServiceServicer):
    """Describes a model, and answers Score with statuses from a list before it echoes."""

    def __init__(self, statuses: list[grpc.StatusCode], descriptions: list[ModelDescription]) -> None:
        """Keep what to answer with."""
        self.statuses, self.descriptions = statuses, descriptions
        self.fingerprints: list[str] = []
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
        """Give the next status, or an entry for everyone."""
        self.fingerprints.append(request.schema_fingerprint)
        self.num_events.append(sum(len(customer.occurred_at_us) for customer in request.customers))
        self.may_answer.wait(timeout=30)
        if self.statuses:
            context.abort(self.statuses.pop(0), "scripted")
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
def scripted(*statuses: grpc.StatusCode, descriptions: list[ModelDescription] | None = None) -> Iterator[Any]:
    """Run a scripted server; yields it and its address."""
    servicer = Scripted(list(statuses), descriptions or [describe("a")])
    server = grpc.server(futures.ThreadPoolExecutor(2))
    add_ScoringServiceServicer_to_server(servicer, server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    try:
        yield servicer, f"127.0.0.1:{port}"
    finally:
        server.stop(None).wait()


ONE = [{"customer_id": 1, "occurred_at": START_US, "event_type": "visit"}]


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
