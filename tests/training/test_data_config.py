"""The declaration of one data set: what is understood, and what is refused by the name of its key."""

from pathlib import Path
from typing import Any

import pytest
from data_set_builder import shop_events, shop_mapping
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf

from holdfast.errors import ConfigError
from training.data_config import DataConfig

CONF = Path(__file__).resolve().parents[2] / "conf"
DATA_SETS = sorted(file.stem for file in (CONF / "data").glob("*.yaml"))


@pytest.fixture
def mapping(tmp_path: Path) -> dict[str, Any]:
    """Return a data set that is in order."""
    return shop_mapping(tmp_path, {"events": shop_events()})


@pytest.mark.parametrize("name", DATA_SETS)
@pytest.mark.parametrize("command", ["prepare", "download"])
def test_every_data_set_composes(name: str, command: str) -> None:
    """Every file of conf/data is a data set in order, from every entry that takes one."""
    with initialize_config_dir(str(CONF), version_base=None):
        settings = compose(command, overrides=[f"data={name}", "data_root=/somewhere"])
    config = DataConfig.from_plain(OmegaConf.to_container(settings.data, resolve=True))
    assert config.name == name
    assert config.validation_us
    assert max(config.validation_us) < min(config.test_us)
    assert config.schema.targets


def test_gives_the_schema_in_the_order_declared(mapping: dict[str, Any]) -> None:
    """Fields, attributes and targets keep the order of the file: it is the order of the tensors."""
    mapping["customers"] = {
        "sql": "SELECT * FROM events",
        "attributes": {"region": {"kind": "categorical"}, "age": {"kind": "numeric", "unit": "years"}},
    }
    schema = DataConfig.from_plain(mapping).schema
    assert [field.name for field in schema.fields] == ["amount", "channel"]
    assert [(attribute.name, attribute.unit) for attribute in schema.attributes] == [
        ("region", ""),
        ("age", "years"),
    ]
    assert [target.name for target in schema.targets] == ["churn", "spend"]
    assert schema.targets[0].horizons_days == (30, 60)
    assert schema.currency == "EUR"


def test_times_without_a_zone_are_local(mapping: dict[str, Any]) -> None:
    """A cutoff is read in the data set's zone unless it names one."""
    mapping |= {
        "time_zone": "America/New_York",
        "cutoffs": {"train": {}, "validation": ["2024-03-01"], "test": ["2024-05-01T00:00:00Z"]},
        "observed_until": "2024-06-30",
    }
    config = DataConfig.from_plain(mapping)
    assert config.validation_us == (1_709_269_200_000_000,)
    assert config.test_us == (1_714_521_600_000_000,)
    assert config.observed_until_us == 1_719_720_000_000_000
    assert config.observed_from_us is None


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"time_zone": "Mars/Base"}, "data.time_zone"),
        ({"sources": {}}, "data.sources"),
        ({"surprise": 1}, "data.surprise"),
        ({"lookback_days": "90"}, "data.lookback_days"),
        ({"lookback_days": 0}, "schema.lookback_days"),
        ({"lookback_days": 10**9}, "schema.lookback_days"),
        ({"targets": {}}, "data.targets"),
        ({"name": ""}, "data.name"),
        ({"name": ".."}, "data.name"),
        ({"name": "a/b"}, "data.name"),
        ({"encoding": {"history_days": 10**9}}, "encoding.history_days"),
        ({"activity": []}, "schema.activity"),
        ({"observed_until": "later"}, "data.observed_until"),
        ({"cutoffs": {"train": {}, "validation": [], "test": ["x"]}}, "data.cutoffs.test[0]"),
        (
            {"cutoffs": {"train": {}, "validation": [], "test": ["2024-05-01", "2024-04-01"]}},
            "data.cutoffs.test",
        ),
        ({"cutoffs": {"train": {"every_days": 0}, "validation": [], "test": []}}, "cutoffs.train.every_days"),
        ({"limits": {"max_excluded_share": 1.5}}, "limits.max_excluded_share"),
        ({"limits": {"rows_per_part": 0}}, "limits.rows_per_part"),
        ({"limits": {"drop_duplicates": "yes"}}, "data.limits.drop_duplicates"),
        ({"encoding": {"num_bins": 1}}, "encoding.num_bins"),
        (
            {"events": {"sql": "SELECT 1", "fields": {"amount": {"kind": "text"}}}},
            "data.events.fields.amount.kind",
        ),
        (
            {"events": {"sql": "SELECT 1", "fields": {"valid_from": {"kind": "numeric"}}}},
            "data.events.fields",
        ),
        ({"events": {"sql": "SELECT 1", "fields": {"_hidden": {"kind": "numeric"}}}}, "data.events.fields"),
        ({"events": {"sql": "SELECT 1", "fields": {"net amount": {"kind": "numeric"}}}}, "schema.fields"),
        (
            {"targets": {"churn": {"kind": "time_to_event", "form": "inactivity", "horizons_days": [-30]}}},
            "schema.targets.churn.horizons_days",
        ),
        (
            {"targets": {"spend": {"kind": "amount", "field": "channel", "horizons_days": [30]}}},
            "schema.targets.spend.field",
        ),
    ],
)
def test_refuses_by_the_name_of_the_key(mapping: dict[str, Any], changes: dict[str, Any], field: str) -> None:
    """Whatever is wrong in the file, the message says where it stands."""
    with pytest.raises(ConfigError) as caught:
        DataConfig.from_plain(mapping | changes)
    assert caught.value.field == field


@pytest.mark.parametrize(
    ("source", "field"),
    [
        ({"path": "x", "format": "excel"}, "data.sources.events.format"),
        ({"path": "x", "format": "parquet", "query": "SELECT 1"}, "source.query"),
        ({"path": "sqlite://x", "format": "database"}, "source.query"),
        ({"path": "x", "format": "csv", "download": {"url": "ftp://x/y"}}, "download.url"),
        ({"path": "x", "format": "csv", "download": {"url": "file:///etc/passwd"}}, "download.url"),
        (
            {"path": "x", "format": "csv", "download": {"url": "http://x/y", "sha256": "abc"}},
            "download.sha256",
        ),
    ],
)
def test_refuses_a_source_by_the_name_of_the_key(
    mapping: dict[str, Any], source: dict[str, Any], field: str
) -> None:
    """A source that cannot be meant is refused before any file is looked for."""
    mapping["sources"] = {"events": source}
    with pytest.raises(ConfigError) as caught:
        DataConfig.from_plain(mapping)
    assert caught.value.field == field


def test_what_shapes_no_store_leaves_the_fingerprint_alone(mapping: dict[str, Any]) -> None:
    """Cutoffs, encoding and the number of parts can be tried out without preparing again."""
    before = DataConfig.from_plain(mapping).store_fingerprint(files={})
    others = {
        "cutoffs": {"train": {}, "validation": ["2024-02-01"], "test": ["2024-05-01"]},
        "encoding": {"max_events": 7},
        "limits": {"rows_per_part": 5},
    }
    assert DataConfig.from_plain(mapping | others).store_fingerprint(files={}) == before


@pytest.mark.parametrize(
    "changes",
    [
        {"time_zone": "Europe/Paris"},
        {"activity": ["visit"]},
        {"limits": {"drop_duplicates": True}},
        {"observed_until": "2024-06-30"},
    ],
)
def test_what_shapes_a_store_changes_the_fingerprint(
    mapping: dict[str, Any], changes: dict[str, Any]
) -> None:
    """A store made from another declaration is not up to date."""
    before = DataConfig.from_plain(mapping).store_fingerprint(files={})
    assert DataConfig.from_plain(mapping | changes).store_fingerprint(files={}) != before
    assert DataConfig.from_plain(mapping).store_fingerprint(files={"events": [["x", 1, 2]]}) != before
