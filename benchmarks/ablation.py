"""What every lever of the model is worth: each moved by itself, judged on validation windows.

The levers are those of ``conf/ablation/levers.yaml``; those that mean nothing on a data set are
left out there. Runs are kept, so that the command goes on where it was interrupted.
``python -m benchmarks.ablation [--data cdnow ...] [--seeds 3] [key=value ...]``.
"""

import argparse
from collections.abc import Iterator, Sequence
from pathlib import Path

from hydra import compose, initialize_config_dir
from rich.console import Console

from benchmarks.quality import METRICS, figure_of
from benchmarks.results import Figure, report
from holdfast.errors import DataError
from training.ablate import DEFAULT, ablate
from training.comparison import ComparisonResult
from training.entry import CONFIG_DIR

WITHOUT = {
    "cdnow": (),
    "online_retail_ii": (),
    # No amounts, and every training cutoff counts alike.
    "bpic2012": ("untied_amounts", "no_tweedie_loss", "no_half_life"),
}
"""Data sets, and the levers that would change nothing there."""


def ablated(
    data: str, num_seeds: int, overrides: Sequence[str], folder: Path, console: Console
) -> ComparisonResult:
    """Train every variant on one data set; runs that are there already are taken.

    Raises:
        DataError: A file of the data set is absent.
    """
    fixed = [
        f"data={data}",
        f"seeds={list(range(1, num_seeds + 1))}",
        f"run_dir={folder}",
        f"out={folder}",
        *(f"~ablation.variants.{name}" for name in WITHOUT[data]),
        *overrides,
    ]
    with initialize_config_dir(CONFIG_DIR, version_base=None):
        return ablate(
            compose("ablate", overrides=fixed),
            lambda chosen: compose("ablate", overrides=[*fixed, *chosen]),
            console=console,
        )


def figures_of(result: ComparisonResult) -> Iterator[Figure]:
    """Yield the default's main metrics, and how far every variant lies from them, with the interval."""
    for target in result["targets"]:
        horizon = target["horizons"][-1]
        where = f"{result['data']}: {target['name']} {horizon['horizon_days']} d"
        for metric, better in METRICS[target["kind"]].items():
            figure = horizon["overall"]["models"][DEFAULT][metric]
            yield figure_of(f"{where}, {DEFAULT}, {metric}", figure["value"], better)
            if metric == "total_ratio":
                continue
            for variant in result["judged"]:
                difference = horizon["overall"]["differences"][variant][DEFAULT][metric]
                name = f"{where}, {variant} minus {DEFAULT}, {metric}"
                yield figure_of(name, difference["value"], better)
                yield figure_of(f"{name}, low", difference["low"], better)
                yield figure_of(f"{name}, high", difference["high"], better)


def main() -> None:
    """Measure, print and keep the figures."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=3, help="trainings per variant and data set")
    parser.add_argument(
        "--data",
        nargs="+",
        choices=list(WITHOUT),
        default=list(WITHOUT),
        help="data sets; figures of others stay",
    )
    parser.add_argument("--out", default="outputs/ablation", help="folder of the comparisons")
    parser.add_argument("overrides", nargs="*", help="Hydra overrides, key=value")
    chosen = parser.parse_args()
    console = Console(width=160)
    figures: list[Figure] = []
    for data in chosen.data:
        folder = Path(chosen.out) / data
        try:
            result = ablated(data, chosen.seeds, chosen.overrides, folder, console)
        except DataError as error:
            console.print(f"{data} is left out: {error}")
            continue
        figures += figures_of(result)
    method = (
        f"mean over {chosen.seeds} seeds of training.ablate on the validation window, sequence model alone"
    )
    report(
        "ablation",
        figures,
        method=f"{method}; {' '.join(chosen.overrides) or 'defaults'}",
        beside=[data for data in WITHOUT if data not in chosen.data],
        console=console,
    )


if __name__ == "__main__":
    main()
