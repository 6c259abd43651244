"""A shadow answers nobody, delays nobody and fails nobody; how far it lies from what is served is counted."""

import asyncio
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from gated_server import WAIT_SECONDS, request
from linked_versions import asked, point
from tried_candidates import AlteredPredictor, asked_of, candidate_of, holding, totals_of, trial_of, tried

from serving import trial as trial_module
from serving.server import ScoringServer
from serving.trial_recording import TrialRecorder

SHADOWING = {"candidate_share": 1, "candidate_shadow": True}


class Told:
    """What is noticed of shadows, in order."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        """Listen to the recorder."""
        self._queue: asyncio.Queue[str] = asyncio.Queue()
        for name in ("compared", "dropped", "failed"):
            self._listen(patch, name)

    def _listen(self, patch: pytest.MonkeyPatch, name: str) -> None:
        method = getattr(TrialRecorder, name)

        def listening(*given: Any) -> None:
            method(*given)
            self._queue.put_nowait(name)

        patch.setattr(TrialRecorder, name, listening)

    async def next(self) -> str:
        """Wait for what is noticed next."""
        return await asyncio.wait_for(self._queue.get(), WAIT_SECONDS)


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> Iterator[Told]:
    """Return what is noticed of shadows."""
    return Told(monkeypatch)


@pytest.fixture
def held(monkeypatch: pytest.MonkeyPatch) -> dict[str, AlteredPredictor]:
    """Return the predictors by their folder."""
    return holding(monkeypatch)


async def entered(predictor: AlteredPredictor) -> None:
    """Wait until a run has come to a closed gate."""
    assert await asyncio.to_thread(predictor.entered.acquire, timeout=WAIT_SECONDS)


def slow_down(server: ScoringServer) -> None:
    """Make the server believe that it needs some hundredths of a second for an event."""
    served = server.scorer._served
    assert served is not None
    served.batcher._pace.add(seconds=1_300, events=0)


def buckets(server: ScoringServer, name: str, target: str) -> dict[int, int]:
    """Return how many customers lie in the buckets of a histogram that are not empty."""
    numbers = totals_of(server, name)[f"{target}\t2"]
    assert isinstance(numbers, list)
    return {place: num for place, num in enumerate(numbers[:-1]) if num}


async def test_answers_are_compared_and_the_served_version_gives_them(
    link: Path, told: Told, held: dict[str, AlteredPredictor]
) -> None:
    """By target: probabilities by their difference, amounts and counts by their ratio."""

    def alter(found: dict[str, Any]) -> None:
        found["churn_probability"] += 0.03
        found["spend_expected"] *= 3.0
        found["orders_expected"][:] = float("nan")

    async with tried(link, link.with_name("second"), **SHADOWING) as (served, candidates):
        assert await candidates.outcome() == "taken"
        held["second"].alter = alter
        async with asked(served.server) as stub:
            answer = await stub.Score(request())
            assert answer.version == "1"
            assert await told.next() == "compared"
        server = served.server
        assert buckets(server, "shadow_probability_difference", "churn") == {5: 5}
        assert buckets(server, "shadow_expected_ratio", "spend") == {12: 5}
        assert buckets(server, "shadow_expected_ratio", "orders") == {14: 5}
        sums = totals_of(server, "shadow_expected")
        assert sums["candidate\tspend\t2"] == pytest.approx(3 * sums["served\tspend\t2"])
        assert sums["candidate\torders\t2"] == 0
        assert totals_of(server, "role_requests") == {"served\t1": 1, "candidate\t2": 1}
        shown = server.scorer.snapshot()
        # Old numbers speak of callers alone.
        assert shown["totals"]["customers"] == {"scored": 5, "fault": 0}
        assert sum(shown["totals"]["queue_wait_seconds"][""][:-1]) == 1  # type: ignore[index]
        assert sum(shown["states"]["recent_customers"].values()) > 0
        assert shown["states"]["waiting_padded_events"] == {"": 0}


async def test_a_customer_at_fault_is_not_compared(link: Path, told: Told) -> None:
    """And where everybody is, there is nothing to compare."""
    async with tried(link, link.with_name("second"), **SHADOWING) as (served, candidates):
        assert await candidates.outcome() == "taken"
        async with asked(served.server) as stub:
            one_fault, all_faults = request(), request()
            one_fault.customers[0].occurred_at_us.append(-1)
            for customer in all_faults.customers:
                customer.occurred_at_us.append(-1)
            for asking in (one_fault, all_faults):
                await stub.Score(asking)
                assert await told.next() == "compared"
        assert sum(buckets(served.server, "shadow_probability_difference", "churn").values()) == 4
        assert totals_of(served.server, "role_customers")["candidate\t2\tfault"] == 6


async def test_a_call_waits_for_no_shadow(link: Path, told: Told, held: dict[str, AlteredPredictor]) -> None:
    """Callers are answered while it is held, and what there is no room for is dropped and counted."""
    async with tried(link, link.with_name("second"), **SHADOWING) as (served, candidates):
        assert await candidates.outcome() == "taken"
        held["second"].close()
        async with asked(served.server) as stub:
            await stub.Score(request())
            await entered(held["second"])
            with pytest.MonkeyPatch.context() as patch:
                patch.setattr(trial_module, "SHADOW_EVENTS", 1)
                for _ in range(2):
                    assert (await stub.Score(request())).version == "1"
                    assert await told.next() == "dropped"
            assert totals_of(served.server, "shadow_dropped") == {"full": 2}
            assert served.server.scorer.snapshot()["states"]["requests_in_flight"] == {"": 0}
            held["second"].gate.set()
            assert await told.next() == "compared"


async def test_a_busy_server_spares_the_shadow(
    link: Path, told: Told, held: dict[str, AlteredPredictor]
) -> None:
    """What comes while calls wait is not begun, and what waits already is given up."""
    async with tried(link, link.with_name("second"), threads=2, **SHADOWING) as (served, candidates):
        assert await candidates.outcome() == "taken"
        async with asked(served.server) as stub:
            held["second"].close()
            await stub.Score(request())
            await entered(held["second"])
            # This one waits behind the one that is held.
            await stub.Score(asked_of("anna"))
            held["current"].close()
            waiting = [asyncio.ensure_future(stub.Score(request(), timeout=WAIT_SECONDS))]
            await entered(held["current"])
            slow_down(served.server)
            held["second"].gate.set()
            assert {await told.next(), await told.next()} == {"compared", "dropped"}
            assert totals_of(served.server, "shadow_dropped") == {"late": 1}
            held["current"].gate.set()
            await asyncio.gather(*waiting)
            assert await told.next() == "compared"


async def test_no_shadow_is_begun_while_calls_wait(
    link: Path, told: Told, held: dict[str, AlteredPredictor]
) -> None:
    """As soon as a call would have to wait for some milliseconds, the server has better things to do."""
    may_end = threading.Event()
    async with tried(link, link.with_name("second"), threads=2, **SHADOWING) as (served, candidates):
        assert await candidates.outcome() == "taken"
        held["current"].close()
        held["current"].gate.set()
        # A run of two customers is held, and does not fail.
        held["current"].fails = lambda run: len(run.segments) == 2 and not may_end.wait(WAIT_SECONDS)
        async with asked(served.server) as stub:
            slow = asyncio.ensure_future(stub.Score(asked_of("anna", "bert"), timeout=WAIT_SECONDS))
            await entered(held["current"])
            slow_down(served.server)
            await stub.Score(asked_of("carl"), timeout=WAIT_SECONDS)
            assert await told.next() == "dropped"
            assert totals_of(served.server, "shadow_dropped") == {"busy": 1}
            may_end.set()
            await slow
            assert await told.next() == "compared"


async def test_a_shadow_that_fails_harms_nobody(
    link: Path, told: Told, held: dict[str, AlteredPredictor], caplog: pytest.LogCaptureFixture
) -> None:
    """The caller has been answered; that it failed is counted and logged."""
    async with tried(link, link.with_name("second"), **SHADOWING) as (served, candidates):
        assert await candidates.outcome() == "taken"
        held["second"].fails = lambda _: True
        async with asked(served.server) as stub:
            assert (await stub.Score(request())).version == "1"
            assert await told.next() == "failed"
        assert totals_of(served.server, "candidate_failures") == {"2\tinternal": 1}
        assert totals_of(served.server, "role_requests") == {"served\t1": 1}
    assert [record.message for record in caplog.records].count("candidate failed") == 1


async def test_a_stop_waits_for_no_shadow(link: Path, held: dict[str, AlteredPredictor]) -> None:
    """What nobody waits for is given up, and no task is left behind."""
    async with tried(link, link.with_name("second"), **SHADOWING) as (served, candidates):
        assert await candidates.outcome() == "taken"
        trial = trial_of(served.server)
        held["second"].close()
        async with asked(served.server) as stub:
            await stub.Score(request())
            await entered(held["second"])
            await stub.Score(request())
        served.server.scorer.refuse()
        held["second"].gate.set()
        trial._shadow(candidate_of(served.server), None, None)  # type: ignore[arg-type]
    assert not trial._tasks
    assert trial.recorder.totals()["shadow_dropped"] == {}


async def test_a_shadow_that_has_gone_is_not_asked(
    link: Path, told: Told, held: dict[str, AlteredPredictor]
) -> None:
    """What it was asked before is still compared; what it ran is none of the server's runs."""
    candidate = link.with_name("candidate")
    point(candidate, link.with_name("second"))
    async with tried(link, candidate, **SHADOWING) as (served, candidates):
        assert await candidates.outcome() == "taken"
        held["second"].close()
        async with asked(served.server) as stub:
            await stub.Score(request())
            await entered(held["second"])
            candidate.unlink()
            assert await candidates.outcome() == "gone"
            held["second"].gate.set()
            assert await told.next() == "compared"
            await stub.Score(request())
        totals = served.server.scorer.snapshot()["totals"]
    assert totals["role_requests"] == {"served\t1": 1, "candidate\t2": 1}
    assert sum(totals["run_customers"][""][:-1]) == sum(totals["queue_wait_seconds"][""][:-1])  # type: ignore[index]
