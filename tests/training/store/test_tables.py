"""Customers of a store as canonical tables again."""

from pathlib import Path

import numpy as np
import polars as pl
from data_set_builder import days_later, shop_config, shop_events
from polars.testing import assert_frame_equal

from training.prepare import prepare
from training.store.tables import canonical_tables


def test_gives_back_what_was_prepared(tmp_path: Path) -> None:
    """Events and attribute versions come back in the order asked for, missing values as null."""
    customers = pl.DataFrame(
        {
            "customer_id": ["al", "cy", "al"],
            "valid_from": [days_later(2)[0], None, None],
            "region": ["north", None, "south"],
            "age": [31.0, None, 30.0],
        }
    )
    attributes = {"region": {"kind": "categorical"}, "age": {"kind": "numeric"}}
    config = shop_config(
        tmp_path / "data",
        {"events": shop_events(), "customers": customers},
        customers={"sql": "SELECT * FROM customers", "attributes": attributes},
    )
    store = prepare(config, store_dir=tmp_path / "store")
    events, versions = canonical_tables(store, np.array([2, 0]))
    wanted = shop_events().with_columns(pl.col("amount").cast(pl.Float32))
    wanted = pl.concat(
        [wanted.filter(customer_id=name).sort("occurred_at", maintain_order=True) for name in ("cy", "al")]
    )
    assert_frame_equal(events, wanted, check_column_order=False)
    assert versions.select("customer_id", "region", "age").rows() == [
        ("cy", None, None),
        ("al", "south", 30.0),
        ("al", "north", 31.0),
    ]
    assert versions["valid_from"].to_list() == [None, None, days_later(2)[0]]
