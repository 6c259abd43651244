"""A comparison over seeds and cutoffs on the page of one run: how steady the figures are.

It deliberately computes nothing: ``comparison.json`` brings every figure (docs/comparison.md tells its form).
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from holdfast.errors import ArtifactError
from training.evaluation.result import EvaluationResult, HorizonResult, TargetResult
from training.evaluation.table import Column, columns_of
from training.report.charts.people import cutoffs_chart
from training.report.figures import Caption, captions
from training.report.tables import Row, comparison_rows
from training.report.wording import moment

FORM = 1
METRICS = {"time_to_event": ("auroc", "log_loss"), "amount": ("normalised_gini", "total_ratio")}
"""By kind of target: what is drawn from cutoff to cutoff."""
TITLES = {
    "auroc": "Order, from cutoff to cutoff",
    "log_loss": "Probabilities, from cutoff to cutoff",
    "normalised_gini": "Order, from cutoff to cutoff",
    "total_ratio": "Totals, from cutoff to cutoff",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class ComparedTarget:
    """One target at its longest horizon, over all seeds and cutoffs."""

    title: str
    columns: Sequence[Column]
    rows: Sequence[Row]
    left_out: Sequence[str]
    figures: Sequence[Caption]


@dataclass(frozen=True, slots=True, kw_only=True)
class ComparisonPart:
    """What was compared, what came of it in sentences, and in figures."""

    facts: str
    sentences: Sequence[str]
    targets: Sequence[ComparedTarget]


def read_comparison(path: Path) -> dict[str, Any]:
    """Read what ``python -m training.compare`` wrote.

    Raises:
        ArtifactError: It is missing, no JSON, or of another form.
    """
    try:
        plain = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ArtifactError(path, f"it cannot be read as a comparison: {error}") from error
    form = plain.get("form") if isinstance(plain, dict) else None
    if not isinstance(plain, dict) or "judged" not in plain:
        raise ArtifactError(path, "it must be the comparison.json of training.compare")
    if form != FORM:
        raise ArtifactError(path, f"it must be a comparison of form {FORM}; this is form {form}")
    return cast("dict[str, Any]", plain)


def comparison_part(comparison: Mapping[str, Any], *, main: str) -> ComparisonPart:
    """Return the part of the page.

    Args:
        comparison: As :func:`read_comparison` gives it.
        main: The run's main model; where it was not judged, the first model that was stands for it.
    """
    judged = comparison["judged"]
    shown = main if main in judged else judged[0]
    cutoffs = sorted({cutoff for origin in comparison["origins"] for cutoff in origin["test"]})
    span = " to ".join(dict.fromkeys(moment(at) for at in (cutoffs[0], cutoffs[-1])))
    facts = (
        f"{comparison['data']}, {comparison['split']} window: {_counted(comparison['seeds'], 'seed')}, "
        f"{_counted(comparison['origins'], 'temporal split')}, {_counted(cutoffs, 'cutoff')} ({span})."
    )
    # The page's tables and figures ask a result for the models' order and the main one alone.
    order = cast("EvaluationResult", {"main": shown, "models": comparison["models"]})
    return ComparisonPart(
        facts=facts,
        sentences=comparison["summary"],
        targets=[_compared(order, target) for target in comparison["targets"]],
    )


def _compared(order: EvaluationResult, target: Mapping[str, Any]) -> ComparedTarget:
    longest = target["horizons"][-1]
    horizon = _as_horizon(longest)
    columns = columns_of(cast("TargetResult", {"kind": target["kind"], "horizons": [horizon]}))
    blocks = [block for block in longest["cutoffs"] if order["main"] in block["models"]]
    blocks.sort(key=lambda block: block["cutoff"])
    look: Any = {
        "name": target["name"],
        "cutoffs": [{"at": block["cutoff"], "models": block["models"]} for block in blocks],
    }
    return ComparedTarget(
        title=f"{target['name']} within {longest['horizon_days']} days",
        columns=columns,
        rows=comparison_rows(order, horizon, columns),
        left_out=[f"{name} did not answer {count:,}" for name, count in horizon["left_out"].items()],
        figures=captions(
            (
                TITLES[metric],
                f"Means over seeds; the bars are the intervals of {order['main']}.",
                cutoffs_chart(order, look, metric, salt="compared"),
            )
            for metric in METRICS.get(target["kind"], ())
            if len(blocks) > 1
        ),
    )


def _as_horizon(longest: Mapping[str, Any]) -> HorizonResult:
    overall = longest["overall"]
    models = {name: {"metrics": figures, "curves": {}} for name, figures in overall["models"].items()}
    return cast("HorizonResult", overall | {"horizon_days": longest["horizon_days"], "models": models})


def _counted(things: Sequence[Any], noun: str) -> str:
    return f"{len(things)} {noun}{'' if len(things) == 1 else 's'}"
