"""How clients call: again when it helps, within deadlines, over several channels, compressed when told to."""

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any

import grpc
import pandas as pd
import pytest
from artifact_builder import AS_OF_US
from scripted_server import ONE, counting_relay, describe, pushback, scripted

from builders import START_US
from holdfast import calls
from holdfast.client import AsyncScoringClient, ScoringClient
from holdfast.errors import ConfigError, DataError, ServiceError
from holdfast.results import CustomerResult
from holdfast.retries import PUSHBACK_KEY

AS_OF = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=AS_OF_US)


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
    ("options", "message"),
    [
        ({"num_channels": 0}, "num_channels: got 0, but .* between 1 and 256"),
        ({"timeout_seconds": 0}, "timeout_seconds: got 0, .* greater than 0"),
        ({"timeout_seconds": float("nan")}, "timeout_seconds: got nan"),
        ({"compress_above_bytes": -1}, "compress_above_bytes: got -1, .* at least 0"),
        ({"compress_above_bytes": True}, "compress_above_bytes: got True"),
        ({"target": ""}, "target: got '', .* address"),
        ({"target": "\ud800"}, "target: got .*valid Unicode"),
        ({"model": "\ud800"}, "model: got .*valid Unicode"),
    ],
)
async def test_arguments_without_a_meaning_are_refused(options: dict[str, Any], message: str) -> None:
    """Naming argument, value and limit, before anything is opened."""
    for kind in (ScoringClient, AsyncScoringClient):
        with pytest.raises(ConfigError, match=f"^{message}"):
            kind(**{"target": "localhost:1"} | options)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"horizons_days": [30, -1]}, r"horizons_days\[1\]: got -1, .* at least 1"),
        ({"horizons_days": [2**40]}, r"horizons_days\[0\]: got 1099511627776"),
        ({"horizons_days": [True]}, r"horizons_days\[0\]: got True"),
        ({"timeout_seconds": float("nan")}, "timeout_seconds: got nan"),
        ({"as_of": pd.NaT}, "as_of: got NaT, .* datetime"),
    ],
)
async def test_what_is_asked_must_have_a_meaning(options: dict[str, Any], message: str) -> None:
    """An argument that no request can hold is named with its limit; nothing is sent."""
    given = {"as_of": AS_OF} | options
    with ScoringClient("localhost:1") as client, pytest.raises(DataError, match=f"^{message}"):
        client.score(ONE, **given)
    async with AsyncScoringClient("localhost:1") as client:
        with pytest.raises(DataError, match=f"^{message}"):
            await client.score(ONE, **given)


def test_a_time_without_an_end_is_no_deadline() -> None:
    """What gRPC's clock cannot count would have passed at once."""
    with scripted() as (_, address), ScoringClient(address, timeout_seconds=float("inf")) as client:
        assert len(client.score(ONE, as_of=AS_OF, timeout_seconds=10**400)) == 1


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


def test_a_server_whose_model_has_another_name_by_now_is_asked_for_it() -> None:
    """Whoever named no model takes the one that is there, also from a client that knew the one before."""
    missing = grpc.StatusCode.NOT_FOUND
    with scripted(missing, descriptions=[describe("a"), describe("b")]) as (servicer, address):
        with ScoringClient(address) as client:
            assert len(client.score(ONE, as_of=AS_OF)) == 1
        assert servicer.fingerprints == ["a", "b"]


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


FIVE = [{"customer_id": i, "occurred_at": START_US, "event_type": "visit"} for i in range(5)]


async def test_a_server_that_takes_less_by_now_is_sent_less() -> None:
    """What exceeds limits that were read earlier makes either client read them again, once."""
    lowered = [describe("a"), describe("a", max_customers=2)]
    invalid = grpc.StatusCode.INVALID_ARGUMENT
    with scripted(invalid, descriptions=lowered.copy()) as (servicer, address):
        with ScoringClient(address) as client:
            assert len(await asyncio.to_thread(client.score, FIVE, as_of=AS_OF)) == 5
        assert servicer.num_customers == [5, 2, 2, 1]
    with scripted(invalid, descriptions=lowered.copy()) as (servicer, address):
        async with AsyncScoringClient(address, max_concurrent_requests=1) as client:
            assert len(await client.score(FIVE, as_of=AS_OF)) == 5
        assert servicer.num_customers == [5, 2, 2, 1]


def test_bytes_that_grpc_itself_refuses_are_such_a_limit_too() -> None:
    """Its status is that of a full server, and says nothing of when to come back."""
    lowered = [describe("a"), describe("a", max_message_bytes=150)]
    with scripted(descriptions=lowered, max_message_bytes=150) as (servicer, address):
        with ScoringClient(address) as client:
            assert len(client.score(FIVE, as_of=AS_OF)) == 5
        assert max(servicer.num_customers) < 5


def test_a_request_that_is_at_fault_itself_is_told_so() -> None:
    """The limits are as they were: nothing is sent again, and the reason arrives as it is."""
    with scripted(grpc.StatusCode.INVALID_ARGUMENT) as (servicer, address), ScoringClient(address) as client:
        with pytest.raises(ServiceError, match=r"^INVALID_ARGUMENT: scripted"):
            client.score(ONE, as_of=AS_OF)
        assert servicer.num_customers == [1]


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


@pytest.mark.parametrize("num", [0, -1])
async def test_a_batch_needs_room_for_a_request(num: int) -> None:
    """A client that could never send anything is refused, instead of waiting for ever."""
    with pytest.raises(ConfigError, match="max_concurrent_requests: got"):
        AsyncScoringClient("localhost:1", max_concurrent_requests=num)


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


async def test_a_closed_client_says_so() -> None:
    """Calls in flight and later ones end with an error of ours; nobody's task is cancelled."""
    with scripted() as (servicer, address):
        blocking, waiting = ScoringClient(address), AsyncScoringClient(address)
        await waiting.model()
        blocking.model()
        servicer.may_answer.clear()
        calls_in_flight = [
            asyncio.create_task(asyncio.to_thread(blocking.score, ONE, as_of=AS_OF)),
            asyncio.create_task(waiting.score(ONE, as_of=AS_OF)),
        ]
        while len(servicer.fingerprints) < 2:  # noqa: ASYNC110 (the server counts on threads of its own)
            await asyncio.sleep(0.01)
        blocking.close()
        await waiting.close()
        found = await asyncio.gather(*calls_in_flight, return_exceptions=True)
        servicer.may_answer.set()
        assert [str(error) for error in found] == ["CANCELLED: the client was closed"] * 2
        with pytest.raises(ServiceError, match="the client was closed"):
            blocking.score(ONE, as_of=AS_OF)
        with pytest.raises(ServiceError, match="the client was closed"):
            await waiting.model()


async def test_a_cancelled_task_is_cancelled() -> None:
    """Whoever cancels a call gets that, and not an error of the service."""
    with scripted() as (servicer, address):
        async with AsyncScoringClient(address) as client:
            await client.model()
            servicer.may_answer.clear()
            task = asyncio.create_task(client.score(ONE, as_of=AS_OF))
            while not servicer.fingerprints:  # noqa: ASYNC110 (as above)
                await asyncio.sleep(0.01)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            servicer.may_answer.set()
