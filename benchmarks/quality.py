"""How well the default model predicts on each data set: mean and spread over seeds, beside baselines.

Every seed is one whole run of ``training.train`` with the default configuration; the test window is
looked at once, at its end. Real data sets are left out, with a line that says so, where their files
are absent. ``python -m benchmarks.quality [--seeds 3] [--data cdnow ...] [key=value ...]``.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from hydra import compose, initialize_config_dir
from rich.console import Console

from benchmarks.results import Figure, report
from holdfast.errors import DataError
from training.entry import CONFIG_DIR
from training.evaluation import EvaluationResult
from training.evaluation.result import HorizonResult
from training.train import train

DATA_SETS = ("simulated", "online_retail_ii", "cdnow")
SHARE_GOAL = 0.95
METRICS = {
    "time_to_event": {"auroc": "higher", "log_loss": "lower"},
    "amount": {"normalised_gini": "higher", "total_ratio": "higher"},
    "count": {"total_ratio": "higher"},
}


def run(data: str, seed: int, overrides: Sequence[str], folder: Path, console: Console) -> EvaluationResult:
    """Train and judge once.

    Raises:
        DataError: A file of the data set is absent.
    """
    with initialize_config_dir(CONFIG_DIR, version_base=None):
        settings = compose(
            "train",
            overrides=[
                f"data={data}",
                f"seed={seed}",
                f"run_dir={folder}/{data}_{seed}",
                "logger=none",
                "show_progress=false",
                *overrides,
            ],
        )
    return train(settings, console=console).result


def longest(result: EvaluationResult, target: str) -> HorizonResult:
    """Return what is said about a target at its longest horizon."""
    return next(t for t in result["targets"] if t["name"] == target)["horizons"][-1]


def figures_of(data: str, results: Sequence[EvaluationResult]) -> list[Figure]:
    """Return mean and spread over seeds of every model's main metrics."""
    figures = []
    for target in results[0]["targets"]:
        horizons = [longest(result, target["name"]) for result in results]
        days = horizons[0]["horizon_days"]
        for model in horizons[0]["models"]:
            for metric, better in METRICS[target["kind"]].items():
                values = [_value(horizon, model, metric) for horizon in horizons]
                name = f"{data}: {target['name']} {days} d, {model}, {metric}"
                figures.append(_figure(name, float(np.mean(values)), better))
                if model == results[0]["main"] and len(values) > 1:
                    figures.append(
                        _figure(f"{name}, spread over seeds", float(np.std(values, ddof=1)), "lower")
                    )
        if "truth" in horizons[0]["models"] and target["kind"] == "time_to_event":
            share = [_value(horizon, results[0]["main"], "share_of_best_auroc") for horizon in horizons]
            name = f"{data}: {target['name']} {days} d, share of the best possible AUROC"
            figures.append(
                Figure(name=name, value=float(np.mean(share)), unit="", goal=SHARE_GOAL, better="higher")
            )
    return figures


def _figure(name: str, value: float, better: str) -> Figure:
    return Figure(
        name=name, value=value, unit="", goal=None, better="higher" if better == "higher" else "lower"
    )


def _value(horizon: HorizonResult, model: str, metric: str) -> float:
    value = horizon["models"][model]["metrics"][metric]["value"]
    return float("nan") if value is None else value


def main() -> None:
    """Measure, print and keep the figures."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=3, help="runs per data set")
    parser.add_argument("--data", nargs="+", default=DATA_SETS, help="data sets")
    parser.add_argument("overrides", nargs="*", help="Hydra overrides, key=value")
    chosen = parser.parse_args()
    console = Console(width=120)
    figures: list[Figure] = []
    with TemporaryDirectory() as folder:
        for data in chosen.data:
            try:
                results = [
                    run(data, seed, chosen.overrides, Path(folder), console)
                    for seed in range(1, chosen.seeds + 1)
                ]
            except DataError as error:
                console.print(f"{data} is left out: {error}")
                continue
            figures += figures_of(data, results)
    method = f"mean over {chosen.seeds} seeds of whole runs of training.train on the test window"
    report(
        "quality", figures, method=f"{method}; {' '.join(chosen.overrides) or 'defaults'}", console=console
    )


if __name__ == "__main__":
    main()
