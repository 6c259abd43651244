"""How well the default model predicts on each data set: what ``training.compare`` says of it, as figures.

Real data sets are left out, with a line that says so, where their files are absent.
``python -m benchmarks.quality [key=value ...] [--seeds 5] [--data cdnow ...]``.
"""

import argparse
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Literal

from hydra import compose, initialize_config_dir
from rich.console import Console

from benchmarks.results import Figure, report
from holdfast.errors import DataError
from training.compare import compare
from training.comparison import ComparisonResult
from training.comparison.result import HorizonComparison
from training.entry import CONFIG_DIR

DATA_SETS = ("simulated", "online_retail_ii", "cdnow", "bpic2012")
SHARE_GOAL = 0.95
METRICS: dict[str, dict[str, Literal["higher", "lower"]]] = {
    "time_to_event": {"auroc": "higher", "log_loss": "lower"},
    "amount": {"normalised_gini": "higher", "total_ratio": "higher"},
    "count": {"total_ratio": "higher"},
}


def compared(
    data: str, num_seeds: int, overrides: Sequence[str], folder: Path, console: Console
) -> ComparisonResult:
    """Compare on one data set; runs that are there already are taken.

    Raises:
        DataError: A file of the data set is absent.
    """
    with initialize_config_dir(CONFIG_DIR, version_base=None):
        settings = compose(
            "compare",
            overrides=[
                f"data={data}",
                f"seeds={list(range(1, num_seeds + 1))}",
                f"run_dir={folder}",
                f"out={folder}",
                *overrides,
            ],
        )
    return compare(settings, console=console)


def figures_of(result: ComparisonResult) -> Iterator[Figure]:
    """Yield mean and spread over seeds of every model's main metrics, at the longest horizons."""
    for target in result["targets"]:
        horizon = target["horizons"][-1]
        where = f"{result['data']}: {target['name']} {horizon['horizon_days']} d"
        for model, figures in horizon["overall"]["models"].items():
            for metric, better in METRICS[target["kind"]].items():
                name = f"{where}, {model}, {metric}"
                value, spread = figures[metric]["value"], figures[metric]["spread"]
                yield figure_of(name, value, better)
                if model in result["judged"] and spread is not None:
                    yield figure_of(f"{name}, spread over seeds", spread, "lower")
        if target["kind"] == "time_to_event":
            yield from _share(where, horizon, result["judged"])


def _share(where: str, horizon: HorizonComparison, judged: Sequence[str]) -> Iterator[Figure]:
    """Yield how much of the best possible AUROC is reached, where the truth is known."""
    for model in judged:
        figure = horizon["overall"]["models"].get(model, {}).get("share_of_best_auroc")
        if figure is not None:
            name = f"{where}, {model}, share of the best possible AUROC"
            yield figure_of(name, figure["value"], "higher", goal=SHARE_GOAL)


def figure_of(
    name: str, value: float | None, better: Literal["higher", "lower"], *, goal: float | None = None
) -> Figure:
    """Return a figure of a comparison, which has no unit; one that could not be computed is NaN."""
    value = float("nan") if value is None else value
    return Figure(name=name, value=value, unit="", goal=goal, better=better)


def main() -> None:
    """Measure, print and keep the figures."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=5, help="trainings per data set")
    parser.add_argument("--data", nargs="+", default=DATA_SETS, help="data sets; figures of others stay")
    parser.add_argument("--out", default="outputs/quality", help="folder of the comparisons")
    parser.add_argument("overrides", nargs="*", help="Hydra overrides, key=value")
    chosen = parser.parse_args()
    misplaced = [data for data in chosen.data if "=" in data]
    if misplaced:
        parser.error(f"--data takes data sets: write {' '.join(misplaced)} before the options")
    console = Console(width=160)
    figures: list[Figure] = []
    for data in chosen.data:
        try:
            result = compared(data, chosen.seeds, chosen.overrides, Path(chosen.out) / data, console)
        except DataError as error:
            console.print(f"{data} is left out: {error}")
            continue
        figures += figures_of(result)
    method = f"mean over {chosen.seeds} seeds of training.compare on the test window"
    report(
        "quality",
        figures,
        method=f"{method}; {' '.join(chosen.overrides) or 'defaults'}",
        beside=[data for data in DATA_SETS if data not in chosen.data],
        console=console,
    )


if __name__ == "__main__":
    main()
