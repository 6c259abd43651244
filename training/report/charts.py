"""The report's figures: reliability, gains, ROC, deciles, totals, lengths, training.

It deliberately computes no curve: points come with the evaluation's result.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib as mpl
from markupsafe import Markup
from matplotlib import ticker
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from training.evaluation.result import EvaluationResult, HorizonResult, TargetResult
from training.report.svg import FAINT, INK, SERIES, SETTINGS, inline_svg
from training.report.wording import amount, happening, percent, value_of

WIDTH_INCHES, HEIGHT_INCHES = 4.4, 3.3
STYLES = ("-", (0, (6, 2)), (0, (2, 1.5)), (0, (6, 2, 1.5, 2)), (0, (1, 1)), (0, (8, 2, 2, 2, 2, 2)))
"""One per series, so that no figure speaks by colour alone."""


@mpl.rc_context(SETTINGS)
def roc_chart(result: EvaluationResult, target: TargetResult, horizon: HorizonResult) -> Markup | None:
    """Draw found cases against false alarms for every model; None where there is no curve."""
    curves = {name: model["curves"].get("roc", []) for name, model in horizon["models"].items()}
    if not any(curves.values()):
        return None
    figure, axes = _axes("share of the others, wrongly listed", "share of cases found")
    axes.plot([0, 1], [0, 1], color=FAINT, linewidth=1)
    _lines(axes, result, curves)
    _square(axes)
    values = _spoken(horizon, "auroc")
    alt = f"ROC curves of {happening(target, days=horizon['horizon_days'])}. AUROC: {values}."
    return inline_svg(figure, alt=alt, salt=_salt("roc", target, horizon))


@mpl.rc_context(SETTINGS)
def gains_chart(result: EvaluationResult, target: TargetResult, horizon: HorizonResult) -> Markup | None:
    """Draw how much is found among the first so many of the list; None where there is nothing to find."""
    curves = {name: model["curves"].get("gains", []) for name, model in horizon["models"].items()}
    if not any(curves.values()):
        return None
    what = "share of cases found" if target["kind"] == "time_to_event" else "share of the total"
    figure, axes = _axes("share of customers, highest first", what)
    axes.plot([0, 1], [0, 1], color=FAINT, linewidth=1)
    _lines(axes, result, curves)
    _square(axes)
    main = curves.get(result["main"], [])
    found = [y for x, y in main if x <= 0.2 + 1e-9]
    alt = f"Gains curves of {target['name']} within {horizon['horizon_days']} days."
    if len(found) > 1:
        alt += f" The first fifth of the list of {result['main']} holds {percent(found[-1])}."
    return inline_svg(figure, alt=alt, salt=_salt("gains", target, horizon))


@mpl.rc_context(SETTINGS)
def reliability_chart(
    result: EvaluationResult, target: TargetResult, horizon: HorizonResult
) -> Markup | None:
    """Draw observed shares against predicted probabilities; whiskers are those of the main model."""
    bins = {name: model["curves"].get("reliability", []) for name, model in horizon["models"].items()}
    main = bins.get(result["main"], [])
    if not main:
        return None
    figure, axes = _axes("predicted probability", "share that it happened to")
    axes.plot([0, 1], [0, 1], color=FAINT, linewidth=1)
    points = {name: [[row["predicted"], row["observed"]] for row in rows] for name, rows in bins.items()}
    _lines(axes, result, points, marker="o")
    for row in main:
        axes.plot([row["predicted"]] * 2, [row["low"], row["high"]], color=SERIES[0], linewidth=1.2)
    _square(axes)
    error = value_of(horizon["models"][result["main"]], "calibration_error")
    what = happening(target, days=horizon["horizon_days"])
    alt = f"Reliability of {what}: observed share by predicted probability."
    if error is not None:
        alt += f" Calibration error of {result['main']}: {percent(error, digits=1)}."
    return inline_svg(figure, alt=alt, salt=_salt("reliability", target, horizon))


@mpl.rc_context(SETTINGS)
def decile_chart(result: EvaluationResult, target: TargetResult, horizon: HorizonResult) -> Markup | None:
    """Draw predicted beside actual mean amounts per decile of the main model's prediction."""
    model = horizon["models"].get(result["main"])
    rows = model["curves"].get("deciles", []) if model else []
    if not rows:
        return None
    unit = target["unit"]
    figure, axes = _axes(
        "decile of the prediction, highest last", f"mean per customer{f', {unit}' if unit else ''}"
    )
    places = [row["decile"] for row in rows]
    axes.bar(
        [p - 0.2 for p in places], [r["predicted"] for r in rows], 0.4, color=SERIES[0], label="predicted"
    )
    actual = [r["actual"] for r in rows]
    axes.bar(
        [p + 0.2 for p in places],
        actual,
        0.4,
        facecolor="none",
        edgecolor=SERIES[1],
        hatch="////",
        label="actual",
    )
    axes.set_xticks(places)
    axes.grid(axis="x", visible=False)
    axes.yaxis.set_major_formatter(
        ticker.FuncFormatter(lambda y, _: f"{y:,.0f}" if y >= 10 or not y else f"{y:g}")
    )
    axes.legend(loc="upper left")
    last = rows[-1]
    alt = (
        f"Predicted and actual {target['name']} by decile. In the highest decile: predicted "
        f"{amount(last['predicted'], unit)}, actual {amount(last['actual'], unit)} per customer."
    )
    return inline_svg(figure, alt=alt, salt=_salt("deciles", target, horizon))


@mpl.rc_context(SETTINGS)
def totals_chart(result: EvaluationResult, target: TargetResult, horizon: HorizonResult) -> Markup | None:
    """Draw predicted over actual totals, one bar per model, beside the line at 1."""
    ratios = {name: value_of(model, "total_ratio") for name, model in horizon["models"].items()}
    shown = {name: ratio for name, ratio in ratios.items() if ratio is not None}
    if not shown:
        return None
    figure, axes = _axes("predicted total / actual total", "", height=0.9 + 0.36 * len(shown))
    places = list(range(len(shown)))[::-1]
    colours = [SERIES[result["models"].index(name) % len(SERIES)] for name in shown]
    axes.barh(places, list(shown.values()), 0.6, color=colours)
    axes.axvline(1.0, color=INK, linewidth=1)
    axes.set_xlim(0, 1.1 * max(1.0, *shown.values()))
    axes.set_yticks(places, [f"{_label(name)}: {ratio:.2f}" for name, ratio in shown.items()])
    axes.grid(axis="y", visible=False)
    spoken = ", ".join(f"{name} {ratio:.2f}" for name, ratio in shown.items())
    alt = f"Predicted over actual total of {target['name']}: {spoken}."
    return inline_svg(figure, alt=alt, salt=_salt("totals", target, horizon))


@mpl.rc_context(SETTINGS)
def lengths_chart(lengths: Sequence[tuple[str, int]]) -> Markup | None:
    """Draw how many customers have how many events."""
    if not lengths:
        return None
    figure, axes = _axes("customers", "events of a customer", height=0.9 + 0.24 * len(lengths))
    places = list(range(len(lengths)))[::-1]
    counts = [count for _, count in lengths]
    axes.barh(places, counts, 0.7, color=SERIES[0])
    for place, count in zip(places, counts, strict=True):
        axes.annotate(f"{count:,}", (count, place), (4, 0), textcoords="offset points", va="center")
    axes.set_yticks(places, [_label(name) for name, _ in lengths])
    axes.set_xlim(0, 1.2 * max(counts))
    axes.xaxis.set_major_formatter(ticker.StrMethodFormatter("{x:,.0f}"))
    axes.xaxis.set_major_locator(ticker.MaxNLocator(4, integer=True))
    axes.grid(axis="y", visible=False)
    spoken = "; ".join(f"{name} events: {count:,}" for name, count in lengths)
    return inline_svg(figure, alt=f"Customers by number of events. {spoken}.", salt="lengths")


@mpl.rc_context(SETTINGS)
def training_chart(curves: Mapping[str, Sequence[tuple[float, float]]]) -> Markup | None:
    """Draw losses over training steps."""
    drawn = {name: points for name, points in curves.items() if points}
    if not drawn:
        return None
    figure, axes = _axes("step", "loss")
    for at, (name, points) in enumerate(drawn.items()):
        marker = "o" if len(points) < 25 else ""
        style: dict[str, Any] = {"color": SERIES[at % len(SERIES)], "linestyle": STYLES[at % len(STYLES)]}
        axes.plot(
            *zip(*points, strict=True),
            label=_label(name),
            linewidth=1.5,
            marker=marker,
            markersize=3,
            **style,
        )
    axes.legend(loc="upper right")
    ends = "; ".join(f"{name} ends at {points[-1][1]:.4g}" for name, points in drawn.items())
    return inline_svg(figure, alt=f"Loss during training. {ends}.", salt="training")


def _axes(xlabel: str, ylabel: str, *, height: float = HEIGHT_INCHES) -> tuple[Figure, Axes]:
    figure = Figure(figsize=(WIDTH_INCHES, height), layout="constrained")
    axes = figure.subplots()
    axes.set_xlabel(xlabel)
    axes.set_ylabel(ylabel)
    return figure, axes


def _square(axes: Axes) -> None:
    axes.set_xlim(0, 1)
    axes.set_ylim(0, 1.01)
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_formatter(ticker.PercentFormatter(1.0, decimals=0, symbol=" %"))
    axes.legend(loc="best", handlelength=3.2)


def _lines(axes: Axes, result: EvaluationResult, curves: Mapping[str, Sequence], *, marker: str = "") -> None:
    """Draw a line per model, the main one on top; a model has the same colour in every figure."""
    for name, points in curves.items():
        if points:
            at, is_main = result["models"].index(name) % len(SERIES), name == result["main"]
            axes.plot(
                *zip(*points, strict=True),
                label=_label(name),
                color=SERIES[at],
                linestyle=STYLES[at],
                linewidth=2.0 if is_main else 1.2,
                zorder=3 if is_main else 2,
                marker=marker,
                markersize=4 if is_main else 3,
            )


def _label(name: str) -> str:
    """Return a name as it can be drawn: whole characters, and shown even if it begins with _."""
    whole = name.encode("utf-8", "replace").decode("utf-8")
    # A legend leaves out what begins with an underscore; a character without width is in its way.
    return f"\N{ZERO WIDTH SPACE}{whole}" if whole.startswith("_") else whole


def _spoken(horizon: HorizonResult, metric: str) -> str:
    values = ((name, value_of(model, metric)) for name, model in horizon["models"].items())
    return ", ".join(f"{name} {value:.3f}" for name, value in values if value is not None)


def _salt(kind: str, target: TargetResult, horizon: HorizonResult) -> str:
    return f"{kind}-{target['name']}-{horizon['horizon_days']}"
