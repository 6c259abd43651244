"""Measurements take turns, and a child's memory is its own."""

import numpy as np
import pytest

from benchmarks.measuring import interleaved, run_in_child

MEBIBYTE = 2**20


def touch(mebibytes: int) -> int:
    """Hold and touch some memory, and give it back."""
    return int(np.ones(mebibytes * MEBIBYTE, dtype=np.uint8).sum()) // MEBIBYTE


def refuse() -> None:
    """Fail as a benchmarked function may."""
    raise ValueError("no such data")


def test_measurements_take_turns_and_none_is_always_first() -> None:
    """Each round takes every measurement once and begins with another one."""
    taken: list[str] = []

    def measure(name: str) -> float:
        taken.append(name)
        return float(len(taken))

    values = interleaved({"a": lambda: measure("a"), "b": lambda: measure("b")}, repeats=3)
    assert taken == ["a", "b", "b", "a", "a", "b"]
    assert values == {"a": [1.0, 4.0, 5.0], "b": [2.0, 3.0, 6.0]}


def test_a_child_reports_its_own_peak() -> None:
    """Memory that was already given back counts, and this process's memory does not."""
    held = np.ones(300 * MEBIBYTE, dtype=np.uint8)
    small, large = run_in_child(touch, 1), run_in_child(touch, 200)
    assert held[-1] == 1
    assert (small.value, large.value) == (1, 200)
    assert small.peak_bytes < 250 * MEBIBYTE
    assert 180 * MEBIBYTE < large.peak_bytes - small.peak_bytes < 220 * MEBIBYTE
    assert large.seconds > 0


def test_a_failure_in_the_child_is_raised_here() -> None:
    """A benchmark that cannot run ends with the reason, not with a figure."""
    with pytest.raises(ValueError, match="no such data"):
        run_in_child(refuse)
