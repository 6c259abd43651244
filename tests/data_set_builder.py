"""Small data sets on disk, for tests of preparing: tables become Parquet files and a configuration.

It deliberately reads nothing back.
"""

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import polars as pl
import yaml

from training.data_config import DataConfig

START = datetime(2024, 1, 1, 12, tzinfo=UTC)
START_US = 1_704_110_400_000_000
DAY_US = 86_400_000_000


def days_later(*days: float) -> list[datetime]:
    """Return times so many days after the start."""
    return [START + timedelta(days=day) for day in days]


def shop_events() -> pl.DataFrame:
    """Return events of three customers, unsorted, with ties and missing values."""
    return pl.DataFrame(
        {
            "customer_id": ["bo", "al", "bo", "cy", "al", "bo", "al"],
            "occurred_at": days_later(5, 3, 1, 2, 0, 5, 3),
            "event_type": ["purchase", "visit", "visit", "purchase", "purchase", "return", "purchase"],
            "amount": [10.0, None, None, 5.5, 7.25, -10.0, 8.0],
            "channel": ["web", "shop", None, "web", "web", "web", "phone"],
        },
        schema_overrides={"occurred_at": pl.Datetime("us", "UTC")},
    )


def shop_mapping(folder: Path, tables: dict[str, pl.DataFrame], **changes: Any) -> dict[str, Any]:
    """Write the tables as Parquet and return the plain configuration of a shop over them.

    Args:
        folder: Where the files go.
        tables: ``events`` and any others, by name.
        changes: Keys of the data set to replace.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for name, table in tables.items():
        table.write_parquet(folder / f"{name}.parquet")
    fields = {"amount": {"kind": "money"}, "channel": {"kind": "categorical"}}
    mapping: dict[str, Any] = {
        "name": "shop",
        "sources": {n: {"path": str(folder / f"{n}.parquet"), "format": "parquet"} for n in tables},
        "events": {"sql": "SELECT * FROM events", "fields": fields},
        "activity": ["purchase"],
        "lookback_days": 90,
        "targets": {
            "churn": {
                "kind": "time_to_event",
                "form": "inactivity",
                "event_types": ["purchase"],
                "horizons_days": [30, 60],
            },
            "spend": {"kind": "amount", "field": "amount", "horizons_days": [60]},
        },
        # One fit is enough for most tests, and is calibrated.
        "cutoffs": {
            "train": {},
            "validation": ["2024-03-01"],
            "test": ["2024-05-01"],
            "fit_on": "train",
        },
        "currency": "EUR",
    }
    return mapping | changes


def shop_config(folder: Path, tables: dict[str, pl.DataFrame] | None = None, **changes: Any) -> DataConfig:
    """Return :func:`shop_mapping` as a configuration; without tables, that of :func:`shop_events`."""
    return DataConfig.from_plain(shop_mapping(folder, tables or {"events": shop_events()}, **changes))


def purchases(*, everybody_stays: bool = False) -> pl.DataFrame:
    """Return 420 days of purchases every ten days; every other customer stops after a while."""
    rows = [
        (f"customer {number}", START + timedelta(days=10 * step + number % 7), "purchase", 10.0, "web")
        for number in range(30)
        for step in range(42 if everybody_stays or number % 2 else 20 + number % 15)
    ]
    columns = ["customer_id", "occurred_at", "event_type", "amount", "channel"]
    return pl.DataFrame(rows, schema=columns, orient="row")


def write_shop(folder: Path, events: pl.DataFrame, **changes: Any) -> str:
    """Write the data set ``shop`` into a folder, with cutoffs that suit :func:`purchases`.

    Args:
        folder: Its ``conf/data`` gets the YAML file, its ``data`` the table.
        events: The table.
        changes: Keys of the data set to replace.

    Returns:
        The override with which Hydra finds it.
    """
    mapping = shop_mapping(folder / "data", {"events": events})
    days = {
        name: [(START + timedelta(days=day)).isoformat()]
        for name, day in (("validation", 250), ("test", 320))
    }
    mapping |= {"cutoffs": {"train": {}, "fit_on": "train", **days}, **changes}
    (folder / "conf" / "data").mkdir(parents=True)
    (folder / "conf" / "data" / "shop.yaml").write_text(yaml.safe_dump(mapping), encoding="utf-8")
    return f"hydra.searchpath=[file://{folder / 'conf'}]"
