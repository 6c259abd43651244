"""How many cores this process may use: its affinity, and the quota of its control group.

It deliberately reads files alone; what does not exist does not limit.
"""

import os
from collections.abc import Iterator
from pathlib import Path

CGROUP_ROOT = Path("/sys/fs/cgroup")
OWN_CGROUP = Path("/proc/self/cgroup")


def num_cores(*, root: Path = CGROUP_ROOT, own: Path = OWN_CGROUP) -> int:
    """Return how many threads can compute at the same time, at least 1.

    A quota of a fraction counts as the whole cores in it: one thread more would be stopped in the
    middle of its work whenever the quota is used up.

    Args:
        root: Where control groups are mounted.
        own: The file that names this process's group.
    """
    affinity = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    quotas = [int(quota) for quota in _quotas(root, own)]
    return max(1, min([affinity, *quotas]))


def _quotas(root: Path, own: Path) -> Iterator[float]:
    """Yield the quotas, in cores, of the group and of every group around it."""
    for folder in _folders(root, own):
        # Version 2: "max 100000", or microseconds of every so many microseconds.
        limit, _, period = _read(folder / "cpu.max").partition(" ")
        if limit.isdecimal() and period.strip().isdecimal() and int(period):
            yield int(limit) / int(period)
    # Version 1, as a container sees its own group: -1 for no limit.
    limit, period = _read(root / "cpu/cpu.cfs_quota_us"), _read(root / "cpu/cpu.cfs_period_us")
    if limit.isdecimal() and period.isdecimal() and int(period):
        yield int(limit) / int(period)


def _folders(root: Path, own: Path) -> Iterator[Path]:
    yield root
    for line in _read(own).splitlines():
        if line.startswith("0::/"):
            folder = root
            for name in Path(line.removeprefix("0::/")).parts:
                folder /= name
                yield folder


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="ascii").strip()
    except (OSError, UnicodeDecodeError):
        return ""
