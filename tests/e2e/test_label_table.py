"""A company with labels of its own: its table decides who churned and what was spent, from SQL to figures."""

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from tasks import quiet_trainer, tiny_config

from training.data_config import DataConfig
from training.fitting import fit
from training.judging import EvaluationConfig, judge
from training.prepare import prepare
from training.simulate.config import SimulationConfig
from training.simulate.run import simulate
from training.store import HistoryStore
from training.task import Task

CUTOFFS = [datetime(2024, 1, 1, tzinfo=UTC) + timedelta(days=30 * number) for number in range(10)]
VALIDATION, TEST = CUTOFFS[6], CUTOFFS[8]
HORIZON = timedelta(days=60)
UNKNOWN_EVERY = 10
"""Of every so many rows of the table one does not know who churned."""


def label_table(events: pl.DataFrame) -> pl.DataFrame:
    """Return labels by a definition that no declared target has: under 20 EUR in sixty days is churned."""
    paid = events.filter(pl.col("event_type").is_in(["purchase", "return"]))
    parts = []
    for cutoff in CUTOFFS:
        window = (pl.col("occurred_at") > cutoff) & (pl.col("occurred_at") <= cutoff + HORIZON)
        people = events.filter(pl.col("occurred_at") <= cutoff).select("customer_id").unique()
        spent = paid.filter(window).group_by("customer_id").agg(spend=pl.col("amount").sum())
        part = people.join(spent, on="customer_id", how="left").sort("customer_id")
        parts.append(part.with_columns(pl.col("spend").fill_null(0.0), on_day=pl.lit(cutoff)))
    table = pl.concat(parts).with_row_index("row")
    is_known = pl.col("row") % UNKNOWN_EVERY != 0
    return table.with_columns(left=pl.when(is_known).then((pl.col("spend") < 20).cast(pl.Int64))).drop("row")


@pytest.fixture(scope="module")
def labelled(tmp_path_factory: pytest.TempPathFactory) -> tuple[Task, HistoryStore, pl.DataFrame]:
    """Prepare a shop of which only the label table says who churned."""
    folder = tmp_path_factory.mktemp("labelled")
    simulation = SimulationConfig(
        kind="retailer", num_customers=300, seed=3, start_date="2023-06-01", num_days=600, cutoffs=()
    )
    shop = simulate(simulation, folder / "shop").path
    labels = label_table(pl.read_parquet(shop / "events" / "*.parquet"))
    labels.write_parquet(folder / "labels.parquet")
    config = DataConfig.from_plain(_mapping(shop, folder / "labels.parquet"))
    store = prepare(config, store_dir=folder / "store")
    return Task.of(config, store), store, labels


def _mapping(shop: Path, labels: Path) -> dict[str, Any]:
    return {
        "name": "labelled",
        "currency": "EUR",
        "sources": {
            "events": {"path": str(shop / "events"), "format": "parquet"},
            "marks": {"path": str(labels), "format": "parquet"},
        },
        "events": {
            "sql": "SELECT customer_id, occurred_at, event_type, amount FROM events",
            "fields": {"amount": {"kind": "money"}},
        },
        "labels": {"sql": "SELECT customer_id, on_day AS cutoff, left AS churned, spend FROM marks"},
        "activity": ["purchase"],
        "lookback_days": 180,
        "targets": {
            "churn": {
                "kind": "time_to_event",
                "form": "inactivity",
                "event_types": ["purchase"],
                "horizons_days": [60],
            },
            "spend": {"kind": "amount", "field": "amount", "horizons_days": [60]},
            "visits": {"kind": "count", "event_types": ["visit"], "horizons_days": [60]},
        },
        "cutoffs": {
            "train": {"policy": "table"},
            "validation": [VALIDATION.isoformat()],
            "test": [TEST.isoformat()],
        },
    }


Labelled = tuple[Task, HistoryStore, pl.DataFrame]


@pytest.mark.parametrize("split", ["train", "validation", "test"])
def test_the_table_decides_churn_and_spend(labelled: Labelled, split: str) -> None:
    """Row by row as the table says, unknown where it does not know; visits still come from the events."""
    task, store, table = labelled
    part = getattr(task.splits, split)
    readouts = task.readouts(part)
    asked = pl.DataFrame(
        {
            "customer_id": store.customer_ids.gather(readouts.customer),
            "on_day": pl.Series(readouts.cutoff_us).cast(pl.Datetime("us", "UTC")),
        }
    )
    told = table.with_columns(
        pl.col("customer_id").cast(pl.String), pl.col("on_day").cast(asked["on_day"].dtype)
    )
    told = asked.join(told, on=["customer_id", "on_day"], how="left", maintain_order="left")
    churned = told["left"].cast(pl.Float32).fill_null(float("nan")).to_numpy()
    assert np.isnan(churned).any()
    outcomes = task.outcomes(readouts, part)
    np.testing.assert_array_equal(outcomes.happened["churn"][:, 0], churned)
    np.testing.assert_allclose(outcomes.values["spend"], told["spend"].clip(0.0), rtol=1e-5, atol=1e-4)
    assert outcomes.values["visits"].max() > 1
    wanted = {"train": set(CUTOFFS[:5]), "validation": {VALIDATION}, "test": {TEST}}[split]
    assert set(asked["on_day"]) == wanted


def test_the_table_trains_and_judges_a_model(labelled: Labelled, tmp_path: Path) -> None:
    """Every target has figures beside a baseline, and churn's are over the known rows alone."""
    task, store, _ = labelled
    fitted = fit(task, tiny_config(num_steps=4), trainer=quiet_trainer(tmp_path), folder=tmp_path)
    config = EvaluationConfig(split="test", baselines=("recency",), num_bootstrap=5, seed=1)
    result = judge(fitted, task, store, config=config, truth=None)
    targets = {target["name"]: target["horizons"][0] for target in result["targets"]}
    assert set(targets) == {"churn", "spend", "visits"}
    test = task.readouts(task.splits.test)
    num_known = int(np.isfinite(task.outcomes(test, task.splits.test).happened["churn"][:, 0]).sum())
    assert 0 < num_known < len(test)
    assert targets["churn"]["num_unknown"] == len(test) - num_known
    assert 0 <= targets["churn"]["models"]["sequence"]["metrics"]["auroc"]["value"] <= 1
