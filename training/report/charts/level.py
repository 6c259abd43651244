"""Figures about level: whether probabilities, amounts and totals come as foreseen.

It deliberately computes no bin: bins and deciles come with the evaluation's result.
"""

import matplotlib as mpl
from markupsafe import Markup

from training.evaluation.result import EvaluationResult, HorizonResult, TargetResult
from training.report.charts.frame import (
    draw_models,
    few_ticks,
    in_thousands,
    name_rows,
    new_axes,
    place_of,
    salt_of,
    square,
    top_of,
)
from training.report.svg import INK, SERIES, SETTINGS, inline_svg
from training.report.wording import amount, happening, percent, value_of


@mpl.rc_context(SETTINGS)
def reliability_chart(
    result: EvaluationResult, target: TargetResult, horizon: HorizonResult
) -> Markup | None:
    """Draw observed shares against predicted probabilities; whiskers are those of the main model."""
    bins = {name: model["curves"].get("reliability", []) for name, model in horizon["models"].items()}
    main = bins.get(result["main"], [])
    if not main:
        return None
    figure, axes = new_axes("predicted probability", "share that it happened to")
    points = {name: [(row["predicted"], row["observed"]) for row in rows] for name, rows in bins.items()}
    # Where few are affected, all of it happens in a corner of the whole.
    drawn = [share for pairs in points.values() for pair in pairs for share in pair]
    square(axes, top_of([*drawn, *(row["high"] for row in main)]))
    draw_models(axes, result, points, has_marks=True)
    for row in main:
        axes.plot([row["predicted"]] * 2, [row["low"], row["high"]], color=SERIES[0], linewidth=1.2)
    error = value_of(horizon["models"][result["main"]], "calibration_error")
    what = happening(target, days=horizon["horizon_days"])
    alt = f"Reliability of {what}: observed share by predicted probability."
    if error is not None:
        alt += f" Calibration error of {result['main']}: {percent(error, digits=1)}."
    return inline_svg(figure, alt=alt, salt=salt_of("reliability", target, horizon))


@mpl.rc_context(SETTINGS)
def decile_chart(result: EvaluationResult, target: TargetResult, horizon: HorizonResult) -> Markup | None:
    """Draw predicted beside actual mean amounts per decile of the main model's prediction."""
    model = horizon["models"].get(result["main"])
    rows = model["curves"].get("deciles", []) if model else []
    if not rows:
        return None
    unit = target["unit"]
    figure, axes = new_axes(
        "decile of the prediction, highest last", f"mean per customer{f', {unit}' if unit else ''}"
    )
    places = [row["decile"] for row in rows]
    axes.bar(
        [p - 0.2 for p in places], [r["predicted"] for r in rows], 0.4, color=SERIES[0], label="predicted"
    )
    axes.bar(
        [p + 0.2 for p in places],
        [r["actual"] for r in rows],
        0.4,
        facecolor="none",
        edgecolor=SERIES[1],
        hatch="////",
        label="actual",
    )
    axes.set_xticks(places)
    axes.grid(axis="x", visible=False)
    in_thousands(axes, "y")
    axes.legend(loc="upper left")
    last = rows[-1]
    alt = (
        f"Predicted and actual {target['name']} by decile. In the highest decile: predicted "
        f"{amount(last['predicted'], unit)}, actual {amount(last['actual'], unit)} per customer."
    )
    return inline_svg(figure, alt=alt, salt=salt_of("deciles", target, horizon))


@mpl.rc_context(SETTINGS)
def totals_chart(result: EvaluationResult, target: TargetResult, horizon: HorizonResult) -> Markup | None:
    """Draw predicted over actual totals, one bar per model, beside the line at 1."""
    ratios = {name: value_of(model, "total_ratio") for name, model in horizon["models"].items()}
    shown = {name: ratio for name, ratio in ratios.items() if ratio is not None}
    if not shown:
        return None
    figure, axes = new_axes("predicted total / actual total", "", height=0.9 + 0.36 * len(shown))
    places = name_rows(axes, [f"{name}: {ratio:.2f}" for name, ratio in shown.items()])
    colours = [SERIES[place_of(result, name)] for name in shown]
    axes.barh(places, list(shown.values()), 0.6, color=colours)
    axes.axvline(1.0, color=INK, linewidth=1)
    axes.set_xlim(0, 1.1 * max(1.0, *shown.values()))
    few_ticks(axes)
    said = ", ".join(f"{name} {ratio:.2f}" for name, ratio in shown.items())
    alt = f"Predicted over actual total of {target['name']}: {said}."
    return inline_svg(figure, alt=alt, salt=salt_of("totals", target, horizon))
