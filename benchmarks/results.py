"""The one form of every benchmark's result: a table for people, a JSON file for comparison.

It deliberately does not know how a figure was measured, and names no host.
"""

import importlib.metadata
import json
import math
import os
import platform
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

from rich.console import Console
from rich.table import Table

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "benchmarks" / "results"
PACKAGES = (
    "grpcio",
    "lightgbm",
    "numba",
    "numpy",
    "onnx",
    "onnxruntime",
    "polars",
    "protobuf",
    "pytorch-lightning",
    "torch",
)
"""Packages whose versions can move a figure."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """One measured number and what it is held against.

    Attributes:
        name: What was measured, in words.
        value: The median where it was measured several times.
        unit: Unit of value and goal ("s", "events/s", "MiB", "%").
        goal: The bound to keep, or None for a figure that is only shown.
        better: Which way is better.
    """

    name: str
    value: float
    unit: str
    goal: float | None
    better: Literal["higher", "lower"]

    @property
    def is_met(self) -> bool | None:
        """Whether the value keeps its goal; None where there is none."""
        if self.goal is None:
            return None
        # A figure that could not be computed (NaN) keeps no goal: both comparisons are false.
        return self.value >= self.goal if self.better == "higher" else self.value <= self.goal


def report(
    benchmark: str,
    figures: Sequence[Figure],
    *,
    method: str,
    beside: Sequence[str] = (),
    folder: Path = RESULTS,
    console: Console | None = None,
) -> Path:
    """Print the table of a benchmark and keep its figures as JSON.

    Args:
        benchmark: Name of the benchmark and of the file.
        figures: What was measured, in the order shown.
        method: How, in one sentence: number of repeats, what was taken of them, the data.
        beside: Data sets that were not measured this time; figures of them (``<data set>: ...``) that are
            kept already stay behind the new ones, each with the commit that it is of (``kept_from``).
        folder: Where results are kept.
        console: Where to print; standard output by default.

    Returns:
        The file written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{benchmark}.json"
    kept = _kept(path, beside)
    result = {
        "benchmark": benchmark,
        "measured_at": datetime.now(UTC).isoformat(timespec="seconds"),
        "method": method,
        "machine": describe_machine(),
        "versions": describe_versions(),
        "revision": describe_revision(ROOT),
        "figures": [
            *({**asdict(f), "value": _plain(f.value), "met": f.is_met} for f in figures),
            *kept,
        ],
    }
    # A reader of the results never finds a half-written file.
    partial = path.with_suffix(".json.partial")
    partial.write_text(
        json.dumps(result, indent=2, ensure_ascii=False, allow_nan=False) + "\n", encoding="utf-8"
    )
    partial.replace(path)
    # A log has no width of its own; 80 columns would break every row.
    console = console or Console(width=None if sys.stdout.isatty() else 120)
    console.print(_table(benchmark, figures))
    console.print(
        f"{method}\nkept in {path.relative_to(ROOT) if path.is_relative_to(ROOT) else path}", style="dim"
    )
    return path


def _kept(path: Path, beside: Sequence[str]) -> list[dict[str, Any]]:
    if not (beside and path.exists()):
        return []
    result = json.loads(path.read_text(encoding="utf-8"))
    commit = result["revision"]["commit"]
    figures = [f for f in result["figures"] if f["name"].partition(":")[0] in beside]
    # A figure that was kept before has a commit of its own.
    return [{"kept_from": commit, **figure} for figure in figures]


def _plain(value: float) -> float | None:
    """Return a value as JSON has it: what could not be measured is null there, since it knows no NaN."""
    return value if math.isfinite(value) else None


def describe_machine() -> dict[str, Any]:
    """Return the processor, its cores open to this process, the memory and the operating system."""
    has_affinity = hasattr(os, "sched_getaffinity")
    return {
        "cpu": _cpu_model(),
        "cores": len(os.sched_getaffinity(0)) if has_affinity else os.cpu_count(),
        "memory_bytes": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
        "os": f"{platform.system()} {platform.release()} {platform.machine()}",
    }


def describe_versions() -> dict[str, str]:
    """Return the versions of Python and of the packages that do the work."""
    installed = {distribution.name.lower() for distribution in importlib.metadata.distributions()}
    versions = {name: importlib.metadata.version(name) for name in PACKAGES if name in installed}
    return {"python": platform.python_version(), **versions}


def describe_revision(checkout: Path) -> dict[str, Any]:
    """Return the commit that was measured, and whether tracked files differed from it.

    Args:
        checkout: The source tree; a tree without git has no commit.

    Returns:
        ``commit`` (None without git) and ``is_modified``.
    """
    try:
        commit = _git(checkout, "rev-parse", "HEAD")
        # The results themselves change with every benchmark: they are no change of the source.
        changed = _git(checkout, "status", "--porcelain", "--untracked-files=no", ":!benchmarks/results")
    except (OSError, subprocess.CalledProcessError):
        return {"commit": None, "is_modified": None}
    return {"commit": commit, "is_modified": bool(changed)}


def _git(checkout: Path, *arguments: str) -> str:
    command = ["git", "-C", str(checkout), *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True, timeout=30).stdout.strip()


def _cpu_model() -> str:
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        for line in cpuinfo.read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def _table(benchmark: str, figures: Sequence[Figure]) -> Table:
    table = Table(title=benchmark, title_justify="left")
    table.add_column("figure")
    for column in ("value", "goal", "value / goal"):
        table.add_column(column, justify="right")
    table.add_column("met")
    words = {True: "[green]yes[/]", False: "[bold red]no[/]", None: ""}
    for figure in figures:
        sign = "≥" if figure.better == "higher" else "≤"
        table.add_row(
            figure.name,
            f"{_digits(figure.value)} {figure.unit}",
            "" if figure.goal is None else f"{sign} {_digits(figure.goal)} {figure.unit}",
            f"{figure.value / figure.goal:.2f}" if figure.goal else "",
            words[figure.is_met],
        )
    return table


def _digits(value: float) -> str:
    """Return about four significant digits, large numbers in full."""
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.4g}"
