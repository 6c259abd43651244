"""Tables in which everything happens that may, and what a store knows of a customer as plain values."""

from typing import Any

import numpy as np
import polars as pl
from data_set_builder import days_later
from hypothesis import strategies as st

from training.store import HistoryStore

ROW = st.tuples(
    st.sampled_from(["a", "b", "c", "d", "e", "ü", "\x00", "long " * 20]),
    st.integers(0, 3),
    st.sampled_from(["purchase", "visit"]),
    st.sampled_from([None, 1.5, -2.0]),
    st.sampled_from([None, "web", "", "🛒"]),
)
"""One event: customer, day, type, amount, channel."""


def customers_in(store: HistoryStore) -> dict[str, dict[str, Any]]:
    """Return everything the store knows, by customer id, as plain values: whatever the customers' order."""
    h, known = store.histories, {}
    for row, customer_id in enumerate(store.customer_ids.to_list()):
        events = slice(h.offsets[row], h.offsets[row + 1])
        versions = slice(h.attributes.offsets[row], h.attributes.offsets[row + 1])
        known[customer_id] = {
            "time": h.occurred_at_us[events].tolist(),
            "type": texts(h.event_type, events),
            **{name: texts(column, events) for name, column in h.categorical.items()},
            **{name: numbers(column[events]) for name, column in h.numeric.items()},
            "valid_from": h.attributes.valid_from_us[versions].tolist(),
            **{f"attribute {n}": texts(c, versions) for n, c in h.attributes.categorical.items()},
            **{f"attribute {n}": numbers(c[versions]) for n, c in h.attributes.numeric.items()},
            "labels": labels_of(store, row),
        }
    return known


def texts(column: Any, rows: slice) -> list[str | None]:
    """Return the strings behind codes."""
    values = (*column.dictionary.values, None)
    return [values[code] for code in column.codes[rows]]


def numbers(column: Any) -> list[float | None]:
    """Return numbers, None where missing."""
    return [None if np.isnan(value) else float(value) for value in column]


def labels_of(store: HistoryStore, row: int) -> list[tuple[Any, ...]]:
    """Return a customer's labels."""
    if store.labels is None:
        return []
    own = np.flatnonzero(store.labels.customer == row)
    columns = [numbers(column[own]) for column in store.labels.values.values()]
    return list(zip(store.labels.cutoff_us[own].tolist(), *columns, strict=True))


def hard_tables() -> dict[str, pl.DataFrame]:
    """Return events, attributes and labels in which everything happens that may."""
    rng = np.random.default_rng(5)
    ids = [f"c{number}" for number in rng.integers(0, 40, 500)]
    events = pl.DataFrame(
        {
            "customer_id": ids,
            "occurred_at": days_later(*rng.integers(0, 20, 500).tolist()),
            "event_type": rng.choice(["purchase", "visit", "return"], 500),
            "amount": np.round(rng.normal(10, 5, 500), 2),
            "channel": rng.choice(["web", "shop", ""], 500),
        }
    )
    customers = pl.DataFrame(
        {
            "customer_id": [f"c{number}" for number in rng.integers(0, 60, 120)],
            "valid_from": [None, *days_later(*rng.integers(0, 3, 119).tolist())],
            "region": rng.choice(["north", "south"], 120),
            "age": rng.integers(18, 90, 120),
        }
    )
    labels = pl.DataFrame(
        {
            "customer_id": [f"c{number}" for number in rng.integers(0, 60, 90)],
            "cutoff": days_later(*rng.integers(5, 8, 90).tolist()),
            "churned": rng.integers(0, 2, 90),
            "spend": np.round(rng.normal(50, 5, 90), 2),
        }
    )
    return {"events": events, "customers": customers, "labels": labels}


HARD = {
    "customers": {
        "sql": "SELECT * FROM customers",
        "attributes": {"region": {"kind": "categorical"}, "age": {"kind": "numeric"}},
    },
    "labels": {"sql": "SELECT * FROM labels"},
}
