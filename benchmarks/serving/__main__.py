"""Serving under load, measured (``make bench-serving``; ``python -m benchmarks.serving --quick --no-peers``).

It deliberately measures nothing itself: it reads the flags, runs what they ask for and keeps the result.
"""

import argparse
import signal
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

from rich.console import Console

from benchmarks.measuring import default_cache
from benchmarks.results import Figure, report
from benchmarks.serving.bench import Bench, Effort
from benchmarks.serving.compare import peer_figures
from benchmarks.serving.footprint import memory_figures
from benchmarks.serving.goals import at_most
from benchmarks.serving.measures import own_figures
from benchmarks.serving.models import LARGE, TRAINED, prepare_model
from benchmarks.serving.processes import choose_cores


def read_flags() -> argparse.Namespace:
    """Return the flags; `--quick` only changes defaults."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.ArgumentDefaultsHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="two short rounds, 4,000 requests for memory")
    parser.add_argument("--no-peers", action="store_true", help="leave other servers out")
    parser.add_argument("--no-memory", action="store_true", help="leave the many requests for memory out")
    parser.add_argument("--models", nargs="+", default=[TRAINED, LARGE], choices=[TRAINED, LARGE])
    parser.add_argument("--rounds", type=int, default=3, help="how often each pair is measured in turn")
    parser.add_argument("--seconds", type=float, default=2.0, help="of one load, after warm-up")
    parser.add_argument("--warm-up-seconds", type=float, default=1.0, help="before every load")
    parser.add_argument("--bound-ms", type=float, default=100.0, help="p99 that the highest rate keeps")
    parser.add_argument("--trials", type=int, default=8, help="of a search for the highest rate")
    parser.add_argument("--batches-in-flight", type=int, default=8, help="concurrent requests of 64")
    parser.add_argument("--singles-in-flight", type=int, default=32, help="concurrent requests of one")
    parser.add_argument("--memory-requests", type=int, default=200_000, help="of random shapes")
    parser.add_argument("--memory-seconds", type=float, default=300.0, help="for them, at most")
    parser.add_argument("--cache", type=Path, default=default_cache(), help="of models and environments")
    if parser.parse_known_args()[0].quick:
        parser.set_defaults(rounds=2, seconds=1.5, warm_up_seconds=0.5, trials=4, memory_requests=4_000)
    return parser.parse_args()


def measure(chosen: argparse.Namespace, folder: Path, console: Console) -> tuple[list[Figure], list[str]]:
    """Measure what the flags ask for; return figures, and other servers with their versions."""
    cores = choose_cores()
    effort = Effort(
        rounds=chosen.rounds,
        seconds=chosen.seconds,
        warm_up_seconds=chosen.warm_up_seconds,
        bound_seconds=chosen.bound_ms / 1e3,
        max_trials=chosen.trials,
        batches_in_flight=chosen.batches_in_flight,
        singles_in_flight=chosen.singles_in_flight,
    )
    models = [prepare_model(name, chosen.cache, console) for name in chosen.models]
    figures: list[Figure] = []
    versions: list[str] = []
    num_wrong = 0
    for model in models:
        with Bench(model, cores, effort, folder=folder, console=console) as bench:
            figures += own_figures(bench)
            if model.name == TRAINED and not chosen.no_peers:
                found, versions = peer_figures(bench, chosen.cache / "peers")
                figures += found
            # Last: it is also what the server held after everything else.
            if model.name == TRAINED and not chosen.no_memory:
                bench.say(f"memory over {chosen.memory_requests:,} requests")
                figures += memory_figures(
                    bench, num_requests=chosen.memory_requests, max_seconds=chosen.memory_seconds
                )
            num_wrong += bench.num_wrong
    figures.append(at_most("our calls refused or failed, searches apart", num_wrong, 0, "calls"))
    return figures, versions


def main() -> None:
    """Measure and keep the result."""
    chosen = read_flags()
    # A process that is told to end stops what it started, as one does that is interrupted.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    console = Console(stderr=True)
    with TemporaryDirectory(prefix="holdfast-bench-") as folder:
        figures, versions = measure(chosen, Path(folder), console)
    beside = ", ".join(versions) or "no other server"
    method = (
        f"medians of {chosen.rounds} rounds, pairs in turn, {chosen.seconds:g} s a load; server and client "
        "on a core each, loopback; latency from scheduled times, Poisson arrivals; lengths lognormal, "
        f"median 29, at most 256; beside: {beside}"
    )
    report("serving", figures, method=method)


if __name__ == "__main__":
    main()
