"""An evaluation's result as a table for the terminal.

It deliberately computes nothing: every figure stands in the result.
"""

from dataclasses import dataclass

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from training.evaluation.digits import sized
from training.evaluation.questions import TRUTH, Interval
from training.evaluation.result import EvaluationResult, HorizonResult, TargetResult


@dataclass(frozen=True, slots=True, kw_only=True)
class Column:
    """How a metric is shown.

    Attributes:
        metric: Its name in the result.
        title: For people.
        better: ``high``, ``low``, or ``near`` for what should be one value.
        form: Format of the value.
        near: That value.
        has_interval: Whether its interval is shown beside it.
        difference: Format of a difference of two; the value's where it is empty.
        has_unit: Whether it is in the target's unit, so that its size tells how many digits it deserves.
    """

    metric: str
    title: str
    better: str
    form: str
    near: float = 1.0
    has_interval: bool = False
    difference: str = ""
    has_unit: bool = False

    @property
    def difference_form(self) -> str:
        """Format of a difference of two."""
        return self.difference or self.form

    def text(self, value: float, *, like: float | None = None, is_signed: bool = False) -> str:
        """Return a value as it is shown; see :func:`training.evaluation.digits.sized` for the arguments."""
        if self.has_unit:
            return sized(value, like=like, is_signed=is_signed)
        return format(value, f"{'+' if is_signed else ''}{self.form}")

    def spread(self, value: float, *, like: float) -> str:
        """Return how far values lie apart that are of the size of ``like``."""
        return sized(value, like=like) if self.has_unit else format(value, self.difference_form)


PROBABILITY_COLUMNS = (
    Column(metric="auroc", title="AUROC", better="high", form=".3f", has_interval=True, difference=".4f"),
    Column(metric="average_precision", title="avg. precision", better="high", form=".3f"),
    Column(metric="log_loss", title="log loss", better="low", form=".4f"),
    Column(metric="brier", title="Brier", better="low", form=".4f"),
    Column(metric="calibration_error", title="calib. error", better="low", form=".3f"),
    Column(metric="lift_at_10", title="lift at 10 %", better="high", form=".2f"),
    Column(metric="share_of_best_auroc", title="of best AUROC", better="high", form=".1%"),
)
AMOUNT_COLUMNS = (
    Column(
        metric="normalised_gini",
        title="norm. Gini",
        better="high",
        form=".3f",
        has_interval=True,
        difference=".4f",
    ),
    Column(metric="spearman", title="Spearman", better="high", form=".3f"),
    Column(metric="mae_of_mean", title="MAE of mean", better="low", form=",.2f", has_unit=True),
    Column(metric="mae_of_median", title="MAE of median", better="low", form=",.2f", has_unit=True),
    Column(metric="rmse", title="RMSE", better="low", form=",.1f", has_unit=True),
    Column(metric="decile_mape", title="decile MAPE", better="low", form=".1%"),
    Column(metric="total_ratio", title="predicted/actual", better="near", form=".2f"),
    Column(metric="covered_90", title="below q90", better="near", near=0.9, form=".1%"),
    Column(metric="share_of_best_gini", title="of best Gini", better="high", form=".1%"),
)

COLUMNS = {column.metric: column for column in (*PROBABILITY_COLUMNS, *AMOUNT_COLUMNS)}
"""All of them by metric."""


def render_table(result: EvaluationResult) -> RenderableType:
    """Return one table per target: a row per horizon and model, the best of each column in bold.

    Args:
        result: Of :func:`training.evaluation.result.evaluate`.
    """
    return Group(*(_target_table(result, target) for target in result["targets"]))


def columns_of(target: TargetResult) -> tuple[Column, ...]:
    """Return the columns that any model of a target has a value for."""
    wanted = PROBABILITY_COLUMNS if target["kind"] == "time_to_event" else AMOUNT_COLUMNS
    present = {
        metric
        for horizon in target["horizons"]
        for model in horizon["models"].values()
        for metric, interval in model["metrics"].items()
        if interval["value"] is not None
    }
    return tuple(column for column in wanted if column.metric in present)


def has_verdict(horizon: HorizonResult, column: Column) -> bool:
    """Return whether a metric can call a model better: where no amount came, who says least errs least."""
    return column not in AMOUNT_COLUMNS or horizon["mean"] != 0.0


def best_models(horizon: HorizonResult, column: Column) -> set[str]:
    """Return who is best, as far as the shown digits tell; the truth does not compete."""
    if not has_verdict(horizon, column):
        return set()
    shown = {
        name: column.text(value)
        for name, model in horizon["models"].items()
        if name != TRUTH and (value := _value(model["metrics"], column.metric)) is not None
    }
    if len(shown) < 2:
        return set()
    distance = {
        name: _distance(_value(horizon["models"][name]["metrics"], column.metric), column) for name in shown
    }
    best = shown[min(distance, key=lambda name: distance[name])]
    return {name for name, text in shown.items() if text == best}


def _target_table(result: EvaluationResult, target: TargetResult) -> Table:
    cutoffs = [cutoff["at"] for cutoff in result["cutoffs"]]
    span = cutoffs[0] if len(cutoffs) == 1 else f"{cutoffs[0]} to {cutoffs[-1]} ({len(cutoffs)} cutoffs)"
    unit = f", {target['unit']}" if target["unit"] else ""
    table = Table(
        title=Text(
            f"{target['name']}{unit} · {result['split']} at {span} · {result['num_customers']:,} customers"
        ),
        title_justify="left",
        caption="in brackets: 95 % interval over customers; bold: best of its column"
        if result["num_replicates"]
        else "bold: best of its column",
        caption_justify="left",
    )
    columns = columns_of(target)
    table.add_column("days", justify="right")
    table.add_column("model")
    for column in columns:
        table.add_column(column.title, justify="right")
    for horizon in target["horizons"]:
        _add_rows(table, result, horizon, columns, is_rate=target["kind"] == "time_to_event")
    return table


def _add_rows(
    table: Table,
    result: EvaluationResult,
    horizon: HorizonResult,
    columns: tuple[Column, ...],
    *,
    is_rate: bool,
) -> None:
    best = {column.metric: best_models(horizon, column) for column in columns}
    days, blank = str(horizon["horizon_days"]), [""] * len(columns)
    if not horizon["models"]:
        table.add_row(days, Text(f"no known outcome of {horizon['num_unknown']:,}", style="dim"), *blank)
    for name, model in horizon["models"].items():
        cells = []
        for column in columns:
            style = "bold" if name in best[column.metric] else ""
            cells.append(_cell(model["metrics"].get(column.metric), column, style=style))
        style = "dim italic" if name == TRUTH else "cyan" if name == result["main"] else ""
        table.add_row(days, Text(name, style=style), *cells)
        days = ""
    for name, count in horizon["left_out"].items():
        table.add_row(days, Text(f"{name}: no answer for {count:,}", style="dim"), *blank)
    if horizon["mean"] is not None and is_rate:
        table.add_row("", Text(f"base rate {horizon['mean']:.1%}", style="dim"), *blank)
    elif horizon["mean"] is not None:
        note = "" if horizon["mean"] else ": nothing came"
        table.add_row("", Text(f"mean {sized(horizon['mean'])}{note}", style="dim"), *blank)
    table.add_section()


def _cell(interval: Interval | None, column: Column, *, style: str) -> Text:
    if interval is None or interval["value"] is None:
        return Text("-", style="dim")
    text = Text(column.text(interval["value"]), style=style)
    low, high = interval["low"], interval["high"]
    if column.has_interval and low is not None and high is not None:
        own = interval["value"]
        bounds = f" [{column.text(low, like=own)}, {column.text(high, like=own)}]"
        text.append(bounds, style="not bold dim")
    return text


def _value(metrics: dict[str, Interval], metric: str) -> float | None:
    return metrics[metric]["value"] if metric in metrics else None


def _distance(value: float | None, column: Column) -> float:
    assert value is not None, "only shown values compete"
    return {"high": -value, "low": value, "near": abs(value - column.near)}[column.better]
