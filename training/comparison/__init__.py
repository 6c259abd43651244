"""Many runs, judged together: over seeds, over cutoffs in time, over named variants.

It deliberately trains nothing in a way of its own: every run is what :mod:`training.train` would
have fitted, and is asked what :mod:`training.judging` asks.

    origins   which temporal splits a backtest takes
    record    what a run leaves: predictions and outcomes, as arrays
    runs      one run after the other, those that are there already taken as they are
    result    the form of the combined result
    combine   records to that form: means over seeds, intervals, paired differences
    wording   what the figures say, in words
    table     the same for the terminal
"""

from training.comparison.combine import combine
from training.comparison.record import Record
from training.comparison.result import ComparisonResult
from training.comparison.table import render_comparison

__all__ = ["ComparisonResult", "Record", "combine", "render_comparison"]
