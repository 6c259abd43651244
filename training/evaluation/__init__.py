"""Models judged on the same readouts, and how that is shown on a terminal.

It deliberately knows neither models nor the page of the report.

    questions  one target and horizon to its metrics with resamples
    result     predictions and outcomes to plain values for JSON
    table      the result for the terminal
"""

from training.evaluation.questions import TRUTH
from training.evaluation.result import EvaluationResult, evaluate
from training.evaluation.table import render_table

__all__ = ["TRUTH", "EvaluationResult", "evaluate", "render_table"]
