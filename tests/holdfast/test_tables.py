"""Rows and tables of every library become the same histories, and what cannot be used is named by row."""

# ruff: noqa: PD011 (`.values` of a Dictionary, not of a pandas object)

import collections
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta, timezone
from decimal import Decimal
from fractions import Fraction
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from builders import small_schema
from holdfast.columns import codes_of, numbers_of, times_of
from holdfast.errors import DataError
from holdfast.histories import ALWAYS_US
from holdfast.tables import Tabled, read_tables

BERLIN = ZoneInfo("Europe/Berlin")
ROWS = [
    {
        "customer_id": "b",
        "occurred_at": datetime(2024, 1, 2, tzinfo=UTC),
        "event_type": "purchase",
        "amount": 3.5,
    },
    {"customer_id": "a", "occurred_at": datetime(2024, 1, 2, 1, tzinfo=BERLIN), "event_type": "visit"},
    {
        "customer_id": "b",
        "occurred_at": datetime(2024, 1, 1, tzinfo=UTC),
        "event_type": "return",
        "channel": "web",
    },
    {
        "customer_id": "b",
        "occurred_at": datetime(2024, 1, 2, tzinfo=UTC),
        "event_type": "visit",
        "amount": -1,
    },
]
COLUMNS = {
    name: [row.get(name) for row in ROWS]
    for name in ("customer_id", "occurred_at", "event_type", "amount", "channel")
}
UTC_COLUMNS = COLUMNS | {"occurred_at": [at.astimezone(UTC) for at in COLUMNS["occurred_at"]]}
POLARS = pl.DataFrame(UTC_COLUMNS)
PANDAS = pd.DataFrame(UTC_COLUMNS)
ARROW = pa.table(UTC_COLUMNS)
Row = collections.namedtuple("Row", list(COLUMNS))  # noqa: PYI024 (the untyped form is what callers have)


def read(events: Any, **options: Any) -> Tabled:
    """Read with the small schema."""
    return read_tables(events, small_schema(), **options)


def shown(tabled: Tabled) -> dict[str, tuple[Any, ...]]:
    """Return by customer, in order, what every event says, texts instead of codes."""
    histories = tabled.histories
    column = histories.categorical["channel"]
    events = [
        (
            int(histories.occurred_at_us[row]),
            histories.event_type.dictionary.values[histories.event_type.codes[row]],
            repr(float(histories.numeric["amount"][row])),
            None if column.codes[row] < 0 else column.dictionary.values[column.codes[row]],
        )
        for row in range(histories.num_events)
    ]
    offsets = histories.offsets
    return {
        customer: tuple(events[offsets[index] : offsets[index + 1]])
        for index, customer in enumerate(tabled.customer_ids)
    }


DAY_1, DAY_2 = 1_704_067_200_000_000, 1_704_153_600_000_000
EXPECTED = {
    "b": ((DAY_1, "return", "nan", "web"), (DAY_2, "purchase", "3.5", None), (DAY_2, "visit", "-1.0", None)),
    "a": ((DAY_2, "visit", "nan", None),),
}
FORMS: dict[str, Callable[[], Any]] = {
    "rows": lambda: ROWS,
    "generator": lambda: iter(ROWS),
    "named tuples": lambda: [Row(*values) for values in zip(*COLUMNS.values(), strict=True)],
    "columns": lambda: COLUMNS,
    "columns of tuples": lambda: {name: tuple(values) for name, values in COLUMNS.items()},
    "microseconds": lambda: COLUMNS | {"occurred_at": [DAY_2, DAY_2, DAY_1, DAY_2]},
    "microseconds of NumPy": lambda: COLUMNS | {"occurred_at": list(np.array([DAY_2, DAY_2, DAY_1, DAY_2]))},
    "Polars": lambda: POLARS,
    "Polars in another zone": lambda: POLARS.with_columns(
        pl.col("occurred_at").dt.convert_time_zone("Asia/Tokyo")
    ),
    "Polars in nanoseconds": lambda: POLARS.with_columns(
        pl.col("occurred_at").cast(pl.Datetime("ns", "UTC"))
    ),
    "Polars categorical": lambda: POLARS.with_columns(pl.col("event_type", "channel").cast(pl.Categorical)),
    "pandas": lambda: PANDAS,
    "pandas in another zone": lambda: PANDAS.assign(
        occurred_at=PANDAS["occurred_at"].dt.tz_convert("Asia/Tokyo")
    ),
    "pandas with an index of its own": lambda: PANDAS.set_index(pd.Index([7, 7, 3, 1])),
    "pandas nullable": PANDAS.convert_dtypes,
    "pandas categorical": lambda: PANDAS.astype({"event_type": "category", "channel": "category"}),
    "pandas on Arrow": lambda: ARROW.to_pandas(types_mapper=pd.ArrowDtype),
    "Arrow": lambda: ARROW,
    "Arrow batch": lambda: ARROW.to_batches()[0],
    "Arrow in chunks": lambda: pa.concat_tables([ARROW.slice(0, 1), ARROW.slice(1)]),
    "Arrow dictionary": lambda: ARROW.set_column(2, "event_type", ARROW["event_type"].dictionary_encode()),
}


@pytest.mark.parametrize("form", FORMS)
def test_every_form_of_table_gives_the_same_histories(form: str) -> None:
    """Grouped by customer in order of appearance, sorted by time, ties as they were given."""
    assert shown(read(FORMS[form]())) == EXPECTED


def test_plain_tuples_follow_the_schema() -> None:
    """A tuple is customer, time, event type and then the declared fields."""
    tabled = read([("a", DAY_1, "visit", 1.5, None, "web")])
    assert shown(tabled) == {"a": ((DAY_1, "visit", "1.5", "web"),)}


@pytest.mark.parametrize("events", [[], {}, POLARS.clear(), PANDAS.iloc[:0], ARROW.slice(0, 0)])
def test_no_events_are_no_customers(events: Any) -> None:
    """An empty table of any form is an empty batch, not an error."""
    tabled = read(events)
    assert (tabled.histories.num_customers, tabled.histories.num_events, len(tabled.customer_ids)) == (
        0,
        0,
        0,
    )


def test_customers_without_events_have_an_empty_history() -> None:
    """Whoever stands in the customers table or is asked for by id is there, in that order."""
    by_table = read(ROWS, customers=[{"customer_id": "z", "age": 30}, {"customer_id": "a", "age": None}])
    assert list(by_table.customer_ids) == ["z", "a", "b"]
    np.testing.assert_array_equal(np.diff(by_table.histories.offsets), [0, 1, 3])
    by_id = read(ROWS, customer_ids=["a", "q", "b"])
    np.testing.assert_array_equal(np.diff(by_id.histories.offsets), [1, 0, 3])


def test_versions_of_attributes_are_sorted_and_may_always_hold() -> None:
    """Without ``valid_from`` a version has always held; with it, versions ascend."""
    customers = pl.DataFrame(
        {
            "customer_id": ["b", "a", "b"],
            "region": ["south", None, "north"],
            "age": [41, 7, None],
            "valid_from": [datetime(2024, 3, 1, tzinfo=UTC), None, datetime(2024, 2, 1, tzinfo=UTC)],
        }
    )
    versions = read(ROWS, customers=customers).histories.attributes
    np.testing.assert_array_equal(versions.offsets, [0, 2, 3])
    assert versions.valid_from_us[2] == ALWAYS_US
    assert versions.valid_from_us[0] < versions.valid_from_us[1]
    regions = versions.categorical["region"]
    assert [regions.dictionary.values[c] if c >= 0 else None for c in regions.codes] == [
        "north",
        "south",
        None,
    ]
    np.testing.assert_array_equal(versions.numeric["age"], np.array([np.nan, 41, 7], dtype=np.float32))


def test_every_kind_of_text_is_kept() -> None:
    """Ids and categories are compared as given: no case folding, trimming or normal form."""
    texts = [" ", "a", "A", "e\u0301", "\u00e9", "\U0001f6d2", "a\x00", "\u202egnp", "Straße", "\u200b"]
    rows = [
        {"customer_id": text, "occurred_at": DAY_1, "event_type": text, "channel": text} for text in texts
    ]
    tabled = read([*rows, rows[0] | {"channel": ""}])
    assert list(tabled.customer_ids) == texts
    assert tabled.histories.categorical["channel"].dictionary.values == (*texts, "")
    assert tabled.histories.event_type.dictionary.values == tuple(texts)
    assert shown(tabled)["\u00e9"] != shown(tabled)["e\u0301"]


@pytest.mark.parametrize("ids", [[3, 1, 3], [(1, "x"), (0, "y"), (1, "x")]])
def test_ids_are_given_back_as_they_came(ids: list[Any]) -> None:
    """Integers and composite keys stay what they are."""
    rows = [{"customer_id": key, "occurred_at": DAY_1, "event_type": "visit"} for key in ids]
    assert list(read(rows).customer_ids) == list(dict.fromkeys(ids))


def one(**changes: Any) -> list[dict[str, Any]]:
    """Return a sound row and then one with changes."""
    sound = {"customer_id": "a", "occurred_at": DAY_1, "event_type": "visit"}
    return [sound, sound | changes]


@pytest.mark.parametrize(
    ("events", "options", "message"),
    [
        (one(amonut=1.0), {}, r"events\.amonut: .* declares \['amount', 'quantity', 'channel'\]"),
        (one(customer_id=None), {}, r"events\.customer_id\[1\]: got None"),
        (one(customer_id=""), {}, r"events\.customer_id\[1\]: got '', .*missing or empty"),
        (one(event_type=""), {}, r"events\.event_type\[1\]: got '', .*missing or empty"),
        (ROWS, {"customers": [{"customer_id": ""}]}, r"customers\.customer_id\[0\]: got ''"),
        (ROWS, {"customer_ids": ["b", ""]}, r"customer_ids\[1\]: got ''"),
        (one(customer_id=float("nan")), {}, r"events\.customer_id\[1\]: got nan"),
        (one(customer_id=["a"]), {}, r"events\.customer_id: .*unhashable"),
        (one(occurred_at=None), {}, r"events\.occurred_at\[1\]: got None"),
        (one(occurred_at=np.datetime64("NaT")), {}, r"events\.occurred_at\[1\]"),
        (one(occurred_at=1.5), {}, r"events\.occurred_at\[1\]: got 1\.5"),
        (one(occurred_at=True), {}, r"events\.occurred_at\[1\]: got True"),
        (one(occurred_at=10**30), {}, r"events\.occurred_at\[1\]: got 10{30}, .*microseconds"),
        (
            COLUMNS | {"occurred_at": np.full(len(ROWS), 2**63, np.uint64)},
            {},
            r"\[0\]: got 9223372036854775808",
        ),
        (
            pl.DataFrame(one()).with_columns(occurred_at=pl.Series([DAY_1, None])),
            {},
            r"occurred_at\[1\]: got None",
        ),
        (one(occurred_at="2024-01-01"), {}, r"events\.occurred_at\[1\]: got '2024"),
        (one(occurred_at=date(2024, 1, 1)), {}, r"events\.occurred_at\[1\]"),
        (one(occurred_at=datetime(2024, 1, 1)), {}, r"events\.occurred_at\[1\]: .*no time zone"),  # noqa: DTZ001
        (one(occurred_at=np.datetime64("2024-01-01")), {}, r"events\.occurred_at\[1\]: .*no time zone"),
        (one(event_type=None), {}, r"events\.event_type\[1\]: got None"),
        (one(event_type=5), {}, r"events\.event_type\[1\]: got 5, .*text"),
        (one(channel=3), {}, r"events\.channel\[1\]: got 3, .*text"),
        (one(amount="12"), {}, r"events\.amount\[1\]: got '12', .*number"),
        (one(amount=np.timedelta64(1, "s")), {}, r"events\.amount\[1\]: .*number"),
        (one(amount=[1, 2])[1:] * 2, {}, r"events\.amount\[0\]: got \[1, 2\], .*number"),
        (one(amount=1j), {}, r"events\.amount\[1\]: .*number"),
        ([{"customer_id": "a"}], {}, r"events\.occurred_at: .*needed"),
        ([(1, 2)], {}, r"events\[0\]: .*6 values"),
        ([5], {}, r"events\[0\]: got 5"),
        ([{}], {}, r"events\[0\]: got {}, .*columns"),
        (5, {}, "events: got 'int'"),
        ("text", {}, "events: got 'str'"),
        (POLARS.lazy(), {}, "collect a lazy one"),
        (COLUMNS | {"amount": [1.0]}, {}, "one length"),
        (POLARS.with_columns(pl.col("occurred_at").dt.replace_time_zone(None)), {}, "no time zone"),
        (PANDAS.assign(occurred_at=PANDAS["occurred_at"].dt.tz_localize(None)), {}, "no time zone"),
        (ROWS, {"time_zone": "Mars/Olympus"}, "time_zone: got 'Mars/Olympus'"),
        (ROWS, {"time_zone": "../etc"}, "time_zone"),
        (ROWS, {"customer_ids": ["a"]}, r"events\.customer_id\[0\]: got 'b'"),
        (ROWS, {"customer_ids": ["a", "b", "a"]}, "customer_ids: got 3"),
        (ROWS, {"customers": [{"customer_id": "a"}, {"customer_id": "a"}]}, r"customers\.customer_id\[1\]"),
        (ROWS, {"customers": [{"customer_id": "a", "plan": "x"}]}, r"customers\.plan: .*'region', 'age'"),
        (ROWS, {"customers": [{"customer_id": 1}]}, "customer_id: .*of one type in both tables"),
        (ROWS, {"customer_ids": "ab"}, "customer_ids: got 'ab', .*list"),
        (COLUMNS | {"amount": None}, {}, r"events\.amount: got None, .*one column"),
        ({"customer_id": "ab", "occurred_at": [1, 2]}, {}, r"events\.customer_id: got 'ab', .*one column"),
        (COLUMNS | {"amount": np.ones((len(ROWS), 2))}, {}, r"events\.amount: got \(\d, 2\), .*one column"),
        (PANDAS[[*PANDAS.columns, "amount"]], {}, r"events\.amount: got \(\d, 2\), .*one column"),
        (ROWS, {"customers": [{"region": "x"}]}, r"customers\.customer_id: .*needed"),
        (COLUMNS | {"customer_id": {"a", "b"}}, {}, r"events\.customer_id: got .*one column"),
        (POLARS.with_columns(amount=pl.struct("amount", "channel")), {}, r"events\.amount\[0\]: .*number"),
        (
            COLUMNS | {"occurred_at": np.array([2**62] * len(ROWS)).view("datetime64[s]")},
            {"time_zone": "UTC"},
            r"events\.occurred_at\[0\]: got '146138514283-",
        ),
        (
            pa.Table.from_arrays([pa.array(["a"]), pa.array(["b"])], names=["customer_id", "customer_id"]),
            {},
            r"events: got \['customer_id'\], .*once",
        ),
    ],
)
def test_what_cannot_be_used_is_named(events: Any, options: dict[str, Any], message: str) -> None:
    """Table, column, row, value and limit stand in one line; nothing is guessed."""
    with pytest.raises(DataError, match=message):
        read(events, **options)


@pytest.mark.parametrize("of", [list, lambda values: np.array(values, dtype="datetime64[us]")])
def test_a_local_time_that_clocks_skipped_is_refused(of: Callable[[list[datetime]], object]) -> None:
    """Preparing leaves such a row out, so that a model has seen none; the hours around it are taken."""
    around = [datetime(2024, 3, 31, 1, 59, 59), datetime(2024, 3, 31, 3), datetime(2024, 10, 27, 2, 30)]  # noqa: DTZ001
    times_of(of(around), where="t", zone=BERLIN)
    with pytest.raises(DataError, match=r"t\[3\]: .*in Europe/Berlin clocks skip this local time"):
        times_of(of([*around, datetime(2024, 3, 31, 2, 30)]), where="t", zone=BERLIN)  # noqa: DTZ001


def test_naive_times_are_read_in_the_zone_that_is_stated() -> None:
    """Of a repeated hour the earlier is meant, unless the datetime itself says otherwise."""
    naive = [datetime(2024, 7, 1, 12), datetime(2024, 10, 27, 2, 30), datetime(2024, 10, 27, 2, 30, fold=1)]  # noqa: DTZ001
    expected = [at.replace(tzinfo=BERLIN).astimezone(UTC) for at in naive]
    assert expected[2] - expected[1] == timedelta(hours=1)
    found = times_of(naive, where="t", zone=BERLIN)
    assert [datetime.fromtimestamp(us / 1e6, UTC) for us in found] == expected
    array = times_of(np.array(naive[:2], dtype="datetime64[ms]"), where="t", zone=BERLIN)
    np.testing.assert_array_equal(array, found[:2])
    frame = pd.Series(naive[:2])
    np.testing.assert_array_equal(times_of(frame, where="t", zone=BERLIN), found[:2])
    np.testing.assert_array_equal(
        times_of(np.array(naive[:1], dtype="datetime64[s]"), where="t", zone=UTC), [1_719_835_200_000_000]
    )


@given(
    st.lists(
        st.datetimes(timezones=st.sampled_from([UTC, BERLIN, timezone(timedelta(hours=-9, minutes=30))]))
    )
)
def test_times_are_exact_to_the_microsecond(times: list[datetime]) -> None:
    """No time goes through a float, years 1 to 9999, in whatever zone."""
    epoch = datetime(1970, 1, 1, tzinfo=UTC)
    expected = [(at - epoch) // timedelta(microseconds=1) for at in times]
    assert times_of(times, where="t", zone=None).tolist() == expected


def test_numbers_of_every_kind_become_float32() -> None:
    """Integers, booleans, decimals and missing values are numbers; what is too large becomes infinite."""
    values = [1, 2.5, True, Decimal("0.1"), None, float("nan"), pd.NA, np.float32(3), 1e39, -1e300]
    values += [Decimal("sNaN"), 10**400, -(10**400), Fraction(10**400, 3), Fraction(1, 2)]
    expected = [1, 2.5, 1, 0.1, np.nan, np.nan, np.nan, 3, np.inf, -np.inf]
    expected += [np.nan, np.inf, -np.inf, np.inf, 0.5]
    np.testing.assert_array_equal(numbers_of(values, where="n"), np.array(expected, dtype=np.float32))


def test_masked_numbers_are_missing() -> None:
    """As NumPy marks them."""
    amounts = np.ma.MaskedArray([1.0, 2.0], mask=[False, True])
    np.testing.assert_array_equal(
        numbers_of(amounts, where="amount"), np.array([1, np.nan], dtype=np.float32)
    )


def test_a_type_that_numpy_lacks_is_read_value_by_value() -> None:
    """What a library makes of the difference is not the caller's concern."""
    wide = pl.Series([5, None, 2**100], dtype=pl.Int128)
    np.testing.assert_array_equal(numbers_of(wide, where="n"), np.array([5, np.nan, 2**100], np.float32))
    times = pl.Series([DAY_1, DAY_1 + 1], dtype=pl.Int128)
    assert times_of(times, where="t", zone=None).tolist() == [DAY_1, DAY_1 + 1]


def test_texts_become_plain_strings() -> None:
    """NumPy's own strings and text arrays are text; NaN and NaT are missing."""
    column = codes_of([np.str_("a"), "a", None, float("nan"), pd.NaT, "b"], where="c")
    np.testing.assert_array_equal(column.codes, [0, 0, -1, -1, -1, 1])
    assert [type(value) for value in column.dictionary.values] == [str, str]
    assert codes_of(np.array(["x", "y"]), where="c").dictionary.values == ("x", "y")


def test_a_hundred_thousand_events_of_one_customer_are_sorted_stably() -> None:
    """The order of ties survives at size."""
    num = 100_000
    rng = np.random.default_rng(0)
    times = DAY_1 + rng.integers(0, 50, num)
    events = pl.DataFrame(
        {"occurred_at": times, "amount": np.arange(num), "customer_id": "x", "event_type": "visit"}
    )
    histories = read(events).histories
    order = np.argsort(times, kind="stable")
    np.testing.assert_array_equal(histories.numeric["amount"], order.astype(np.float32))
