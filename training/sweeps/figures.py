"""The main figures of a run: of its main model, per target, within the longest horizon.

They deliberately are those that a comparison's summary speaks of.
"""

from collections.abc import Iterable

from training.comparison.wording import MAIN_METRICS
from training.evaluation import EvaluationResult
from training.evaluation.table import COLUMNS, Column
from training.sweeps.result import FigureColumn


def column(target: str, horizon_days: int, metric: str) -> FigureColumn:
    """Return the column of a figure; its name is as the manifest's, with the metric behind."""
    name = f"{target}_{horizon_days}d_{metric}"
    return FigureColumn(name=name, target=target, horizon_days=horizon_days, metric=metric)


def main_figures(result: EvaluationResult) -> list[tuple[FigureColumn, float | None]]:
    """Return the main figures of a run's ``result.json``."""
    found: list[tuple[FigureColumn, float | None]] = []
    for target in result["targets"]:
        horizon = target["horizons"][-1]
        metrics = horizon["models"][result["main"]]["metrics"] if result["main"] in horizon["models"] else {}
        for metric in MAIN_METRICS[target["kind"]]:
            value = metrics[metric]["value"] if metric in metrics else None
            found.append((column(target["name"], horizon["horizon_days"], metric), value))
    return found


def shown(figure: FigureColumn) -> Column:
    """Return how a column is titled, written, and which way is better."""
    return COLUMNS[figure["metric"]]


def joined(columns: Iterable[FigureColumn]) -> list[FigureColumn]:
    """Return every column once, in the order of their first appearance."""
    return list({one["name"]: one for one in columns}.values())
