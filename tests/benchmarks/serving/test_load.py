"""Loads send when calls are due, count from then, and lose none of them."""

import asyncio

import numpy as np
import pytest
from virtual_time import OneWorker, run

from benchmarks.serving.load import Answer, Arrivals, Record, Stream, closed_loop, open_loop, poisson_arrivals

REQUESTS = [b"a", b"b", b"c"]


def arrivals(*seconds: float) -> Arrivals:
    """Return a schedule of one stream."""
    return Arrivals(seconds=np.array(seconds), stream=np.zeros(len(seconds), dtype=np.int64))


def offer(server: OneWorker, due: Arrivals, *, max_outstanding: int = 100, drain: float = 60.0) -> Record:
    """Offer a schedule to a simulated server."""

    async def main() -> Record:
        streams = [Stream(requests=REQUESTS, rate=1.0)]
        return await open_loop(
            server.send, streams, due, max_outstanding=max_outstanding, drain_seconds=drain
        )

    return run(main())


def test_a_call_waits_for_nobody_and_its_latency_counts_from_when_it_was_due() -> None:
    """Three calls due together are sent together; the queue before a call is part of its latency."""
    record = offer(OneWorker(seconds=1.0), arrivals(0.5, 0.5, 0.5, 9.0))
    assert record.started == pytest.approx([0.5, 0.5, 0.5, 9.0])
    assert record.finished - record.scheduled == pytest.approx([1.0, 2.0, 3.0, 1.0])


def test_a_late_client_adds_to_the_latency() -> None:
    """Where the client could not send in time, the caller waited all the same."""

    async def main() -> Record:
        async def busy_client(_: bytes) -> Answer:
            # The client itself is held up: nothing else is sent meanwhile.
            asyncio.get_running_loop()._jump(2.0)  # type: ignore[attr-defined]
            return Answer.OK

        streams = [Stream(requests=REQUESTS, rate=1.0)]
        return await open_loop(busy_client, streams, arrivals(0.0, 1.0), max_outstanding=9, drain_seconds=1.0)

    record = run(main())
    assert record.started == pytest.approx([0.0, 2.0])
    assert record.finished - record.scheduled == pytest.approx([2.0, 3.0])


def test_streams_send_their_own_requests_in_turn() -> None:
    """Every stream goes round its own requests, whatever comes between."""
    sent: list[bytes] = []

    async def send(request: bytes) -> Answer:
        sent.append(request)
        await asyncio.sleep(0)
        return Answer.OK

    async def main() -> Record:
        streams = [Stream(requests=[b"a", b"b"], rate=1.0), Stream(requests=[b"x"], rate=1.0)]
        due = Arrivals(seconds=np.arange(5.0), stream=np.array([0, 1, 0, 1, 0]))
        return await open_loop(send, streams, due, max_outstanding=9, drain_seconds=1.0)

    record = run(main())
    assert sent == [b"a", b"x", b"b", b"x", b"a"]
    assert record.stream.tolist() == [0, 1, 0, 1, 0]


def test_refusals_are_told_from_answers() -> None:
    """A refused call stands in the record as what it is."""
    record = offer(OneWorker(seconds=1.0, max_waiting=1), arrivals(0.0, 0.0, 0.0, 5.0))
    assert sorted(record.answer.tolist()) == [Answer.OK, Answer.OK, Answer.OK, Answer.REFUSED]


def test_a_load_far_beyond_the_server_is_broken_off_and_every_call_is_accounted_for() -> None:
    """With too many calls unanswered the rest is not sent, and counts as failed."""
    server = OneWorker(seconds=10.0)
    record = offer(server, arrivals(*np.arange(50.0)), max_outstanding=4, drain=100.0)
    assert server.num_calls < 10
    assert len(record.answer) == 50
    assert (record.answer == Answer.FAILED).sum() == 50 - server.num_calls
    assert np.isinf(record.finished[record.answer == Answer.FAILED]).all()


def test_what_is_not_answered_in_time_has_failed() -> None:
    """The load ends although the server does not answer."""
    record = offer(OneWorker(seconds=1_000.0), arrivals(0.0, 1.0), drain=5.0)
    assert record.answer.tolist() == [Answer.FAILED, Answer.FAILED]
    assert np.isinf(record.finished).all()


@pytest.mark.parametrize(("max_calls", "num_calls"), [(None, 20), (7, 7)])
def test_a_fixed_number_of_callers_keeps_the_server_busy(max_calls: int | None, num_calls: int) -> None:
    """It is bounded by time and by count; every call waits for the others in flight."""

    async def main() -> Record:
        server = OneWorker(seconds=0.5)
        return await closed_loop(server.send, REQUESTS, concurrency=2, max_seconds=9.25, max_calls=max_calls)

    record = run(main())
    assert len(record.answer) == num_calls
    assert (record.finished - record.scheduled)[2:] == pytest.approx(1.0)
    assert record.started.max() < 9.25


def test_arrivals_are_poisson() -> None:
    """Times ascend; numbers and gaps are those of independent exponential waits, for every stream."""
    due = poisson_arrivals([100.0, 25.0], seconds=200.0, rng=np.random.default_rng(5))
    assert (np.diff(due.seconds) >= 0).all()
    assert due.seconds[-1] < 200.0
    for stream, rate in enumerate((100.0, 25.0)):
        gaps = np.diff(due.seconds[due.stream == stream])
        assert gaps.mean() == pytest.approx(1 / rate, rel=0.05)
        assert gaps.std() == pytest.approx(1 / rate, rel=0.1)
