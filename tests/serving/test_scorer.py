"""Every call ends with an answer, an error or its own cancellation, and harms no other call."""

import logging
from pathlib import Path

import grpc
import pytest
from gated_server import WAIT_SECONDS, assert_alike, detail_of, gated, of_length, request, status_of
from google.rpc import error_details_pb2
from grpc_status import rpc_status

from holdfast.v1.scoring_pb2_grpc import ScoringServiceStub


def test_a_session_that_raises_is_internal_without_a_leak(
    artifact_folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The caller learns a number, the log has the rest under it, and the next call is answered."""
    with gated(artifact_folder) as at:
        at.predictor.fails = lambda *_: True
        with caplog.at_level(logging.ERROR):
            error = status_of(at.stub, request())
        assert error.code() is grpc.StatusCode.INTERNAL
        assert "secret" not in error.details()
        assert rpc_status.from_call(error) is None
        record = caplog.records[-1]
        assert record.failure in error.details()
        assert "secret of customer 17" in str(record.exc_info[1])
        at.predictor.fails = lambda *_: False
        assert len(at.stub.Score(request()).customers) == 5


def test_a_run_that_fails_is_tried_again_without_the_one_at_fault(artifact_folder: Path) -> None:
    """Requests that shared a run with it get what they get alone; the worker lives on."""
    with gated(artifact_folder) as at:
        asked = [of_length(13), of_length(14), of_length(15)]
        alone = [at.stub.Score(one) for one in (asked[0], asked[2])]
        first = at.hold()
        at.predictor.fails = lambda encoded, run: bool((encoded.lengths[run.segments] == 14).any())
        calls = [at.ask(one) for one in asked]
        at.predictor.gate.set()
        assert len(first.result(WAIT_SECONDS).customers) == 1
        assert calls[1].code() is grpc.StatusCode.INTERNAL
        assert max(at.predictor.num_customers) == 3
        for call, expected in zip((calls[0], calls[2]), alone, strict=True):
            assert_alike(call.result(), expected)


def test_a_call_cancelled_in_the_queue_costs_nothing_and_harms_no_neighbour(artifact_folder: Path) -> None:
    """It leaves the batch that it would have been in; the others get what they get alone."""
    with gated(artifact_folder) as at:
        asked = [of_length(13), of_length(14), of_length(15)]
        alone = [at.stub.Score(one) for one in (asked[0], asked[2])]
        first = at.hold()
        calls = [at.ask(one) for one in asked]
        at.predictor.num_customers.clear()
        with at.giving_up():
            assert calls[1].cancel()
        at.predictor.gate.set()
        for call, expected in zip((calls[0], calls[2]), alone, strict=True):
            assert_alike(call.result(WAIT_SECONDS), expected)
        assert len(first.result(WAIT_SECONDS).customers) == 1
        assert sum(at.predictor.num_customers) == 1 + 2


def test_a_call_cancelled_between_its_runs_stops(artifact_folder: Path) -> None:
    """What has been encoded but not run is dropped: most of a large request is never computed."""
    with gated(artifact_folder, budget_events=8) as at:
        at.predictor.gate.clear()
        large = at.ask(request(1, num_customers=30))
        assert at.predictor.entered.acquire(timeout=WAIT_SECONDS)
        neighbour = at.ask(request(2, num_customers=1))
        with at.giving_up():
            assert large.cancel()
        at.predictor.gate.set()
        assert len(neighbour.result(WAIT_SECONDS).customers) == 1
        assert len(at.stub.Score(request(3)).customers) == 5
        assert sum(at.predictor.num_customers) < 30


def test_a_client_that_disconnects_harms_nobody(artifact_folder: Path) -> None:
    """Its call is dropped as if it had been cancelled."""
    with gated(artifact_folder) as at:
        first = at.hold()
        with at.giving_up(), grpc.insecure_channel(f"127.0.0.1:{at.server.port}") as channel:
            at.ask(of_length(13), stub=ScoringServiceStub(channel))
            neighbour = at.ask(of_length(14))
        at.predictor.gate.set()
        assert len(first.result(WAIT_SECONDS).customers) == 1
        assert len(neighbour.result(WAIT_SECONDS).customers) == 1
        assert sum(at.predictor.num_customers) == 2


def test_a_call_whose_deadline_passes_in_the_queue_is_not_scored(artifact_folder: Path) -> None:
    """Work that nobody waits for is not begun."""
    with gated(artifact_folder) as at:
        first = at.hold()
        late = at.ask(request(2), timeout=0.2)
        assert late.code() is grpc.StatusCode.DEADLINE_EXCEEDED
        at.predictor.gate.set()
        assert len(first.result(WAIT_SECONDS).customers) == 1
        assert len(at.stub.Score(request(3)).customers) == 5
        assert sum(at.predictor.num_customers) == 1 + 5


def test_a_full_queue_refuses_at_once_and_says_when_to_come_back(artifact_folder: Path) -> None:
    """For programs as RetryInfo and as gRPC's own pushback; what waits already is answered."""
    with gated(artifact_folder, max_queued_events=64) as at:
        first = at.hold()
        second = at.ask(of_length(32))
        error = status_of(at.stub, of_length(32))
        assert error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        delay = detail_of(error, error_details_pb2.RetryInfo).retry_delay
        assert delay.ToMilliseconds() >= 1
        assert ("grpc-retry-pushback-ms", str(delay.ToMilliseconds())) in error.trailing_metadata()
        at.predictor.gate.set()
        assert len(first.result(WAIT_SECONDS).customers) == 1
        assert len(second.result(WAIT_SECONDS).customers) == 1
        assert len(at.stub.Score(of_length(32)).customers) == 1


def test_a_request_larger_than_the_queue_is_taken_when_nothing_waits(artifact_folder: Path) -> None:
    """Whatever the limits of a request allow can be asked."""
    with gated(artifact_folder, max_queued_events=1) as at:
        assert len(at.stub.Score(request(num_customers=9)).customers) == 9


def test_a_wait_beyond_the_deadline_is_refused_at_once(artifact_folder: Path) -> None:
    """A caller who would get no answer in time hears so while there is time to ask elsewhere."""
    with gated(artifact_folder) as at:
        first = at.hold()
        at.slow_down()
        with pytest.raises(grpc.RpcError) as caught:
            at.stub.Score(of_length(32), timeout=WAIT_SECONDS)
        assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        assert "deadline" in caught.value.details()
        at.predictor.gate.set()
        assert len(first.result(WAIT_SECONDS).customers) == 1
