"""The main job from end to end: train, start the server, score a batch, stop (``make demo``).

It deliberately imports nothing of the server: it starts it as anybody would, and asks through
the client.
"""

import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import hydra
import numpy as np
import polars as pl
from omegaconf import DictConfig
from rich.console import Group
from rich.table import Table

from holdfast.client import ScoringClient
from holdfast.errors import RunError
from holdfast.manifest import REPORT_NAME
from training.entry import CONFIG_DIR, run_entry, wide_console
from training.evaluation import render_table
from training.store import canonical_tables
from training.train import Trained, train

BATCH_CUSTOMERS = 64
NUM_REQUESTS = 40
START_SECONDS = 60.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Latency:
    """How long one request takes at the client, in milliseconds.

    Attributes:
        num_customers: Customers of a request.
        num_events: Events of a request, on average.
        median_ms: Median over the requests.
        slow_ms: 95th percentile.
    """

    num_customers: int
    num_events: int
    median_ms: float
    slow_ms: float


@contextmanager
def running_server(artifact: Path) -> Iterator[str]:
    """Start ``python -m serving`` on a free port of loopback, and stop it at the end.

    Args:
        artifact: What it serves.

    Yields:
        Its address.

    Raises:
        RunError: It ended, or did not come up in time; its last words are in the message.
    """
    with tempfile.TemporaryDirectory() as folder:
        port_file, log = Path(folder) / "port", Path(folder) / "log"
        command = [sys.executable, "-m", "serving", "--artifact", str(artifact), "--port", "0"]
        with log.open("wb") as stream:
            server = subprocess.Popen(
                [*command, "--port-file", str(port_file)],
                stdout=stream,
                stderr=subprocess.STDOUT,
                cwd=Path(__file__).parents[1],
            )
        try:
            _wait_for(port_file, server, log)
            yield f"127.0.0.1:{port_file.read_text().strip()}"
        finally:
            server.send_signal(signal.SIGTERM)
            server.wait(timeout=START_SECONDS)


def _wait_for(port_file: Path, server: "subprocess.Popen[bytes]", log: Path) -> None:
    """Wait until the server has written its port, which it does when it serves."""
    deadline = time.monotonic() + START_SECONDS
    while not port_file.exists() or not port_file.read_text().strip():
        if server.poll() is not None or time.monotonic() > deadline:
            words = log.read_text(errors="replace").strip().splitlines()[-3:]
            raise RunError(f"the server did not come up: {' / '.join(words)}")
        time.sleep(0.05)


def measure(address: str, trained: Trained) -> tuple[pl.DataFrame, list[Latency]]:
    """Score batches of test customers and single ones through the client.

    Returns:
        The predictions of one batch as a table, and the latencies.
    """
    test = trained.task.readouts(trained.task.splits.test)
    as_of_us = int(test.cutoff_us.max())
    people = test.customer[test.cutoff_us == as_of_us]
    as_of = datetime.fromtimestamp(as_of_us // 1_000_000, tz=UTC).replace(microsecond=as_of_us % 1_000_000)
    rng = np.random.default_rng(0)
    rows: list[dict[str, object]] = []
    latencies = []
    with ScoringClient(address) as client:
        client.model()
        for size in (1, min(BATCH_CUSTOMERS, len(people))):
            milliseconds, num_events = [], 0
            for _ in range(NUM_REQUESTS):
                chosen = rng.choice(people, size, replace=False)
                events, customers = canonical_tables(trained.store, chosen)
                begin = time.perf_counter()
                results = client.score(
                    events, customers=customers if customers.width > 2 else None, as_of=as_of
                )
                milliseconds.append(1e3 * (time.perf_counter() - begin))
                num_events += sum(result.observed.num_used for result in results if result.observed)
                rows = [result.to_dict() for result in results]
            latencies.append(
                Latency(
                    num_customers=size,
                    num_events=num_events // NUM_REQUESTS,
                    median_ms=float(np.median(milliseconds)),
                    slow_ms=float(np.quantile(milliseconds, 0.95)),
                )
            )
    return pl.DataFrame(rows), latencies


def summary(trained: Trained, latencies: list[Latency], scores: Path) -> Group:
    """Return what a person wants to know at the end, in one table beside the test figures."""
    end = Table(title="Served", show_header=False, title_justify="left")
    for latency in latencies:
        name = f"{latency.num_customers} customer{'s' if latency.num_customers > 1 else ''} a request"
        figures = f"median {latency.median_ms:.1f} ms, 95th percentile {latency.slow_ms:.1f} ms"
        end.add_row(name, f"{figures} ({latency.num_events:,} events on average)")
    end.add_row("scored batch", _shown(scores))
    end.add_row("artifact", _shown(trained.artifact))
    end.add_row("report", _shown(trained.artifact / REPORT_NAME))
    return Group(render_table(trained.result), end)


def _shown(path: Path) -> str:
    here = Path.cwd()
    return str(path.resolve().relative_to(here)) if path.resolve().is_relative_to(here) else str(path)


@hydra.main(version_base=None, config_path=CONFIG_DIR, config_name="train")
@run_entry
def main(settings: DictConfig) -> None:
    """Do it all for the data set that the command line names."""
    console = wide_console()
    begin = time.perf_counter()
    trained = train(settings, console=console)
    console.print("Starting the server on loopback and scoring through the client ...")
    with running_server(trained.artifact) as address:
        table, latencies = measure(address, trained)
    scores = trained.artifact.parent / "scores.csv"
    table.write_csv(scores)
    console.print(summary(trained, latencies, scores))
    console.print(f"done in {time.perf_counter() - begin:.0f} s on {os.cpu_count()} cores")


if __name__ == "__main__":
    main()
