"""The page's tables as rows of text: who is compared, by how much models differ, deciles, what was left out.

It deliberately computes nothing: every figure stands in the result or the context.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast

from training.evaluation.questions import TRUTH, Interval
from training.evaluation.result import EvaluationResult, HorizonResult, TargetResult
from training.evaluation.table import Column, best_models, has_verdict
from training.report.context import ReportContext
from training.report.wording import amount, moment, percent

NOTHING = "\N{EN DASH}"
MINUS = "\N{MINUS SIGN}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Cell:
    """A figure: its text, what stands small below it, and whether it is the best of its column."""

    text: str
    interval: str = ""
    is_best: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """A named row; ``kind`` is a class of the style sheet."""

    name: str
    cells: Sequence[Cell]
    kind: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class RowGroup:
    """Rows under a heading of their own, or under none."""

    rows: Sequence[Row]
    title: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """A table.

    Attributes:
        title: Read aloud.
        heads: Of all columns, that of the names first.
        groups: The rows.
        texts: Heads of columns that hold words.
        kind: ``wide`` where cells may break into lines.
    """

    title: str
    heads: Sequence[str]
    groups: Sequence[RowGroup]
    texts: Sequence[str] = ()
    kind: str = ""


def comparison_rows(result: EvaluationResult, horizon: HorizonResult, columns: Sequence[Column]) -> list[Row]:
    """Return a row per model, the best of every column marked."""
    best = {column.metric: best_models(horizon, column) for column in columns}
    return [
        Row(
            name=name,
            kind="main" if name == result["main"] else "truth" if name == TRUTH else "",
            cells=[_cell(horizon, name, column, is_best=name in best[column.metric]) for column in columns],
        )
        for name in horizon["models"]
    ]


def differences_table(
    result: EvaluationResult, target: TargetResult, horizon: HorizonResult, columns: Sequence[Column]
) -> Table | None:
    """Return the main model minus each other one, with what is sure about it; None without another one."""
    shown = [column for column in columns if column.better != "near"]
    rows = [
        Row(
            name=name,
            kind="truth" if name == TRUTH else "",
            cells=[_difference(differences.get(c.metric), c, is_told=has_verdict(horizon, c)) for c in shown],
        )
        for name, differences in horizon["differences"].items()
    ]
    shown_any = any(cell.text != NOTHING for row in rows for cell in row.cells)
    if not shown_any:
        return None
    return Table(
        title=f"{result['main']} minus each other model: {target['name']}, {horizon['horizon_days']} days",
        heads=[f"{result['main']} minus", *(column.title for column in shown)],
        groups=[RowGroup(rows=rows)],
    )


def decile_table(result: EvaluationResult, target: TargetResult, horizon: HorizonResult) -> Table | None:
    """Return predicted and actual means and the shares of the total by decile; None where there are none."""
    model = horizon["models"].get(result["main"])
    rows = model["curves"].get("deciles", []) if model else []
    if not rows:
        return None
    total = sum(row["num_readouts"] * row["actual"] for row in rows)
    return Table(
        title=f"Deciles of {target['name']}",
        heads=["decile", "customers", "predicted, mean", "actual, mean", "share of the actual total"],
        groups=[
            RowGroup(
                rows=[
                    Row(
                        name=str(row["decile"]),
                        cells=[
                            Cell(text=f"{row['num_readouts']:,}"),
                            Cell(text=amount(row["predicted"], target["unit"])),
                            Cell(text=amount(row["actual"], target["unit"])),
                            Cell(
                                text=percent(row["num_readouts"] * row["actual"] / total)
                                if total
                                else NOTHING
                            ),
                        ],
                    )
                    for row in rows
                ]
            )
        ],
    )


def excluded_table(context: ReportContext) -> Table | None:
    """Return the rows that were left out, by table and reason; None where there are none."""
    data, rows = context.data, []
    for table, reasons in data.excluded.items():
        num = data.table_rows.get(table, 0)
        for reason, count in reasons.items():
            share = percent(count / num, digits=2) if num else ""
            rows.append(Row(name=table, cells=[Cell(text=t) for t in (reason, f"{count:,}", share)]))
    if not rows:
        return None
    heads = ["table", "reason", "rows", "share"]
    return Table(
        title="Rows left out", heads=heads, groups=[RowGroup(rows=rows)], texts=["reason"], kind="wide"
    )


def split_table(context: ReportContext) -> Table | None:
    """Return the parts of the temporal split; None where there are none."""
    if not context.data.splits:
        return None
    keys = list(dict.fromkeys(key for split in context.data.splits for key in split.rates))
    rows = []
    for split in context.data.splits:
        span = moment(split.first_cutoff)
        if split.num_cutoffs > 1:
            span = f"{split.num_cutoffs} from {span} to {moment(split.last_cutoff)}"
        cells = [Cell(text=text) for text in (span, f"{split.num_readouts:,}", f"{split.num_customers:,}")]
        for key in keys:
            unknown = split.num_unknown.get(key, 0)
            note = f"{unknown:,} not known" if unknown else ""
            cells.append(Cell(text=split.rates.get(key, NOTHING), interval=note))
        rows.append(Row(name=split.name, cells=cells))
    heads = ["part", "cutoffs", "readouts", "customers", *keys]
    return Table(
        title="Training, validation and test",
        heads=heads,
        groups=[RowGroup(rows=rows)],
        texts=["cutoffs"],
        kind="wide",
    )


def signed(value: float, form: str) -> str:
    """Return a number with its sign, a minus as long as a plus."""
    return format(value, f"+{form}").replace("-", MINUS)


def _cell(horizon: HorizonResult, name: str, column: Column, *, is_best: bool) -> Cell:
    interval = horizon["models"][name]["metrics"].get(column.metric)
    if interval is None or interval["value"] is None:
        return Cell(text=NOTHING)
    value, low, high = interval["value"], interval["low"], interval["high"]
    bounds = [] if low is None or high is None else [low, high]
    # A comparison over seeds brings their spread as well; some models have none.
    spread = cast("float | None", interval.get("spread"))
    text = column.text(value)
    text += f" \N{PLUS-MINUS SIGN} {column.text(spread, like=value)}" if spread else ""
    shown = " to ".join(column.text(bound, like=value) for bound in bounds)
    return Cell(text=text, interval=shown, is_best=is_best)


def _difference(interval: Interval | None, column: Column, *, is_told: bool) -> Cell:
    if interval is None or interval["value"] is None:
        return Cell(text=NOTHING)
    value, low, high = interval["value"], interval["low"], interval["high"]
    if low is None or high is None:
        return Cell(text=_signed(value, column, like=value))
    largest = max(abs(number) for number in (value, low, high))
    text, *bounds = (_signed(number, column, like=largest) for number in (value, low, high))
    shown = " to ".join(bounds)
    if is_told and (low > 0 or high < 0):
        is_better = (low > 0) == (column.better == "high")
        shown += ", better" if is_better else ", worse"
    return Cell(text=text, interval=shown)


def _signed(value: float, column: Column, *, like: float) -> str:
    return column.text(value, like=like, is_signed=True).replace("-", MINUS)
