"""Wording: what managers read, and that it never claims more than the figures."""

from dataclasses import replace

import pytest

from builders import small_schema
from holdfast.schema import Field, Schema, Target
from training.evaluation.result import EvaluationResult
from training.report.wording import amount, definition, eligibility, headline, limits, moment, percent


def interval(value: float | None, low: float | None = None, high: float | None = None) -> dict:
    """Return an interval."""
    return {"value": value, "low": low, "high": high}


def result_with(
    difference: tuple[float, float],
    *,
    form: str = "inactivity",
    truth: bool = False,
    total_ratio: float = 1.2,
) -> EvaluationResult:
    """Return a result with one churn and one spend question."""
    churn = {"auroc": interval(0.8), "lift_at_10": interval(1.5)}
    spend = {"normalised_gini": interval(0.7), "total_ratio": interval(total_ratio)}
    others = {"auroc": interval(0.75), "normalised_gini": interval(0.65)}

    def question(metrics: dict, metric: str, mean: float) -> dict:
        models = {
            "sequence": {"metrics": metrics, "curves": {"gains": [[0, 0], [0.1, 0.4], [1, 1]]}},
            "weak": {"metrics": {metric: interval(0.5)}, "curves": {}},
            "trees": {"metrics": others, "curves": {}},
        }
        if truth:
            models["truth"] = {"metrics": {metric: interval(0.9)}, "curves": {}}
        gap = {metric: interval(0.05, *difference)}
        return {
            "horizon_days": 90,
            "num_readouts": 1_000,
            "num_unknown": 0,
            "mean": mean,
            "models": models,
            "differences": {"trees": gap, "weak": gap},
            "left_out": {},
        }

    return {
        "main": "sequence",
        "cutoffs": [{"at": "2024-01-01T00:00Z", "num_readouts": 1_000}],
        "targets": [
            {
                "name": "churn",
                "kind": "time_to_event",
                "form": form,
                "unit": "",
                "horizons": [question(churn, "auroc", 0.4)],
            },
            {
                "name": "spend",
                "kind": "amount",
                "form": None,
                "unit": "EUR",
                "horizons": [question(spend, "normalised_gini", 25.0)],
            },
        ],
    }


def test_headline_by_hand() -> None:
    """The tenth at the top against all, totals, and the best baseline, not the weakest."""
    churn, churn_order, spend, spend_order = headline(result_with((0.01, 0.09)))
    assert churn == (
        "Churn: of the tenth of customers that the model holds most at risk, 60 % were affected "
        "(no activity within 90 days); of all customers 40 %."
    )
    assert churn_order == (
        "Its order of customers by churn is better than that of the best baseline, trees "
        "(AUROC 0.800 against 0.750)."
    )
    assert spend == (
        "Spend within 90 days: foreseen in total 30,000 EUR, came 25,000 EUR (20 % too much); "
        "the tenth with the highest expectation brought 40 % of it."
    )
    assert spend_order == (
        "Its order of customers by spend is better than that of the best baseline, trees "
        "(normalised Gini 0.700 against 0.650)."
    )


@pytest.mark.parametrize(
    ("difference", "says"),
    [
        ((0.01, 0.09), "is better than"),
        ((-0.09, -0.01), "is worse than"),
        ((-0.01, 0.11), "not surely different from"),
        ((0.0, 0.1), "not surely different from"),
        ((None, None), "not surely different from"),
    ],
)
def test_a_claim_needs_an_interval_without_zero(difference: tuple, says: str) -> None:
    """Better only where the whole interval of the difference says so."""
    assert says in headline(result_with(difference))[1]


def test_headline_names_the_truth_where_it_is_known() -> None:
    """So that everybody sees how much more there is to find."""
    assert "knowing the true causes would give 0.900" in headline(result_with((0.01, 0.09), truth=True))[1]


@pytest.mark.parametrize(
    ("ratio", "says"), [(0.8, "20 % too little"), (1.2, "20 % too much"), (1.004, "right to half a per cent")]
)
def test_totals_say_in_which_direction_they_err(ratio: float, says: str) -> None:
    """Too much, too little, or right."""
    assert says in headline(result_with((0.01, 0.09), total_ratio=ratio))[2]


def test_an_event_is_no_inactivity() -> None:
    """A cancellation within 90 days is not said to be no activity."""
    first = headline(result_with((0.01, 0.09), form="event"))[0]
    assert "(within 90 days)" in first
    assert "no activity" not in first


def test_missing_figures_leave_their_sentence_out() -> None:
    """No lift and no AUROC of one class: nothing is said about them."""
    result = result_with((0.01, 0.09))
    metrics = result["targets"][0]["horizons"][0]["models"]["sequence"]["metrics"]
    metrics |= {"auroc": interval(None), "lift_at_10": interval(None)}
    assert [sentence.split()[0] for sentence in headline(result)] == ["Spend", "Its"]


@pytest.mark.parametrize(
    ("share", "digits", "text"),
    [(0.0, 0, "0 %"), (0.001, 0, "under 1 %"), (0.006, 0, "1 %"), (0.639, 1, "63.9 %"), (1.0, 0, "100 %")],
)
def test_percent(share: float, digits: int, text: str) -> None:
    """What is not 0 is never shown as 0."""
    assert percent(share, digits=digits) == text


def test_amount() -> None:
    """Large ones without cents, small ones with, and no unit without one."""
    assert [amount(1_234_567.8, "GBP"), amount(12.345, "GBP"), amount(0.0, "")] == [
        "1,234,568 GBP",
        "12.35 GBP",
        "0",
    ]


def test_moment() -> None:
    """Midnight is a day."""
    assert [moment("2024-01-01T00:00Z"), moment("2024-01-01T12:30Z")] == [
        "2024-01-01",
        "2024-01-01 12:30 UTC",
    ]


def test_definitions() -> None:
    """Types, horizons, fields and the half-open window are named for every kind of target."""
    schema = small_schema()
    churn, spend, orders = (definition(schema, target) for target in schema.targets)
    assert churn.startswith(
        "churn: no event of type purchase after the cutoff and up to 30, 60 or 90 days later"
    )
    assert "sum of amount (EUR) over events of type purchase or return" in spend
    assert "number of events" in orders
    cancel = Target(
        name="cancel",
        kind="time_to_event",
        event_types=("cancel", "lapse"),
        horizons_days=(30,),
        form="event",
    )
    assert definition(schema, cancel).startswith("cancel: an event of type cancel or lapse")
    any_event = Target(name="contact", kind="count", event_types=(), horizons_days=(7,))
    assert "of type any event" in definition(schema, any_event)


def test_definition_without_unit() -> None:
    """A field without unit, in a business without currency."""
    schema = Schema(
        fields=(Field(name="points", kind="numeric"),),
        attributes=(),
        activity=("visit",),
        ended_by=(),
        lookback_days=30,
        targets=(Target(name="p", kind="amount", event_types=(), horizons_days=(7,), field="points"),),
        currency="",
    )
    assert "sum of points over" in definition(schema, schema.targets[0])


def test_eligibility() -> None:
    """Activity, lookback and what ends a customer."""
    schema = small_schema()
    assert eligibility(schema).endswith("purchase in the 180 days up to the cutoff.")
    assert "none of type closed before" in eligibility(replace(schema, ended_by=("closed",)))


def test_limits_count_what_was_left_out() -> None:
    """One cutoff is named; unknown outcomes are counted."""
    result = result_with((0.01, 0.09))
    assert "one cutoff (2024-01-01)" in limits(result)[0]
    assert not any("Left out" in line for line in limits(result))
    result["targets"][0]["horizons"][0]["num_unknown"] = 5
    assert limits(result)[-1] == "Left out because what came is not known: churn, 90 days: 5 of 1,005."
