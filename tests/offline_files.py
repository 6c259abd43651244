"""Files to score and the calls that score them: what the tests of offline scoring share."""

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from artifact_builder import AS_OF_US

from builders import START_US
from serving.artifact import Artifact
from serving.offline import score_file

AS_OF = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=AS_OF_US)


def events_table(num_customers: int = 700, num_events: int = 6_000) -> pl.DataFrame:
    """Return unsorted events, some after the point in time, one customer with an infinite amount."""
    rng = np.random.default_rng(3)
    times = START_US + rng.integers(0, 460 * 24, num_events) * 3_600_000_000
    amount = rng.normal(10, 5, num_events)
    amount[17] = np.inf
    return pl.DataFrame(
        {
            "customer_id": pl.Series(rng.integers(0, num_customers, num_events)).cast(pl.String)
            + " \U0001f6d2",
            "occurred_at": pl.Series(times).cast(pl.Datetime("us", "UTC")),
            "event_type": rng.choice(["purchase", "visit", "complaint"], num_events),
            "amount": np.where(rng.random(num_events) < 0.2, np.nan, amount),
            "channel": rng.choice(["web", "phone"], num_events),
        }
    )


def customers_table() -> pl.DataFrame:
    """Return attributes of some customers, one of whom has no events."""
    return pl.DataFrame(
        {"customer_id": ["3 \U0001f6d2", "nobody"], "region": ["north", "south"], "age": [20.0, None]}
    )


def score(artifact: Artifact, files: dict[str, Path], **options: Any) -> pl.DataFrame:
    """Score the files and read the result."""
    num = score_file(artifact, as_of=AS_OF, **files, **options)
    table = pl.read_parquet(files["out"])
    assert table.height == num
    return table


def flags(folder: Path, files: dict[str, Path], **changes: str) -> list[str]:
    """Return the flags of the command."""
    named = {"artifact": folder, "as-of": AS_OF.isoformat(), **files} | {
        name.replace("_", "-"): value for name, value in changes.items()
    }
    return [f"--{name}={value}" for name, value in named.items()]
