"""What is trained in the benchmark: a synthetic shop with histories cut to measure, as files and as a task.

It deliberately trains nothing. The tables are the same for everybody who is measured.
"""

from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from hydra import compose, initialize_config_dir
from jaxtyping import Int64
from numpy import ndarray
from omegaconf import OmegaConf

from benchmarks.results import ROOT
from training.fit_config import FitConfig
from training.prepare import prepare
from training.run_config import RunConfig
from training.task import Readouts, Task

MEDIAN_EVENTS, LOG_STD, MOST_EVENTS = 29, 1.0, 256
FIRST_DAY = datetime(2023, 3, 1, tzinfo=UTC)
NUM_DAYS = 915
LAST_CUTOFF = datetime(2024, 12, 1, tzinfo=UTC)
"""Newest training cutoff: the longest horizon, 90 days, before the simulated shop's validation cutoff."""

EVENT_TYPES = {"purchase": 0.5, "visit": 0.3, "support": 0.08, "return": 0.07, "plan_change": 0.05}
CHANNELS = ("web", "shop", "app", "phone")
DETAILS = ("solved", "unsolved", "basic", "plus", "none")


@dataclass(frozen=True, kw_only=True)
class Workload:
    """A prepared data set and how a model is fitted on it.

    Attributes:
        folder: Where the tables and the store lie.
        num_customers: How many customers there are.
    """

    folder: Path
    num_customers: int

    @property
    def events_path(self) -> Path:
        """The table of events that every side reads."""
        return self.folder / "simulated" / "events" / "events.parquet"

    def write(self, *, seed: int = 7) -> None:
        """Write the tables and prepare the store."""
        rng = np.random.default_rng(seed)
        events, customers = synthetic_tables(self.num_customers, rng)
        self.events_path.parent.mkdir(parents=True)
        events.write_parquet(self.events_path)
        customers.write_parquet(self.folder / "simulated" / "customers.parquet")
        prepare(self._config("gru", ()).data, store_dir=self.folder / "store")

    @cached_property
    def task(self) -> Task:
        """Store and splits; training's cutoffs are those of the simulated shop."""
        config = self._config("gru", ()).data
        return Task.of(config, prepare(config, store_dir=self.folder / "store"))

    @cached_property
    def train(self) -> Readouts:
        """Every labelled training cutoff."""
        return self.task.readouts(self.task.fit_split)

    @cached_property
    def customers(self) -> Int64[ndarray, " customer"]:
        """Customers with a training cutoff."""
        return np.unique(self.train.customer)

    def fit_config(self, model: str, width: int, *, num_steps: int, **overrides: Any) -> FitConfig:
        """Return the default settings of a run of so many steps, with a model of another width."""
        # As deep as the peers' encoders, whatever the data would bear.
        depth = {"gru": ["model.num_layers=1"]}.get(model, [])
        settings = [f"model.width={width}", f"optimiser.num_steps={num_steps}", *depth]
        settings += [f"{name}={value}" for name, value in overrides.items()]
        return self._config(model, tuple(settings)).fit

    def _config(self, model: str, overrides: tuple[str, ...]) -> RunConfig:
        with initialize_config_dir(version_base=None, config_dir=str(ROOT / "conf")):
            places = [f"data_root={self.folder}", f"simulated_root={self.folder}", "run_dir=unused"]
            settings = compose(
                "train",
                overrides=["data=simulated", "data.simulate=null", f"model={model}", *places, *overrides],
            )
            plain = OmegaConf.to_container(settings, resolve=True)
        assert isinstance(plain, dict)
        return RunConfig.from_plain({str(key): value for key, value in plain.items()})


def synthetic_tables(num_customers: int, rng: np.random.Generator) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Return events and attributes in the columns of ``conf/data/simulated.yaml``.

    Every customer has a lognormal number of events up to the last training cutoff, spread evenly from
    a first day of their own, and goes on at the same rate, so that labels are of both kinds.
    """
    until = (LAST_CUTOFF - FIRST_DAY).days
    drawn = rng.lognormal(np.log(MEDIAN_EVENTS), LOG_STD, num_customers)
    before = np.clip(np.rint(drawn), 1, MOST_EVENTS).astype(np.int64)
    began = rng.uniform(0, until - 180, num_customers)
    # Every fifth one never comes again.
    stays = rng.random(num_customers) < 0.8
    rate = before / (until - began)
    after = rng.poisson(rate * (NUM_DAYS - until) * stays)
    owner = np.repeat(np.arange(num_customers), before + after)
    position = np.arange(len(owner)) - np.repeat(np.cumsum(before + after) - before - after, before + after)
    is_before = position < before[owner]
    low = np.where(is_before, began[owner], until)
    high = np.where(is_before, until, NUM_DAYS)
    day = low + rng.random(len(owner)) * (high - low)
    kinds = rng.choice(list(EVENT_TYPES), len(owner), p=list(EVENT_TYPES.values()))
    amount = np.where(kinds == "purchase", 1.0, np.where(kinds == "return", -1.0, np.nan))
    events = pl.DataFrame(
        {
            "customer_id": owner,
            "occurred_at": np.datetime64(FIRST_DAY.replace(tzinfo=None), "us")
            + (day * 86_400e6).astype(np.int64),
            "event_type": kinds,
            "amount": np.round(amount * rng.lognormal(3, 1, len(owner)), 2),
            "quantity": rng.integers(1, 9, len(owner)).astype(np.float64),
            "channel": rng.choice(CHANNELS, len(owner)),
            "detail": rng.choice(DETAILS, len(owner)),
        }
    ).with_columns(pl.col("occurred_at").dt.replace_time_zone("UTC"), pl.col("amount").fill_nan(None))
    customers = pl.DataFrame(
        {
            "customer_id": np.arange(num_customers),
            "valid_from": pl.Series([None] * num_customers, dtype=pl.Datetime("us", "UTC")),
            "region": rng.choice(["north", "south", "east"], num_customers),
            "age": rng.integers(18, 90, num_customers),
            "acquisition": rng.choice(["search", "friend", "post"], num_customers),
            "plan": rng.choice(["basic", "plus"], num_customers),
        }
    )
    return events.sort("customer_id", "occurred_at"), customers
