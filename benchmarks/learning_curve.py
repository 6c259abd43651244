"""What more customers are worth: encoders and trees over the number of customers they learn from.

A simulated shop whose truth is known, judged at its test cutoff on all customers, whichever of
them were learned from. It deliberately chooses nothing: the world is not the one that defaults
were chosen on. ``python -m benchmarks.learning_curve [--sizes 3000 12000 48000] [--seeds 2]``.
Runs are kept, so that the command goes on where it was interrupted.
"""

import argparse
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from hydra import compose, initialize_config_dir
from omegaconf import DictConfig
from rich.console import Console

from benchmarks.quality import figure_of
from benchmarks.results import Figure, report
from training.compare import OWN_KEYS, opened_runs
from training.comparison import Record
from training.comparison.runs import Runs
from training.entry import CONFIG_DIR
from training.evaluation.questions import TRUTH, Question
from training.metrics.bootstrap import Bootstrap
from training.run_config import RunConfig
from training.run_setup import plain

SIZES = (3_000, 12_000, 48_000)
ENCODERS = ("none", "gru", "transformer")
SHARE_GOAL = 0.97
WORLD_SEED = 2026
"""Of the simulated shop: another one than that of ``conf/data/simulated.yaml``."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Point:
    """One model at one number of customers.

    Attributes:
        size: Customers that were learned from.
        model: ``sequence, <encoder>`` or ``trees``.
        auroc: Of every seed, at the longest horizon.
        log_loss: The same.
        best_auroc: Of the true probabilities, on the same readouts.
    """

    size: int
    model: str
    auroc: tuple[float, ...]
    log_loss: tuple[float, ...]
    best_auroc: float


def settings_of(
    size: int, encoder: str, seed: int, *, sizes: Sequence[int], overrides: Sequence[str]
) -> DictConfig:
    """Return the settings of one run; the trees are fitted beside the first encoder."""
    baselines = "[trees]" if encoder == ENCODERS[0] else "[]"
    return compose(
        "compare",
        overrides=[
            "data=simulated",
            f"data.simulate.num_customers={max(sizes)}",
            f"data.simulate.seed={WORLD_SEED}",
            f"++data.cutoffs.train.most_customers={size}",
            f"model={encoder}",
            "blend=none",
            f"evaluation.baselines={baselines}",
            f"seed={seed}",
            "simulated_root=outputs/learning_curve/raw",
            "store_dir=outputs/learning_curve/store",
            "runs_dir=outputs/learning_curve/runs",
            "run_dir=outputs/learning_curve",
            "out=outputs/learning_curve",
            *overrides,
        ],
    )


def measured(
    sizes: Sequence[int], num_seeds: int, overrides: Sequence[str], console: Console
) -> Iterator[Point]:
    """Train what is not there yet, the smallest number of customers first, and yield the points."""
    seeds = range(1, num_seeds + 1)
    runs: Runs | None = None
    for size in sizes:
        records: dict[str, list[Record]] = {}
        for encoder in ENCODERS:
            for seed in seeds:
                settings = settings_of(size, encoder, seed, sizes=sizes, overrides=overrides)
                if runs is None:
                    data = RunConfig.from_plain(plain(settings)).data
                    runs = opened_runs(settings, data, console, own_keys=OWN_KEYS)
                label = f"{size} customers, {encoder}, seed {seed}"
                records.setdefault(encoder, []).append(runs.record(settings, label=label))
        assert runs is not None
        yield from _points(size, records, runs)


def _points(size: int, records: Mapping[str, Sequence[Record]], runs: Runs) -> Iterator[Point]:
    target = next(t for t in runs.store.schema.targets if t.kind == "time_to_event")
    asked = [(f"sequence, {name}", "sequence", made) for name, made in records.items()]
    asked.append(("trees", "trees", records[ENCODERS[0]]))
    for name, model, made in asked:
        judged = []
        for record in made:
            said = {model: record.predictions[model], TRUTH: record.predictions[TRUTH]}
            question = Question.of(target, len(target.horizons_days) - 1, record.outcomes, said)
            once = Bootstrap(np.arange(len(question.labels)), num_replicates=0, seed=0)
            judged.append({who: question.samples(who, once) for who in said})
        yield Point(
            size=size,
            model=name,
            auroc=tuple(each[model]["auroc"].value for each in judged),
            log_loss=tuple(each[model]["log_loss"].value for each in judged),
            best_auroc=judged[0][TRUTH]["auroc"].value,
        )


def figures_of(points: Sequence[Point]) -> Iterator[Figure]:
    """Yield, per point, the share of the best possible AUROC and the log loss, with spreads."""
    largest = max(point.size for point in points)
    for point in points:
        where = f"{point.size:,} customers, {point.model}"
        share = np.array(point.auroc) / point.best_auroc
        is_judged = point.size == largest and point.model == "sequence, gru"
        name, goal = f"{where}, share of the best possible AUROC", SHARE_GOAL if is_judged else None
        yield figure_of(name, float(share.mean()), "higher", goal=goal)
        yield figure_of(f"{where}, log loss", float(np.mean(point.log_loss)), "lower")
        if len(share) > 1:
            yield figure_of(f"{name}, spread over seeds", float(share.std(ddof=1)), "lower")


def main() -> None:
    """Measure, print and keep the figures."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sizes", type=int, nargs="+", default=SIZES, help="customers to learn from")
    parser.add_argument("--seeds", type=int, default=2, help="trainings of every model at every size")
    parser.add_argument("overrides", nargs="*", help="Hydra overrides, key=value")
    chosen = parser.parse_args()
    console = Console(width=120)
    Path("outputs/learning_curve").mkdir(parents=True, exist_ok=True)
    with initialize_config_dir(CONFIG_DIR, version_base=None):
        points = list(measured(sorted(chosen.sizes), chosen.seeds, chosen.overrides, console))
    method = (
        f"mean over {chosen.seeds} seeds on the test window of a simulated shop of {max(chosen.sizes):,} "
        f"customers; {' '.join(chosen.overrides) or 'defaults'}"
    )
    report("learning_curve", list(figures_of(points)), method=method, console=console)


if __name__ == "__main__":
    main()
