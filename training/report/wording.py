"""Sentences and numbers for people.

It deliberately decides nothing about layout, and gives plain text: the page escapes it.
"""

from holdfast.schema import Schema, Target
from training.evaluation.result import TRUTH, EvaluationResult, HorizonResult, ModelResult, TargetResult

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
    "Interval": "The small figures: 95 % of the values when customers are drawn anew. It tells of other "
    "customers of the same time, not of another season.",
}

INTENDED_USE = (
    "Ranking customers for attention (retention offers, service calls, budgets) and planning totals.",
    "Probabilities describe groups of customers alike; about a single person they are never certain.",
    "Not meant for decisions with legal or similarly grave effect on a person, nor for individual prices.",
)


def percent(share: float, *, digits: int = 0) -> str:
    """Return a share as text; one that is not 0 is never shown as 0."""
    if 0 < share < 0.5 * 10 ** -(digits + 2):
        return f"under {10**-digits:.{digits}f} %"
    return f"{100 * share:.{digits}f} %"


def amount(value: float, unit: str) -> str:
    """Return an amount with its unit and as many digits as its size deserves."""
    digits = 0 if abs(value) >= 1_000 or value == 0 else 2
    return f"{value:,.{digits}f} {unit}".rstrip()


def moment(iso: str) -> str:
    """Return an ISO time in UTC as people write it; midnight is the day alone."""
    utc = iso.replace("+00:00", "Z")
    return utc.removesuffix("T00:00Z").replace("T", " ").replace("Z", " UTC")


def happening(target: TargetResult | Target, *, days: int) -> str:
    """Return what a probability of a target is about, in words."""
    name, form = (
        (target.name, target.form) if isinstance(target, Target) else (target["name"], target["form"])
    )
    if form == "inactivity":
        return f"{name}: no activity within {days} days"
    return f"{name}: within {days} days"


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


def headline(result: EvaluationResult) -> list[str]:
    """Return what a manager should take home: one sentence per target, then how it compares."""
    sentences = []
    for target in result["targets"]:
        horizon = target["horizons"][-1]
        main = horizon["models"].get(result["main"])
        if main is None or horizon["mean"] is None:
            continue
        if target["kind"] == "time_to_event":
            sentences += [
                _top_tenth(target, horizon, main),
                _comparison(result, target, horizon, "auroc"),
            ]
        else:
            sentences += [
                _totals(target, horizon, main),
                _comparison(result, target, horizon, "normalised_gini"),
            ]
    return [sentence for sentence in sentences if sentence]


def value_of(model: ModelResult, metric: str) -> float | None:
    """Return a metric's value, None where there is none."""
    return model["metrics"][metric]["value"] if metric in model["metrics"] else None


def limits(result: EvaluationResult) -> list[str]:
    """Return what the figures do not say."""
    num = len(result["cutoffs"])
    when = f"one cutoff ({moment(result['cutoffs'][0]['at'])})" if num == 1 else f"{num} cutoffs"
    said = [
        f"Judged at {when}: another season, assortment or price policy can change every figure.",
        "The model sees what was recorded. What customers do elsewhere, and why, it does not know.",
        "It tells who is likely to leave, not who will stay because of an offer: that takes a control group.",
    ]
    unknown = [
        f"{target['name']}, {horizon['horizon_days']} days: {horizon['num_unknown']:,} of "
        f"{horizon['num_unknown'] + horizon['num_readouts']:,}"
        for target in result["targets"]
        for horizon in target["horizons"]
        if horizon["num_unknown"]
    ]
    if unknown:
        said.append(f"Left out because what came is not known: {'; '.join(unknown)}.")
    return said


def _top_tenth(target: TargetResult, horizon: HorizonResult, main: ModelResult) -> str:
    lift, base = value_of(main, "lift_at_10"), horizon["mean"]
    if lift is None or base is None:
        return ""
    days = horizon["horizon_days"]
    meant = f"no activity within {days} days" if target["form"] == "inactivity" else f"within {days} days"
    return (
        f"{target['name'].capitalize()}: of the tenth of customers that the model holds most at risk, "
        f"{percent(lift * base)} were affected ({meant}); of all customers {percent(base)}."
    )


def _totals(target: TargetResult, horizon: HorizonResult, main: ModelResult) -> str:
    ratio, mean = value_of(main, "total_ratio"), horizon["mean"]
    if ratio is None or mean is None:
        return ""
    total = mean * horizon["num_readouts"]
    off = f"{percent(abs(ratio - 1))} too {'much' if ratio > 1 else 'little'}"
    if abs(ratio - 1) < 0.005:
        off = "right to half a per cent"
    top = _top_gain(main)
    return (
        f"{target['name'].capitalize()} within {horizon['horizon_days']} days: foreseen in total "
        f"{amount(ratio * total, target['unit'])}, came {amount(total, target['unit'])} ({off})"
        + (
            f"; the tenth with the highest expectation brought {percent(top)} of it."
            if top is not None
            else "."
        )
    )


def _top_gain(main: ModelResult) -> float | None:
    points = main["curves"].get("gains", [])
    inside = [y for x, y in points if x <= 0.1 + 1e-9]
    return inside[-1] if len(inside) > 1 else None


def _comparison(result: EvaluationResult, target: TargetResult, horizon: HorizonResult, metric: str) -> str:
    """Say how the main model stands against the best of the others, and the truth where it is known."""
    own = value_of(horizon["models"][result["main"]], metric)
    others = {
        name: value
        for name, model in horizon["models"].items()
        if name not in (TRUTH, result["main"]) and (value := value_of(model, metric)) is not None
    }
    if own is None or not others:
        return ""
    best = max(others, key=lambda name: others[name])
    difference = horizon["differences"][best][metric]
    low, high = difference["low"], difference["high"]
    # An interval that holds 0 decides nothing, whatever the digits say.
    if low is not None and low > 0:
        verdict = f"better than that of the best baseline, {best}"
    elif high is not None and high < 0:
        verdict = f"worse than that of the best baseline, {best}"
    else:
        verdict = f"not surely different from that of the best baseline, {best}"
    title = "AUROC" if metric == "auroc" else "normalised Gini"
    figures = f"{title} {own:.3f} against {others[best]:.3f}"
    text = f"Its order of customers by {target['name']} is {verdict} ({figures})"
    truth = horizon["models"].get(TRUTH)
    if truth is not None and (most := value_of(truth, metric)):
        text += f"; knowing the true causes would give {most:.3f}"
    return f"{text}."


def _listed(names: tuple[str, ...]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} or {names[-1]}"
