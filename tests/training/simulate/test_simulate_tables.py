"""The tables of a simulated business: what a company's own tables would hold as well."""

import datetime
from pathlib import Path

import polars as pl
import pytest

from training.simulate import SimulationConfig, simulate

UTC = datetime.UTC
CUTOFF = datetime.datetime(2024, 3, 1, tzinfo=UTC)
LOOKBACK_DAYS = 90
END = datetime.datetime(2023, 3, 1, tzinfo=UTC) + datetime.timedelta(days=450)


@pytest.fixture(scope="module", params=["retailer", "subscription"])
def business(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Path]:
    """A small business of either kind."""
    config = SimulationConfig(
        kind=request.param,
        num_customers=1_500,
        seed=11,
        num_days=450,
        cutoffs=(CUTOFF.isoformat(),),
        horizons_days=(7, 30),
        num_rollouts=2,
        lookback_days=LOOKBACK_DAYS,
    )
    out = tmp_path_factory.mktemp("business") / "out"
    simulate(config, out)
    return request.param, out


@pytest.fixture
def kind(business: tuple[str, Path]) -> str:
    """Which business it is."""
    return business[0]


@pytest.fixture
def events(business: tuple[str, Path]) -> pl.DataFrame:
    """Its events."""
    return pl.read_parquet(business[1] / "events" / "*.parquet")


@pytest.fixture
def customers(business: tuple[str, Path]) -> pl.DataFrame:
    """Its customers."""
    return pl.read_parquet(business[1] / "customers.parquet")


@pytest.fixture
def truth(business: tuple[str, Path]) -> pl.DataFrame:
    """Its truth."""
    return pl.read_parquet(business[1] / "truth.parquet")


def test_events_lie_in_the_span_and_never_tie(events: pl.DataFrame) -> None:
    """Times are UTC, within the span, in order of customer and time, and distinct per customer."""
    assert events.schema["occurred_at"] == pl.Datetime("us", "UTC")
    assert events["occurred_at"].min() > END - datetime.timedelta(days=450)
    assert events["occurred_at"].max() < END
    assert events.equals(events.sort("customer_id", "occurred_at", maintain_order=True))
    assert not events.select("customer_id", "occurred_at").is_duplicated().any()


def test_every_life_begins_with_its_first_event(
    kind: str, events: pl.DataFrame, customers: pl.DataFrame
) -> None:
    """Every customer has one, and it is a purchase or a sign-up."""
    first = events.group_by("customer_id", maintain_order=True).first()
    assert set(first["event_type"]) == {"purchase" if kind == "retailer" else "signup"}
    assert set(first["customer_id"]) == set(customers["customer_id"])
    if kind == "subscription":
        assert events.filter(pl.col("event_type") == "signup").height == first.height


def test_some_customers_have_a_single_event(events: pl.DataFrame) -> None:
    """The hard edge that every later step must bear."""
    assert events.group_by("customer_id").len().filter(pl.col("len") == 1).height > 0


def test_nothing_follows_a_cancellation(kind: str, events: pl.DataFrame) -> None:
    """A cancelled customer has one cancellation and no event after it, payments least of all."""
    if kind == "retailer":
        assert "cancellation" not in events["event_type"].unique()
        return
    cancelled = events.filter((pl.col("event_type") == "cancellation").any().over("customer_id"))
    last = cancelled.group_by("customer_id", maintain_order=True).last()
    assert last.height > 200
    assert set(last["event_type"]) == {"cancellation"}
    assert cancelled.filter(pl.col("event_type") == "cancellation").height == last.height


def test_versions_of_the_plan_begin_with_its_changes(events: pl.DataFrame, customers: pl.DataFrame) -> None:
    """Every plan change has one version that is valid from its very time, with the plan it names."""
    first = customers.filter(pl.col("valid_from").is_null())
    assert first.height == customers["customer_id"].n_unique()
    changes = events.filter(pl.col("event_type") == "plan_change").select(
        "customer_id", pl.col("occurred_at").alias("valid_from"), pl.col("detail").alias("plan")
    )
    later = customers.filter(pl.col("valid_from").is_not_null()).select("customer_id", "valid_from", "plan")
    assert changes.height > 50
    assert later.equals(changes)
    plans = customers.with_columns(before=pl.col("plan").shift().over("customer_id"))
    assert plans.filter(pl.col("before") == pl.col("plan")).is_empty()
    fixed = customers.group_by("customer_id").agg(pl.col("region", "age", "acquisition").n_unique())
    assert fixed.drop("customer_id").max().row(0) == (1, 1, 1)


def test_returns_are_negative_and_less_than_the_purchase_before(kind: str, events: pl.DataFrame) -> None:
    """A return gives back part of the last purchase; at most one per delivery."""
    if kind == "subscription":
        return
    money = events.filter(pl.col("event_type").is_in(["purchase", "return"])).with_columns(
        previous=pl.col("amount").shift().over("customer_id"),
        previous_type=pl.col("event_type").shift().over("customer_id"),
    )
    returns = money.filter(pl.col("event_type") == "return")
    assert returns.height > 100
    assert set(returns["previous_type"]) == {"purchase"}
    assert (returns["amount"] < 0).all()
    assert (returns["amount"] + returns["previous"] >= -0.01).all()
    assert (money.filter(pl.col("event_type") == "purchase")["amount"] > 0).all()


def test_payments_fall_due_every_thirty_days(kind: str, events: pl.DataFrame) -> None:
    """From the day after the sign-up on; the amount changes only with a price rise or a plan change."""
    if kind == "retailer":
        return
    days = events.filter(pl.col("event_type").is_in(["signup", "payment"])).with_columns(
        gap=pl.col("occurred_at").dt.date().diff().dt.total_days().over("customer_id"),
        previous=pl.col("event_type").shift().over("customer_id"),
    )
    paid = days.filter(pl.col("event_type") == "payment")
    assert set(paid.filter(pl.col("previous") == "signup")["gap"]) == {1}
    assert set(paid.filter(pl.col("previous") == "payment")["gap"]) == {30}
    priced = events.filter(pl.col("event_type").is_in(["payment", "price_rise", "plan_change"])).with_columns(
        previous=pl.col("event_type").shift().over("customer_id"),
        previous_amount=pl.col("amount").shift().over("customer_id"),
    )
    again = priced.filter(
        (pl.col("event_type") == "payment") & (pl.col("previous").is_in(["payment", "price_rise"]))
    )
    assert again.filter(pl.col("amount") != pl.col("previous_amount")).is_empty()


def test_fields_are_empty_where_they_mean_nothing(events: pl.DataFrame) -> None:
    """Nulls, never NaN or empty text; every field is used by some event type and unused by another."""
    for field in ("amount", "quantity", "channel", "detail"):
        filled = events.group_by("event_type").agg(pl.col(field).is_not_null().mean())[field]
        assert set(filled) == {0.0, 1.0}, field
    assert events["amount"].is_nan().sum() == 0
    assert events["quantity"].is_nan().sum() == 0


def test_the_truth_is_told_for_the_eligible_alone(
    kind: str, events: pl.DataFrame, truth: pl.DataFrame
) -> None:
    """Who was active within the lookback and has not cancelled, one row per horizon, in range."""
    activity = ["purchase"] if kind == "retailer" else ["signup", "payment", "usage"]
    past = events.filter(pl.col("occurred_at") <= CUTOFF)
    recent = past.filter(pl.col("occurred_at") > CUTOFF - datetime.timedelta(days=LOOKBACK_DAYS))
    eligible = set(recent.filter(pl.col("event_type").is_in(activity))["customer_id"])
    eligible -= set(past.filter(pl.col("event_type") == "cancellation")["customer_id"])
    for horizon in (7, 30):
        rows = truth.filter(pl.col("horizon_days") == horizon)
        assert sorted(rows["customer_id"]) == sorted(eligible)
    assert set(truth["cutoff"]) == {CUTOFF}
    assert truth["churn_probability"].is_between(0.0, 1.0).all()
    assert (truth["expected_spend"] >= 0.0).all()
