"""Preparing: raw tables to history store, and the simulator that feeds it (``python -m benchmarks.prepare``).

It deliberately does not know how preparing works: it calls what ``python -m training.prepare`` calls. With
``--large`` it also trains for a few steps on the store of many events, to see the memory that this takes.
"""

import argparse
import os
import statistics
import tempfile
from pathlib import Path
from typing import Any

from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf
from rich.console import Console

from benchmarks.measuring import ChildRun, interleaved, run_in_child
from benchmarks.results import ROOT, Figure, report
from training.data_config import DataConfig
from training.prepare import prepare, simulated_folder
from training.simulate import simulate
from training.simulate.config import simulation_config

MEBIBYTE = 2**20
ONLINE_RETAIL_GOAL_SECONDS = 3.0
EVENTS_PER_SECOND_GOAL = 2e6
SMALL_EVENTS, LARGE_EVENTS = 1_000_000, 100_000_000
COST_RATIO_GOAL = 1.3
LARGE_PEAK_GOAL_MEBIBYTES = 4_096.0
TRAINING_PEAK_GOAL_MEBIBYTES = 3_072.0
TRAINING_STEPS = 20
"""Memory is at its most before and after the steps: labels, encoding, experts, judging, export.
More steps take longer and hold no more."""
EVENTS_PER_CUSTOMER = 56.0
"""About what a customer of the simulated data set leaves; the number that counts is read off the store."""


def data_config(name: str, data_root: Path, *overrides: str) -> dict[str, Any]:
    """Return ``conf/data/<name>.yaml`` as plain values, with its sources under a folder."""
    with initialize_config_dir(version_base=None, config_dir=str(ROOT / "conf")):
        settings = compose("prepare", overrides=[f"data={name}", *_places(data_root), *overrides])
        plain = OmegaConf.to_container(settings.data, resolve=True)
    assert isinstance(plain, dict)
    return {str(key): value for key, value in plain.items()}


def _places(data_root: Path) -> tuple[str, str]:
    return f"data_root={data_root}", f"simulated_root={data_root}"


def prepare_anew(plain: dict[str, Any], store_dir: Path) -> tuple[int, int]:
    """Prepare a data set from its sources; return the numbers of events and of customers stored."""
    store = prepare(DataConfig.from_plain(plain), store_dir=store_dir, force=True)
    return store.histories.num_events, store.histories.num_customers


def simulate_anew(plain: dict[str, Any]) -> int:
    """Write a simulated data set's sources; return the number of events."""
    config = DataConfig.from_plain(plain)
    assert config.simulate is not None
    return simulate(simulation_config(config.simulate), simulated_folder(config), overwrite=True).num_events


def measure_real(data_root: Path, folder: Path, *, repeats: int) -> list[Figure]:
    """Prepare Online Retail II several times, each in a fresh process."""
    plain = data_config("online_retail_ii", data_root)
    runs: list[ChildRun[tuple[int, int]]] = []

    def once() -> float:
        runs.append(run_in_child(prepare_anew, plain, folder / "online_retail_ii"))
        return runs[-1].seconds

    seconds = interleaved({"prepare": once}, repeats=repeats)["prepare"]
    peak = max(run.peak_bytes for run in runs) / MEBIBYTE
    name = "Online Retail II, 836,992 invoice lines to store"
    return [
        Figure(
            name=name,
            value=statistics.median(seconds),
            unit="s",
            goal=ONLINE_RETAIL_GOAL_SECONDS,
            better="lower",
        ),
        Figure(name=f"{name}: peak memory", value=peak, unit="MiB", goal=None, better="lower"),
    ]


def train_a_little(num_events: int, data_root: Path, store_dir: Path, run_dir: Path) -> int:
    """Train for a few steps on a simulated store that lies there, artifact included; return its events."""
    overrides = (
        *("data=simulated", *_places(data_root), *_simulated_overrides(num_events)),
        # Without cutoffs there is no truth to judge by.
        "data.truth=null",
        *(f"store_dir={store_dir}", f"run_dir={run_dir}"),
        *(f"optimiser.num_steps={TRAINING_STEPS}", "optimiser.warmup_steps=5", "logger=none"),
    )
    # Where nothing is trained PyTorch would be the larger part of the memory that is measured.
    from training.train import train

    with initialize_config_dir(version_base=None, config_dir=str(ROOT / "conf")):
        settings = compose("train", overrides=list(overrides))
        return train(settings, console=Console(stderr=True)).store.histories.num_events


def simulated_config(num_events: int, data_root: Path) -> dict[str, Any]:
    """Return the simulated data set with about so many events, under a folder of its own."""
    return data_config("simulated", data_root, *_simulated_overrides(num_events))


def _simulated_overrides(num_events: int) -> tuple[str, str]:
    customers = round(num_events / EVENTS_PER_CUSTOMER)
    # No cutoffs: the truth is simulated forward many times over, and preparing does not read it.
    return f"data.simulate.num_customers={customers}", "data.simulate.cutoffs=[]"


def measure_simulated(num_events: int, folder: Path, *, repeats: int) -> list[Figure]:
    """Simulate about so many events once, and prepare them several times, each in a fresh process."""
    plain = simulated_config(num_events, folder / "raw")
    made = run_in_child(simulate_anew, plain)
    runs = [run_in_child(prepare_anew, plain, folder / "simulated") for _ in range(repeats)]
    events = runs[0].value[0]
    rate = events / statistics.median(run.seconds for run in runs)
    peak = max(run.peak_bytes for run in runs) / MEBIBYTE
    name = f"simulated, {events:,} events to store"
    return [
        Figure(name=name, value=rate, unit="events/s", goal=EVENTS_PER_SECOND_GOAL, better="higher"),
        Figure(name=f"{name}: peak memory", value=peak, unit="MiB", goal=None, better="lower"),
        *_simulating(made),
    ]


def _simulating(made: ChildRun[int]) -> tuple[Figure, Figure]:
    rate, peak = made.value / made.seconds, made.peak_bytes / MEBIBYTE
    return (
        Figure(
            name="simulating them, without the truth", value=rate, unit="events/s", goal=None, better="higher"
        ),
        Figure(name="simulating them: peak memory", value=peak, unit="MiB", goal=None, better="lower"),
    )


def measure_large(folder: Path, *, repeats: int) -> list[Figure]:
    """Prepare many events once, and a hundredth of them before and after: what one costs in the two.

    The small data set is prepared on either side, so that a slow minute of the machine meets both.
    """
    plain = {num: simulated_config(num, folder / str(num)) for num in (SMALL_EVENTS, LARGE_EVENTS)}
    run_in_child(simulate_anew, plain[SMALL_EVENTS])
    made = run_in_child(simulate_anew, plain[LARGE_EVENTS])

    def small() -> list[float]:
        runs = [run_in_child(prepare_anew, plain[SMALL_EVENTS], folder / "small") for _ in range(repeats)]
        return [run.seconds / run.value[0] for run in runs]

    before = small()
    run = run_in_child(prepare_anew, plain[LARGE_EVENTS], folder / "large")
    cost, small_cost = run.seconds / run.value[0], statistics.median(before + small())
    trained = run_in_child(
        train_a_little, LARGE_EVENTS, folder / str(LARGE_EVENTS), folder / "large", folder / "run"
    )
    name = f"simulated, {run.value[0]:,} events to store"
    return [
        Figure(name=name, value=1 / cost, unit="events/s", goal=EVENTS_PER_SECOND_GOAL, better="higher"),
        Figure(
            name=f"{name}: an event's cost beside that at {SMALL_EVENTS:,}",
            value=cost / small_cost,
            unit="times",
            goal=COST_RATIO_GOAL,
            better="lower",
        ),
        Figure(
            name=f"{name}: peak memory",
            value=run.peak_bytes / MEBIBYTE,
            unit="MiB",
            goal=LARGE_PEAK_GOAL_MEBIBYTES,
            better="lower",
        ),
        Figure(
            name=f"training on them, {TRAINING_STEPS} steps: peak memory",
            value=trained.peak_bytes / MEBIBYTE,
            unit="MiB",
            goal=TRAINING_PEAK_GOAL_MEBIBYTES,
            better="lower",
        ),
        *_simulating(made),
    ]


def main() -> None:
    """Measure both data sets, or the large one alone, and keep the result."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--events", type=int, default=10_000_000, help="about how many events to simulate")
    parser.add_argument("--repeats", type=int, default=3, help="how often each data set is prepared")
    parser.add_argument(
        "--large",
        action="store_true",
        help=f"instead, {LARGE_EVENTS:,} events beside {SMALL_EVENTS:,}, and training: minutes, 6 GB of disk",
    )
    arguments = parser.parse_args()
    console = Console(stderr=True)
    if arguments.large:
        console.print(
            f"simulating, preparing and learning from about {LARGE_EVENTS:,} events ...", style="dim"
        )
        with tempfile.TemporaryDirectory(prefix="holdfast-bench-") as name:
            figures = measure_large(Path(name), repeats=arguments.repeats)
        method = (
            f"one run, beside the median of {2 * arguments.repeats} small ones, half of them before and half "
            "after it; each in a fresh process, imports not counted"
        )
        report("prepare_large", figures, method=method)
        return
    data_root = Path(os.environ.get("HOLDFAST_DATA", "data"))
    with tempfile.TemporaryDirectory(prefix="holdfast-bench-") as name:
        folder = Path(name)
        figures = []
        if (data_root / "online_retail_ii").is_dir():
            console.print("preparing Online Retail II ...", style="dim")
            figures += measure_real(data_root, folder, repeats=arguments.repeats)
        else:
            console.print("Online Retail II is left out: set HOLDFAST_DATA to the folder that holds it")
        console.print(f"simulating and preparing about {arguments.events:,} events ...", style="dim")
        figures += measure_simulated(arguments.events, folder, repeats=arguments.repeats)
    method = (
        f"medians of {arguments.repeats} runs, each in a fresh process, imports not counted; "
        "memory is the most of any run, interpreter and libraries included"
    )
    report("prepare", figures, method=method)


if __name__ == "__main__":
    main()
