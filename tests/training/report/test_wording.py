"""Wording: numbers, times and definitions as people read them."""

from dataclasses import replace

import pytest
from report_pages import context_of, result_of, result_with, schema_of

from builders import small_schema
from holdfast.schema import Field, Schema, Target
from training.report.page import rendered
from training.report.wording import (
    amount,
    definition,
    eligibility,
    happening,
    meant,
    moment,
    percent,
    short,
)


@pytest.mark.parametrize(
    ("share", "digits", "text"),
    [(0.0, 0, "0 %"), (0.001, 0, "under 1 %"), (0.006, 0, "1 %"), (0.639, 1, "63.9 %"), (1.0, 0, "100 %")],
)
def test_percent(share: float, digits: int, text: str) -> None:
    """What is not 0 is never shown as 0."""
    assert percent(share, digits=digits) == text


def test_amount() -> None:
    """Large ones without cents, small ones with; what is not 0 is never shown as 0."""
    assert [amount(1_234_567.8, "GBP"), amount(12.345, "GBP"), amount(0.0, "")] == [
        "1,234,568 GBP",
        "12.35 GBP",
        "0",
    ]
    assert [amount(0.00012, "BTC"), amount(-0.05, "EUR"), amount(2.5e13, "IRR")] == [
        "0.00012 BTC",
        "-0.05 EUR",
        "25,000 bn IRR",
    ]


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.0, "0"),
        (0.00025, "0.0002500"),
        (120.4, "120"),
        (30_000.0, "30 k"),
        (-2.5e6, "-2.50 m"),
        (4e20, "4.000e+20"),
    ],
)
def test_short_amounts(value: float, text: str) -> None:
    """Three digits or so, whatever the size."""
    assert short(value) == text


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


@pytest.mark.parametrize(
    ("types", "text"),
    [
        (["purchase"], "no event of type purchase within 30 days"),
        (["order", "renewal"], "no event of type order or renewal within 30 days"),
        (["a", "b", "c", "d"], "no event of 4 awaited types within 30 days"),
        ([], "no event within 30 days"),
        (None, "no awaited event within 30 days"),
    ],
)
def test_silence_is_that_of_the_awaited_types(types: list[str] | None, text: str) -> None:
    """Activity may be more than what a target awaits; results of older code do not name the types."""
    target = result_with((0.0, 0.0))["targets"][0]
    del target["event_types"]
    if types is not None:
        target["event_types"] = types
    assert meant(target, days=30) == text
    assert happening(target, days=30) == f"churn: {text}"
    target["form"] = "event"
    assert happening(target, days=30) == "churn: within 30 days"


def test_a_page_names_what_is_awaited_not_what_is_activity() -> None:
    """A visit keeps a customer active and asked about, yet churn awaits a purchase alone."""
    schema = replace(schema_of(), activity=("purchase", "visit"))
    page = rendered(result_of(), context_of(schema=schema))
    assert "no event of type purchase within 90 days" in page
    assert "no activity within" not in page


def test_eligibility() -> None:
    """Activity, lookback and what ends a customer."""
    schema = small_schema()
    assert eligibility(schema).endswith("purchase in the 180 days up to the cutoff.")
    assert "none of type closed before" in eligibility(replace(schema, ended_by=("closed",)))
