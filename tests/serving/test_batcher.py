"""The queue's order under load, joint encoding, and the end of everything that waits."""

import threading
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from artifact_builder import AS_OF_US
from gated_server import WAIT_SECONDS, GatedPredictor

from builders import DAY, histories_of_lengths, small_schema
from holdfast.wire import Limits
from serving.artifact import Artifact
from serving.asking import AskedHistories
from serving.batch import Part
from serving.batcher import MAX_JOINED_CUSTOMERS, Batcher
from serving.drift import Drift
from serving.errors import UnavailableError
from serving.pace import Pace
from serving.plan import RunPlan
from serving.reading import read_together
from serving.recording import Recorder


class Clock:
    """Stands in for the module ``time``: it goes on when a test says so, not while threads are put off."""

    def __init__(self) -> None:
        """Begin anywhere."""
        self.now = 100.0

    def monotonic(self) -> float:
        """Return the time."""
        return self.now


class Queue:
    """A batcher of one worker whose runs the test holds, and the order in which parts end."""

    def __init__(self, predictor: GatedPredictor, clock: Clock) -> None:
        """Start the worker."""
        self.predictor, self.clock = predictor, clock
        read = partial(read_together, schema=small_schema(), limits=Limits())
        self.encoded: list[int] = []

        def noting(asked: Any) -> Any:
            self.encoded.append(len(asked))
            return read(asked)

        self.batcher = Batcher(
            predictor, noting, workers=1, pace=Pace(1e-6), recorder=Recorder(), drift=Drift(())
        )
        self.ended: list[tuple[str, Exception | None]] = []
        self.told = threading.Semaphore(0)

    def part(self, name: str, lengths: list[int], *, is_large: bool = False) -> Part:
        """Return a part about customers with so many events."""
        histories = histories_of_lengths(np.random.default_rng(0), np.array(lengths), span_days=300)
        histories = replace(histories, occurred_at_us=histories.occurred_at_us + 140 * DAY)

        def done(part: Part, error: Exception | None) -> None:
            assert error is not None or part.predictions is not None
            self.ended.append((name, error))
            self.told.release()

        return Part(
            asked=AskedHistories(histories=histories),
            as_of_us=np.full(len(lengths), AS_OF_US, dtype=np.int64),
            padded_events=sum(map(self.predictor.plan.padded_length, lengths)),
            sent_events=sum(lengths),
            is_large=is_large,
            is_wanted=lambda: True,
            done=done,
        )

    def hold(self) -> None:
        """Occupy the worker."""
        self.predictor.gate.clear()
        self.batcher.submit([self.part("first", [8])])
        assert self.predictor.entered.acquire(timeout=WAIT_SECONDS)

    def let_go(self, num: int) -> list[str]:
        """Open the gate, and return the names of what ended, in order, when so much has."""
        self.predictor.gate.set()
        for _ in range(num):
            assert self.told.acquire(timeout=WAIT_SECONDS)
        return [name for name, _ in self.ended]


@pytest.fixture
def queue(artifact_folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Queue]:
    """Return a queue whose runs take 64 padded events, and whose time stands still."""
    clock = Clock()
    monkeypatch.setattr("serving.batcher.time", clock)
    predictor = GatedPredictor(Artifact.load(artifact_folder).predictor)
    queue = Queue(predictor.with_plan(RunPlan(max_events=32, budget_events=64, merge_events=0)), clock)
    yield queue
    predictor.gate.set()
    queue.batcher.close(UnavailableError("the test is over"))


def test_a_small_request_waits_for_one_run_of_a_large_one_at_most(queue: Queue) -> None:
    """The large one had come before, has been encoded and is half done: what came last is answered first."""
    queue.predictor.gate.clear()
    queue.batcher.submit([queue.part("large", [32] * 12, is_large=True)])
    assert queue.predictor.entered.acquire(timeout=WAIT_SECONDS)
    queue.batcher.submit([queue.part("small", [8])])
    # The run took its time, so that the next claim of the large one is not due.
    queue.clock.now += 1.0
    assert queue.let_go(2) == ["small", "large"]
    assert queue.predictor.num_customers[:2] == [2, 1]


def test_parts_of_a_large_request_give_way_to_another_large_one(queue: Queue) -> None:
    """Each stands behind its arrival by what came before it: the shorter of two ends first."""
    queue.hold()
    long = [queue.part(f"long {index}", [32] * 4, is_large=True) for index in range(5)]
    queue.batcher.submit(long)
    queue.batcher.submit([queue.part("short", [32] * 4, is_large=True)])
    ended = queue.let_go(7)
    assert ended[0] == "first"
    assert ended.index("short") <= ended.index("long 2")


def test_requests_that_wait_are_encoded_in_one_go(queue: Queue) -> None:
    """However they are put into runs then, in the order of their lengths; everybody is told once."""
    queue.hold()
    names = [f"part {index}" for index in range(10)]
    for index, name in enumerate(names):
        queue.batcher.submit([queue.part(name, [(3 * index) % 32])])
    assert sorted(queue.let_go(11)) == sorted(["first", *names])
    assert queue.encoded == [1, 10]
    assert queue.batcher.waiting_events == 0


def test_what_is_encoded_in_one_go_is_bounded(queue: Queue) -> None:
    """A flood of small requests does not become one batch of any size."""
    queue.hold()
    for _ in range(10):
        queue.batcher.submit([queue.part("part", [1] * 50)])
    queue.let_go(11)
    assert queue.encoded == [1, MAX_JOINED_CUSTOMERS // 50, MAX_JOINED_CUSTOMERS // 50]


def test_customers_at_fault_end_with_the_others_and_alone(queue: Queue) -> None:
    """A part ends when its sound customers are scored; one without any ends at once."""
    bad = queue.part("bad", [3, 3])
    assert isinstance(bad.asked, AskedHistories)
    times = bad.asked.histories.occurred_at_us.copy()
    times[0] = -1
    bad.asked = AskedHistories(histories=replace(bad.asked.histories, occurred_at_us=times))
    none = queue.part("none", [3])
    none.asked = AskedHistories(histories=replace(bad.asked.histories.take(np.array([0]))))
    queue.hold()
    for part in (bad, none, queue.part("good", [3])):
        queue.batcher.submit([part])
    assert sorted(queue.let_go(4)) == ["bad", "first", "good", "none"]
    assert (list(bad.faults), list(none.faults)) == ([0], [0])
    assert bad.predictions is not None
    assert bad.predictions.num_used.tolist() == [0, 3]
    assert bad.predictions.outputs["spend_expected"][0] == 0.0


def test_closing_ends_whatever_waits(queue: Queue) -> None:
    """What is being run is answered; what waits, encoded or not, hears that the server stops."""
    queue.predictor.gate.clear()
    queue.batcher.submit([queue.part("large", [32] * 12, is_large=True)])
    assert queue.predictor.entered.acquire(timeout=WAIT_SECONDS)
    queue.batcher.submit([queue.part("small", [8])])
    closing = threading.Thread(target=queue.batcher.close, args=(UnavailableError("stopping"),))
    closing.start()
    with queue.batcher._lock:
        assert queue.batcher._lock.wait_for(lambda: queue.batcher._is_closed, WAIT_SECONDS)
    queue.predictor.gate.set()
    closing.join(WAIT_SECONDS)
    assert {name: type(error) for name, error in queue.ended} == {
        "large": UnavailableError,
        "small": UnavailableError,
    }


def test_the_wait_follows_what_stands_in_front(queue: Queue) -> None:
    """Small requests count what is small and a share of the rest, large ones everything."""
    queue.hold()
    queue.batcher.submit([queue.part("small", [32])])
    queue.batcher.submit([queue.part("large", [32] * 12, is_large=True)])
    small, large = (queue.batcher.wait_seconds(is_large=is_large) for is_large in (False, True))
    assert small == pytest.approx(queue.batcher.seconds_for(8 + 32 + (8 + 32) // 4))
    assert large == pytest.approx(queue.batcher.seconds_for(8 + 32 + 12 * 32))
    assert large > small > 0
    queue.let_go(3)
    assert queue.batcher.wait_seconds(is_large=True) == 0.0
