"""What was read of a memory-mapped column goes back to the system, and reads the same afterwards."""

from pathlib import Path

import numpy as np
import pytest

from builders import histories_of_lengths, random_histories
from training.pages import customers_in_parts, release, release_pages


def resident_kib(path: Path) -> int:
    """Return how much of a file this process has mapped into its memory, in KiB."""
    lines = Path("/proc/self/smaps").read_text().splitlines()
    (start,) = (number for number, line in enumerate(lines) if line.endswith(str(path)))
    (resident,) = [line for line in lines[start : start + 8] if line.startswith("Rss:")]
    return int(resident.split()[1])


@pytest.mark.skipif(not Path("/proc/self/smaps").exists(), reason="only Linux tells what is resident")
def test_a_mapped_column_leaves_memory_and_stays_readable(tmp_path: Path) -> None:
    """A slice of it will do: the pages are those of the whole file."""
    path = tmp_path / "column.npy"
    np.save(path, np.arange(1_000_000))
    column = np.asarray(np.load(path, mmap_mode="r"))
    total = int(column.sum())
    assert resident_kib(path) > 4_000
    release(column[10:])
    assert resident_kib(path) < 1_000
    assert int(column.sum()) == total


def test_histories_in_memory_of_their_own_are_left_alone() -> None:
    """There is nothing to give back, and nothing to lose."""
    histories = random_histories(np.random.default_rng(0), 5)
    times_us = histories.occurred_at_us.copy()
    release_pages(histories)
    assert np.array_equal(histories.occurred_at_us, times_us)


def test_all_customers_come_in_parts_of_about_so_many_events() -> None:
    """Everybody once and in order, those without events too; one customer's events are never split."""
    lengths = np.array([0, 0, 3, 4, 0, 25, 1, 1, 1, 0])
    histories = histories_of_lengths(np.random.default_rng(1), lengths)
    parts = [part.tolist() for part in customers_in_parts(histories, most_events=5)]
    assert [customer for part in parts for customer in part] == list(range(10))
    assert len(parts) > 2
    assert all(lengths[part].sum() < 5 + lengths[part].max() for part in parts)


@pytest.mark.parametrize("lengths", [[], [0, 0]])
def test_a_store_without_events_has_its_customers_all_the_same(lengths: list[int]) -> None:
    """Nobody, or two of whom nothing is known."""
    histories = histories_of_lengths(np.random.default_rng(1), np.array(lengths, dtype=np.int64))
    customers = [customer for part in customers_in_parts(histories) for customer in part.tolist()]
    assert customers == list(range(len(lengths)))
