"""Models judged on the same readouts, and how that is shown on a terminal.

It deliberately knows neither models nor the page of the report.

    result   predictions and outcomes to plain values for JSON
    table    the result for the terminal
"""

from training.evaluation.result import TRUTH, EvaluationResult, evaluate
from training.evaluation.table import render_table

__all__ = ["TRUTH", "EvaluationResult", "evaluate", "render_table"]
