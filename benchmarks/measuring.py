"""How figures are measured: interleaved repeats, and time and peak memory of a child process.

It deliberately does not know what is measured.
"""

import multiprocessing
import os
import resource
import sys
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class ChildRun(Generic[T]):
    """What a function returned in a process of its own, and what that took.

    Attributes:
        value: What the function returned.
        seconds: Wall time of the function alone; starting Python and importing are not counted.
        peak_bytes: Most resident memory of the process, interpreter and libraries included.
    """

    value: T
    seconds: float
    peak_bytes: int


def interleaved(measurements: Mapping[str, Callable[[], float]], *, repeats: int) -> dict[str, list[float]]:
    """Take several measurements in turn, so that a slow minute of the machine meets all of them.

    Args:
        measurements: By name, a function that measures once.
        repeats: How many rounds; every round begins with another measurement.

    Returns:
        By name, the values in the order in which they were taken.
    """
    names = list(measurements)
    values: dict[str, list[float]] = {name: [] for name in names}
    for turn in range(repeats):
        first = turn % len(names)
        for name in names[first:] + names[:first]:
            values[name].append(measurements[name]())
    return values


def seconds_of(function: Callable[[], object]) -> float:
    """Return the wall time of one call, in seconds."""
    start = time.perf_counter()
    function()
    return time.perf_counter() - start


def run_in_child(function: Callable[..., T], *arguments: Any) -> ChildRun[T]:
    """Call a function in a fresh process, so that its memory is its own and no cache is warm.

    Args:
        function: A function at module level.
        arguments: Its arguments; they and the result are sent between processes.

    Returns:
        Result, wall time and peak memory. An exception of the function is raised here.
    """
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(max_workers=1, mp_context=context) as pool:
        value, seconds, peak_bytes = pool.submit(_measured, function, arguments).result()
    return ChildRun(value=value, seconds=seconds, peak_bytes=peak_bytes)


def _measured(function: Callable[..., T], arguments: tuple[Any, ...]) -> tuple[T, float, int]:
    start = time.perf_counter()
    value = function(*arguments)
    return value, time.perf_counter() - start, peak_resident_bytes()


def peak_resident_bytes() -> int:
    """Return the most resident memory that this process had so far, in bytes."""
    status = Path("/proc/self/status")
    if status.exists():
        # Not ru_maxrss: on Linux a child inherits there the peak of the process that started it.
        for line in status.read_text(encoding="ascii").splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def default_cache() -> Path:
    """Return the folder for models and environments: a cache of the person, outside the checkout."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "holdfast-bench"
