"""Preparing a data set: when it works, when it has nothing to do, on real data, and as a command."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from data_set_builder import shop_config, shop_events, shop_mapping
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf
from rich.console import Console

from holdfast.errors import ConfigError, DataError, RunError
from training.data_config import DataConfig
from training.prepare import prepare, prepare_shown, simulated_folder
from training.prepare_summary import summary
from training.run_setup import prepared
from training.store import HistoryStore

ROOT = Path(__file__).resolve().parents[2]
CONF = ROOT / "conf"


def config_of(name: str, *overrides: str) -> DataConfig:
    """Return a data set of conf/data."""
    with initialize_config_dir(str(CONF), version_base=None):
        settings = compose("prepare", overrides=[f"data={name}", *overrides])
    return DataConfig.from_plain(OmegaConf.to_container(settings.data, resolve=True))


def real(name: str, folder: Path) -> HistoryStore:
    """Return the store of a real data set, or skip where its files are not."""
    root = os.environ.get("HOLDFAST_DATA")
    if root is None or not (Path(root) / name).is_dir():
        pytest.skip(f"the real data set {name} is not here; HOLDFAST_DATA names the folder that holds it")
    return prepare(config_of(name, f"data_root={root}"), store_dir=folder / "store")


def shown(store: HistoryStore, *, seconds: float | None = 2.0) -> str:
    """Return the summary as a terminal would show it."""
    console = Console(width=160, record=True, file=open(os.devnull, "w"))  # noqa: SIM115, PTH123 (never read)
    with console.file:
        console.print(summary(store, seconds=seconds))
        return console.export_text()


def test_an_up_to_date_store_is_left_as_it_is(tmp_path: Path) -> None:
    """The second run reads nothing: not even a broken query would be noticed."""
    config = shop_config(tmp_path / "data")
    first = prepare(config, store_dir=tmp_path / "store")
    steps: list[str] = []
    again = prepare(config, store_dir=tmp_path / "store", progress=lambda step, _: steps.append(step))
    assert steps == []
    assert again.config_fingerprint == first.config_fingerprint
    prepare(config, store_dir=tmp_path / "store", force=True, progress=lambda step, _: steps.append(step))
    assert steps[0] == "reading"
    assert steps[-1] == "writing"


@pytest.mark.parametrize("change", ["declaration", "source", "store"])
def test_whatever_changes_is_prepared_again(tmp_path: Path, change: str) -> None:
    """Another declaration, another source file, or a harmed store: each is made anew."""
    tables = {"events": shop_events()}
    mapping = shop_mapping(tmp_path / "data", tables)
    prepare(DataConfig.from_plain(mapping), store_dir=tmp_path / "store")
    if change == "declaration":
        mapping["lookback_days"] = 7
    elif change == "source":
        shop_events()[:5].write_parquet(tmp_path / "data" / "events.parquet")
    else:
        (tmp_path / "store" / "field_amount.npy").unlink()
    steps: list[str] = []
    config = DataConfig.from_plain(mapping)
    store = prepare(config, store_dir=tmp_path / "store", progress=lambda step, _: steps.append(step))
    assert "reading" in steps
    assert store.schema.lookback_days == mapping["lookback_days"]
    assert store.index.num_events == (5 if change == "source" else 7)


def test_it_says_beforehand_how_long_it_will_take(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Before anything is read, where it takes long enough to be told; not where nothing is to be done."""
    config = shop_config(tmp_path / "data")

    def told() -> str:
        with (tmp_path / "terminal").open("w") as file:
            prepare_shown(config, store_dir=tmp_path / "store", console=Console(width=160, file=file))
        return (tmp_path / "terminal").read_text()

    monkeypatch.setattr("training.prepare.USUAL_ROWS_PER_SECOND", 0.1)
    assert told().startswith("preparing shop: 7 rows, about 0:01:10\n")
    assert "about" not in told()


def test_an_empty_folder_is_a_fine_place(tmp_path: Path) -> None:
    """A folder that was made beforehand is filled; parents are made."""
    (tmp_path / "store").mkdir()
    config = shop_config(tmp_path / "data")
    assert prepare(config, store_dir=tmp_path / "store").index.num_events == 7
    assert prepare(config, store_dir=tmp_path / "a" / "b").index.num_events == 7


def test_a_query_that_fails_while_it_runs_is_named(tmp_path: Path) -> None:
    """A conversion that breaks on a row far down gives Polars' reason in one line."""
    table = shop_events().with_columns(amount=pl.Series(["1", "2", "3", "4", "5", "6", "twelve"]))
    sql = "SELECT customer_id, occurred_at, event_type, CAST(amount AS DOUBLE) AS amount, channel FROM events"
    fields = {"amount": {"kind": "money"}, "channel": {"kind": "categorical"}}
    config = shop_config(tmp_path / "data", {"events": table}, events={"sql": sql, "fields": fields})
    with pytest.raises(DataError, match="twelve") as caught:
        prepare(config, store_dir=tmp_path / "store")
    assert caught.value.field == "data.events.sql"
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "store").exists()


def test_csv_events_and_attributes_of_a_subscription(tmp_path: Path) -> None:
    """A company's own CSV files need a YAML file only: churn kind event, valid_from, local text times."""
    (tmp_path / "events.csv").write_text(
        "account,at,what,minutes\n"
        "0042,2024-03-31 01:30,login,5\n"
        "0042,2024-03-31 03:30,cancel,\n"
        "7,2024-03-30,login,2.5\n"
    )
    (tmp_path / "accounts.csv").write_text("account,since,plan\n0042,2024-01-01,basic\n0042,2024-03-01,pro\n")
    csv: dict[str, Any] = {"format": "csv", "options": {"schema_overrides": {"account": "String"}}}
    config = shop_config(
        tmp_path / "unused",
        name="gym",
        time_zone="Europe/Berlin",
        sources={name: csv | {"path": str(tmp_path / f"{name}.csv")} for name in ("events", "accounts")},
        events={
            "sql": "SELECT account AS customer_id, at AS occurred_at, what AS event_type, minutes "
            "FROM events",
            "fields": {"minutes": {"kind": "numeric", "unit": "minutes"}},
        },
        customers={
            "sql": "SELECT account AS customer_id, since AS valid_from, plan FROM accounts",
            "attributes": {"plan": {"kind": "categorical"}},
        },
        activity=["login"],
        ended_by=["cancel"],
        targets={
            "churn": {
                "kind": "time_to_event",
                "form": "event",
                "event_types": ["cancel"],
                "horizons_days": [30],
            },
        },
    )
    histories = prepare(config, store_dir=tmp_path / "store").histories
    assert histories.offsets.tolist() == [0, 2, 3]
    # Clocks went forward at 02:00 on 31 March: two local hours are one hour apart.
    assert np.diff(histories.occurred_at_us[:2]).tolist() == [3_600_000_000]
    plans = histories.attributes.categorical["plan"]
    assert [plans.dictionary.values[code] for code in plans.codes] == ["basic", "pro"]


def test_the_summary_tells_what_came_of_it(tmp_path: Path) -> None:
    """Rows, what was left out and why with an example, customers, events, span, types, notes, speed."""
    bad = shop_events()[:1].with_columns(amount=pl.lit(float("inf")))
    table = pl.concat([shop_events(), bad, shop_events()[:1]])
    config = shop_config(tmp_path / "data", {"events": table}, limits={"max_excluded_share": 0.5})
    text = shown(prepare(config, store_dir=tmp_path / "store"))
    for part in (
        "source events  9 rows",
        "customers      3",
        "events         8",
        "2024-01-01 12:00:00 UTC to 2024-01-06 12:00:00 UTC",
        "purchase 5, visit 2, return 1",
        "events: exact duplicates, kept: 1",
        "infinite or beyond float32",
        "11.11%",
        "amount = inf in row 8 of the query's result",
        "2.0 s, 4 events/s",
    ):
        assert part in text
    assert "up to date already" in shown(HistoryStore.open(tmp_path / "store"), seconds=None)


def test_a_summary_of_many_types_stays_short(tmp_path: Path) -> None:
    """The most frequent event types are shown, the rest is counted."""
    table = pl.concat([shop_events().with_columns(event_type=pl.lit(f"type {n}")) for n in range(20)])
    config = shop_config(tmp_path / "data", {"events": table}, activity=["type 3"])
    assert "and 8 more" in shown(prepare(config, store_dir=tmp_path / "store"))


def test_a_simulated_set_is_made_where_its_sources_are(tmp_path: Path) -> None:
    """The folder above all tables is filled; a second run simulates nothing."""
    config = config_of(
        "simulated",
        f"simulated_root={tmp_path}",
        "data.simulate.num_customers=60",
        "data.simulate.num_rollouts=2",
    )
    assert simulated_folder(config) == tmp_path / "simulated"
    steps: list[str] = []
    store = prepare(config, store_dir=tmp_path / "store", progress=lambda step, _: steps.append(step))
    assert "simulating" in steps
    assert 0 < store.index.num_customers <= 60
    assert config.truth is not None
    assert Path(config.truth.path).is_file()
    assert config.schema == store.schema
    steps.clear()
    prepare(config, store_dir=tmp_path / "store", progress=lambda step, _: steps.append(step))
    assert steps == []


def test_a_truth_that_is_not_there_is_missed_before_a_fit(tmp_path: Path) -> None:
    """Judging, hours later, would be the first to ask for it; preparing alone does not need it."""
    config = shop_config(tmp_path, truth={"path": str(tmp_path / "truth.parquet")})
    prepare(config, store_dir=tmp_path / "store")
    with pytest.raises(ConfigError, match=r"^data\.truth\.path: got '.*truth\.parquet', .* judging asks"):
        prepared(config, tmp_path / "store", Console(quiet=True))


def test_a_simulation_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    """A place where nothing can be written ends the run with its name."""
    (tmp_path / "file").touch()
    config = config_of("simulated", f"simulated_root={tmp_path / 'file'}", "data.simulate.num_customers=60")
    with pytest.raises(RunError, match="file"):
        prepare(config, store_dir=tmp_path / "store")


def test_online_retail_ii(tmp_path: Path) -> None:
    """An event per invoice, returns negative, services left out, invoices without customer counted."""
    store = real("online_retail_ii", tmp_path)
    index, histories = store.index, store.histories
    assert index.source_rows == {"lines": 836_992}
    assert dict(index.event_types) == {"purchase": 30_021, "return": 6_214}
    assert index.num_customers == 5_280
    assert list(index.excluded["events"]) == ["no customer"]
    returns = histories.event_type.codes == histories.event_type.dictionary.values.index("return")
    assert (histories.numeric["amount"][returns] <= 0).all()
    assert (histories.numeric["quantity"][returns] < 0).all()
    # 74,215 units bought and cancelled within minutes, by a customer who bought five before.
    own = store.customer_ids.to_list().index("12346")
    rows = slice(histories.offsets[own], histories.offsets[own + 1])
    assert histories.numeric["quantity"][rows].tolist()[-2:] == [74_215.0, -74_215.0]
    countries = histories.attributes.categorical["country"].dictionary.values
    assert "United Kingdom" in countries


def test_cdnow(tmp_path: Path) -> None:
    """Every line of the fixed-width file becomes a purchase at the start of its day."""
    store = real("cdnow", tmp_path)
    index, histories = store.index, store.histories
    assert (index.num_customers, index.num_events) == (23_570, 69_659)
    assert histories.numeric["amount"].astype(np.float64).sum() == pytest.approx(2_500_315.63, abs=0.1)
    assert histories.numeric["quantity"].sum() == 167_881
    assert (histories.occurred_at_us % 86_400_000_000 == 0).all()
    assert store.customer_ids[0] == "00001"


def test_bpic2012(tmp_path: Path) -> None:
    """The log keeps its order, its zone and its missing resources; amounts join from the table of cases."""
    store = real("bpic2012", tmp_path)
    index, histories = store.index, store.histories
    assert (index.num_customers, index.num_events) == (13_087, 262_200)
    assert index.event_types["A_CANCELLED"] == 2_807
    assert index.excluded == {"events": {}, "customers": {}}
    assert histories.occurred_at_us[0] == 1_317_422_324_546_000
    assert (histories.categorical["resource"].codes == -1).sum() == 18_010
    assert histories.attributes.numeric["amount_requested"][0] == 20_000.0
    own = histories.event_type.codes[histories.offsets[0] : histories.offsets[1]]
    first = [histories.event_type.dictionary.values[code] for code in own[:3]]
    assert first == ["A_SUBMITTED", "A_PARTLYSUBMITTED", "A_PREACCEPTED"]


def run_command(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run the entry point as a user does."""
    return subprocess.run(
        [sys.executable, "-m", "training.prepare", *arguments],
        cwd=folder,
        env=os.environ | {"PYTHONPATH": str(ROOT), "HOLDFAST_DATA": str(folder / "nowhere")},
        capture_output=True,
        text=True,
        check=False,
    )


def test_the_command_ends_with_one_line_and_code_2(tmp_path: Path) -> None:
    """A missing file is no traceback; the line says what to do; nothing but Hydra's record is written."""
    done = run_command(tmp_path, "data=cdnow")
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert done.stderr.startswith("error: data.sources.lines.path: got ")
    assert "python -m training.download fetches it" in done.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["outputs"]


def test_the_command_prints_a_summary(tmp_path: Path) -> None:
    """Values can be overridden as Hydra does; the store lies where store_dir says."""
    text = " customer\n" + "".join(f" {n:05d} 1997010{n}  1   11.7{n}\n" for n in range(1, 8))
    (tmp_path / "lines.txt").write_text(text)
    arguments = ["data=cdnow", f"data.sources.lines.path={tmp_path}/lines.txt", "store_dir=made/here"]
    done = run_command(tmp_path, *arguments)
    assert done.returncode == 0, done.stderr
    assert "purchase 7" in done.stdout
    assert HistoryStore.open(tmp_path / "made" / "here").index.num_customers == 7
    again = run_command(tmp_path, *arguments)
    assert "up to date already" in again.stdout
    # Its cutoffs are no part of it, and told all the same.
    refused = run_command(tmp_path, *arguments, "data.targets.churn.horizons_days=[30,900]")
    assert refused.returncode == 2
    assert refused.stderr.startswith("error: cutoffs.")
    assert HistoryStore.open(tmp_path / "made" / "here").index.num_customers == 7
