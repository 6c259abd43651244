"""What a reader should take home: a few figures, a few sentences, and none that the intervals do not carry.

It deliberately gives plain text: the page escapes it and lays it out.
"""

from dataclasses import dataclass

from training.evaluation.questions import TRUTH
from training.evaluation.result import EvaluationResult, HorizonResult, ModelResult, TargetResult
from training.report.context import DataFacts
from training.report.wording import amount, meant, percent, short, value_of

RIGHT, FAR_OFF = 0.02, 0.05
"""How far probabilities may be off on average and be called right; from when on their level misleads."""

RARE = 0.1
"""What comes, or fails to come, more rarely may be off by as large a part of it as there: two points are
much of three."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Tile:
    """One figure in large type: what it is about, the figure, what it means."""

    what: str
    figure: str
    meaning: str


def tiles(result: EvaluationResult) -> list[Tile]:
    """Return two figures for every target that the main model answered."""
    found = []
    for target in result["targets"]:
        horizon = target["horizons"][-1]
        main = horizon["models"].get(result["main"])
        if main is None or horizon["mean"] is None:
            continue
        is_probability = target["kind"] == "time_to_event"
        found += (
            _risk_tiles(target, horizon, main) if is_probability else _amount_tiles(target, horizon, main)
        )
    return found


def headline(result: EvaluationResult) -> list[str]:
    """Return what a manager should take home: per target what came true, and how the model compares."""
    sentences = []
    for target in result["targets"]:
        horizon = target["horizons"][-1]
        main = horizon["models"].get(result["main"])
        if main is None or horizon["mean"] is None:
            continue
        if target["kind"] == "time_to_event":
            sentences += [
                f"{_top_tenth(target, horizon, main)} {_level(main)}".strip(),
                _comparison(result, target, horizon, "auroc"),
            ]
        else:
            sentences += [
                _totals(target, horizon, main),
                _comparison(result, target, horizon, "normalised_gini"),
            ]
    return [sentence for sentence in sentences if sentence]


def never_learned(result: EvaluationResult, data: DataFacts) -> list[str]:
    """Say which amounts and counts were 0 at every training cutoff: nobody could learn them there."""
    means = [c.means for split in data.splits if split.name in {"train", "refit"} for c in split.by_cutoff]
    sentences = []
    for target in result["targets"]:
        known = [mean[target["name"]] for mean in means if target["name"] in mean]
        if target["kind"] != "time_to_event" and known and not any(known):
            days = target["horizons"][-1]["horizon_days"]
            sentences.append(
                f"{target['name'].capitalize()} within {days} days was 0 at every training cutoff: nothing "
                "could be learned of it, and what the model says of it means nothing yet."
            )
    return sentences


def _risk_tiles(target: TargetResult, horizon: HorizonResult, main: ModelResult) -> list[Tile]:
    lift, base, days = value_of(main, "lift_at_10"), horizon["mean"], horizon["horizon_days"]
    found = []
    if lift is not None and base is not None:
        meaning = f"of the tenth held most at risk; of all customers {percent(base)}"
        found.append(
            Tile(what=f"{target['name']}, {days} days", figure=percent(lift * base), meaning=meaning)
        )
    auroc = main["metrics"].get("auroc")
    if auroc is not None and auroc["value"] is not None:
        meaning = "of pairs: the one to whom it happened was held more at risk (AUROC)"
        if auroc["low"] is not None and auroc["high"] is not None:
            meaning += f"; interval {percent(auroc['low'], digits=1)} to {percent(auroc['high'], digits=1)}"
        figure = percent(auroc["value"], digits=1)
        found.append(Tile(what=f"{target['name']}: right order", figure=figure, meaning=meaning))
    return found


def _amount_tiles(target: TargetResult, horizon: HorizonResult, main: ModelResult) -> list[Tile]:
    ratio, mean = value_of(main, "total_ratio"), horizon["mean"]
    found = []
    if ratio is not None and mean is not None:
        total = mean * horizon["num_readouts"]
        meaning = (
            f"foreseen over actual total: {short(ratio * total)} against {short(total)} {target['unit']}"
        )
        what = f"{target['name']}, {horizon['horizon_days']} days"
        found.append(Tile(what=what, figure=f"{ratio:.2f}", meaning=meaning.rstrip()))
    foreseen = _foreseen(main)
    if mean == 0.0 and foreseen is not None:
        what = f"{target['name']}, {horizon['horizon_days']} days"
        figure = f"{short(foreseen)} {target['unit']}".rstrip()
        found.append(Tile(what=what, figure=figure, meaning="foreseen in total, and nothing came"))
    top = _top_gain(main)
    if top is not None:
        meaning = "of the total came from the tenth with the highest expectation"
        found.append(Tile(what=f"{target['name']}: at the top", figure=percent(top), meaning=meaning))
    return found


def _top_tenth(target: TargetResult, horizon: HorizonResult, main: ModelResult) -> str:
    lift, base, days = value_of(main, "lift_at_10"), horizon["mean"], horizon["horizon_days"]
    if lift is None or base is None:
        return ""
    return (
        f"{target['name'].capitalize()} ({meant(target, days=days)}): of 100 customers in the tenth that the "
        f"model holds most at risk, it came true for {100 * lift * base:.0f}; of 100 drawn from all, for "
        f"{100 * base:.0f}."
    )


def _level(main: ModelResult) -> str:
    """Say whether probabilities are right on average, from the reliability bins."""
    rows = main["curves"].get("reliability", [])
    num = sum(row["num_readouts"] for row in rows)
    if not num:
        return ""
    said = sum(row["num_readouts"] * row["predicted"] for row in rows) / num
    came = sum(row["num_readouts"] * row["observed"] for row in rows) / num
    rare = min(came, 1.0 - came)
    digits = 1 if rare < RARE else 0
    figures = f"{percent(said, digits=digits)} foreseen, {percent(came, digits=digits)} came"
    if abs(said - came) < RIGHT * min(1.0, rare / RARE):
        return f"On average its probabilities were right: {figures}."
    side = "low" if said < came else "high"
    text = f"On average its probabilities were too {side}: {figures}."
    return f"{text} Trust the order more than the level." if abs(said - came) > FAR_OFF else text


def _foreseen(main: ModelResult) -> float | None:
    """Return the total that was foreseen, from the deciles: a ratio to a total of 0 does not hold it."""
    rows = main["curves"].get("deciles", [])
    return sum(row["num_readouts"] * row["predicted"] for row in rows) if rows else None


def _summed(total: float, target: TargetResult) -> str:
    is_counted = target["kind"] == "count" and total >= 10
    return f"{total:,.0f}" if is_counted else amount(total, target["unit"])


def _totals(target: TargetResult, horizon: HorizonResult, main: ModelResult) -> str:
    ratio, mean, foreseen = value_of(main, "total_ratio"), horizon["mean"], _foreseen(main)
    if mean == 0.0 and foreseen is not None:
        return (
            f"{target['name'].capitalize()} within {horizon['horizon_days']} days: foreseen in total "
            f"{_summed(foreseen, target)}, came {_summed(0.0, target)}; where nothing came, no "
            "model can be called better than another."
        )
    if ratio is None or mean is None:
        return ""
    total = mean * horizon["num_readouts"]
    off = f"{percent(abs(ratio - 1))} too {'much' if ratio > 1 else 'little'}"
    if abs(ratio - 1) < 0.005:
        off = "right to half a per cent"
    top = _top_gain(main)
    return (
        f"{target['name'].capitalize()} within {horizon['horizon_days']} days: foreseen in total "
        f"{_summed(ratio * total, target)}, came {_summed(total, target)} ({off})"
        + (
            f"; the tenth with the highest expectation brought {percent(top)} of it."
            if top is not None
            else "."
        )
    )


def _digits_apart(one: float, other: float) -> int:
    """Return how many digits tell two figures apart: three, or more where those are the same."""
    return next((digits for digits in range(3, 8) if f"{one:.{digits}f}" != f"{other:.{digits}f}"), 3)


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
        if name not in {TRUTH, result["main"]} and (value := value_of(model, metric)) is not None
    }
    if own is None or not others:
        return ""
    best = max(others, key=lambda name: others[name])
    difference = horizon["differences"][best][metric]
    low, high = difference["low"], difference["high"]
    title = "AUROC" if metric == "auroc" else "normalised Gini"
    is_sure = (low is not None and low > 0) or (high is not None and high < 0)
    digits = _digits_apart(own, others[best]) if is_sure else 3
    figures = f"{title} {own:.{digits}f} against {others[best]:.{digits}f}"
    order = f"ordering customers by {target['name']}"
    # An interval that holds 0 decides nothing, whatever the digits say.
    if low is not None and low > 0:
        text = f"In {order}, {result['main']} is surely better than the best other model, {best} ({figures})"
    elif high is not None and high < 0:
        text = f"Another model does better: in {order}, {best} surely beats {result['main']} ({figures})"
    else:
        pair = f"{result['main']} and the best other model, {best},"
        text = f"In {order}, {pair} are not surely different ({figures})"
    truth = horizon["models"].get(TRUTH)
    if truth is not None and (most := value_of(truth, metric)):
        text += f"; knowing the true causes would give {most:.3f}"
    return f"{text}."
