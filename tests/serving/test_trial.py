"""A candidate answers its share of the calls, always the same one, and harms nobody whatever it does."""

import asyncio
import gc
import hashlib
import logging
import threading
import time
from collections.abc import Coroutine, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
from artifact_builder import AS_OF_US, build_artifact
from gated_server import WAIT_SECONDS, GatedPredictor, assert_alike, request
from linked_versions import asked, point
from open_inference_requests import infer_request, tensors_of
from tried_candidates import asked_of, candidate_of, holding, totals_of, trial_of, tried

from builders import random_histories, small_schema, small_spec
from holdfast.inference.open_inference_pb2_grpc import GRPCInferenceServiceStub
from holdfast.v1.scoring_pb2_grpc import ScoringServiceStub
from holdfast.wire import Limits
from serving import trial as trial_module
from serving.artifact import Artifact
from serving.asking import AskedHistories
from serving.calls import Call
from serving.errors import ExpiredError
from serving.predictor import PaddedRun
from serving.scored import Scored
from serving.scorer import Scorer
from serving.trial import Trial, place_of

CUSTOMERS = [f"customer {number}" for number in range(40)]


async def versions_of(stub: ScoringServiceStub) -> Mapping[str, str]:
    """Return who answers about each customer alone."""
    return {one: (await stub.Score(asked_of(one), timeout=WAIT_SECONDS)).version for one in CUSTOMERS}


def test_a_place_is_for_ever() -> None:
    """In every process and after every restart the same; places are spread evenly, and 1 is none."""
    assert place_of(b"anna") == pytest.approx(0.6638935, abs=1e-7)
    places = [place_of(str(number).encode()) for number in range(2_000)]
    assert np.histogram(places, bins=4, range=(0, 1))[0] == pytest.approx([500] * 4, rel=0.15)


def test_the_largest_place_is_below_1(monkeypatch: pytest.MonkeyPatch) -> None:
    """A share of 1 is everybody, whatever the hash."""

    class Largest:
        def digest(self) -> bytes:
            return b"\xff" * 8

    monkeypatch.setattr(hashlib, "blake2b", lambda *_, **__: Largest())
    assert 0.999 < place_of(b"anna") < 1.0


async def test_a_share_of_the_customers_is_answered_by_the_candidate(link: Path) -> None:
    """Always the same ones, those of a smaller share among them, and of several the first decides."""
    second = link.with_name("second")
    answered: list[set[str]] = []
    for share in (0.2, 0.6):
        async with (
            tried(link, second, candidate_share=share) as (served, candidates),
            asked(served.server) as stub,
        ):
            assert await candidates.outcome() == "taken"
            found = await versions_of(stub)
            assert await versions_of(stub) == found
            answered.append({one for one, version in found.items() if version == "2"})
            assert answered[-1] == {one for one in CUSTOMERS if place_of(one.encode()) < share}
            inside, outside = min(answered[-1]), min(set(CUSTOMERS) - answered[-1])
            assert (await stub.Score(asked_of(inside, outside))).version == "2"
            assert (await stub.Score(asked_of(outside, inside))).version == "1"
            assert (await stub.Score(asked_of())).version == "1"
            num = 2 * len(answered[-1]) + 1
            requests = totals_of(served.server, "role_requests")
            assert requests == {"candidate\t2": num, "served\t1": 2 * len(CUSTOMERS) + 3 - num}
    assert answered[0] < answered[1]


async def test_answers_are_counted_as_before_and_by_who_gave_them(link: Path) -> None:
    """Old numbers speak of all calls, drift and the model of the version that is served alone."""
    async with tried(link, link.with_name("second"), candidate_share=1) as (served, candidates):
        assert await candidates.outcome() == "taken"
        async with asked(served.server) as stub:
            for _ in range(3):
                assert (await stub.Score(request())).version == "2"
        shown = served.server.scorer.snapshot()
    assert shown["totals"]["customers"] == {"scored": 15, "fault": 0}
    assert shown["totals"]["role_customers"] == {"candidate\t2\tscored": 15, "candidate\t2\tfault": 0}
    assert shown["totals"]["role_seconds"]["candidate\t2"][-1] > 0  # type: ignore[index]
    assert sum(shown["totals"]["queue_wait_seconds"][""][:-1]) == 3  # type: ignore[index]
    assert shown["states"]["model_processes"] == {"small\t1": 1}
    assert shown["states"]["candidate_processes"] == {"small\t2": 1}
    assert not any(shown["states"]["recent_customers"].values())


async def test_what_names_a_schema_or_a_version_gets_it(link: Path) -> None:
    """The schema is the same; a version is one that is served, and tensors have an id or no share."""
    tensors = tensors_of(random_histories(np.random.default_rng(0), 2))
    async with tried(link, link.with_name("second"), candidate_share=1) as (served, candidates):
        assert await candidates.outcome() == "taken"
        async with grpc.aio.insecure_channel(f"127.0.0.1:{served.server.port}") as channel:
            stub, infer = ScoringServiceStub(channel), GRPCInferenceServiceStub(channel).ModelInfer
            named = request()
            named.schema_fingerprint = small_spec().schema.fingerprint()
            assert (await stub.Score(named)).version == "2"
            named.schema_fingerprint = "another"
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await stub.Score(named)
            assert caught.value.code() is grpc.StatusCode.FAILED_PRECONDITION
            asking = infer_request(tensors)
            asking.id = ""
            assert (await infer(asking)).model_version == "1"
            asking.id = "anna"
            assert (await infer(asking)).model_version == "2"
            asking.model_version = "1"
            assert (await infer(asking)).model_version == "1"
            asking.model_version = "2"
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await infer(asking)
            assert caught.value.code() is grpc.StatusCode.NOT_FOUND


async def test_what_a_candidate_fails_at_the_served_version_answers(
    link: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The caller sees nothing of it; it is counted and logged."""
    held = holding(monkeypatch)
    async with tried(link, link.with_name("second"), candidate_share=1) as (served, candidates):
        assert await candidates.outcome() == "taken"
        async with asked(served.server) as stub:
            expected = await stub.Score(request())
            held["second"].fails = lambda _: True
            answers = await asyncio.gather(*(stub.Score(request()) for _ in range(4)))
            for answer in answers:
                assert answer.version == "1"
                assert_alike(answer, expected)
        server = served.server
        assert totals_of(server, "candidate_failures") == {"2\tinternal": 4}
        assert totals_of(server, "role_requests") == {"candidate\t2": 1, "served\t1": 4}
        assert {label for label, num in totals_of(server, "requests").items() if num == 5} == {
            "holdfast.v1.ScoringService\tOK"
        }
    told = [record for record in caplog.records if record.message == "candidate failed"]
    assert len(told) == 4
    assert all(record.levelno == logging.ERROR and record.exc_info for record in told)


async def test_what_reading_refuses_is_told_by_the_served_version(link: Path) -> None:
    """A request that is malformed is nobody's failure."""
    async with tried(link, link.with_name("second"), candidate_share=1) as (served, candidates):
        assert await candidates.outcome() == "taken"
        async with asked(served.server) as stub:
            malformed = request()
            malformed.field_dictionaries["undeclared"].values.append("a")
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await stub.Score(malformed)
            assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
        assert totals_of(served.server, "candidate_failures") == {}
        assert totals_of(served.server, "role_requests") == {}


async def test_a_candidate_that_is_too_slow_for_a_call_does_not_get_it(
    link: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before the deadline is lost: the version that is served has time for it."""
    held = holding(monkeypatch)
    async with tried(link, link.with_name("second"), candidate_share=1) as (served, candidates):
        assert await candidates.outcome() == "taken"
        async with asked(served.server) as stub:
            slow = held["second"]
            slow.close()
            first = asyncio.ensure_future(stub.Score(request(), timeout=WAIT_SECONDS))
            assert await asyncio.to_thread(slow.entered.acquire, timeout=WAIT_SECONDS)
            candidate_of(served.server).batcher._pace.add(seconds=1e9, events=0)
            assert (await stub.Score(request(), timeout=WAIT_SECONDS)).version == "1"
            slow.gate.set()
            assert (await first).version == "2"
        assert totals_of(served.server, "candidate_failures") == {"2\toverloaded": 1}


async def test_a_version_of_another_schema_does_not_answer_for_a_candidate(
    link: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It came while the candidate failed; the caller may try again, and then asks for that one."""
    held = holding(monkeypatch)
    schema = replace(small_schema(), lookback_days=small_schema().lookback_days + 1)
    other = build_artifact(link.with_name("other"), spec=small_spec(schema=schema))
    async with tried(link, link.with_name("second"), candidate_share=1) as (served, candidates):
        assert await candidates.outcome() == "taken"
        slow = held["second"]
        slow.fails = lambda _: True
        async with asked(served.server) as stub:
            slow.close()
            call = asyncio.ensure_future(stub.Score(request(), timeout=WAIT_SECONDS))
            assert await asyncio.to_thread(slow.entered.acquire, timeout=WAIT_SECONDS)
            point(link, other)
            assert await served.outcome() == "served"
            slow.gate.set()
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await call
            assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
        assert not served.server.scorer._num_open


async def test_a_candidate_that_goes_away_answers_what_it_was_asked(
    link: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What it counted stays, its workers end, and nothing is in flight any more."""
    held = holding(monkeypatch)
    candidate = link.with_name("candidate")
    point(candidate, link.with_name("second"))
    async with tried(link, candidate, candidate_share=1) as (served, candidates):
        assert await candidates.outcome() == "taken"
        async with asked(served.server) as stub:
            slow = held["second"]
            slow.close()
            call = asyncio.ensure_future(stub.Score(request(), timeout=WAIT_SECONDS))
            assert await asyncio.to_thread(slow.entered.acquire, timeout=WAIT_SECONDS)
            candidate.unlink()
            assert await candidates.outcome() == "gone"
            assert (await stub.Score(request())).version == "1"
            slow.gate.set()
            assert (await call).version == "2"
        assert totals_of(served.server, "role_requests") == {"candidate\t2": 1}
        assert sum(totals_of(served.server, "customers").values()) == 10  # type: ignore[arg-type]
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("score-")]


async def test_a_failure_after_the_deadline_costs_the_served_version_nothing(
    artifact_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody waits any more, so nobody is asked again."""
    artifact = Artifact.load(artifact_folder)
    failing, served = GatedPredictor(artifact.predictor), GatedPredictor(artifact.predictor)
    trial = Trial(share=1.0, is_shadow=False)
    scorer = Scorer(limits=Limits(), default_deadline_seconds=5.0, max_queued_events=1_000, trial=trial)
    histories = AskedHistories(histories=random_histories(np.random.default_rng(0), 1))
    as_of_us = np.full(1, AS_OF_US, dtype=np.int64)

    def ask() -> Coroutine[Any, Any, Scored]:
        return scorer.answer(histories, as_of_us, lambda _: lambda scored: scored, customer_id=b"anna")

    scorer.open(replace(artifact, predictor=served), workers=1, seconds_per_event=1e-9)
    await ask()
    scorer.try_out(replace(artifact, predictor=failing), workers=1, seconds_per_event=1e-9)
    real = time.monotonic

    def fail_late(_: PaddedRun) -> bool:
        monkeypatch.setattr(trial_module.time, "monotonic", lambda: real() + 10)
        return True

    failing.fails = fail_late
    with pytest.raises(ExpiredError):
        await ask()
    assert served.num_customers == [1]
    scorer.refuse()
    await asyncio.to_thread(scorer.close)


def num_calls() -> int:
    """Return how many calls are in memory, whoever keeps them."""
    # Not isinstance(), which asks a proxy for what may be gone.
    return sum(type(one) is Call for one in gc.get_objects())


@pytest.mark.parametrize("is_shadow", [False, True])
async def test_what_a_candidate_failed_at_leaves_nothing_behind(
    link: Path, monkeypatch: pytest.MonkeyPatch, is_shadow: bool
) -> None:
    """Its request would stay in memory until somebody looks for cycles."""
    held = holding(monkeypatch)
    settings = {"candidate_share": 1, "candidate_shadow": is_shadow}
    async with tried(link, link.with_name("second"), **settings) as (served, candidates):
        assert await candidates.outcome() == "taken"
        held["second"].fails = lambda _: True
        # What the log keeps for the test's report holds frames too.
        logging.disable()
        gc.collect()
        gc.disable()
        try:
            before = num_calls()
            async with asked(served.server) as stub:
                for _ in range(12):
                    assert (await stub.Score(request())).version == "1"
            await asyncio.gather(*trial_of(served.server)._tasks)
            left = num_calls() - before
        finally:
            gc.enable()
            logging.disable(logging.NOTSET)
        assert totals_of(served.server, "candidate_failures") == {"2\tinternal": 12}
        # A worker knows its last one until there is another.
        assert left <= 4
