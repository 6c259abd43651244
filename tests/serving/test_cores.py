"""As many threads as the container may use at once, whatever the machine has."""

from pathlib import Path

import pytest

from serving import cores
from serving.cores import num_cores


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the mount of the control groups, on a machine of 16 cores."""
    monkeypatch.setattr(cores.os, "sched_getaffinity", lambda _: set(range(16)))
    (tmp_path / "own").write_text("0::/\n")
    return tmp_path


def found(root: Path) -> int:
    """Count the cores."""
    return num_cores(root=root, own=root / "own")


@pytest.mark.parametrize(
    ("limit", "expected"),
    [
        ("max 100000", 16),
        ("400000 100000", 4),
        ("150000 100000", 1),
        ("20000 100000", 1),
        ("3200000 100000", 16),
    ],
)
def test_the_quota_counts_in_whole_cores(root: Path, limit: str, expected: int) -> None:
    """A fraction is no core: one thread more would be stopped in its work. There is always one."""
    (root / "cpu.max").write_text(f"{limit}\n")
    assert found(root) == expected


def test_a_quota_of_a_group_around_ours_holds_too(root: Path) -> None:
    """Outside a container the group has a path, and any folder on it may limit."""
    inner = root / "system.slice" / "holdfast.service"
    inner.mkdir(parents=True)
    (root / "own").write_text("1:name=systemd:/x\n0::/system.slice/holdfast.service\n")
    (inner / "cpu.max").write_text("800000 100000\n")
    (root / "system.slice" / "cpu.max").write_text("300000 100000\n")
    assert found(root) == 3


def test_the_older_form_of_the_quota_is_read(root: Path) -> None:
    """Version 1 has two files; -1 stands for no limit."""
    (root / "cpu").mkdir()
    (root / "cpu" / "cpu.cfs_period_us").write_text("100000\n")
    (root / "cpu" / "cpu.cfs_quota_us").write_text("200000\n")
    assert found(root) == 2
    (root / "cpu" / "cpu.cfs_quota_us").write_text("-1\n")
    assert found(root) == 16


@pytest.mark.parametrize("content", ["", "nonsense", "max", "100000 0", "\udcff"])
def test_what_cannot_be_read_does_not_limit(root: Path, content: str) -> None:
    """A machine without control groups, or with others than we know, has its cores."""
    (root / "cpu.max").write_bytes(content.encode(errors="surrogateescape"))
    assert found(root) == 16


def test_this_machine_has_a_core() -> None:
    """The defaults point at files that may or may not be there."""
    assert num_cores() >= 1
