"""Training's model inputs and the server's are the same bits for the same histories, whatever they hold."""

import tempfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from data_set_builder import shop_mapping
from hypothesis import given, settings
from hypothesis import strategies as st

from builders import (
    CHANNELS,
    DAY,
    EVENT_TYPES,
    REGIONS,
    START_US,
    random_histories,
    segment_events,
    small_schema,
    small_spec,
)
from holdfast.calls import Ask
from holdfast.description import ModelDescription
from holdfast.encoding import Cutoffs, EncodingSpec, encode, encode_runs, pad
from holdfast.encoding.encode import Encoded
from holdfast.encoding.padding import EVENT_INPUTS
from holdfast.histories import CodedColumn, Histories
from holdfast.schema import Schema
from holdfast.tables import Tabled, read_tables
from holdfast.v1 import scoring_pb2 as pb
from holdfast.vocabulary import Dictionary, Vocabulary
from holdfast.wire import Limits, read_as_of_us, read_customers
from training.data_config import DataConfig
from training.fit_encoding import EncodingSettings, fit_encoding
from training.prepare import prepare
from training.store import HistoryStore, canonical_tables

NUM_CUSTOMERS = 16
READOUTS = ("readout_ids", "readout_values", "readout_calendar", "readout_days", "readout_visible")
COUNTS = ("lengths", "num_used", "num_truncated", "num_after")

text = st.text(max_size=12)
texts = st.lists(text, min_size=3, max_size=3, unique=True)


def renamed(histories: Histories, channels: list[str], regions: list[str]) -> Histories:
    """Return the histories with other words for the same codes."""

    def with_words(column: CodedColumn, words: list[str]) -> CodedColumn:
        return CodedColumn(codes=column.codes, dictionary=Dictionary(words[: len(column.dictionary)]))

    versions = histories.attributes
    return replace(
        histories,
        categorical={"channel": with_words(histories.categorical["channel"], channels)},
        attributes=replace(
            versions, categorical={"region": with_words(versions.categorical["region"], regions)}
        ),
    )


def spec_for(channels: list[str], regions: list[str]) -> EncodingSpec:
    """Return a spec that knows two of three channels and one of two regions."""
    return replace(
        small_spec(),
        categorical={"channel": Vocabulary(values=tuple(channels[:2]))},
        attribute_vocabularies={"region": Vocabulary(values=(regions[0],))},
    )


def raw_tables(histories: Histories) -> dict[str, pl.DataFrame]:
    """Return the histories as a company's tables, the customers' events mixed but in order of time."""

    def words(column: CodedColumn) -> pl.Series:
        values = pl.Series([*column.dictionary.values, None], dtype=pl.String)
        return values.gather(column.codes % len(values))

    def table(offsets: np.ndarray, times: np.ndarray, name: str) -> pl.DataFrame:
        owner = np.repeat(np.arange(len(offsets) - 1), np.diff(offsets))
        known = pl.Series(times).set(pl.Series(times == np.iinfo(np.int64).min), None)
        return pl.DataFrame(
            {"customer_id": pl.Series(owner).cast(pl.String), name: known.cast(pl.Datetime("us", "UTC"))}
        )

    versions = histories.attributes
    events = table(histories.offsets, histories.occurred_at_us, "occurred_at").with_columns(
        words(histories.event_type).alias("event_type"),
        words(histories.categorical["channel"]).alias("channel"),
        *(pl.Series(name, values) for name, values in histories.numeric.items()),
    )
    customers = table(versions.offsets, versions.valid_from_us, "valid_from").with_columns(
        words(versions.categorical["region"]).alias("region"), pl.Series("age", versions.numeric["age"])
    )
    return {"events": events.sort("occurred_at", maintain_order=True), "customers": customers}


def store_of(histories: Histories, folder: Path) -> HistoryStore:
    """Prepare the histories as a data set with the schema of :func:`small_schema`."""
    mapping = shop_mapping(
        folder / "data",
        raw_tables(histories),
        events={
            "sql": "SELECT * FROM events",
            "fields": {
                "amount": {"kind": "money"},
                "quantity": {"kind": "numeric", "unit": "items"},
                "channel": {"kind": "categorical"},
            },
        },
        customers={
            "sql": "SELECT * FROM customers",
            "attributes": {"region": {"kind": "categorical"}, "age": {"kind": "numeric", "unit": "years"}},
        },
        lookback_days=180,
        targets={
            target.name: {
                "kind": target.kind,
                "event_types": list(target.event_types),
                "horizons_days": list(target.horizons_days),
                "form": target.form,
                "field": target.field,
            }
            for target in small_schema().targets
        },
    )
    store = prepare(DataConfig.from_plain(mapping), store_dir=folder / "store")
    assert store.schema == small_schema()
    return store


def received(tabled: Tabled, as_of_us: int, schema: Schema) -> Histories:
    """Send customers as the client does and read them as the server does, through the bytes."""
    description = ModelDescription(
        name="small",
        version="1",
        created_at="2026-01-01T00:00:00Z",
        schema=schema,
        schema_fingerprint=schema.fingerprint(),
        targets=(),
        max_events=32,
        history_days=365,
        limits=Limits(),
    )
    ask = Ask(as_of_us=as_of_us, include_survival=False, include_embedding=False)
    (request, ids), *others = ask.requests(tabled, description)
    assert not others
    arrived = pb.ScoreRequest.FromString(request.SerializeToString())
    assert read_as_of_us(arrived) == as_of_us
    customers = read_customers(arrived, schema, limits=Limits())
    assert not customers.errors
    assert len(customers.positions) == len(ids)
    return customers.histories


def encoded(histories: Histories, as_of_us: int, spec: EncodingSpec) -> Encoded:
    """Encode every customer at one time."""
    num = histories.num_customers
    return encode(histories, Cutoffs.one_each(np.arange(num), np.full(num, as_of_us)), spec)


def served(
    histories: Histories, as_of_us: int, spec: EncodingSpec
) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """Return what the server's graph is given about all customers, and their events with an unknown value."""
    num, length = histories.num_customers, spec.max_events
    cutoffs, widths = Cutoffs.of_all(np.full(num, as_of_us)), np.full(num, length)
    [inputs], num_unknown = encode_runs(histories, cutoffs, spec, widths=widths, shapes=[(num, length)])
    return dict(inputs), num_unknown


def assert_same_bits(left: Encoded, right: Encoded) -> None:
    """Compare every array and every count to the last bit, signs of zero and all."""
    events = [segment_events(side, np.arange(len(side.lengths))) for side in (left, right)]
    for name in (*EVENT_INPUTS, *READOUTS, *COUNTS):
        mine, other = (
            flat[name] if name in flat else getattr(side, name)
            for flat, side in zip(events, (left, right), strict=True)
        )
        assert (mine.dtype, mine.shape) == (other.dtype, other.shape), name
        assert mine.tobytes() == other.tobytes(), name


@settings(max_examples=20)
@given(seed=st.integers(0, 2**32 - 1), channels=texts, regions=texts, hour=st.integers(-24, 510 * 24))
def test_the_server_encodes_what_training_encodes(
    seed: int, channels: list[str], regions: list[str], hour: int
) -> None:
    """Store to encoding, and store to table to request to encoding: the same bits for every customer."""
    histories = renamed(random_histories(np.random.default_rng(seed), NUM_CUSTOMERS), channels, regions)
    spec, as_of_us = spec_for(channels, regions), START_US + hour * (DAY // 24)
    with tempfile.TemporaryDirectory() as folder:
        store = store_of(histories, Path(folder))
        events, customers = canonical_tables(store, np.arange(store.index.num_customers))
        tabled = read_tables(
            events, store.schema, customers=customers, customer_ids=store.customer_ids.to_list()
        )
        ours = encoded(store.histories, as_of_us, spec)
        theirs = received(tabled, as_of_us, store.schema)
        assert_same_bits(ours, encoded(theirs, as_of_us, spec))
        inputs, num_unknown = served(theirs, as_of_us, spec)
        everybody = np.arange(len(ours.lengths))
        for name, expected in pad(ours, everybody, length=spec.max_events).items():
            assert inputs[name].tobytes() == expected.tobytes(), name
        np.testing.assert_array_equal(num_unknown, served(store.histories, as_of_us, spec)[1])
        # Not the histories that the store was made from: it knows nobody without events.
        direct = histories.take(np.array([int(customer) for customer in store.customer_ids]))
        assert_same_bits(ours, encoded(direct, as_of_us, spec))


def _rows(table: pl.DataFrame) -> list[dict[str, Any]]:
    return table.to_dicts()


FORMS: dict[str, Callable[[pl.DataFrame], Any]] = {
    "polars": lambda table: table,
    "pandas": lambda table: table.to_pandas(),
    "arrow": lambda table: table.to_arrow(),
    "rows": _rows,
    "columns": lambda table: {name: table[name].to_numpy() for name in table.columns},
}


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> HistoryStore:
    """Return a store of customers with every kind of value."""
    histories = random_histories(np.random.default_rng(11), 40)
    return store_of(histories, tmp_path_factory.mktemp("store"))


@pytest.mark.parametrize("form", FORMS)
def test_the_form_of_the_callers_table_changes_no_bit(store: HistoryStore, form: str) -> None:
    """Polars, pandas, Arrow, rows and plain columns are read to the same inputs, in the fitted encoding."""
    num, as_of_us = store.index.num_customers, START_US + 450 * DAY
    spec = fit_encoding(
        store.histories,
        store.schema,
        EncodingSettings(max_events=32, history_days=365),
        customer=np.arange(num),
        cutoff_us=np.full(num, START_US + 300 * DAY),
    )
    events, customers = canonical_tables(store, np.arange(num))
    tabled = read_tables(
        FORMS[form](events),
        store.schema,
        customers=FORMS[form](customers),
        customer_ids=store.customer_ids.to_list(),
        time_zone="UTC",
    )
    ours = encoded(store.histories, as_of_us, spec)
    assert_same_bits(ours, encoded(received(tabled, as_of_us, store.schema), as_of_us, spec))
    assert ours.num_used.max() == 32
    assert not served(store.histories, as_of_us, spec)[1].any()


def test_the_random_histories_are_as_hard_as_they_should_be() -> None:
    """Ties, missing values, unknown words, one event, changing attributes: or the proofs prove little."""
    histories = random_histories(np.random.default_rng(0), 200)
    lengths, versions = np.diff(histories.offsets), np.diff(histories.attributes.offsets)
    assert {0, 1, 2} <= set(lengths.tolist())
    assert versions.max() > 1
    assert (np.diff(histories.occurred_at_us) == 0).any()
    assert (histories.categorical["channel"].codes < 0).any()
    assert np.isnan(histories.numeric["amount"]).any()
    assert len(EVENT_TYPES) > len(small_spec().event_type.values)
    assert len(CHANNELS) == 3
    assert len(REGIONS) == 2
    assert served(histories, START_US + 400 * DAY, small_spec())[1].any()
