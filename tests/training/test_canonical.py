"""SQL to canonical tables: which columns are taken, and why a row cannot be used."""

from datetime import datetime
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from data_set_builder import START_US, days_later, shop_config, shop_events

from holdfast.errors import DataError
from training.canonical import REASON, CanonicalTable, customers_table, events_table, labels_table
from training.data_config import DataConfig

GOOD = {
    "customer_id": "al",
    "occurred_at": days_later(0)[0],
    "event_type": "purchase",
    "amount": 1.0,
    "channel": "web",
}


def shop(folder: Path, **changes: Any) -> DataConfig:
    """Return a shop's configuration; the tables themselves are given to each test's query."""
    return shop_config(folder, **changes)


def events_of(folder: Path, table: pl.DataFrame, **changes: Any) -> CanonicalTable:
    """Return the canonical events of a table."""
    return events_table(shop(folder, **changes), {"events": table.lazy()})


def reasons_of(table: CanonicalTable) -> list[str]:
    """Return the reason of every row, empty where it can be used."""
    return [["", *table.reasons][number] for number in table.frame.collect()[REASON]]


def events_with(**column: list[Any]) -> pl.DataFrame:
    """Return good events in which one column holds other values."""
    (values,) = column.values()
    return pl.DataFrame({name: [value] * len(values) for name, value in GOOD.items()}).with_columns(
        **{name: pl.Series(name, values, strict=False) for name, values in column.items()}
    )


def test_gives_canonical_columns_and_types(tmp_path: Path) -> None:
    """Whatever the source's types, the canonical ones are fixed: text, Int64 microseconds, Float64."""
    table = events_of(tmp_path, shop_events())
    frame = table.frame.collect()
    assert frame.schema == pl.Schema(
        {
            "customer_id": pl.String,
            "occurred_at": pl.Int64,
            "event_type": pl.String,
            "channel": pl.String,
            "amount": pl.Float64,
            REASON: pl.UInt8,
        }
    )
    assert frame["occurred_at"][4] == START_US
    assert reasons_of(table) == [""] * 7


@pytest.mark.parametrize(
    ("column", "values", "reasons"),
    [
        ("customer_id", ["al", None, ""], ["", "no customer", "no customer"]),
        ("customer_id", [12, None], ["", "no customer"]),
        ("event_type", ["visit", None, ""], ["", "no event type", "no event type"]),
        (
            "occurred_at",
            ["2024-01-01", None, "x"],
            ["", "occurred_at: no time", "occurred_at: unreadable time"],
        ),
        ("occurred_at", [None, None], ["occurred_at: no time"] * 2),
        (
            "amount",
            [1.0, float("inf"), -float("inf"), 1e39, -3.5e38, float("nan"), None],
            ["", *["amount: infinite or beyond float32"] * 4, "", ""],
        ),
        ("amount", [2.0**50, -1.2e15, 3e38], ["", *["amount: too large for sums (over 1.13e+15)"] * 2]),
        ("amount", [2**50, -(2**60)], ["", "amount: too large for sums (over 1.13e+15)"]),
        ("channel", ["web", None, ""], ["", "", ""]),
    ],
)
def test_tells_why_a_row_cannot_be_used(
    tmp_path: Path, column: str, values: list[Any], reasons: list[str]
) -> None:
    """Rows without customer, time or type and amounts out of range are told apart; fields may be missing."""
    assert reasons_of(events_of(tmp_path, events_with(**{column: values}))) == reasons


def test_a_number_that_no_target_sums_may_be_as_large_as_float32(tmp_path: Path) -> None:
    """The limit is that of labels: a field of the same size that is only seen is used."""
    churn = {
        "kind": "time_to_event",
        "form": "inactivity",
        "event_types": ["purchase"],
        "horizons_days": [30],
    }
    assert reasons_of(events_of(tmp_path, events_with(amount=[3e38]), targets={"churn": churn})) == [""]


def test_of_several_reasons_the_first_counts(tmp_path: Path) -> None:
    """A row is counted once, under customer, then time, then type, then fields."""
    table = pl.DataFrame(
        {
            "customer_id": [None, "al", "al"],
            "occurred_at": [None, None, "2024-01-01"],
            "event_type": [None, "visit", None],
            "amount": [float("inf")] * 3,
            "channel": ["web"] * 3,
        }
    )
    expected = ["no customer", "occurred_at: no time", "no event type"]
    assert reasons_of(events_of(tmp_path, table)) == expected


def test_nan_and_null_numbers_are_both_missing(tmp_path: Path) -> None:
    """A number is a finite value or missing; there is no third kind."""
    amounts = events_of(tmp_path, events_with(amount=[float("nan"), None, 0.0])).frame.collect()["amount"]
    assert amounts.to_list() == [None, None, 0.0]


@pytest.mark.parametrize(
    ("column", "values", "hint"),
    [
        ("customer_id", [1.5], "it must be text or an integer"),
        ("customer_id", [[1]], "it must be text or an integer"),
        ("event_type", [days_later(0)[0]], "it must be text or an integer"),
        ("occurred_at", [1_704_110_400], r"CAST\(CAST\(x AS BIGINT\) \* 1000000 AS TIMESTAMPTZ\)"),
        ("occurred_at", [1.7e9], r"CAST\(CAST\(x AS BIGINT\) \* 1000000 AS TIMESTAMPTZ\)"),
        ("occurred_at", [True], "ISO 8601"),
        ("amount", ["12.50"], r"CAST\(… AS DOUBLE\)"),
        ("amount", [days_later(0)[0]], "it must be a number"),
        ("channel", [0.5], "it must be text or an integer"),
    ],
)
def test_a_wrong_type_is_named_with_a_way_out(
    tmp_path: Path, column: str, values: list[Any], hint: str
) -> None:
    """A type that would have to be guessed at is refused before rows are read; the message helps."""
    with pytest.raises(DataError, match=hint) as caught:
        events_of(tmp_path, events_with(**{column: values}))
    assert caught.value.field == f"data.events.sql: column {column}"


def test_the_hint_for_integer_times_works(tmp_path: Path) -> None:
    """What the message proposes gives the right instant, whatever the data set's zone, even from 32 bits."""
    converted = "CAST(CAST(seconds AS BIGINT) * 1000000 AS TIMESTAMPTZ)"
    sql = f"SELECT customer_id, {converted} AS occurred_at, event_type, amount, channel FROM events"  # noqa: S608 (ours)
    table = events_with(amount=[1.0]).drop("occurred_at")
    table = table.with_columns(seconds=pl.lit(START_US // 1_000_000, dtype=pl.Int32))
    events = {"sql": sql, "fields": {"amount": {"kind": "money"}, "channel": {"kind": "categorical"}}}
    frame = events_of(tmp_path, table, events=events, time_zone="Asia/Tokyo").frame.collect()
    assert frame["occurred_at"].to_list() == [START_US]


@pytest.mark.parametrize(
    ("values", "dtype"),
    [
        ([1, 0], pl.Int8),
        ([True, False], pl.Boolean),
        ([1, 0], pl.UInt64),
        ([1, 0], pl.Decimal(10, 2)),
        ([1, 0], pl.Float32),
    ],
)
def test_every_type_of_number_is_taken(tmp_path: Path, values: list[Any], dtype: Any) -> None:
    """Integers, decimals, booleans and both floats are numbers."""
    table = events_with(amount=[1.0, 0.0]).with_columns(amount=pl.Series(values).cast(dtype))
    assert events_of(tmp_path, table).frame.collect()["amount"].to_list() == [1.0, 0.0]


def test_integers_and_categories_are_text(tmp_path: Path) -> None:
    """Codes that a source keeps as integers, booleans or categories become their usual text."""
    table = events_with(channel=[1, None]).with_columns(event_type=pl.col("event_type").cast(pl.Categorical))
    frame = events_of(tmp_path, table).frame.collect()
    assert frame["channel"].to_list() == ["1", None]
    assert frame["event_type"].to_list() == ["purchase", "purchase"]


@pytest.mark.parametrize(
    ("sql", "why"),
    [
        ("SELEC customer_id", "sql parser error"),
        ("SELECT nothing FROM events", 'unable to find column "nothing"'),
        ("SELECT * FROM orders", "relation 'orders' was not found"),
        ("SELECT 1; SELECT 2", "one .* statement"),
        ("", "one .* statement"),
        ("SELECT customer_id, customer_id FROM events", "duplicate output name"),
        ("DROP TABLE events", "the query must give these columns"),
    ],
)
def test_an_sql_error_is_one_line_with_polars_reason(tmp_path: Path, sql: str, why: str) -> None:
    """Whatever is wrong in the SQL, the table is named and no query plan is printed."""
    with pytest.raises(DataError, match=why) as caught:
        events_of(tmp_path, shop_events(), events={"sql": sql, "fields": {"amount": {"kind": "money"}}})
    assert caught.value.field == "data.events.sql"
    assert "\n" not in str(caught.value)


def test_missing_and_undeclared_columns_are_listed(tmp_path: Path) -> None:
    """A declared field that the query does not give, and one that is given but not declared."""
    with pytest.raises(DataError, match=r"\['amount'\].*it gives \['customer_id'"):
        events_of(tmp_path, shop_events().drop("amount"))
    with pytest.raises(DataError, match=r"\['colour'\].*not declared"):
        events_of(tmp_path, shop_events().with_columns(colour=pl.lit("red")))


def test_an_example_names_row_and_value(tmp_path: Path) -> None:
    """The first row under a reason is shown with its value as the source has it."""
    table = events_of(tmp_path, events_with(occurred_at=["2024-01-01", "31.12.2024", "never"]))
    example = table.example("occurred_at: unreadable time")
    assert example == "occurred_at = '31.12.2024' in row 2 of the query's result"


def test_an_example_shows_a_time_as_people_write_it(tmp_path: Path) -> None:
    """A local time that clocks skipped is shown as one, not as Python's constructor of it."""
    skipped = events_with(occurred_at=[datetime(2024, 3, 31, 2, 30)])  # noqa: DTZ001 (a local time)
    table = events_of(tmp_path, skipped, time_zone="Europe/Berlin")
    example = table.example("occurred_at: local time skipped by the clock")
    assert example == "occurred_at = 2024-03-31 02:30:00.000000 in row 1 of the query's result"


def test_attributes_may_have_versions(tmp_path: Path) -> None:
    """valid_from is optional as a column and as a value; a broken one excludes its row."""
    attributes = {"region": {"kind": "categorical"}, "age": {"kind": "numeric"}}
    config = shop(tmp_path, customers={"sql": "SELECT * FROM customers", "attributes": attributes})
    plain = pl.DataFrame({"customer_id": ["al"], "region": ["north"], "age": [30]})
    table = customers_table(config, {"customers": plain.lazy()})
    assert table is not None
    assert table.time is None
    versions = pl.concat([plain] * 3).with_columns(valid_from=pl.Series(["2024-01-01", None, "x"]))
    table = customers_table(config, {"customers": versions.lazy()})
    assert table is not None
    assert table.time == "valid_from"
    assert reasons_of(table) == ["", "", "valid_from: unreadable time"]


def test_labels_are_0_1_or_missing(tmp_path: Path) -> None:
    """Anything else in churned excludes its row; spend is any finite number."""
    config = shop(tmp_path, labels={"sql": "SELECT * FROM labels"})
    rows = pl.DataFrame(
        {
            "customer_id": ["al"] * 5,
            "cutoff": ["2024-03-01"] * 5,
            "churned": [0.0, 1.0, None, 0.5, 1.0],
            "spend": [1.0, -2.0, None, 0.0, float("inf")],
        }
    )
    table = labels_table(config, {"labels": rows.lazy()})
    assert table is not None
    assert table.numbers == ("churned", "spend")
    assert reasons_of(table) == ["", "", "", "churned: neither 0 nor 1", "spend: infinite or beyond float32"]


def test_labels_need_something_to_say(tmp_path: Path) -> None:
    """A table of labels with neither churned nor spend is refused."""
    config = shop(tmp_path, labels={"sql": "SELECT * FROM labels"})
    rows = pl.DataFrame({"customer_id": ["al"], "cutoff": ["2024-03-01"]})
    with pytest.raises(DataError, match="at least one of"):
        labels_table(config, {"labels": rows.lazy()})


def test_tables_that_are_not_declared_are_none(tmp_path: Path) -> None:
    """A data set without attributes and labels has neither table."""
    config = shop(tmp_path)
    assert customers_table(config, {}) is None
    assert labels_table(config, {}) is None
