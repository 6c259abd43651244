"""Events that come customer by customer are stored in one pass; any others as well as ever."""

from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from data_set_builder import shop_config
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from store_cases import HARD, ROW, customers_in, hard_tables

from holdfast.errors import DataError
from training.canonical import events_table
from training.prepare import prepare
from training.sources import scan_sources
from training.store import HistoryStore, making
from training.store.stream import EventStream, OutOfOrderError


def ordered_tables() -> dict[str, pl.DataFrame]:
    """Return the hard tables with each customer's events together, customers ascending, times mixed."""
    tables = hard_tables()
    return tables | {"events": tables["events"].sort("customer_id", maintain_order=True)}


def stored(folder: Path, tables: dict[str, pl.DataFrame], **changes: Any) -> tuple[HistoryStore, list[str]]:
    """Prepare tables; return the verified store and the steps that it took."""
    steps: list[str] = []
    config = shop_config(folder / "data", tables, **changes)
    prepare(config, store_dir=folder / "store", force=True, progress=lambda step, _: steps.append(step))
    return HistoryStore.open(folder / "store"), steps


def stream_of(folder: Path, ids: list[str | None], *, chunk_rows: int) -> EventStream:
    """Return a stream over one event per id."""
    num = len(ids)
    table = pl.DataFrame(
        {
            "customer_id": pl.Series(ids, dtype=pl.String),
            "occurred_at": pl.Series(np.arange(num) * 1_000_000).cast(pl.Datetime("us", "UTC")),
            "event_type": ["purchase"] * num,
            "amount": np.arange(num, dtype=np.float64),
            "channel": ["web"] * num,
        }
    )
    config = shop_config(folder, {"events": table})
    return EventStream(events_table(config, scan_sources(config.sources)), chunk_rows=chunk_rows)


@pytest.mark.parametrize("chunk_rows", [1, 7, 64, 1_000])
def test_one_pass_gives_the_very_store_that_sorting_gives(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, chunk_rows: int
) -> None:
    """However many rows are read at a time, the files are those that a sort of all rows gives."""
    sorted_store, steps = stored(tmp_path / "sorted", hard_tables(), **HARD)
    assert "sorting and writing" in steps
    monkeypatch.setattr(making, "CHUNK_ROWS", chunk_rows)
    store, steps = stored(tmp_path / "streamed", ordered_tables(), **HARD)
    assert "sorting and writing" not in steps
    assert customers_in(store) == customers_in(sorted_store)
    for name in ("files", "event_types", "notices", "table_rows", "num_versions", "num_labels"):
        assert getattr(store.index, name) == getattr(sorted_store.index, name), name


def test_disorder_that_shows_late_is_sorted_after_all(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two deliveries, each in order: what was written of the first is thrown away."""
    events = ordered_tables()["events"]
    twice = pl.concat([events[::2], events[1::2]])
    monkeypatch.setattr(making, "CHUNK_ROWS", 50)
    store, steps = stored(tmp_path / "late", {"events": twice})
    assert "sorting and writing" in steps
    assert store.index.num_events == len(events)
    assert customers_in(store).keys() == set(events["customer_id"])
    assert not [path for path in (tmp_path / "late" / "store").iterdir() if path.is_dir()]


def test_other_tables_that_do_not_fit_into_memory_are_split_by_customer(tmp_path: Path) -> None:
    """Streaming events would need all attributes at once; splitting needs one part of them."""
    _, steps = stored(tmp_path, ordered_tables(), limits={"rows_per_part": 150}, **HARD)
    assert "sorting and writing" in steps


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=8)
@given(rows=st.lists(ROW, min_size=1, max_size=30), chunk_rows=st.integers(1, 12))
def test_every_customer_comes_once_and_whole(
    tmp_path_factory: pytest.TempPathFactory, rows: list[tuple[Any, ...]], chunk_rows: int
) -> None:
    """Runs that end anywhere in a chunk, fill it or span several: each customer is given once, in order."""
    ids = sorted(customer for customer, *_ in rows)
    stream = stream_of(tmp_path_factory.mktemp("events"), ids, chunk_rows=chunk_rows)
    assert stream.begins_in_order()
    given_rows: list[tuple[str, float]] = []
    for group in stream.customers():
        names = group.ids.gather(group.customer).to_list()
        given_rows += zip(names, group.frame["amount"].to_list(), strict=True)
    assert given_rows == list(zip(ids, np.arange(len(ids)), strict=True))


def test_rows_that_cannot_be_used_are_counted_and_break_no_order(tmp_path: Path) -> None:
    """A row without a customer between two customers, and a chunk of nothing else."""
    stream = stream_of(tmp_path, ["a", None, "a", None, None, "b", ""], chunk_rows=2)
    assert [group.ids.to_list() for group in stream.customers()] == [["a"], ["b"]]
    assert stream.count_reasons() == (7, {"no customer": 4})


@pytest.mark.parametrize("ids", [["a", "b", "a"], ["b", "b", "a"]])
def test_a_customer_after_a_later_one_is_noticed(tmp_path: Path, ids: list[str]) -> None:
    """Within a chunk and between chunks."""
    assert not stream_of(tmp_path / "whole", ids, chunk_rows=9).begins_in_order()
    stream = stream_of(tmp_path / "split", ids, chunk_rows=1)
    assert stream.begins_in_order()
    with pytest.raises(OutOfOrderError):
        list(stream.customers())


def test_too_many_unusable_rows_leave_no_store(tmp_path: Path) -> None:
    """They are known only when all is read, and nothing stays of what was written."""
    events = ordered_tables()["events"].with_columns(event_type=pl.lit(None, dtype=pl.String))
    with pytest.raises(DataError, match="no event type 100"):
        stored(tmp_path, {"events": events})
    assert not (tmp_path / "store").exists()
