"""pytorch-lifestream on the same histories, as a process of its own environment.

It deliberately says no more of a missing environment than that it is missing.
"""

import json
import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import polars as pl

from benchmarks.results import ROOT
from benchmarks.training.loops import Rate
from benchmarks.training.workload import LAST_CUTOFF, Workload

SCRIPT = ROOT / "benchmarks" / "training" / "peers" / "lifestream.py"


class Lifestream:
    """A running process that trains on request."""

    def __init__(self, process: "subprocess.Popen[str]", *, threads: int) -> None:
        """Wait until it has imported everything."""
        self._process = process
        self.version: str = self._ask({"threads": threads})["version"]

    def prepare(self, events: Path, *, first_items: tuple[str, ...] = ()) -> tuple[int, float]:
        """Run its pandas preprocessor over a table; return events and seconds."""
        answer = self._ask({"prepare": str(events), "first_items": list(first_items)})
        return int(answer["events"]), float(answer["seconds"])

    def train(self, encoder: str, width: int, *, customers: int, warm_up_steps: int, seconds: float) -> Rate:
        """Train on the prepared table with so many customers a batch."""
        asked = {"encoder": encoder, "width": width, "customers": customers}
        answer = self._ask(asked | {"warm_up_steps": warm_up_steps, "seconds": seconds})
        return Rate(events=answer["events"], labels=answer["labels"], seconds=answer["seconds"])

    def _ask(self, asked: dict[str, Any]) -> dict[str, Any]:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(asked) + "\n")
        self._process.stdin.flush()
        line = self._process.stdout.readline()
        if not line:
            raise SystemExit(f"pytorch-lifestream ended with code {self._process.wait()}")
        answer: dict[str, Any] = json.loads(line)
        return answer


@contextmanager
def lifestream(cache: Path, *, threads: int, log: Path) -> Iterator[Lifestream | None]:
    """Start pytorch-lifestream, and end it afterwards; None where its environment is not installed.

    Args:
        cache: Of environments, see ``make peers-training``.
        threads: Of PyTorch.
        log: Where its own output goes.
    """
    home = cache / "peers" / "lifestream"
    python = home / "bin" / "python"
    if not (home / "versions.txt").exists():
        yield None
        return
    # A working directory without this checkout: its packages must not be found there.
    with (
        log.open("w") as errors,
        subprocess.Popen(
            [str(python), "-P", str(SCRIPT)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
            cwd=log.parent,
            env={name: value for name, value in os.environ.items() if name != "PYTHONPATH"},
        ) as process,
    ):
        try:
            yield Lifestream(process, threads=threads)
        finally:
            process.kill()


def write_sequences(workload: Workload, path: Path) -> None:
    """Write what one sequence a customer and one label is: the history up to the newest training cutoff."""
    # Who bought nothing in the 90 days after it has churned.
    events = pl.scan_parquet(workload.events_path)
    later = pl.col("occurred_at") > LAST_CUTOFF
    window = later & (pl.col("occurred_at") <= pl.lit(LAST_CUTOFF).dt.offset_by("90d"))
    bought = events.filter(window, pl.col("event_type") == "purchase").select("customer_id").unique()
    churned = pl.col("returned").is_null().cast(pl.Float64).alias("churned")
    (
        events.filter(~later)
        .join(bought.with_columns(returned=1), on="customer_id", how="left")
        .with_columns(churned)
        .drop("returned")
        .sink_parquet(path)
    )
