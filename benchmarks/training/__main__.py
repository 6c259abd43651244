"""The training step and its loader (``make bench-training``; ``python -m benchmarks.training --quick``).

It deliberately measures nothing itself: it reads the flags, runs what they ask for and keeps the result.
"""

import argparse
import signal
import sys
from contextlib import nullcontext
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from rich.console import Console

from benchmarks.measuring import default_cache
from benchmarks.results import report
from benchmarks.training.beside import lifestream, write_sequences
from benchmarks.training.figures import MODELS, WIDTHS, Effort, prepare_figures, step_figures
from benchmarks.training.workload import Workload


def read_flags() -> argparse.Namespace:
    """Return the flags; `--quick` only changes defaults."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.ArgumentDefaultsHelpFormatter
    )
    parser.add_argument(
        "--quick", action="store_true", help="one short round; too short for a figure that is kept"
    )
    parser.add_argument("--no-peers", action="store_true", help="leave pytorch-lifestream out")
    parser.add_argument("--models", nargs="+", default=list(MODELS), choices=MODELS)
    parser.add_argument("--widths", nargs="+", type=int, default=list(WIDTHS), help="of the models")
    parser.add_argument("--rounds", type=int, default=3, help="how often each of a pair is measured in turn")
    parser.add_argument("--seconds", type=float, default=4.0, help="of one measurement, after warm-up")
    parser.add_argument("--warm-up-steps", type=int, default=3, help="optimiser steps before it")
    parser.add_argument("--customers", type=int, default=4_000, help="of the synthetic shop")
    parser.add_argument("--prepared-events", type=int, default=1_000_000, help="events to prepare")
    parser.add_argument("--threads", type=int, default=2, help="of PyTorch, on every side")
    parser.add_argument("--cache", type=Path, default=default_cache(), help="of environments")
    if parser.parse_known_args()[0].quick:
        parser.set_defaults(rounds=1, seconds=1.0, warm_up_steps=1, customers=1_000, prepared_events=100_000)
    return parser.parse_args()


def main() -> None:
    """Measure and keep the result."""
    chosen = read_flags()
    # A process that is told to end stops what it started, as one does that is interrupted.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    console = Console(stderr=True)
    torch.set_num_threads(chosen.threads)
    effort = Effort(
        rounds=chosen.rounds,
        seconds=chosen.seconds,
        models=tuple(chosen.models),
        widths=tuple(chosen.widths),
        warm_up_steps=chosen.warm_up_steps,
        prepared_events=chosen.prepared_events,
    )
    with TemporaryDirectory(prefix="holdfast-bench-") as name:
        folder = Path(name)
        workload = Workload(folder=folder, num_customers=chosen.customers)
        workload.write()
        log = folder / "lifestream.log"
        beside = (
            nullcontext() if chosen.no_peers else lifestream(chosen.cache, threads=chosen.threads, log=log)
        )
        with beside as peer:
            if peer is None:
                console.print("pytorch-lifestream is left out: `make peers-training` installs it")
            figures = prepare_figures(peer, effort, folder=folder, console=console)
            if peer is not None:
                write_sequences(workload, folder / "sequences.parquet")
                peer.prepare(folder / "sequences.parquet", first_items=("churned",))
            figures = step_figures(workload, peer, effort, folder=folder, console=console) + figures
            version = "no other library" if peer is None else peer.version
    method = (
        f"medians of {chosen.rounds} rounds of {chosen.seconds:g} s, pairs in turn, "
        f"{chosen.threads} threads; whole training loops, loading included; histories lognormal, median "
        f"29, at most 256, {chosen.customers:,} customers; beside: {version}"
    )
    report("training", figures, method=method)


if __name__ == "__main__":
    main()
