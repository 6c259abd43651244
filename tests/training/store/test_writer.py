"""Canonical tables to a history store: order, codes, duplicates, parts, and what an interruption leaves."""

import re
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from data_set_builder import DAY_US, START_US, days_later, shop_config, shop_events
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from store_cases import HARD, ROW, customers_in, hard_tables

from holdfast.errors import DataError
from holdfast.histories import ALWAYS_US
from training.canonical import REASON
from training.data_config import DataConfig
from training.prepare import prepare
from training.store import HistoryStore, making

HARD_TEXTS = [
    "\x00",
    "a\x00b",
    "",
    " ",
    "שלום",
    "e\u0301",
    "é",
    "🛒" * 3,
    "\u202edrow",
    "ﬀ",
    "\n",
    "x" * 100_000,
]


def stored(folder: Path, tables: dict[str, pl.DataFrame], **changes: Any) -> HistoryStore:
    """Prepare tables and return the store, its checksums verified."""
    config = shop_config(folder / "data", tables, **changes)
    prepare(config, store_dir=folder / "store", force=True)
    return HistoryStore.open(folder / "store")


def test_sorts_by_customer_and_time_and_keeps_ties_as_given(tmp_path: Path) -> None:
    """Rows in any order become histories; events at the same instant stay in the order of the query."""
    store = stored(tmp_path, {"events": shop_events()})
    assert store.customer_ids.to_list() == ["al", "bo", "cy"]
    assert store.histories.offsets.tolist() == [0, 3, 6, 7]
    known = customers_in(store)
    assert known["al"]["type"] == ["purchase", "visit", "purchase"]
    assert known["al"]["time"] == [START_US, START_US + 3 * DAY_US, START_US + 3 * DAY_US]
    assert known["bo"]["type"] == ["visit", "purchase", "return"]
    assert known["bo"]["amount"] == [None, 10.0, -10.0]
    assert known["bo"]["channel"] == [None, "web", "web"]
    index = store.index
    assert (index.num_customers, index.num_events) == (3, 7)
    assert (index.first_event_us, index.last_event_us) == (START_US, START_US + 5 * DAY_US)
    assert (index.observed_from_us, index.observed_until_us) == (START_US, START_US + 5 * DAY_US)
    assert dict(index.event_types) == {"purchase": 4, "visit": 2, "return": 1}


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=12)
@given(rows=st.lists(ROW, min_size=1, max_size=30), rows_per_part=st.integers(1, 40))
def test_agrees_with_a_plain_sort_for_any_number_of_parts(
    tmp_path_factory: pytest.TempPathFactory, rows: list[tuple[Any, ...]], rows_per_part: int
) -> None:
    """Python's own stable sort of the same rows gives the same histories, however many parts there are."""
    rows = [("a", 0, "purchase", None, None), *rows]
    names = ["customer_id", "day", "event_type", "amount", "channel"]
    table = pl.DataFrame(rows, schema=names, orient="row", infer_schema_length=None)
    table = table.with_columns(
        amount=pl.col("amount").cast(pl.Float64), channel=pl.col("channel").cast(pl.String)
    )
    table = table.with_columns(occurred_at=pl.Series(days_later(*table["day"]))).drop("day")
    limits = {"rows_per_part": rows_per_part}
    store = stored(tmp_path_factory.mktemp("shop"), {"events": table}, limits=limits)
    expected: dict[str, list[tuple[Any, ...]]] = {}
    for customer, day, kind, amount, channel in sorted(rows, key=lambda row: row[1]):
        expected.setdefault(customer, []).append((START_US + day * DAY_US, kind, amount, channel))
    known = {
        customer: list(zip(own["time"], own["type"], own["amount"], own["channel"], strict=True))
        for customer, own in customers_in(store).items()
    }
    assert known == expected


@pytest.mark.parametrize("rows_per_part", [701, 100, 23])
def test_parts_change_nothing_but_the_order_of_customers(tmp_path: Path, rows_per_part: int) -> None:
    """Events, attribute versions, labels, dictionaries and counts do not depend on the number of parts."""
    whole = stored(tmp_path / "whole", hard_tables(), **HARD)
    limits = {"rows_per_part": rows_per_part}
    parted = stored(tmp_path / "parted", hard_tables(), limits=limits, **HARD)
    assert customers_in(parted) == customers_in(whole)
    assert parted.histories.event_type.dictionary.values == whole.histories.event_type.dictionary.values
    for name in (
        "num_customers",
        "num_events",
        "num_versions",
        "num_labels",
        "event_types",
        "notices",
        "table_rows",
    ):
        assert getattr(parted.index, name) == getattr(whole.index, name), name
    assert not [path for path in (tmp_path / "parted" / "store").iterdir() if path.is_dir()]


def test_the_number_of_parts_has_a_bound(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A tiny rows_per_part does not open a file per row."""
    monkeypatch.setattr(making, "MAX_PARTS", 3)
    steps: list[float] = []
    config = shop_config(tmp_path / "data", hard_tables(), limits={"rows_per_part": 1}, **HARD)
    prepare(
        config,
        store_dir=tmp_path / "store",
        progress=lambda step, share: steps.append(share) if step == "sorting and writing" else None,
    )
    assert steps == [0, 1 / 3, 2 / 3]


def test_labels_are_sorted_by_customer_and_cutoff(tmp_path: Path) -> None:
    """The table of labels is in the order in which it is looked up, in several parts too."""
    labels = stored(tmp_path, hard_tables(), limits={"rows_per_part": 100}, **HARD).labels
    assert labels is not None
    assert np.array_equal(np.lexsort((labels.cutoff_us, labels.customer)), np.arange(len(labels.customer)))
    assert (np.diff(labels.customer) | np.diff(labels.cutoff_us)).all()


def test_every_kind_of_unicode_survives(tmp_path: Path) -> None:
    """NUL, right-to-left, combining, emoji and very long strings come back, each as a value of its own."""
    num = len(HARD_TEXTS)
    events = pl.DataFrame(
        {
            "customer_id": [f"id {text}" for text in HARD_TEXTS],
            "occurred_at": days_later(*range(num)),
            "event_type": ["purchase", *(f"type {text}" for text in HARD_TEXTS[1:])],
            "amount": [1.0] * num,
            "channel": HARD_TEXTS,
        }
    )
    known = customers_in(stored(tmp_path, {"events": events}, limits={"rows_per_part": 3}))
    assert {(name, own["channel"][0]) for name, own in known.items()} == {(f"id {t}", t) for t in HARD_TEXTS}


def test_integer_ids_of_one_table_meet_text_ids_of_another(tmp_path: Path) -> None:
    """Ids are compared as text: 7 in one table is "7" in another, and "07" is somebody else."""
    tables = {
        "events": shop_events().with_columns(customer_id=pl.Series([7, 8, 7, 9, 8, 7, 8])),
        "customers": pl.DataFrame({"customer_id": ["7", "08"], "region": ["north", "south"]}),
    }
    customers = {"sql": "SELECT * FROM customers", "attributes": {"region": {"kind": "categorical"}}}
    store = stored(tmp_path, tables, customers=customers)
    known = customers_in(store)
    assert {name: own["attribute region"] for name, own in known.items()} == {
        "7": ["north"],
        "8": [],
        "9": [],
    }
    assert store.index.notices == {"customers: versions of customers without events, dropped": 1}


def test_attributes_of_nobody_are_told(tmp_path: Path) -> None:
    """Where no id of one table is in the other, every attribute is missing: that is hardly meant."""
    tables = {
        "events": shop_events().with_columns(customer_id=pl.Series([7, 8, 7, 9, 8, 7, 8])),
        "customers": pl.DataFrame({"customer_id": ["007", "008"], "region": ["north", "south"]}),
    }
    customers = {"sql": "SELECT * FROM customers", "attributes": {"region": {"kind": "categorical"}}}
    notices = stored(tmp_path, tables, customers=customers).index.notices
    assert [count for text, count in notices.items() if "are ids written alike" in text] == [2]


def test_attribute_versions_ascend_and_the_last_one_given_wins(tmp_path: Path) -> None:
    """Versions are sorted; one without valid_from held always; of equal ones the later row stays, counted."""
    day = days_later(1, 2)
    customers = pl.DataFrame(
        {
            "customer_id": ["al", "al", "al", "al", "bo"],
            "valid_from": [day[1], None, day[0], day[1], day[0]],
            "region": ["a", "b", None, "d", "e"],
            "age": [1.0, 2.0, float("nan"), 4.0, 5.0],
        }
    )
    store = stored(tmp_path, {"events": shop_events(), "customers": customers}, customers=HARD["customers"])
    known = customers_in(store)
    assert known["al"]["valid_from"] == [ALWAYS_US, START_US + DAY_US, START_US + 2 * DAY_US]
    assert known["al"]["attribute region"] == ["b", None, "d"]
    assert known["al"]["attribute age"] == [2.0, None, 4.0]
    assert known["cy"]["valid_from"] == []
    replaced = "customers: versions that a later one for the same customer and time replaces"
    assert store.index.notices == {replaced: 1}


@pytest.mark.parametrize("rows_per_part", [100, 2])
def test_exact_duplicates_are_counted_and_dropped_only_on_request(tmp_path: Path, rows_per_part: int) -> None:
    """Rows equal in every column count as duplicates, also with another event of that instant between."""
    first, other = shop_events()[1:2], shop_events()[6:7]
    table = pl.concat([first, other, first, shop_events(), first])
    kept = stored(tmp_path / "kept", {"events": table}, limits={"rows_per_part": rows_per_part})
    assert kept.index.num_events == 11
    assert kept.index.notices == {"events: exact duplicates, kept": 4}
    limits = {"rows_per_part": rows_per_part, "drop_duplicates": True}
    dropped = stored(tmp_path / "dropped", {"events": table}, limits=limits)
    assert dropped.index.num_events == 7
    assert dropped.index.notices == {"events: exact duplicates, dropped": 4}
    assert customers_in(dropped)["al"]["type"] == ["purchase", "visit", "purchase"]
    assert sum(dropped.index.event_types.values()) == 7


def shop_that_loses(num: int, *, num_back: int = 0) -> pl.DataFrame:
    """Return customers who buy three times, the first of whom are called lost then; some come back."""
    rows = [
        (f"customer {number:03}", day, kind)
        for number in range(100)
        for day, kind in [(0, "purchase"), (10, "purchase"), (20, "purchase")]
        + ([(50, "lost")] if number < num else [])
        + ([(60, "purchase")] if number < num_back else [])
    ]
    names, days, kinds = zip(*rows, strict=True)
    return pl.DataFrame(
        {
            "customer_id": names,
            "occurred_at": days_later(*days),
            "event_type": kinds,
            "amount": [1.0] * len(rows),
            "channel": ["web"] * len(rows),
        }
    )


@pytest.mark.parametrize("rows_per_part", [1_000, 90])
@pytest.mark.parametrize(
    ("num", "num_back", "changes", "is_told"),
    [
        (60, 0, {}, True),
        (60, 0, {"ended_by": ["lost"]}, False),
        (60, 2, {}, False),
        (29, 0, {}, False),
    ],
    ids=["final", "named", "some come back", "few"],
)
def test_a_type_after_which_nothing_happens_is_told(
    tmp_path: Path, rows_per_part: int, num: int, num_back: int, changes: dict[str, Any], is_told: bool
) -> None:
    """Written in hindsight it would give away who has left; purchases are last too, but often are not."""
    table = shop_that_loses(num, num_back=num_back)
    store = stored(tmp_path, {"events": table}, limits={"rows_per_part": rows_per_part}, **changes)
    told = {text.split(",")[0]: count for text, count in store.index.notices.items()}
    assert told == ({"events of type 'lost'": num} if is_told else {})


def test_unusable_rows_are_counted_and_left_out(tmp_path: Path) -> None:
    """Each reason has its count and an example; the rest is stored, and no dictionary knows of them."""
    bad = shop_events()[:3].with_columns(
        customer_id=pl.Series([None, "al", "al"]),
        amount=pl.Series([1.0, float("inf"), 1e39]),
        channel=pl.lit("only here"),
    )
    table = pl.concat([shop_events(), bad])
    store = stored(tmp_path, {"events": table}, limits={"max_excluded_share": 0.3})
    assert store.index.excluded == {"events": {"no customer": 1, "amount: infinite or beyond float32": 2}}
    example = store.index.examples["events: amount: infinite or beyond float32"]
    assert example == "amount = inf in row 9 of the query's result"
    assert store.index.num_events == 7
    assert "only here" not in store.histories.categorical["channel"].dictionary.values


def test_too_many_unusable_rows_fail_with_reasons_and_shares(tmp_path: Path) -> None:
    """Above the configured share the run fails, and an older store stays."""
    stored(tmp_path, {"events": shop_events()})
    table = shop_events().with_columns(
        customer_id=pl.Series(["al", None, "bo", "cy", None, "bo", "al"]),
        amount=pl.Series([1.0, 1.0, float("inf"), 1.0, 1.0, 1.0, 1.0]),
    )
    with pytest.raises(DataError) as caught:
        stored(tmp_path, {"events": table}, limits={"max_excluded_share": 0.4})
    assert str(caught.value) == (
        "data.events: got '42.86% of 7 rows unusable', but limits.max_excluded_share allows 40.00%, "
        "and one row at least must be usable: no customer 28.57%; amount: infinite or beyond float32 14.29% "
        "(first: amount = inf in row 3 of the query's result)"
    )
    assert HistoryStore.open(tmp_path / "store").index.num_events == 7
    assert sorted(path.name for path in tmp_path.iterdir()) == [".store.lock", "data", "store"]


def test_times_of_another_form_are_refused_with_the_sql_that_reads_them(tmp_path: Path) -> None:
    """A date that begins with its day is nothing to guess at: the message shows SQL that reads it."""
    table = shop_events().with_columns(occurred_at=pl.lit("23.04.2023 14:53"))
    with pytest.raises(DataError, match="unreadable time 100") as caught:
        stored(tmp_path, {"events": table})
    call = re.search(r"STRPTIME\(x, .*?\)", str(caught.value))
    assert call is not None
    read = pl.DataFrame({"x": ["23.04.2023 14:53"]}).select(pl.sql_expr(call[0]))
    assert read.item() == datetime(2023, 4, 23, 14, 53)  # noqa: DTZ001 (a local time)


def test_a_share_of_one_still_needs_a_usable_row(tmp_path: Path) -> None:
    """Where no row can be used there is nothing to store, whatever share is allowed."""
    table = shop_events().with_columns(customer_id=pl.lit(None, dtype=pl.String))
    with pytest.raises(DataError, match="no customer 100"):
        stored(tmp_path, {"events": table}, limits={"max_excluded_share": 1.0})


def test_a_query_without_rows_is_refused(tmp_path: Path) -> None:
    """An empty result is no data set."""
    with pytest.raises(DataError, match="at least one row") as caught:
        stored(tmp_path, {"events": shop_events()[:0]})
    assert caught.value.field == "data.events.sql"


def test_empty_attributes_and_labels_are_fine(tmp_path: Path) -> None:
    """Tables beside the events may have no rows, in several parts too."""
    tables = {name: table if name == "events" else table[:0] for name, table in hard_tables().items()}
    store = stored(tmp_path, tables, limits={"rows_per_part": 100}, **HARD)
    assert (store.index.num_versions, store.index.num_labels) == (0, 0)
    assert store.labels is not None


def test_an_activity_that_no_event_is_fails(tmp_path: Path) -> None:
    """A misspelt activity would make every customer look dead, so that it is no notice but an error."""
    with pytest.raises(DataError, match=r"no event has such a type; there are \['purchase'"):
        stored(tmp_path, {"events": shop_events()}, activity=["Purchase"])


def test_a_declared_type_that_no_event_has_is_noticed(tmp_path: Path) -> None:
    """An end of life that never came is possible, and shown."""
    store = stored(tmp_path, {"events": shop_events()}, ended_by=["closed"])
    assert store.index.notices == {"declared event type 'closed' that no event has": 1}


def test_observed_span_can_be_declared_but_not_reversed(tmp_path: Path) -> None:
    """Declared bounds replace those of the events; an end before the beginning is refused."""
    span = {"observed_from": "2023-12-01", "observed_until": "2024-12-31T00:00:00Z"}
    index = stored(tmp_path, {"events": shop_events()}, **span).index
    assert (index.observed_from_us, index.observed_until_us) == (1_701_388_800_000_000, 1_735_603_200_000_000)
    with pytest.raises(DataError, match="must not lie before") as caught:
        stored(tmp_path, {"events": shop_events()}, observed_until="2023-01-01")
    assert caught.value.field == "data.observed_until"
    assert "(2024-01-01T12:00:00+00:00)" in caught.value.limit


def test_a_customer_with_100_000_events(tmp_path: Path) -> None:
    """One very long history is a history like any other."""
    num = 100_000
    times = pl.Series(np.arange(num)[::-1] * 1_000_000 + START_US).cast(pl.Datetime("us", "UTC"))
    events = pl.DataFrame({"occurred_at": times, "amount": np.arange(num) * 1.0}).with_columns(
        customer_id=pl.lit("al"), event_type=pl.lit("purchase"), channel=pl.lit("web")
    )
    store = stored(tmp_path, {"events": events}, limits={"rows_per_part": 1_000})
    assert store.histories.offsets.tolist() == [0, num]
    assert (np.diff(store.histories.occurred_at_us) == 1_000_000).all()
    assert (np.diff(store.histories.numeric["amount"]) == -1.0).all()


def test_the_reason_column_never_reaches_the_store(tmp_path: Path) -> None:
    """A store holds canonical columns only."""
    store = stored(tmp_path, {"events": shop_events()})
    assert not [file for file in store.index.files if REASON in file]
    assert isinstance(shop_config(tmp_path / "data"), DataConfig)
