"""Numbers, times and definitions in words.

It deliberately decides nothing about layout, and gives plain text: the page escapes it.
"""

import re

from holdfast.schema import Schema, Target
from training.evaluation.digits import MOST, sized
from training.evaluation.result import ModelResult, TargetResult

LARGEST_IN_FULL = 1e12
MOST_TYPES_NAMED = 3
"""More awaited types than these would drown a sentence; the model card names all of them."""

GLOSSARY = {
    "AUROC": "Take one customer to whom it happened and one to whom it did not, at random: how often does "
    "the model give the first one the higher probability? 0.5 is guessing, 1 is never wrong.",
    "Average precision": "How pure the top of the list stays while more and more cases are found; guessing "
    "gives the base rate.",
    "Log loss, Brier": "How far probabilities are from what happened; a sure error costs most.",
    "Calibration error": "By how much, on average, a probability differs from the share to whom it happened. "
    "Of customers told 30 %, three in ten should be affected.",
    "Lift at 10 %": "How many times as common it was among the tenth most at risk as among all.",
    "Normalised Gini": "How well customers are ordered by what they will spend: 0 is a random order, 1 the "
    "order known afterwards.",
    "Spearman": "Agreement of the predicted and the actual ranks: 0 is none, 1 is the same order.",
    "MAE": "Average size of the error per customer. The median makes it small, the mean keeps totals right, "
    "so both are shown.",
    "RMSE": "Like MAE, but large errors weigh more; a few big spenders decide it.",
    "Decile MAPE": "Customers in ten groups by predicted amount: error of the groups' totals as a share of "
    "the whole.",
    "Predicted/actual": "All predictions over all that came: near 1, totals can be planned with.",
    "Below q90": "How many spent no more than what the model said that only a tenth would exceed: near "
    "90 % its range can be relied on. Where many are nearly sure to spend nothing it is more.",
    "Interval": "The small figures: 95 % of the values when customers are drawn anew. It tells of other "
    "customers of the same time, not of another season. Calibration error and decile MAPE come out too high "
    "where customers are few; their intervals allow for that, and may lie below the figure itself.",
}


def percent(share: float, *, digits: int = 0) -> str:
    """Return a share as text; one that is not 0 is never shown as 0."""
    if 0 < share < 0.5 * 10 ** -(digits + 2):
        return f"under {10**-digits:.{digits}f} %"
    return f"{100 * share:.{digits}f} %"


def amount(value: float, unit: str) -> str:
    """Return an amount with its unit and as many digits as its size deserves."""
    if 0 < abs(value) < 0.1:
        return f"{value:.3g} {unit}".rstrip()
    if abs(value) >= LARGEST_IN_FULL:
        return f"{sized(value)} {unit}".rstrip()
    digits = 0 if abs(value) >= 1_000 or value == 0 else 2
    return f"{value:,.{digits}f} {unit}".rstrip()


def short(value: float) -> str:
    """Return an amount in three digits or so, for large type's small print and for axes."""
    if not 10 <= abs(value) < MOST:
        return sized(value)
    for size, name in ((1e9, " bn"), (1e6, " m"), (1e4, " k")):
        if abs(value) >= size:
            scaled = value / (1e3 if name == " k" else size)
            return f"{scaled:,.2f}{name}" if abs(scaled) < 10 else f"{scaled:,.0f}{name}"
    return f"{value:,.0f}"


def moment(iso: str) -> str:
    """Return an ISO time in UTC as people write it; midnight is the day alone."""
    utc = re.sub(r"(\+00:00|Z)$", "Z", iso)
    return re.sub(r"T00:00(:00(\.0+)?)?Z$", "", utc).replace("T", " ").replace("Z", " UTC")


def happening(target: TargetResult, *, days: int) -> str:
    """Return what a probability of a target is about, in words."""
    return f"{target['name']}: {meant(target, days=days)}"


def meant(target: TargetResult, *, days: int) -> str:
    """Return what must come true for a probability to be right; activity may be more than what is awaited."""
    if target["form"] != "inactivity":
        return f"within {days} days"
    types = target.get("event_types")
    if types is None:
        return f"no awaited event within {days} days"
    if len(types) > MOST_TYPES_NAMED:
        return f"no event of {len(types)} awaited types within {days} days"
    return f"no event{f' of type {_listed(tuple(types))}' if types else ''} within {days} days"


def definition(schema: Schema, target: Target) -> str:
    """Return the exact definition of a target."""
    events = _listed(target.event_types) if target.event_types else "any event"
    days = _listed(tuple(str(days) for days in target.horizons_days))
    window = f"after the cutoff and up to {days} days later, that instant included"
    if target.kind == "time_to_event":
        form = "no event" if target.form == "inactivity" else "an event"
        return f"{target.name}: {form} of type {events} {window}."
    if target.kind == "count":
        return f"{target.name}: number of events of type {events} {window}."
    unit = next((field.unit for field in schema.fields if field.name == target.field), "") or schema.currency
    return (
        f"{target.name}: sum of {target.field}{f' ({unit})' if unit else ''} over events of type {events} "
        f"{window}, negative amounts subtracted, never below 0."
    )


def eligibility(schema: Schema) -> str:
    """Return who is asked about, in words."""
    text = (
        f"Asked about: customers with an event of type {_listed(schema.activity)} in the "
        f"{schema.lookback_days} days up to the cutoff"
    )
    return f"{text}, and none of type {_listed(schema.ended_by)} before." if schema.ended_by else f"{text}."


def value_of(model: ModelResult, metric: str) -> float | None:
    """Return a metric's value, None where there is none."""
    return model["metrics"][metric]["value"] if metric in model["metrics"] else None


def _listed(names: tuple[str, ...]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} or {names[-1]}"
