"""The page: the result, the context and the figures through one template, in one file.

It deliberately asks for nothing from anywhere: no script, no font, no picture of another host.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

from jinja2 import Environment, StrictUndefined
from markupsafe import Markup

from holdfast.errors import RunError
from training.evaluation.result import TRUTH, EvaluationResult, HorizonResult, TargetResult
from training.evaluation.table import Column, best_models, columns_of
from training.report.charts import (
    decile_chart,
    gains_chart,
    lengths_chart,
    reliability_chart,
    roc_chart,
    totals_chart,
    training_chart,
)
from training.report.context import ReportContext
from training.report.wording import (
    GLOSSARY,
    INTENDED_USE,
    amount,
    definition,
    eligibility,
    happening,
    headline,
    limits,
    moment,
    percent,
)

TEMPLATE = "page.html.j2"


@dataclass(frozen=True, slots=True, kw_only=True)
class Cell:
    """A figure of the comparison table: its text, the interval's, and whether it is the best."""

    text: str
    interval: str = ""
    is_best: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One model in the comparison table."""

    model: str
    is_main: bool
    is_truth: bool
    cells: Sequence[Cell]


@dataclass(frozen=True, slots=True, kw_only=True)
class Caption:
    """A figure with its title and what to look for."""

    title: str
    hint: str
    svg: Markup


@dataclass(frozen=True, slots=True, kw_only=True)
class Section:
    """One target at one horizon."""

    title: str
    note: str
    rows: Sequence[Row]
    left_out: Sequence[str]
    figures: Sequence[Caption]
    deciles: Sequence[tuple[str, str, str, str]]


@dataclass(frozen=True, slots=True, kw_only=True)
class TargetPart:
    """One target: its table columns, and its horizons with the longest first."""

    name: str
    columns: Sequence[Column]
    sections: Sequence[Section]


def write_report(path: Path, result: EvaluationResult, context: ReportContext) -> Path:
    """Write the report.

    Args:
        path: Of the file, complete or not at all; its folder exists.
        result: Of :func:`training.evaluation.evaluate`.
        context: What the page says beside the result.

    Returns:
        The path. Equal arguments give equal bytes.

    Raises:
        RunError: The file cannot be written.
    """
    text = rendered(result, context)
    partial = path.with_name(f"{path.name}.partial")
    try:
        partial.write_text(text, encoding="utf-8", errors="replace", newline="\n")
        partial.replace(path)
    except OSError as error:
        raise RunError(f"the report cannot be written to {path}: {error.strerror or error}") from error
    return path


def rendered(result: EvaluationResult, context: ReportContext) -> str:
    """Return the page as text."""
    environment = Environment(
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters |= {"percent": percent, "moment": moment}
    template = environment.from_string(files(__package__).joinpath(TEMPLATE).read_text(encoding="utf-8"))
    schema = context.schema
    return template.render(
        result=result,
        context=context,
        headline=headline(result),
        targets=[_target_part(result, target) for target in result["targets"]],
        definitions=[eligibility(schema), *(definition(schema, target) for target in schema.targets)],
        lengths=lengths_chart(context.data.lengths),
        training=training_chart(context.training_curve),
        excluded=_excluded(context),
        intended_use=context.intended_use or INTENDED_USE,
        limits=[*limits(result), *context.limits],
        glossary=GLOSSARY,
    )


def _target_part(result: EvaluationResult, target: TargetResult) -> TargetPart:
    columns = columns_of(target)
    return TargetPart(
        name=target["name"],
        columns=columns,
        sections=[_section(result, target, horizon, columns) for horizon in target["horizons"][::-1]],
    )


def _section(
    result: EvaluationResult, target: TargetResult, horizon: HorizonResult, columns: Sequence[Column]
) -> Section:
    best = {column.metric: best_models(horizon, column) for column in columns}
    rows = [
        Row(
            model=name,
            is_main=name == result["main"],
            is_truth=name == TRUTH,
            cells=[_cell(horizon, name, column, is_best=name in best[column.metric]) for column in columns],
        )
        for name in horizon["models"]
    ]
    left_out = [f"{name} did not answer {count:,}" for name, count in horizon["left_out"].items()]
    return Section(
        title=f"{target['name']} within {horizon['horizon_days']} days",
        note=_note(target, horizon),
        rows=rows,
        left_out=left_out,
        figures=_figures(result, target, horizon),
        deciles=_deciles(result, target, horizon),
    )


def _note(target: TargetResult, horizon: HorizonResult) -> str:
    counted = f"{horizon['num_readouts']:,} readouts"
    if horizon["num_unknown"]:
        counted += f", {horizon['num_unknown']:,} more whose outcome is not known"
    if horizon["mean"] is None:
        return f"{counted}."
    if target["kind"] == "time_to_event":
        share = percent(horizon["mean"], digits=1)
        return f"{happening(target, days=horizon['horizon_days'])}, true of {share} of {counted}."
    return f"{amount(horizon['mean'], target['unit'])} on average over {counted}."


def _cell(horizon: HorizonResult, name: str, column: Column, *, is_best: bool) -> Cell:
    interval = horizon["models"][name]["metrics"].get(column.metric)
    if interval is None or interval["value"] is None:
        return Cell(text="\N{EN DASH}")
    low, high = interval["low"], interval["high"]
    shown = "" if low is None or high is None else f"{low:{column.form}} to {high:{column.form}}"
    return Cell(text=format(interval["value"], column.form), interval=shown, is_best=is_best)


def _figures(result: EvaluationResult, target: TargetResult, horizon: HorizonResult) -> list[Caption]:
    if target["kind"] == "time_to_event":
        drawn = [
            (
                "Are the probabilities right?",
                "On the diagonal, what was foreseen came as often as foreseen.",
                reliability_chart(result, target, horizon),
            ),
            (
                "How much is found at the top of the list?",
                "The further above the diagonal, the fewer customers need attention.",
                gains_chart(result, target, horizon),
            ),
            (
                "How many false alarms does that cost?",
                "ROC curve: the nearer to the upper left corner, the better.",
                roc_chart(result, target, horizon),
            ),
        ]
    else:
        drawn = [
            (
                "Are the amounts right, from small to large?",
                "Ten equal groups by predicted amount; both bars should agree.",
                decile_chart(result, target, horizon),
            ),
            (
                "How much of the total is at the top of the list?",
                "The further above the diagonal, the better the order.",
                gains_chart(result, target, horizon),
            ),
            ("Do totals add up?", "At 1, the total came as foreseen.", totals_chart(result, target, horizon)),
        ]
    return [Caption(title=title, hint=hint, svg=svg) for title, hint, svg in drawn if svg is not None]


def _deciles(
    result: EvaluationResult, target: TargetResult, horizon: HorizonResult
) -> list[tuple[str, str, str, str]]:
    model = horizon["models"].get(result["main"])
    rows = model["curves"].get("deciles", []) if model else []
    return [
        (
            str(row["decile"]),
            f"{row['num_readouts']:,}",
            amount(row["predicted"], target["unit"]),
            amount(row["actual"], target["unit"]),
        )
        for row in rows
    ]


def _excluded(context: ReportContext) -> list[tuple[str, str, str, str]]:
    data = context.data
    rows = []
    for table, reasons in data.excluded.items():
        for reason, count in reasons.items():
            num = data.table_rows.get(table, 0)
            rows.append((table, reason, f"{count:,}", percent(count / num, digits=2) if num else ""))
    return rows
