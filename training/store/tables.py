"""Customers of a store as canonical tables again: what a caller of the server would hold.

It deliberately does not know any client; the tables are ordinary Polars frames.
"""

from collections.abc import Mapping

import numpy as np
import polars as pl
from jaxtyping import Int64
from numpy import ndarray

from holdfast.histories import ALWAYS_US, CodedColumn
from training.store.reader import HistoryStore


def canonical_tables(
    store: HistoryStore, customers: Int64[ndarray, " customer"]
) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Return the events and the attributes of some customers.

    Args:
        store: An opened store.
        customers: Positions; each one once.

    Returns:
        ``events`` (customer_id, occurred_at in UTC, event_type, fields) and ``customers``
        (customer_id, valid_from in UTC or null, attributes), in the order asked for.
    """
    ids = store.customer_ids.gather(customers)
    own = store.histories.take(customers)
    events = {
        "customer_id": ids.gather(np.repeat(np.arange(len(customers)), np.diff(own.offsets))),
        "occurred_at": _times(own.occurred_at_us),
        "event_type": _text(own.event_type),
        **_columns(own.categorical, own.numeric),
    }
    versions = own.attributes
    attributes = {
        "customer_id": ids.gather(np.repeat(np.arange(len(customers)), np.diff(versions.offsets))),
        "valid_from": _times(versions.valid_from_us),
        **_columns(versions.categorical, versions.numeric),
    }
    return pl.DataFrame(events), pl.DataFrame(attributes)


def _columns(categorical: Mapping[str, CodedColumn], numeric: Mapping[str, ndarray]) -> dict[str, pl.Series]:
    columns = {name: _text(column) for name, column in categorical.items()}
    return columns | {name: pl.Series(name, values).fill_nan(None) for name, values in numeric.items()}


def _text(column: CodedColumn) -> pl.Series:
    values = pl.Series([*column.dictionary.values, None], dtype=pl.String)
    # Code -1, a missing value, takes the last entry.
    return values.gather(np.where(column.codes < 0, len(values) - 1, column.codes))


def _times(time_us: Int64[ndarray, " row"]) -> pl.Series:
    known = pl.Series(time_us).set(pl.Series(time_us == ALWAYS_US), None)
    return known.cast(pl.Datetime("us", "UTC"))
