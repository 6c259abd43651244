"""Every call ends with an answer, an error or its own cancellation, and harms no other call."""

import asyncio
import logging
import time
from dataclasses import replace
from pathlib import Path

import grpc
import numpy as np
import pytest
from artifact_builder import AS_OF_US
from gated_server import (
    WAIT_SECONDS,
    GatedPredictor,
    assert_alike,
    detail_of,
    gated,
    of_length,
    request,
    request_for,
    status_of,
)
from google.rpc import error_details_pb2
from grpc_status import rpc_status
from numpy import ndarray

from builders import histories_of_lengths, random_histories
from holdfast.histories import Histories
from holdfast.v1 import scoring_pb2 as pb
from holdfast.v1.scoring_pb2_grpc import ScoringServiceStub
from holdfast.wire import Limits
from serving.artifact import Artifact
from serving.asking import AskedHistories
from serving.engine import LARGE_EVENTS
from serving.errors import ExpiredError, UnavailableError, UnknownModelError
from serving.scored import Scored
from serving.scorer import Scorer


async def score(
    scorer: Scorer, histories: Histories, as_of_us: ndarray, *, deadline_seconds: float | None = None
) -> Scored:
    """Ask for every output of the model."""
    asked = AskedHistories(histories=histories)
    return await scorer.answer(
        asked, as_of_us, lambda _: lambda scored: scored, deadline_seconds=deadline_seconds
    )


def test_a_session_that_raises_is_internal_without_a_leak(
    artifact_folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The caller learns a number, the log has the rest under it, and the next call is answered."""
    with gated(artifact_folder) as at:
        at.predictor.fails = lambda _: True
        with caplog.at_level(logging.ERROR):
            error = status_of(at.stub, request())
        assert error.code() is grpc.StatusCode.INTERNAL
        assert "secret" not in error.details()
        assert rpc_status.from_call(error) is None
        record = caplog.records[-1]
        assert record.failure in error.details()
        assert "secret of customer 17" in str(record.exc_info[1])
        at.predictor.fails = lambda _: False
        assert len(at.stub.Score(request()).customers) == 5


def test_a_run_that_fails_is_tried_again_without_the_one_at_fault(artifact_folder: Path) -> None:
    """Requests that shared a run with it get what they get alone; the worker lives on."""
    with gated(artifact_folder) as at:
        asked = [of_length(13), of_length(14), of_length(15)]
        alone = [at.stub.Score(one) for one in (asked[0], asked[2])]
        first = at.hold()
        at.predictor.fails = lambda run: bool((run.inputs["readout_visible"] == 14).any())
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


def test_large_requests_leave_room_in_the_queue_for_small_ones(artifact_folder: Path) -> None:
    """They are refused at three quarters of it, where somebody who asks about one customer is still taken."""
    large = request_for(histories_of_lengths(np.random.default_rng(0), np.full(150, 32), span_days=300))
    assert LARGE_EVENTS < 150 * 32
    with gated(artifact_folder, max_queued_events=6_400) as at:
        first = at.hold()
        assert "exceed 4800" in status_of(at.stub, large).details()
        small = at.ask(of_length(32))
        at.predictor.gate.set()
        assert len(first.result(WAIT_SECONDS).customers) == 1
        assert len(small.result(WAIT_SECONDS).customers) == 1
        assert len(at.stub.Score(large).customers) == 150


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


def test_a_large_request_is_cut_and_answered_whole(artifact_folder: Path) -> None:
    """Customers, faults among them, keep their places across the parts; nobody's numbers move."""
    histories = random_histories(np.random.default_rng(7), 600, max_length=40)
    asked = request_for(histories)
    asked.customers[3].event_type.append(0)
    asked.customers[400].event_type[:] = [99] * len(asked.customers[400].occurred_at_us)
    asked.customers[400].occurred_at_us[:] = asked.customers[400].occurred_at_us or [0]
    with gated(artifact_folder, budget_events=64) as at:
        found = at.stub.Score(asked)
        assert found.customers[3].error.field == "event_type"
        assert found.customers[400].HasField("error")
        for place in (0, 2, 4, 255, 256, 399, 401, 599):
            alone = pb.ScoreRequest()
            alone.CopyFrom(asked)
            del alone.customers[place + 1 :]
            del alone.customers[:place]
            one = pb.ScoreResponse(customers=[found.customers[place]])
            assert_alike(one, at.stub.Score(alone))


async def test_a_call_without_a_deadline_gets_the_default_one(
    artifact_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody waits for ever; a deadline that has passed already costs nothing."""
    scorer = Scorer(limits=Limits(), default_deadline_seconds=5.0, max_queued_events=1_000)
    predictor = GatedPredictor(Artifact.load(artifact_folder).predictor)
    predictor.gate.clear()
    artifact = replace(Artifact.load(artifact_folder), predictor=predictor)
    scorer.open(artifact, workers=1, seconds_per_event=1e-9)
    histories = random_histories(np.random.default_rng(0), 1)
    as_of_us = np.full(1, AS_OF_US, dtype=np.int64)
    first = asyncio.create_task(score(scorer, histories, as_of_us, deadline_seconds=WAIT_SECONDS))
    assert await asyncio.to_thread(predictor.entered.acquire, timeout=WAIT_SECONDS)
    second = asyncio.create_task(score(scorer, histories, as_of_us))
    with pytest.raises(ExpiredError):
        await score(scorer, histories, as_of_us, deadline_seconds=0.0)
    await asyncio.sleep(0)
    monkeypatch.setattr("serving.scorer.time.monotonic", lambda: time.monotonic_ns() / 1e9 + 10)
    predictor.gate.set()
    assert (await first).predictions.outputs.keys() == set(predictor.output_names)
    with pytest.raises(ExpiredError):
        await second
    assert predictor.num_customers == [1]
    await scorer.wait_idle()
    await asyncio.to_thread(scorer.close)
    with pytest.raises(UnavailableError, match="stopping"):
        await score(scorer, histories, as_of_us)


async def test_an_answer_that_cannot_be_written_is_an_error_of_its_call(artifact_folder: Path) -> None:
    """The worker lives on, for one part and for several."""
    scorer = Scorer(limits=Limits(), default_deadline_seconds=WAIT_SECONDS, max_queued_events=10**9)
    artifact = Artifact.load(artifact_folder)
    scorer.open(artifact, workers=1, seconds_per_event=1e-9)

    def write(_: Scored) -> bytes:
        raise ZeroDivisionError

    for num in (1, 600):
        histories = random_histories(np.random.default_rng(0), num)
        as_of_us = np.full(num, AS_OF_US, dtype=np.int64)
        with pytest.raises(ZeroDivisionError):
            await scorer.answer(AskedHistories(histories=histories), as_of_us, lambda _: write)
        scored = await score(scorer, histories, as_of_us)
        expected = artifact.predictor.predict(histories, as_of_us)
        np.testing.assert_array_equal(scored.predictions.num_used, expected.num_used)
        for name, values in expected.outputs.items():
            np.testing.assert_allclose(scored.predictions.outputs[name], values, rtol=1e-5, atol=1e-6)
    await asyncio.to_thread(scorer.close)


async def test_models_and_versions_are_told_apart(artifact_folder: Path) -> None:
    """What another service of the port asks for by name and version."""
    scorer = Scorer(limits=Limits(), default_deadline_seconds=1.0, max_queued_events=1)
    with pytest.raises(UnavailableError, match="loaded"):
        scorer.artifact()
    artifact = Artifact.load(artifact_folder)
    scorer.open(artifact, workers=1, seconds_per_event=1e-6)
    assert scorer.artifact() is scorer.artifact("small", "1") is artifact
    with pytest.raises(UnknownModelError, match="'large'"):
        scorer.artifact("large")
    with pytest.raises(UnknownModelError, match="'2'"):
        scorer.artifact("small", "2")
    await asyncio.to_thread(scorer.close)
