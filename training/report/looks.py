"""The closer looks on the page: groups with the weakest named, typical customers, cutoffs one by one.

It deliberately claims no more than the result: where no group surely falls behind, it says so.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from training.evaluation.closer import GroupResult, TargetLook
from training.evaluation.questions import Interval
from training.evaluation.result import EvaluationResult, TargetResult
from training.evaluation.subsets import FEWEST_OF_EACH, FEWEST_READOUTS, METRICS
from training.evaluation.weakness import Weakness
from training.report.charts.people import cutoffs_chart, groups_chart, typical_chart
from training.report.figures import Caption, captions
from training.report.tables import NOTHING, Cell, Row, RowGroup, Table, signed
from training.report.wording import amount, moment, percent

HEADS = {
    "auroc": "AUROC",
    "gap": "off by, points",
    "normalised_gini": "norm. Gini",
    "total_ratio": "predicted/actual",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class LookPart:
    """What is looked at more closely about one target."""

    sentences: Sequence[str]
    num_compared: int
    group_figures: Sequence[Caption]
    groups: Table
    typical_figures: Sequence[Caption]
    typical: Table | None
    cutoff_figures: Sequence[Caption]
    cutoffs: Table | None


def look_part(result: EvaluationResult, target: TargetResult) -> LookPart | None:
    """Return the closer look at a target; None where the result has none."""
    look = next((look for look in result.get("closer", []) if look["name"] == target["name"]), None)
    if look is None:
        return None
    order, level = METRICS[target["kind"]]
    has_intervals = result["num_replicates"] > 0
    is_coming = target["form"] == "event"
    return LookPart(
        sentences=_sentences(look, target) if has_intervals else [],
        num_compared=look["num_compared"] if has_intervals else 0,
        group_figures=captions(
            [
                (
                    "Where is the order good?",
                    "Line and band: all customers and their interval; a diamond: the weakest group."
                    if has_intervals
                    else "Line: all customers.",
                    groups_chart(look, order),
                ),
                (
                    "Where is the level right?",
                    "At 0, it came as often as it was said."
                    if level == "gap"
                    else "At 1, as much came as was said.",
                    groups_chart(look, level),
                ),
            ]
        ),
        groups=_groups_table(look, target),
        typical_figures=captions(
            [
                (
                    "Customers who stand alike",
                    "Lines: what was foreseen for them on average. Marks: what came.",
                    typical_chart(look, "customers", is_coming=is_coming),
                ),
                (
                    "Fifths by risk",
                    "The farther apart the lines, the more the model tells; marks on lines are right.",
                    typical_chart(look, "risk", is_coming=is_coming),
                ),
            ]
        ),
        typical=_typical_table(look, is_coming=is_coming),
        cutoff_figures=captions(
            [
                (
                    "Is the order as good every time?",
                    f"The bars are the intervals of {result['main']}."
                    if has_intervals
                    else "Higher is better.",
                    cutoffs_chart(result, look, order),
                ),
                (
                    "Is the level as good every time?",
                    "0 is right." if level == "gap" else "1 is right.",
                    cutoffs_chart(result, look, level),
                ),
            ]
        ),
        cutoffs=_cutoffs_table(result, look, target),
    )


def _sentences(look: TargetLook, target: TargetResult) -> list[str]:
    num = look["num_compared"]
    if target["kind"] == "amount" and look["whole"]["total_ratio"]["value"] is None:
        return ["Nothing came, so that no group can be told from another."]
    if not num:
        return [f"No group has the {FEWEST_READOUTS} cases that it takes to tell it from the rest."]
    said = [_weakness(look, weakness, target) for weakness in look["weakest"]]
    if not said:
        said = [f"None of the {num} groups with enough cases falls surely behind the whole."]
    return said


def _weakness(look: TargetLook, weakness: Weakness, target: TargetResult) -> str:
    group = next(
        group
        for division in look["groupings"]
        for group in division["groups"]
        if (division["title"], group["name"]) == (weakness["grouping"], weakness["group"])
    )
    who = f"the group “{weakness['grouping']}: {weakness['group']}”"
    if weakness["metric"] in {"auroc", "normalised_gini"}:
        head = HEADS[weakness["metric"]]
        return (
            f"Order is weakest in {who} ({head} {weakness['value']:.3f}, over all {weakness['whole']:.3f}). "
            "Customers of one group are alike, so that there is less to tell them apart by."
        )
    said, came = (_level(value, target) for value in (group["predicted"], group["mean"]))
    return f"The level is farthest off in {who}: {said} foreseen on average, {came} came."


def _level(value: float, target: TargetResult) -> str:
    return percent(value) if target["kind"] == "time_to_event" else amount(value, target["unit"])


def _groups_table(look: TargetLook, target: TargetResult) -> Table:
    order, level = METRICS[target["kind"]]
    heads = ["group", "readouts", "predicted, mean", "actual, mean", HEADS[level], HEADS[order]]
    groups = [
        RowGroup(
            title=division["title"],
            rows=[_group_row(group, target, (level, order)) for group in division["groups"]],
        )
        for division in look["groupings"]
    ]
    return Table(title=f"Groups of {look['name']}", heads=heads, groups=groups)


def _group_row(group: GroupResult, target: TargetResult, metrics: Sequence[str]) -> Row:
    cells = [
        Cell(text=f"{group['num_readouts']:,}"),
        Cell(text=_level(group["predicted"], target)),
        Cell(text=_level(group["mean"], target)),
    ]
    if not group["metrics"]:
        few = f"fewer than {FEWEST_READOUTS} cases, or {FEWEST_OF_EACH} of a kind"
        cells += [Cell(text=NOTHING, interval=few), Cell(text=NOTHING)]
        return Row(name=group["name"], cells=cells, kind="few")
    cells += [_metric_cell(metric, group["metrics"][metric]) for metric in metrics]
    return Row(name=group["name"], cells=cells)


def _metric_cell(metric: str, interval: Interval) -> Cell:
    def shown(value: float) -> str:
        if metric == "gap":
            return signed(100 * value, ".1f")
        return f"{value:.2f}" if metric == "total_ratio" else f"{value:.3f}"

    value, low, high = interval["value"], interval["low"], interval["high"]
    if value is None:
        return Cell(text=NOTHING)
    return Cell(
        text=shown(value), interval="" if low is None or high is None else f"{shown(low)} to {shown(high)}"
    )


def _typical_table(look: TargetLook, *, is_coming: bool) -> Table | None:
    if not look["typical"]:
        return None
    titles = {"customers": "Customers who stand alike", "risk": "Fifths by risk"}
    days = look["typical"][0]["days"][-1]
    groups = [
        RowGroup(
            title=title,
            rows=[
                Row(
                    name=curve["name"],
                    cells=[
                        Cell(text=curve["meaning"]),
                        Cell(text=f"{curve['num_readouts']:,}"),
                        Cell(text=_share(curve["predicted"][-1], is_coming=is_coming)),
                        Cell(text=_share(curve["observed"][-1], is_coming=is_coming)),
                    ],
                )
                for curve in look["typical"]
                if curve["kind"] == kind
            ],
        )
        for kind, title in titles.items()
    ]
    asked = f"{'come' if is_coming else 'not come'} by day {days:g}"
    heads = ["customers", "who they are", "readouts", f"{asked}: foreseen", "actual"]
    return Table(
        title=f"Typical customers, {look['name']}",
        heads=heads,
        groups=[group for group in groups if group.rows],
        texts=["who they are"],
        kind="wide",
    )


def _share(survival: float | None, *, is_coming: bool) -> str:
    if survival is None:
        return NOTHING
    return percent(1.0 - survival if is_coming else survival)


def _cutoffs_table(result: EvaluationResult, look: TargetLook, target: TargetResult) -> Table | None:
    if not look["cutoffs"]:
        return None
    order, level = METRICS[target["kind"]]
    rows = [
        Row(
            name=moment(cutoff["at"]),
            cells=[
                Cell(text=f"{cutoff['num_readouts']:,}"),
                Cell(text=_level(cutoff["predicted"], target)),
                Cell(text=_level(cutoff["mean"], target)),
                *(_metric_cell(m, cutoff["models"][result["main"]][m]) for m in (level, order)),
            ],
        )
        for cutoff in look["cutoffs"]
    ]
    heads = ["cutoff", "readouts", "predicted, mean", "actual, mean", HEADS[level], HEADS[order]]
    return Table(title=f"Cutoffs of {look['name']}", heads=heads, groups=[RowGroup(rows=rows)])
