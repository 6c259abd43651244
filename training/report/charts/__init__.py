"""The report's figures, one function each.

It deliberately computes no figure's points: they come with the evaluation's result and the context.

    frame     axes, lines and names, the same in every figure
    order     who comes first: differences, gains, lift, precision and recall, ROC
    level     how much: reliability, deciles, totals
    people    groups, typical survival curves, one cutoff after the other
    data      what a model was made of: events, lengths, base rates, loss
"""

from training.report.charts.data import events_chart, lengths_chart, rates_chart, training_chart
from training.report.charts.level import decile_chart, reliability_chart, totals_chart
from training.report.charts.order import (
    differences_chart,
    gains_chart,
    lift_chart,
    precision_recall_chart,
    roc_chart,
)

__all__ = [
    "decile_chart",
    "differences_chart",
    "events_chart",
    "gains_chart",
    "lengths_chart",
    "lift_chart",
    "precision_recall_chart",
    "rates_chart",
    "reliability_chart",
    "roc_chart",
    "totals_chart",
    "training_chart",
]
