"""A comparison's result as tables for the terminal, and as the text that is kept of them.

It deliberately computes nothing: every figure stands in the result.
"""

import io
from collections.abc import Iterator

from rich.console import Console, Group, RenderableType
from rich.table import Table
from rich.text import Text

from training.comparison.result import (
    ComparisonResult,
    Difference,
    Figure,
    TargetComparison,
)
from training.comparison.wording import MAIN_METRICS, difference_text
from training.evaluation.questions import TRUTH
from training.evaluation.table import AMOUNT_COLUMNS, COLUMNS, PROBABILITY_COLUMNS, Column

TEXT_COLUMNS = 180
_STYLES = {"ahead": "green", "behind": "red", "level": "", "open": "dim"}


def render_comparison(result: ComparisonResult) -> RenderableType:
    """Return figures, paired differences and figures by cutoff of every target, and the summary.

    Args:
        result: Of :func:`training.comparison.combine`, completed.
    """
    parts: list[RenderableType] = []
    for target in result["targets"]:
        parts += [_figures(result, target), _differences(result, target)]
        if len(target["horizons"][-1]["cutoffs"]) > 1:
            parts.append(_by_cutoff(result, target))
    alone = len(result["origins"]) == 1
    silent = "answers none of these targets" if alone else "does not answer these targets at every origin"
    parts += [Text(f"{name} {silent}", style="dim") for name in result["unanswered"]]
    if result["split"] == "validation":
        own = " and ".join(result["judged"])
        parts.append(Text(f"{own}: weighed and calibrated on this very window, level and all", style="dim"))
    return Group(*parts, *(Text(f"- {sentence}") for sentence in result["summary"]))


def text_of(result: ComparisonResult) -> str:
    """Return the same as plain text."""
    written = io.StringIO()
    Console(width=TEXT_COLUMNS, color_system=None, file=written).print(render_comparison(result))
    return "".join(f"{line.rstrip()}\n" for line in written.getvalue().splitlines())


def _figures(result: ComparisonResult, target: TargetComparison) -> Table:
    unit = f", {target['unit']}" if target["unit"] else ""
    seeds, origins = len(result["seeds"]), len(result["origins"])
    table = Table(
        title=Text(
            f"{target['name']}{unit} · {result['data']}, {result['split']} · "
            f"{_counted(seeds, 'seed')}, {_counted(origins, 'origin')}"
        ),
        title_justify="left",
        caption="mean over seeds ± their standard deviation; in brackets: its 95 % interval over customers",
        caption_justify="left",
    )
    table.add_column("days", justify="right")
    table.add_column("model")
    columns = _columns(target)
    for column in columns:
        table.add_column(column.title, justify="right")
    for horizon in target["horizons"]:
        days = str(horizon["horizon_days"])
        for name, figures in horizon["overall"]["models"].items():
            style = "dim italic" if name == TRUTH else "cyan" if name in result["judged"] else ""
            cells = [_cell(figures.get(column.metric), column) for column in columns]
            table.add_row(days, Text(name, style=style), *cells)
            days = ""
        for name, count in horizon["overall"]["left_out"].items():
            table.add_row(days, Text(f"{name}: no answer for {count:,}", style="dim"))
            days = ""
        table.add_section()
    return table


def _differences(result: ComparisonResult, target: TargetComparison) -> Table:
    horizon = target["horizons"][-1]
    table = Table(
        title=Text(f"{target['name']} within {horizon['horizon_days']} days: paired differences"),
        title_justify="left",
        caption=f"better and worse: the whole 95 % interval; level: at most {result['margin']:g} may be lost",
        caption_justify="left",
    )
    columns = [column for column in _columns(target) if column.better != "near"]
    for name in ("model", "minus"):
        table.add_column(name)
    for column in columns:
        table.add_column(column.title, justify="right")
    for name, others in horizon["overall"]["differences"].items():
        for other, metrics in others.items():
            cells = [_difference_cell(metrics.get(column.metric), column) for column in columns]
            table.add_row(Text(name), Text(other), *cells)
        table.add_section()
    return table


def _by_cutoff(result: ComparisonResult, target: TargetComparison) -> Table:
    horizon = target["horizons"][-1]
    table = Table(
        title=Text(f"{target['name']} within {horizon['horizon_days']} days: cutoff by cutoff"),
        title_justify="left",
        caption="below a cutoff: readouts, and their mean label",
        caption_justify="left",
    )
    table.add_column("metric")
    table.add_column("model")
    for block in horizon["cutoffs"]:
        mean = "" if block["mean"] is None else f" · {block['mean']:,.3g}"
        table.add_column(f"{block['cutoff'][:10]}\n{block['num_readouts']:,}{mean}", justify="right")
    for metric in MAIN_METRICS[target["kind"]]:
        column = COLUMNS[metric]
        title = column.title
        for name in result["models"]:
            figures = [block["models"].get(name, {}).get(metric) for block in horizon["cutoffs"]]
            if any(figures):
                table.add_row(title, Text(name), *(_value(figure, column) for figure in figures))
                title = ""
        table.add_section()
    return table


def _columns(target: TargetComparison) -> list[Column]:
    present = set(_metrics(target))
    wanted = PROBABILITY_COLUMNS if target["kind"] == "time_to_event" else AMOUNT_COLUMNS
    return [column for column in wanted if column.metric in present]


def _metrics(target: TargetComparison) -> Iterator[str]:
    for horizon in target["horizons"]:
        for figures in horizon["overall"]["models"].values():
            yield from (metric for metric, figure in figures.items() if figure["value"] is not None)


def _cell(figure: Figure | None, column: Column) -> Text:
    text = Text(_value(figure, column))
    if figure is None or figure["value"] is None:
        return text
    if figure["spread"] is not None:
        text.append(f" ±{column.spread(figure['spread'], like=figure['value'])}", style="dim")
    if figure["low"] is not None and figure["high"] is not None:
        low, high = (column.text(end, like=figure["value"]) for end in (figure["low"], figure["high"]))
        text.append(f"\n[{low}, {high}]", style="dim")
    return text


def _value(figure: Figure | None, column: Column) -> str:
    return "-" if figure is None or figure["value"] is None else column.text(figure["value"])


def _difference_cell(difference: Difference | None, column: Column) -> Text:
    if difference is None or difference["value"] is None:
        return Text("-", style="dim")
    value, _, interval = difference_text(column.metric, difference).partition(" [")
    words = {"ahead": "better", "behind": "worse", "level": "level", "open": ""}[difference["verdict"]]
    text = Text(f"{words} {value}".strip(), style=_STYLES[difference["verdict"]])
    return text.append(f"\n[{interval}", style="dim") if interval else text


def _counted(num: int, word: str) -> str:
    return f"{num} {word}" if num == 1 else f"{num} {word}s"
