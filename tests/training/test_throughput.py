"""Rates are those of the last steps by the wall clock, validations left out; time left is that of all."""

import pytest
import torch

from training.throughput import WINDOW_STEPS, Pace, Throughput, device_gib, resident_gib


class Clock:
    """A clock that a test moves."""

    now = 100.0

    def __call__(self) -> float:
        """Return the time that it was set to."""
        return self.now


def after(throughput: Throughput, clock: Clock, seconds: float, *, events: int = 80) -> Pace:
    """Take a step that lasts so long."""
    clock.now += seconds
    return throughput.took(events=events, labels=10, padded=100)


def test_rates_are_those_of_the_last_steps() -> None:
    """Loading counts, because the clock runs from the end of one step to that of the next."""
    clock = Clock()
    throughput = Throughput(step=0, num_steps=100, clock=clock)
    for _ in range(5):
        after(throughput, clock, 10.0)
    for _ in range(WINDOW_STEPS):
        pace = after(throughput, clock, 0.5)
    assert (pace.step, pace.num_steps) == (25, 100)
    assert pace.events_per_second == pytest.approx(160.0)
    assert pace.labels_per_second == pytest.approx(20.0)
    assert pace.seconds_per_step == pytest.approx(0.5)
    assert pace.padding_share == pytest.approx(0.2)
    assert pace.seconds_taken == pytest.approx(60.0)
    assert pace.seconds_left == pytest.approx(60.0 / 25 * 75)


def test_a_validation_takes_time_but_slows_no_step() -> None:
    """It counts towards the time left alone."""
    clock = Clock()
    throughput = Throughput(step=0, num_steps=4, clock=clock)
    after(throughput, clock, 1.0)
    throughput.pause()
    clock.now += 6.0
    throughput.go_on()
    pace = after(throughput, clock, 1.0)
    assert pace.seconds_per_step == pytest.approx(1.0)
    assert pace.seconds_in_all == pytest.approx(16.0)


def test_what_comes_once_slows_no_step_and_is_not_expected_again() -> None:
    """Graphs that were compiled within the first step are part of the time in all."""
    clock = Clock()
    throughput = Throughput(step=0, num_steps=10, clock=clock)
    clock.now += 900.0
    throughput.leave_out(900.0)
    pace = after(throughput, clock, 2.0)
    assert pace.seconds_per_step == pytest.approx(2.0)
    assert pace.seconds_left == pytest.approx(18.0)
    assert pace.seconds_in_all == pytest.approx(920.0)


def test_a_resumed_run_is_timed_from_its_start() -> None:
    """Steps of an earlier start are steps, but nobody knows how long they took."""
    clock = Clock()
    pace = after(Throughput(step=90, num_steps=100, clock=clock), clock, 2.0)
    assert (pace.step, pace.seconds_left) == (91, pytest.approx(18.0))


def test_memory_is_told_in_gibibytes() -> None:
    """More than nothing and less than a machine has; a CPU has no device memory of its own."""
    assert 0.01 < resident_gib() < 1_000
    assert device_gib(torch.device("cpu")) is None
