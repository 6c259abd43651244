"""The model card: what the model is for, what it is not for, and what the figures do not say.

It deliberately gives plain text, and states as measured only what the result holds.
"""

from collections.abc import Sequence

from training.evaluation.result import EvaluationResult
from training.report.context import ReportContext
from training.report.wording import definition, eligibility, moment

INTENDED_USE = (
    "Ranking customers for attention (retention offers, service calls, budgets) and planning totals.",
    "Probabilities describe groups of customers alike; about a single person they are never certain.",
)
OUT_OF_SCOPE = (
    "Decisions with legal or similarly grave effect on a person, such as credit, insurance or employment.",
    "Individual prices, or anything that a customer could not be told the reason for.",
    "Customers without a recorded event, other businesses than its own, horizons longer than its own.",
)
NOT_MEASURED = (
    "Whether an offer keeps anybody: that takes a control group that gets none.",
    "Fairness: no attribute was examined for being sensitive, and the groups shown are those of the data.",
    "How long it stays right: watch the level of its predictions and fit it anew when it moves.",
)


def definitions(context: ReportContext) -> list[str]:
    """Return who is asked about and what every target means."""
    schema = context.schema
    return [eligibility(schema), *(definition(schema, target) for target in schema.targets)]


def made_of(context: ReportContext) -> list[str]:
    """Return what the model was fitted, calibrated and tested on, and what its encoding sees."""
    data, schema = context.data, context.schema
    span = f"{moment(data.first_event)} to {moment(data.last_event)}"
    said = [f"{data.num_events:,} events of {data.num_customers:,} customers, {span}."]
    seen = ["the type and the time of every event", *(field.name for field in schema.fields)]
    if schema.attributes:
        seen.append(f"of the customer {', '.join(attribute.name for attribute in schema.attributes)}")
    said.append(f"It sees {', '.join(seen)}; never who the customer is.")
    for split in data.splits:
        use = {"train": "Fitted", "refit": "Fitted", "validation": "Calibrated", "test": "Tested"}.get(
            split.name, split.name
        )
        span = moment(split.first_cutoff)
        if split.num_cutoffs > 1:
            span = f"{split.num_cutoffs} cutoffs from {span} to {moment(split.last_cutoff)}"
        said.append(f"{use} on {split.num_readouts:,} readouts at {span}.")
    return said


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


def card(result: EvaluationResult, context: ReportContext) -> list[tuple[str, Sequence[str]]]:
    """Return the sections of the model card with their sentences."""
    return [
        ("Definitions", definitions(context)),
        ("What it was made of", made_of(context)),
        ("Intended use", context.intended_use or INTENDED_USE),
        ("Out of scope", OUT_OF_SCOPE),
        ("Limits", [*limits(result), *context.limits]),
        ("Not measured", NOT_MEASURED),
    ]
