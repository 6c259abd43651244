"""Figures about customers: groups, typical survival curves, one cutoff after the other.

It deliberately draws means over many; no figure shows a single customer.
"""

from collections.abc import Sequence

import matplotlib as mpl
from markupsafe import Markup
from matplotlib import ticker
from matplotlib.axes import Axes
from matplotlib.axis import Axis

from training.evaluation.closer import TargetLook
from training.evaluation.questions import Interval
from training.evaluation.result import EvaluationResult
from training.evaluation.typical import TypicalCurve
from training.report.charts.frame import (
    MARKERS,
    STYLES,
    draw_interval,
    draw_models,
    drawable,
    few_ticks,
    name_rows,
    new_axes,
    shares_up,
    top_of,
)
from training.report.svg import FAINT, INK, SERIES, SETTINGS, inline_svg
from training.report.wording import moment, percent

TITLES = {
    "auroc": "AUROC",
    "log_loss": "log loss",
    "gap": "predicted minus actual, points",
    "normalised_gini": "normalised Gini",
    "total_ratio": "predicted / actual total",
}


@mpl.rc_context(SETTINGS)
def groups_chart(look: TargetLook, metric: str) -> Markup | None:
    """Draw a metric in every group with enough cases beside that of all customers."""
    rows, whole = _group_rows(look, metric), look["whole"][metric]
    if not rows or whole["value"] is None:
        return None
    figure, axes = new_axes(TITLES[metric], "", height=0.8 + 0.185 * len(rows))
    if whole["low"] is not None and whole["high"] is not None:
        axes.axvspan(whole["low"], whole["high"], color=FAINT, alpha=0.45, linewidth=0)
    axes.axvline(whole["value"], color=INK, linewidth=1)
    places = name_rows(axes, [name for name, _, _ in rows])
    for label, (_, interval, _) in zip(axes.get_yticklabels(), rows, strict=True):
        label.set_fontweight("bold" if interval is None else "normal")
    for place, (_, interval, is_weak) in zip(places, rows, strict=True):
        if interval is not None and interval["value"] is not None:
            at = 1 if is_weak else 0
            draw_interval(axes, interval, place, colour=SERIES[at], marker=MARKERS[3 * at])
    few_ticks(axes)
    if metric == "gap":
        _in_points(axes.xaxis)
    said = f"{TITLES[metric]} of {look['name']} by group; over all {_shown(metric, whole['value'])}."
    for weakness in look["weakest"]:
        if weakness["metric"] == metric:
            value = _shown(metric, weakness["value"])
            said += f" Weakest: {weakness['grouping']}, {weakness['group']}: {value}."
    return inline_svg(figure, alt=said, salt=f"groups-{metric}-{look['name']}")


def _group_rows(look: TargetLook, metric: str) -> list[tuple[str, Interval | None, bool]]:
    """Return name, interval and whether it is the weakest: a heading without interval, then its groups."""
    weak = {(w["grouping"], w["group"]) for w in look["weakest"] if w["metric"] == metric}
    rows: list[tuple[str, Interval | None, bool]] = []
    for division in look["groupings"]:
        judged = [group for group in division["groups"] if metric in group["metrics"]]
        if len(judged) > 1:
            rows.append((division["title"], None, False))
            rows += [
                (g["name"], g["metrics"][metric], (division["title"], g["name"]) in weak) for g in judged
            ]
    return rows


@mpl.rc_context(SETTINGS)
def typical_chart(look: TargetLook, kind: str, *, is_coming: bool = False) -> Markup | None:
    """Draw foreseen shares by day as lines and what came of them as marks.

    Args:
        look: At one target.
        kind: Of curves.
        is_coming: Whether the share to whom it has come is drawn, which begins at 0, not the share to whom
            it has not. It is what a target of form ``event`` asks, and is small where few are affected.
    """
    curves: Sequence[TypicalCurve] = [curve for curve in look["typical"] if curve["kind"] == kind]
    if not curves:
        return None
    what = "it has come, share" if is_coming else "it has not come yet, share"
    figure, axes = new_axes("days after the cutoff", what, height=3.7)
    drawn: list[float] = []
    for at, curve in enumerate(curves):
        shares = [_asked(share, is_coming=is_coming) for share in curve["predicted"]]
        axes.plot(
            curve["days"],
            shares,
            color=SERIES[at],
            linestyle=STYLES[at],
            linewidth=1.8,
            label=drawable(curve["name"]),
        )
        points = [
            (day, _asked(share, is_coming=is_coming))
            for day, share in zip(curve["days"], curve["observed"], strict=True)
            if share is not None
        ]
        drawn += [*shares, *(share for _, share in points)]
        axes.plot(
            *zip(*points, strict=True), color=SERIES[at], marker=MARKERS[at], markersize=4, linestyle=""
        )
    axes.set_xlim(left=0)
    axes.xaxis.set_major_locator(ticker.MaxNLocator(7, integer=True))
    shares_up(axes, top_of(drawn))
    axes.legend(loc="upper left" if is_coming else "lower left", handlelength=3.2)
    ends = "; ".join(_end(curve, is_coming=is_coming) for curve in curves)
    said, last = "has come" if is_coming else "has not come", curves[0]["days"][-1]
    alt = f"{look['name']}: share to whom the event {said}, by day. After {last:g} days: {ends}."
    return inline_svg(figure, alt=alt, salt=f"typical-{kind}-{look['name']}")


@mpl.rc_context(SETTINGS)
def cutoffs_chart(
    result: EvaluationResult, look: TargetLook, metric: str, *, salt: str = "cutoffs"
) -> Markup | None:
    """Draw a metric of every model from cutoff to cutoff; whiskers are those of the main model."""
    cutoffs = look["cutoffs"]
    if not any(m[metric]["value"] is not None for cutoff in cutoffs for m in cutoff["models"].values()):
        return None
    figure, axes = new_axes("cutoff", TITLES[metric])
    curves: dict[str, list[tuple[float, float]]] = {}
    for at, cutoff in enumerate(cutoffs):
        for name, metrics in cutoff["models"].items():
            value = metrics[metric]["value"]
            if value is not None:
                curves.setdefault(name, []).append((at, value))
        main = cutoff["models"][result["main"]][metric]
        if main["low"] is not None and main["high"] is not None:
            axes.plot([at, at], [main["low"], main["high"]], color=SERIES[0], linewidth=1.2)
    draw_models(axes, result, curves, has_marks=True)
    _name_cutoffs(axes, [cutoff["at"] for cutoff in cutoffs])
    if metric == "gap":
        _in_points(axes.yaxis)
    values = [
        f"{moment(cutoff['at'])} {_shown(metric, value)}"
        for cutoff in cutoffs
        if (value := cutoff["models"][result["main"]][metric]["value"]) is not None
    ]
    alt = f"{TITLES[metric]} of {look['name']} by cutoff, {result['main']}: {'; '.join(values)}."
    return inline_svg(figure, alt=alt, salt=f"{salt}-{metric}-{look['name']}")


def _name_cutoffs(axes: Axes, cutoffs: Sequence[str]) -> None:
    """Write days below the axis, turned where there are many."""
    axes.set_xticks(range(len(cutoffs)), [at[:10] for at in cutoffs])
    axes.tick_params(axis="x", labelrotation=90 if len(cutoffs) > 4 else 0)
    axes.set_xlim(-0.3, len(cutoffs) - 0.7)
    if len(cutoffs) > 14:
        axes.xaxis.set_major_locator(ticker.MaxNLocator(12, integer=True))


def _asked(survival: float, *, is_coming: bool) -> float:
    return 1.0 - survival if is_coming else survival


def _end(curve: TypicalCurve, *, is_coming: bool) -> str:
    came = curve["observed"][-1]
    text = f"{curve['name']} {percent(_asked(curve['predicted'][-1], is_coming=is_coming))} foreseen"
    return text if came is None else f"{text}, {percent(_asked(came, is_coming=is_coming))} came"


def _shown(metric: str, value: float) -> str:
    return f"{100 * value:+.1f} points" if metric == "gap" else f"{value:.3f}"


def _in_points(axis: Axis) -> None:
    """Write a difference of shares in percentage points."""
    axis.set_major_formatter(ticker.FuncFormatter(lambda share, _: f"{100 * share:+.3g}" if share else "0"))
