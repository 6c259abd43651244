"""The pace follows what work costs just now, and a single measurement does not turn it."""

import pytest

from serving.pace import MEMORY_EVENTS, Pace


def test_the_pace_begins_as_measured_and_follows_the_work() -> None:
    """After a few times its memory only the last work counts."""
    pace = Pace(1e-6)
    assert pace.seconds_per_event == pytest.approx(1e-6)
    pace.add(seconds=5e-3, events=1_000)
    assert 1e-6 < pace.seconds_per_event < 1.2e-6
    for _ in range(MEMORY_EVENTS // 100):
        pace.add(seconds=5e-3, events=1_000)
    assert pace.seconds_per_event == pytest.approx(5e-6, rel=0.01)


def test_work_that_only_prepares_makes_every_event_dearer() -> None:
    """Encoding belongs to the cost of the events that are run after it."""
    pace, without = Pace(1e-6), Pace(1e-6)
    for _ in range(1_000):
        pace.add(seconds=1e-3, events=0)
        pace.add(seconds=1e-3, events=1_000)
        without.add(seconds=1e-3, events=1_000)
    assert pace.seconds_per_event == pytest.approx(2 * without.seconds_per_event, rel=0.05)
