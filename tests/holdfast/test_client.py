"""Clients against real servers: every form of table, batches in several requests, errors as promised."""

import asyncio
import sys
from collections.abc import Iterator
from concurrent import futures
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import grpc
import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from artifact_builder import AS_OF_US, build_artifact, running_server

from builders import START_US, small_schema
from holdfast.calls import Ask, time_us
from holdfast.client import AsyncScoringClient, ScoringClient
from holdfast.errors import DataError, ServiceError
from holdfast.results import CustomerResult, to_columns
from holdfast.tables import read_tables
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
        is_number = isinstance(value, float | list)
        assert left[name] == (pytest.approx(value, rel=1e-5, abs=1e-6) if is_number else value)


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
    assert len(found) == len(again) == len(expected)
    for one, other, wanted in zip(found, again, expected, strict=True):
        assert_close(one, wanted)
        assert_close(other, wanted)


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
        {"customer_id": text or "0", "occurred_at": START_US, "event_type": text or "0", "channel": text}
        for text in texts
    ]
    results = client.score(rows, as_of=AS_OF)
    assert [result.customer_id for result in results] == ["0", *texts[1:]]
    assert [result.observed.num_unknown for result in results if result.observed] == [0] * len(texts)
    for bad in ({"customer_id": "\ud800"}, {"event_type": "\ud800"}):
        with pytest.raises(DataError, match="surrogates"):
            client.score([rows[0] | bad], as_of=AS_OF)
