"""A table of runs for the terminal, and as the files that are kept of it.

It deliberately computes nothing: every figure stands in the result.
"""

import csv
import io
import json
from collections.abc import Sequence
from pathlib import Path

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from training.progress import duration
from training.sweeps.figures import shown
from training.sweeps.result import FigureColumn, Mean, Row, SweepResult
from training.whole_file import write_whole

JSON_NAME = "sweep.json"
CSV_NAME = "sweep.csv"
MOST_KEYS = 3
"""Settings with a column each; where more differ, they share one that wraps between them."""

_STATES = {"finished": "", "failed": "red", "pruned": "dim", "unfinished": "yellow"}


def render_sweep(result: SweepResult) -> RenderableType:
    """Return one table: a row per run, then means over seeds, then why some have no figures.

    Args:
        result: Of a multirun or a search; its rows are shown in their order.
    """
    keys = list(dict.fromkeys(key for row in result["rows"] for key in row["overrides"]))
    named = " · ".join(part for part in (result["data"], result["split"]) if part)
    table = Table(
        title=Text(f"{len(result['rows'])} runs{f' · {named}' if named else ''}"),
        title_justify="left",
        caption=Text(f"all: {' '.join(result['shared'])}") if result["shared"] else None,
        caption_justify="left",
    )
    table.add_column("run", justify="right", no_wrap=True)
    for title in _titles(keys):
        table.add_column(title, overflow="fold")
    for column in result["columns"]:
        target = f"{column['target']} {column['horizon_days']} d"
        table.add_column(f"{target}\n{shown(column).title}", justify="right", no_wrap=True)
    table.add_column("time", justify="right", no_wrap=True)
    best = {column["name"]: _best(result["rows"], column) for column in result["columns"]}
    for row in result["rows"]:
        table.add_row(*_cells(row, keys, result["columns"], best), style=_STATES[row["state"]])
    if result["means"]:
        table.add_section()
        for mean in result["means"]:
            table.add_row(*_mean_cells(mean, keys, result["columns"]))
    return Group(table, *_notes(result))


def keep(result: SweepResult, folder: Path) -> None:
    """Write a result as ``sweep.json`` and, a line per run, as ``sweep.csv``."""
    write_whole(folder / JSON_NAME, f"{json.dumps(result, indent=1, allow_nan=False)}\n".encode())
    keys = list(dict.fromkeys(key for row in result["rows"] for key in row["overrides"]))
    names = [column["name"] for column in result["columns"]]
    text = io.StringIO()
    lines = csv.writer(text, lineterminator="\n")
    lines.writerow(["number", "state", *keys, *names, "seconds", "folder", "reason"])
    for row in result["rows"]:
        chosen = [row["overrides"].get(key, "") for key in keys]
        figures = [row["figures"].get(name) for name in names]
        ending = [row["seconds"], row["folder"], row["reason"]]
        lines.writerow([row["number"], row["state"], *chosen, *figures, *ending])
    write_whole(folder / CSV_NAME, text.getvalue().encode())


def short(key: str) -> str:
    """Return the last part of a dotted key: the whole one would fill the terminal."""
    return key.rpartition(".")[2]


def _titles(keys: Sequence[str]) -> list[str]:
    return [short(key) for key in keys] if len(keys) <= MOST_KEYS else ["settings"]


def _settings(overrides: dict[str, str], keys: Sequence[str]) -> list[Text]:
    if len(keys) <= MOST_KEYS:
        return [Text(overrides.get(key, "")) for key in keys]
    return [Text(" ".join(f"{short(key)}={value}" for key, value in overrides.items()))]


def _best(rows: Sequence[Row], column: FigureColumn) -> str | None:
    """Return the best of a column as it is written; None where there is nothing to choose from."""
    kind = shown(column)
    values = [value for row in rows if (value := row["figures"].get(column["name"])) is not None]
    return kind.text(max(values) if kind.better == "high" else min(values)) if len(values) > 1 else None


def _cells(
    row: Row, keys: Sequence[str], columns: Sequence[FigureColumn], best: dict[str, str | None]
) -> list[Text]:
    cells = [Text(str(row["number"])), *_settings(row["overrides"], keys)]
    for place, column in enumerate(columns):
        value = row["figures"].get(column["name"])
        text = "-" if value is None else shown(column).text(value)
        if value is None and not place and row["state"] != "finished":
            text = row["state"]
        cells.append(Text(text, style="bold" if value is not None and text == best[column["name"]] else ""))
    return [*cells, Text("-" if row["seconds"] is None else duration(row["seconds"]))]


def _mean_cells(mean: Mean, keys: Sequence[str], columns: Sequence[FigureColumn]) -> list[Text]:
    cells = [Text("mean", style="dim"), *_settings(mean["overrides"], keys)]
    for column in columns:
        name, kind = column["name"], shown(column)
        text = Text("-")
        if name in mean["means"]:
            value = mean["means"][name]
            text = Text(kind.text(value))
            text.append(f" ±{kind.spread(mean['spreads'][name], like=value)}", style="dim")
        cells.append(text)
    return [*cells, Text(f"{len(mean['numbers'])} runs", style="dim")]


def _notes(result: SweepResult) -> list[Text]:
    return [
        Text(f"run {row['number']} {row['state']}: {row['reason']}", style=_STATES[row["state"]])
        for row in result["rows"]
        if row["state"] in {"failed", "unfinished"} and row["reason"]
    ]
