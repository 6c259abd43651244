"""Figures about order: who comes first, and whether one model is surely better than another.

It deliberately computes no curve: precision and lift are quotients of the gains curve.
"""

from collections.abc import Mapping, Sequence

import matplotlib as mpl
from markupsafe import Markup

from training.evaluation.questions import TRUTH, Interval
from training.evaluation.result import EvaluationResult, HorizonResult, TargetResult
from training.report.charts.frame import (
    MARKERS,
    draw_interval,
    draw_models,
    few_ticks,
    in_percent,
    name_rows,
    new_axes,
    place_of,
    salt_of,
    shares_up,
    spoken,
    top_of,
    unit_square,
)
from training.report.svg import FAINT, INK, SERIES, SETTINGS, inline_svg
from training.report.wording import happening, percent

SMALLEST_SHARE = 0.01
"""Precision and lift of a shorter list are mostly chance."""

Curves = Mapping[str, Sequence[Sequence[float]]]


@mpl.rc_context(SETTINGS)
def roc_chart(result: EvaluationResult, target: TargetResult, horizon: HorizonResult) -> Markup | None:
    """Draw found cases against false alarms for every model; None where there is no curve."""
    curves = {name: model["curves"].get("roc", []) for name, model in horizon["models"].items()}
    if not any(curves.values()):
        return None
    figure, axes = new_axes("share of the others, wrongly listed", "share of cases found")
    unit_square(axes)
    draw_models(axes, result, curves)
    alt = (
        f"ROC curves of {happening(target, days=horizon['horizon_days'])}. AUROC: {spoken(horizon, 'auroc')}."
    )
    return inline_svg(figure, alt=alt, salt=salt_of("roc", target, horizon))


@mpl.rc_context(SETTINGS)
def gains_chart(result: EvaluationResult, target: TargetResult, horizon: HorizonResult) -> Markup | None:
    """Draw how much is found among the first so many of the list; None where there is nothing to find."""
    curves = _gains(horizon)
    if not any(curves.values()):
        return None
    what = "share of cases found" if target["kind"] == "time_to_event" else "share of the total"
    figure, axes = new_axes("share of customers, highest first", what)
    unit_square(axes)
    draw_models(axes, result, curves)
    main = curves.get(result["main"], [])
    found = [y for x, y in main if x <= 0.2 + 1e-9]
    alt = f"Gains curves of {target['name']} within {horizon['horizon_days']} days."
    if len(found) > 1:
        alt += f" The first fifth of the list of {result['main']} holds {percent(found[-1])}."
    return inline_svg(figure, alt=alt, salt=salt_of("gains", target, horizon))


@mpl.rc_context(SETTINGS)
def lift_chart(result: EvaluationResult, target: TargetResult, horizon: HorizonResult) -> Markup | None:
    """Draw how many times as common it is at the top of the list as among all."""
    curves = lift_points(_gains(horizon))
    if not any(curves.values()):
        return None
    figure, axes = new_axes("share of customers, highest first", "times as common as among all")
    axes.axhline(1.0, color=FAINT, linewidth=1)
    draw_models(axes, result, curves)
    axes.set_xlim(0, 1)
    axes.set_ylim(bottom=min(0.9, *(y for points in curves.values() for _, y in points)))
    in_percent(axes, "x")
    alt = f"Lift of {target['name']} within {horizon['horizon_days']} days."
    if values := spoken(horizon, "lift_at_10"):
        alt += f" At a tenth of all customers: {values}."
    return inline_svg(figure, alt=alt, salt=salt_of("lift", target, horizon))


@mpl.rc_context(SETTINGS)
def precision_recall_chart(
    result: EvaluationResult, target: TargetResult, horizon: HorizonResult
) -> Markup | None:
    """Draw how pure the list stays while more cases are found, above the base rate."""
    base = horizon["mean"]
    curves = {} if base is None else precision_points(_gains(horizon), base)
    if base is None or not any(curves.values()):
        return None
    figure, axes = new_axes("share of cases found", "share of the list that are cases")
    axes.set_xlim(0, 1)
    in_percent(axes, "x")
    shares_up(axes, top_of(y for points in curves.values() for _, y in points))
    axes.axhline(base, color=FAINT, linewidth=1)
    draw_models(axes, result, curves)
    alt = (
        f"Precision and recall of {happening(target, days=horizon['horizon_days'])}. "
        f"Base rate {percent(base)}; average precision: {spoken(horizon, 'average_precision')}."
    )
    return inline_svg(figure, alt=alt, salt=salt_of("precision", target, horizon))


@mpl.rc_context(SETTINGS)
def differences_chart(
    result: EvaluationResult, target: TargetResult, horizon: HorizonResult, *, metric: str, title: str
) -> Markup | None:
    """Draw the main model minus each other one with the interval; None where there is no other one."""
    rows = [
        (name, value, differences[metric])
        for name, differences in horizon["differences"].items()
        if name != TRUTH and metric in differences and (value := differences[metric]["value"]) is not None
    ]
    if not rows:
        return None
    figure, axes = new_axes(f"difference in {title}", "", height=0.85 + 0.34 * len(rows))
    axes.axvline(0.0, color=INK, linewidth=1)
    places = name_rows(axes, [f"to {name}" for name, _, _ in rows])
    for place, (name, _, interval) in zip(places, rows, strict=True):
        at = place_of(result, name)
        draw_interval(axes, interval, place, colour=SERIES[at], marker=MARKERS[at])
    axes.margins(x=0.08)
    few_ticks(axes)
    said = "; ".join(f"to {name} {_signed(value, interval)}" for name, value, interval in rows)
    alt = f"Difference of {result['main']} in {title}, {horizon['horizon_days']} days: {said}."
    return inline_svg(figure, alt=alt, salt=salt_of(f"difference-{metric}", target, horizon))


def lift_points(gains: Curves) -> dict[str, list[tuple[float, float]]]:
    """Return (share of customers, lift) of gains curves: share found over share listed."""
    return {name: [(x, y / x) for x, y in points if x >= SMALLEST_SHARE] for name, points in gains.items()}


def precision_points(gains: Curves, base: float) -> dict[str, list[tuple[float, float]]]:
    """Return (share found, precision) of gains curves; precision is lift times the base rate."""
    return {
        name: [(y, min(1.0, base * y / x)) for x, y in points if x >= SMALLEST_SHARE]
        for name, points in gains.items()
    }


def _gains(horizon: HorizonResult) -> dict[str, list]:
    return {name: model["curves"].get("gains", []) for name, model in horizon["models"].items()}


def _signed(value: float, interval: Interval) -> str:
    low, high = interval["low"], interval["high"]
    if low is None or high is None:
        return f"{value:+.4f}"
    return f"{value:+.4f} ({low:+.4f} to {high:+.4f})"
