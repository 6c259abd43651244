"""What a comparison's figures say, in words that claim no more than their intervals.

It deliberately computes no figure.
"""

from collections.abc import Iterator, Sequence

from training.comparison.result import Block, Difference, TargetComparison, Verdict
from training.evaluation.digits import sized
from training.evaluation.questions import TRUTH, Interval
from training.evaluation.table import COLUMNS

WITH_MARGIN = ("auroc", "log_loss", "normalised_gini")
"""Metrics on whose scale a margin has been agreed."""

MAIN_METRICS = {
    "time_to_event": ("auroc", "log_loss"),
    "amount": ("normalised_gini",),
    "count": ("normalised_gini",),
}
"""By kind of target, what the summary speaks of."""

_SAYS = {
    "ahead": "better than {other}",
    "behind": "worse than {other}",
    "level": "not worse than {other} by {margin:g}",
    "open": "not told apart from {other}",
}


def verdict_of(metric: str, difference: Interval, *, margin: float) -> Verdict:
    """Judge a difference by its interval.

    Args:
        metric: Which one; whether more or less is better stands in the tables' columns.
        difference: Own minus other.
        margin: What may be lost in :data:`WITH_MARGIN`.
    """
    low, high = difference["low"], difference["high"]
    if low is None or high is None:
        return "open"
    if COLUMNS[metric].better == "low":
        low, high = -high, -low
    if low > 0:
        return "ahead"
    if high < 0:
        return "behind"
    return "level" if metric in WITH_MARGIN and low > -margin else "open"


def summary(targets: Sequence[TargetComparison], judged: Sequence[str], *, margin: float) -> list[str]:
    """Return a sentence per judged model and main metric of every target, at its longest horizon.

    The rival is whichever other model did best on the very readouts that are judged, which favours
    the rival: it was chosen with hindsight.
    """
    return [
        sentence
        for target in targets
        for metric in MAIN_METRICS[target["kind"]]
        for sentence in _sentences(target, metric, judged, margin)
    ]


def rival_of(block: Block, metric: str, *, beside: Sequence[str]) -> str | None:
    """Return the best model that is not judged, in a metric; None where there is no other."""
    values = {
        name: figures[metric]["value"]
        for name, figures in block["models"].items()
        if name not in beside and name != TRUTH and metric in figures
    }
    known = {name: value for name, value in values.items() if value is not None}
    if not known:
        return None
    best = max if COLUMNS[metric].better == "high" else min
    return best(known, key=lambda name: known[name])


def difference_text(metric: str, difference: Difference) -> str:
    """Return a difference with sign and interval."""
    value, low, high = difference["value"], difference["low"], difference["high"]
    if value is None:
        return "not defined"
    column = COLUMNS[metric]
    if column.has_unit:
        shown = [sized(one, is_signed=True) for one in (value, low, high) if one is not None]
    else:
        # A difference of percentages is told in points.
        shown = [format(one, f"+{column.difference_form}") for one in (value, low, high) if one is not None]
    return shown[0] if low is None or high is None else f"{shown[0]} [{shown[1]}, {shown[2]}]"


def _sentences(target: TargetComparison, metric: str, judged: Sequence[str], margin: float) -> Iterator[str]:
    horizon = target["horizons"][-1]
    block = horizon["overall"]
    rival = rival_of(block, metric, beside=judged)
    if rival is None:
        return
    has_choice = len([name for name in block["models"] if name not in (*judged, TRUTH)]) > 1
    chosen = ", the best of the others on these readouts" if has_choice else ""
    title = COLUMNS[metric].title
    where = f"{target['name']} within {horizon['horizon_days']} days, {title}"
    for name in judged:
        difference = block["differences"].get(name, {}).get(rival, {}).get(metric)
        if difference is None:
            continue
        says = _SAYS[difference["verdict"]].format(other=rival, margin=margin)
        yield (
            f"{where}: {name} is {says}{chosen}: "
            f"{difference_text(metric, difference)}.{_steadiness(horizon['cutoffs'], name, rival, metric)}"
        )


def _steadiness(cutoffs: Sequence[Block], name: str, rival: str, metric: str) -> str:
    """Return at how many of several cutoffs the sign is the same."""
    if len(cutoffs) < 2:
        return ""
    values = [
        block["differences"].get(name, {}).get(rival, {}).get(metric, {"value": None})["value"]
        for block in cutoffs
    ]
    sign = 1.0 if COLUMNS[metric].better == "high" else -1.0
    num_better = sum(value is not None and sign * value > 0 for value in values)
    return f" Better at {num_better} of {len(cutoffs)} cutoffs."
