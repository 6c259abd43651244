"""The page: the result, the context and the figures through one template, in one file.

It deliberately asks for nothing from anywhere: no script, no font, no picture of another host.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from jinja2 import Environment, PackageLoader, StrictUndefined

from holdfast.errors import RunError
from training.evaluation.result import EvaluationResult, HorizonResult, TargetResult
from training.evaluation.table import Column, columns_of
from training.report.card import card
from training.report.charts import events_chart, lengths_chart, rates_chart, training_chart
from training.report.comparison import comparison_part
from training.report.context import ReportContext
from training.report.figures import Caption, captions, difference_figures, level_figures, order_figures
from training.report.looks import LookPart, look_part
from training.report.summary import headline, never_learned, tiles
from training.report.tables import (
    Row,
    Table,
    comparison_rows,
    decile_table,
    differences_table,
    excluded_table,
    split_table,
)
from training.report.wording import GLOSSARY, amount, happening, moment, percent

TEMPLATE = "page.html.j2"


@dataclass(frozen=True, slots=True, kw_only=True)
class Section:
    """One target at one horizon: who is compared, and by how much they differ."""

    title: str
    note: str
    rows: Sequence[Row]
    left_out: Sequence[str]
    differences: Table | None


@dataclass(frozen=True, slots=True, kw_only=True)
class TargetPart:
    """One target: the longest horizon in full, the shorter ones in numbers."""

    name: str
    is_probability: bool
    columns: Sequence[Column]
    longest: Section
    shorter: Sequence[Section]
    difference_figures: Sequence[Caption]
    order_figures: Sequence[Caption]
    level_figures: Sequence[Caption]
    deciles: Table | None
    look: LookPart | None


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
        # Half of it would take the room that the disk lacks.
        if partial.is_file():
            partial.unlink()
        raise RunError(f"the report cannot be written to {path}: {error.strerror or error}") from error
    return path


def rendered(result: EvaluationResult, context: ReportContext) -> str:
    """Return the page as text."""
    environment = Environment(
        loader=PackageLoader(__package__),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    compared = context.comparison
    environment.filters |= {"percent": percent, "moment": moment, "thousands": "{:,}".format}
    return environment.get_template(TEMPLATE).render(
        result=result,
        context=context,
        heading=f"{context.title}: {' and '.join(_asked(result))}",
        tiles=tiles(result),
        headline=[*headline(result), *never_learned(result, context.data)],
        targets=[_target_part(result, target) for target in result["targets"]],
        data_figures=_data_figures(context),
        rate_figures=_rate_figures(result, context),
        training_figures=captions(
            [("Loss during training", "Lower is better.", training_chart(context.training_curve))]
        ),
        comparison=compared and comparison_part(compared, main=result["main"]),
        splits=split_table(context),
        excluded=excluded_table(context),
        card=card(result, context),
        glossary=_glossary(result, context),
    )


def _glossary(result: EvaluationResult, context: ReportContext) -> Mapping[str, str]:
    """Return the words that the page uses: there are no intervals where nothing was resampled."""
    has_intervals = result["num_replicates"] > 0 or context.comparison is not None
    return GLOSSARY if has_intervals else {n: text for n, text in GLOSSARY.items() if n != "Interval"}


def _data_figures(context: ReportContext) -> list[Caption]:
    return captions(
        [
            (
                "What came when?",
                "Events of the most frequent types; grey lines are the cutoffs of validation and test.",
                events_chart(context.data),
            ),
            (
                "How much is known of a customer?",
                "Customers by number of events, over the whole span.",
                lengths_chart(context.data.lengths),
            ),
        ]
    )


def _rate_figures(result: EvaluationResult, context: ReportContext) -> list[Caption]:
    return captions(
        (
            f"{target['name'].capitalize()} within {target['horizons'][-1]['horizon_days']} days, over time",
            "What a cutoff's customers did: where it moves, yesterday's level is not tomorrow's.",
            rates_chart(context.data, target),
        )
        for target in result["targets"]
    )


def _asked(result: EvaluationResult) -> list[str]:
    kinds = [target["kind"] for target in result["targets"]]
    named = {"time_to_event": "who is about to leave", "amount": "what each will spend"}
    return [text for kind, text in named.items() if kind in kinds] or ["what comes next"]


def _target_part(result: EvaluationResult, target: TargetResult) -> TargetPart:
    columns, longest = columns_of(target), target["horizons"][-1]
    sections = [_section(result, target, horizon, columns) for horizon in target["horizons"][::-1]]
    return TargetPart(
        name=target["name"],
        is_probability=target["kind"] == "time_to_event",
        columns=columns,
        longest=sections[0],
        shorter=sections[1:],
        difference_figures=difference_figures(result, target, longest),
        order_figures=order_figures(result, target, longest),
        level_figures=level_figures(result, target),
        deciles=decile_table(result, target, longest),
        look=look_part(result, target),
    )


def _section(
    result: EvaluationResult, target: TargetResult, horizon: HorizonResult, columns: Sequence[Column]
) -> Section:
    return Section(
        title=f"{target['name']} within {horizon['horizon_days']} days",
        note=_note(target, horizon),
        rows=comparison_rows(result, horizon, columns),
        left_out=[f"{name} did not answer {count:,}" for name, count in horizon["left_out"].items()],
        differences=differences_table(result, target, horizon, columns),
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
    note = "" if horizon["mean"] else ": nothing came, so that no model can be called better than another"
    return f"{amount(horizon['mean'], target['unit'])} on average over {counted}{note}."
