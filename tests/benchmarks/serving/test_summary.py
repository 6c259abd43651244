"""Percentiles are measured values, rates leave the warm-up out, and the search finds what a server can do."""

import math

import numpy as np
import pytest
from virtual_time import OneWorker, run

from benchmarks.serving.load import Answer, Record, Stream, closed_loop, open_loop, poisson_arrivals
from benchmarks.serving.summary import Summary, highest_rate, percentile, summarise


def record_of(*rows: tuple[float, float, Answer]) -> Record:
    """Return a record of calls due at a time and answered at another."""
    due, finished, answer = zip(*rows, strict=True)
    return Record(
        scheduled=np.array(due),
        started=np.array(due) + 0.001,
        finished=np.array(finished),
        answer=np.array(answer, dtype=np.int64),
        stream=np.zeros(len(rows), dtype=np.int64),
    )


@pytest.mark.parametrize(
    ("num", "share", "expected"),
    [(100, 0.99, 99), (101, 0.99, 100), (1_000, 0.99, 990), (4, 0.5, 2), (1, 0.99, 1)],
)
def test_a_percentile_is_the_nearest_rank(num: int, share: float, expected: float) -> None:
    """So many of the values are at most as large, and it is one of them."""
    values = np.random.default_rng(1).permutation(np.arange(1.0, num + 1))
    assert percentile(values, share) == expected


def test_a_percentile_of_nothing_is_unknown_and_infinity_counts() -> None:
    """No call gives no figure, and calls without an answer are not left out."""
    assert math.isnan(percentile(np.array([]), 0.5))
    assert percentile(np.array([1.0, np.inf, np.inf]), 0.5) == math.inf


def test_the_warm_up_is_left_out_and_failures_are_infinitely_late() -> None:
    """Calls due during it give no latency; a refused call counts in the percentile."""
    summary = summarise(
        record_of(
            (0.0, 0.9, Answer.OK),
            (1.0, 1.2, Answer.OK),
            (2.0, 2.1, Answer.REFUSED),
            (3.0, 3.4, Answer.OK),
            (5.0, np.inf, Answer.FAILED),
        ),
        warm_up_seconds=1.0,
    )
    assert (summary.num_calls, summary.num_refused, summary.num_failed) == (4, 1, 1)
    assert summary.p50_seconds == pytest.approx(0.4)
    assert summary.p99_seconds == math.inf
    assert summary.late_p99_seconds == pytest.approx(0.001)
    assert summary.offered_rate == pytest.approx(4 / 4.0)
    assert not summary.is_clean


def test_rates_count_answers_of_the_time_itself() -> None:
    """Work begun in the warm-up and answered after it counts, and the callers' last answers do not."""

    async def main() -> Record:
        server = OneWorker(seconds=0.25)
        return await closed_loop(server.send, [b""], concurrency=8, max_seconds=20.0)

    assert summarise(run(main()), warm_up_seconds=4.0).rate == pytest.approx(4.0, rel=0.02)


def test_a_summary_may_be_of_one_stream() -> None:
    """Single customers beside large batches are told apart."""
    both = record_of((0.0, 1.0, Answer.OK), (0.5, 3.5, Answer.OK), (1.0, 2.0, Answer.OK))
    both.stream[1] = 1
    assert summarise(both, warm_up_seconds=0.0, stream=0).p99_seconds == pytest.approx(1.0)
    assert summarise(both, warm_up_seconds=0.0, stream=1).p99_seconds == pytest.approx(3.0)


def trial(rate: float, *, max_waiting: int | None = None) -> Summary:
    """Offer a rate to a simulated server that can answer a hundred calls a second."""

    async def main() -> Record:
        server = OneWorker(seconds=0.01, max_waiting=max_waiting)
        due = poisson_arrivals([rate], seconds=20.0, rng=np.random.default_rng(3))
        streams = [Stream(requests=[b""], rate=rate)]
        return await open_loop(server.send, streams, due, max_outstanding=500, drain_seconds=30.0)

    return summarise(run(main()), warm_up_seconds=1.0)


@pytest.mark.parametrize("start", [40.0, 80.0, 160.0])
def test_the_search_ends_near_the_highest_rate_from_above_and_from_below(start: float) -> None:
    """With Poisson arrivals and ten services as the bound, a queue keeps it until about 0.8 of capacity."""
    found = highest_rate(trial, start=start, bound_seconds=0.1, max_trials=12)
    assert found is not None
    assert 65 < found.rate < 95
    assert found.summary.p99_seconds <= 0.1
    assert trial(1.25 * found.rate).p99_seconds > 0.1


def test_a_rate_with_refusals_is_not_sustained() -> None:
    """A server that turns callers away is quick for the others, and that is no merit."""
    found = highest_rate(
        lambda rate: trial(rate, max_waiting=2), start=50.0, bound_seconds=0.1, max_trials=10
    )
    assert found is None or found.rate < 50.0


def test_the_search_is_bounded_and_may_find_nothing() -> None:
    """Where no rate keeps the bound it gives up after its trials."""
    tried: list[float] = []

    def slow(rate: float) -> Summary:
        tried.append(rate)
        return trial(10.0)

    assert highest_rate(slow, start=100.0, bound_seconds=0.001, max_trials=5) is None
    assert len(tried) == 5
    assert tried == sorted(tried, reverse=True)
