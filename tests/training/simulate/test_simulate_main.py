"""The entry point and the files of ``conf`` that call the simulator."""

import sys
from importlib import import_module
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf
from rich.console import Console

from holdfast.errors import ConfigError
from training.data_config import DataConfig
from training.simulate import SimulationResult
from training.simulate.config import simulation_config
from training.times import parse_instant

CONFIG_DIR = str(Path(__file__).resolve().parents[3] / "conf")

# beartype finds fault with the bases of Hydra's DictConfig, which entry points take, when they are imported.
pytestmark = pytest.mark.filterwarnings("ignore:.*deprecated by PEP 585")

SMALL = [
    "num_customers=60",
    "num_days=120",
    "cutoffs=['2023-05-01T00:00:00Z']",
    "horizons_days=[7]",
    "num_rollouts=2",
]


def composed(name: str, overrides: list[str]) -> dict[str, Any]:
    """A configuration as its entry point gets it."""
    with initialize_config_dir(version_base=None, config_dir=CONFIG_DIR):
        plain = OmegaConf.to_container(compose(config_name=name, overrides=overrides), resolve=True)
    assert isinstance(plain, dict)
    return {str(key): value for key, value in plain.items()}


def simulate_quietly(values: dict[str, Any]) -> SimulationResult:
    """Simulate what composed values say."""
    result: SimulationResult = import_module("training.simulate.__main__").simulate_with_bar(
        values, console=Console(quiet=True)
    )
    return result


def run_main(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, arguments: list[str]) -> None:
    """Call the entry point as a shell would."""
    monkeypatch.setattr(sys, "argv", ["simulate", *arguments, f"hydra.run.dir={tmp_path / 'run'}"])
    import_module("training.simulate.__main__").main()


def test_the_command_makes_a_business(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Kind, size, seed and single parameters come from the command line; the size is printed."""
    out = tmp_path / "club"
    run_main(monkeypatch, tmp_path, [*SMALL, "kind=subscription", f"out={out}", "+parameters.usages=0.3"])
    events = pl.read_parquet(out / "events" / "*.parquet")
    assert events["customer_id"].n_unique() == 60
    assert '"usages": 0.3' in (out / "parameters.json").read_text()
    assert f"{events.height:,} events" in capsys.readouterr().out


def test_a_bad_argument_ends_with_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Exit code 2 and the argument's name, no traceback and no folder."""
    with pytest.raises(SystemExit) as caught:
        run_main(monkeypatch, tmp_path, [*SMALL, "num_customers=-5", f"out={tmp_path / 'out'}"])
    assert caught.value.code == 2
    assert "simulate.num_customers: got -5" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_an_existing_folder_is_replaced_on_request_alone(tmp_path: Path) -> None:
    """``overwrite=true`` replaces, its absence refuses."""
    values = composed("simulate", [*SMALL, f"out={tmp_path / 'out'}"])
    first = simulate_quietly(values)
    with pytest.raises(ConfigError, match="overwrite"):
        simulate_quietly(values)
    second = simulate_quietly({**values, "overwrite": True, "seed": 8})
    assert first.path == second.path
    assert first.num_events != second.num_events


@pytest.mark.parametrize("name", ["simulated", "simulated_subscription"])
def test_a_simulated_data_set_agrees_with_itself(name: str, tmp_path: Path) -> None:
    """The truth is written for its cutoffs, horizons and lookback; columns and types are those written."""
    plain = composed("prepare", [f"data={name}", f"simulated_root={tmp_path}"])["data"]
    data = DataConfig.from_plain(plain)
    assert data.simulate is not None
    simulation = simulation_config(data.simulate)
    told = [parse_instant("cutoffs", text, time_zone="UTC") for text in simulation.cutoffs]
    assert told == [*data.validation_us, *data.test_us]
    assert simulation.horizons_days == data.targets["churn"].horizons_days
    assert set(data.targets["spend"].horizons_days) <= set(simulation.horizons_days)
    assert simulation.lookback_days == data.lookback_days
    day_us = 86_400_000_000
    assert data.observed_from_us == parse_instant(
        "start", f"{simulation.start_date}T00:00:00Z", time_zone="UTC"
    )
    assert data.observed_until_us == data.observed_from_us + simulation.num_days * day_us

    small = {**data.simulate, "num_customers": 300, "num_rollouts": 2, "cutoffs": []}
    values = {**small, "out": str(tmp_path / name), "overwrite": False}
    result = simulate_quietly(values)
    tables = {
        "events": Path(data.sources["events"].path).parent,
        "customers": Path(data.sources["customers"].path),
    }
    assert tables == {"events": result.path / "events", "customers": result.path / "customers.parquet"}
    assert data.truth is not None
    assert Path(data.truth.path) == result.path / "truth.parquet"
    events = pl.read_parquet(data.sources["events"].path)
    customers = pl.read_parquet(data.sources["customers"].path)
    with pl.SQLContext(events=events, customers=customers) as sql:
        canonical = sql.execute(data.events.sql, eager=True)
        assert canonical.columns == ["customer_id", "occurred_at", "event_type", *data.events.fields]
        assert data.customers is not None
        attributes = sql.execute(data.customers.sql, eager=True)
        assert attributes.columns == ["customer_id", "valid_from", *data.customers.attributes]
    named = {*data.activity, *data.ended_by}.union(*(target.event_types for target in data.targets.values()))
    assert named <= set(events["event_type"])


def test_arguments_that_no_one_knows_are_named() -> None:
    """A misspelt key of a data set's ``simulate`` part is an error with its name."""
    with pytest.raises(ConfigError, match="num_customer"):
        simulation_config({"kind": "retailer", "num_customer": 5, "seed": 1})
