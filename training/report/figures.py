"""Which figures a target gets, with the question that each one answers.

It deliberately draws nothing itself.
"""

from collections.abc import Iterable
from dataclasses import dataclass

from markupsafe import Markup

from training.evaluation.result import EvaluationResult, HorizonResult, TargetResult
from training.report.charts import (
    decile_chart,
    differences_chart,
    gains_chart,
    lift_chart,
    precision_recall_chart,
    reliability_chart,
    roc_chart,
    totals_chart,
)
from training.report.wording import percent, value_of


@dataclass(frozen=True, slots=True, kw_only=True)
class Caption:
    """A figure with its title and what to look for."""

    title: str
    hint: str
    svg: Markup


def captions(drawn: Iterable[tuple[str, str, Markup | None]]) -> list[Caption]:
    """Return the figures that there are."""
    return [Caption(title=title, hint=hint, svg=svg) for title, hint, svg in drawn if svg is not None]


def difference_figures(
    result: EvaluationResult, target: TargetResult, horizon: HorizonResult
) -> list[Caption]:
    """Return by how much the main model differs from the others, in its two most telling metrics."""
    if target["kind"] != "time_to_event" and horizon["mean"] == 0.0:
        # Nothing came: the figures would say that who foresees less is better.
        return []
    if target["kind"] == "time_to_event":
        asked = (("auroc", "AUROC", "right"), ("log_loss", "log loss", "left"))
    else:
        asked = (("normalised_gini", "normalised Gini", "right"), ("mae_of_mean", "MAE of the mean", "left"))
    return captions(
        (
            f"Is the difference in {title} real?",
            f"A bar that crosses the line at 0 leaves it open; to the {side}, {result['main']} is better.",
            differences_chart(result, target, horizon, metric=metric, title=title),
        )
        for metric, title, side in asked
    )


def order_figures(result: EvaluationResult, target: TargetResult, horizon: HorizonResult) -> list[Caption]:
    """Return how well customers are put in order."""
    if target["kind"] != "time_to_event":
        return captions(
            [
                (
                    "How much of the total is at the top of the list?",
                    "Gains: the further above the diagonal, the better the order.",
                    gains_chart(result, target, horizon),
                )
            ]
        )
    return captions(
        [
            (
                "How much is found at the top of the list?",
                "Gains: the further above the diagonal, the fewer customers need attention.",
                gains_chart(result, target, horizon),
            ),
            (
                "How much better than chance is that?",
                "Lift: how many times as common it is among those listed as among all.",
                lift_chart(result, target, horizon),
            ),
            (
                "How pure does the list stay?",
                "Precision and recall; the grey line is the share among all customers.",
                precision_recall_chart(result, target, horizon),
            ),
            (
                "How many false alarms does it cost?",
                "ROC curve: the nearer to the upper left corner, the better.",
                roc_chart(result, target, horizon),
            ),
        ]
    )


def level_figures(result: EvaluationResult, target: TargetResult) -> list[Caption]:
    """Return whether what was said came so often, or so much, at every horizon."""
    if target["kind"] == "time_to_event":
        return captions(
            (f"{days} days", _error_hint(result, horizon), reliability_chart(result, target, horizon))
            for horizon in target["horizons"]
            for days in [horizon["horizon_days"]]
        )
    horizon = target["horizons"][-1]
    return captions(
        [
            (
                "Are the amounts right, from small to large?",
                "Ten equal groups by predicted amount; both bars should agree.",
                decile_chart(result, target, horizon),
            ),
            ("Do totals add up?", "At 1, the total came as foreseen.", totals_chart(result, target, horizon)),
        ]
    )


def _error_hint(result: EvaluationResult, horizon: HorizonResult) -> str:
    model = horizon["models"].get(result["main"])
    error = value_of(model, "calibration_error") if model else None
    if model is None or error is None:
        return "On the diagonal, what was foreseen came as often as foreseen."
    interval = model["metrics"]["calibration_error"]
    low, high = interval["low"], interval["high"]
    shown = "" if low is None or high is None else f" ({percent(low, digits=1)} to {percent(high, digits=1)})"
    return f"{result['main']} is off by {percent(error, digits=1)}{shown} on average."
