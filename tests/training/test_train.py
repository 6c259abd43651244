"""Training as a command: what is wrong with data, configuration or machine is one line, never a traceback."""

import json
import os
from contextlib import chdir
from datetime import timedelta
from pathlib import Path
from typing import Any

import polars as pl
import pytest
import torch
from commands import run_command
from data_set_builder import START, purchases, write_shop
from forms import check_form

import training.publishing
import training.train
from holdfast.errors import RunError
from training.sweeps.result import SweepResult

# Importing an entry point makes beartype look at the bases of Hydra's DictConfig, which it finds deprecated.
pytestmark = pytest.mark.filterwarnings("ignore:.*deprecated by PEP 585")

SMALL = ("model=tiny", "optimiser.num_steps=2", "optimiser.warmup_steps=1", "logger=none")


def train(folder: Path, *overrides: str, events: pl.DataFrame | None = None, **changes: Any) -> None:
    """Run the command on a shop of the folder's own, with keys of the data set replaced."""
    searched = write_shop(folder, purchases() if events is None else events, **changes)
    with chdir(folder):
        run_command("training.train", "data=shop", *SMALL, *overrides, searched)


def refusal(capsys: pytest.CaptureFixture[str], folder: Path, *overrides: str, **options: Any) -> str:
    """Return the one line with which the command ends."""
    with pytest.raises(SystemExit) as ended:
        train(folder, *overrides, **options)
    assert ended.value.code == 2
    shown = capsys.readouterr().err
    assert "Traceback" not in shown
    assert not list(folder.glob("outputs/**/model.pt"))
    (line,) = [line for line in shown.splitlines() if line.startswith("error: ")]
    return line


def test_a_multirun_ends_with_one_table_whatever_fails(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A job that fails is a row with its reason and takes no other with it; the exit code tells."""
    # The figures are what counts here; an export takes ten seconds.
    for heavy in ("write_artifact", "write_report"):
        monkeypatch.setattr(training.publishing, heavy, lambda *_, **__: tmp_path)
    overrides = ("model.width=15,16", "evaluation.split=validation", "evaluation.baselines=[]", "blend=none")
    with pytest.raises(SystemExit) as ended:
        train(tmp_path, "hydra.mode=MULTIRUN", *overrides)
    assert ended.value.code == 2
    shown = capsys.readouterr()
    assert "Traceback" not in shown.err
    assert "job 0 failed: model.num_heads" in shown.err
    (folder,) = tmp_path.glob("multirun/shop/*")
    result = json.loads((folder / "sweep.json").read_text())
    check_form(result, SweepResult)
    assert (result["data"], result["split"]) == ("shop", "validation")
    failed, finished = result["rows"]
    assert (failed["state"], finished["state"]) == ("failed", "finished")
    assert failed["reason"].startswith("model.num_heads")
    assert (failed["overrides"], finished["overrides"]) == ({"model.width": "15"}, {"model.width": "16"})
    judged = json.loads((folder / "1" / "result.json").read_text())
    churn = judged["targets"][0]["horizons"][-1]["models"][judged["main"]]["metrics"]
    assert finished["figures"]["churn_60d_log_loss"] == churn["log_loss"]["value"]
    table = pl.read_csv(folder / "sweep.csv")
    assert table["churn_60d_log_loss"].to_list() == [None, churn["log_loss"]["value"]]
    assert "run 0 failed: model.num_heads" in shown.out


def unjudged(capsys: pytest.CaptureFixture[str], folder: Path, *overrides: str, data: str) -> str:
    """Run the command to the end of its fit, on data that lie there; return the line with which it ends."""
    small = (*SMALL, "optimiser.num_steps=1", "blend=none")
    with pytest.MonkeyPatch.context() as patch, chdir(folder):
        patch.setattr(training.train, "judge", _unplugged)
        with pytest.raises(SystemExit) as ended:
            run_command("training.train", "data=shop", *small, *overrides, data)
    assert ended.value.code == 2
    (line,) = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error: ")]
    return line


def _unplugged(*_: Any, **__: Any) -> None:
    raise RunError("unplugged")


def test_a_run_is_gone_on_with_on_the_same_data_alone(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A source that was written anew makes another run of the same command; who names the old one is told."""
    data = write_shop(tmp_path, purchases())
    for _ in range(2):
        assert "unplugged" in unjudged(capsys, tmp_path, "resume=auto", data=data)
    (model,) = tmp_path.glob("outputs/shop/*/model.pt")
    purchases().with_columns(amount=2.0).write_parquet(tmp_path / "data" / "events.parquet")
    line = unjudged(capsys, tmp_path, f"resume='{model.parent}'", data=data)
    assert line.startswith("error: resume: got ")
    assert "these very data" in line
    assert "unplugged" in unjudged(capsys, tmp_path, "resume=auto", data=data)
    assert len(list(tmp_path.glob("outputs/shop/*/model.pt"))) == 2


def test_a_folder_that_is_given_again_holds_one_run_alone(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """What the run before left in it is set aside first, and never taken for the new one's."""
    data = write_shop(tmp_path, purchases())
    assert "unplugged" in unjudged(capsys, tmp_path, "run_dir=mine", data=data)
    first = (tmp_path / "mine" / "model.pt").read_bytes()
    gone_on = ("run_dir=mine", "resume=auto", "seed=8")
    assert "unplugged" in unjudged(capsys, tmp_path, *gone_on, data=data)
    written = (tmp_path / "mine" / "model.pt").stat().st_mtime_ns
    assert (tmp_path / "mine" / "earlier" / "model.pt").read_bytes() == first
    # Its own unfinished run, in turn, is gone on with: the model is there, and is not written again.
    assert "unplugged" in unjudged(capsys, tmp_path, *gone_on, data=data)
    assert (tmp_path / "mine" / "model.pt").stat().st_mtime_ns == written


def test_a_window_without_anything_to_judge_by_is_refused_before_anything_is_fitted(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Nobody buys again behind the test cutoff: no news to hear after hours."""
    early = pl.col("occurred_at") <= START + timedelta(days=320)
    # One who begins later: the data go on, and so does what is known.
    late = (
        purchases()
        .filter(~early, pl.col("customer_id") == "customer 1")
        .with_columns(customer_id=pl.lit("late"))
    )
    line = refusal(capsys, tmp_path, events=pl.concat([purchases().filter(early), late]))
    assert "cutoffs.test" in line
    assert "one class" in line


def without_amount() -> pl.DataFrame:
    """Return events that lack a declared column."""
    return purchases().drop("amount")


def amounts_as_words() -> pl.DataFrame:
    """Return events with a money field that is text."""
    return purchases().with_columns(pl.lit("ten").alias("amount"))


def churn_of(**changes: Any) -> dict[str, Any]:
    """Return one target."""
    plain = {
        "kind": "time_to_event",
        "form": "inactivity",
        "event_types": ["purchase"],
        "horizons_days": [60],
    }
    return {"targets": {"churn": plain | changes}}


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"events": without_amount()}, ("data.events.sql", "amount")),
        ({"events": amounts_as_words()}, ("column amount", "it must be a number")),
        ({"events": purchases().clear()}, ("events", "0")),
        (churn_of(horizons_days=[-30]), ("churn.horizons_days", "-30", "between 1 and")),
        (churn_of(horizons_days=[400]), ("cutoffs", "400 days")),
        ({"events": purchases(everybody_stays=True)}, ("cutoffs.", "one class", "0 without")),
        ({"activity": ["order"]}, ("data.activity", "order", "there are ['purchase']")),
        ({"ended_by": ["purchase"]}, ("cutoffs.", "0 of 30 customers are eligible")),
        ({"lookbackdays": 3}, ("lookbackdays",)),
        ({"limits": {"max_excluded_share": "none"}}, ("limits.max_excluded_share", "none")),
    ],
    ids=lambda value: None if isinstance(value, dict) else "-".join(value)[:40],
)
def test_bad_data_is_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], options: dict[str, Any], said: tuple[str, ...]
) -> None:
    """The place, the value and the limit are named, before anything is fitted."""
    line = refusal(capsys, tmp_path, **options)
    for part in said:
        assert part in line, line


@pytest.mark.parametrize(
    ("content", "said"),
    [(b"", "the file is empty"), (b"customer_id,amount\n1,2\n", "it cannot be read as parquet")],
)
def test_a_file_that_is_no_table_is_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], content: bytes, said: str
) -> None:
    """An empty file, and one of another format under the expected name."""
    broken = tmp_path / "broken.parquet"
    broken.write_bytes(content)
    sources = {"events": {"path": str(broken), "format": "parquet"}}
    line = refusal(capsys, tmp_path, sources=sources)
    assert "data.sources.events" in line
    assert said in line


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        (("run_dir=data/events.parquet/run",), ("run folder", "cannot be written")),
        (("artifact_dir=data/events.parquet/artifact",), ("the artifact data/", "cannot be written")),
        (("store_dir=data",), ("data",)),
        (("resume=nowhere",), ("resume", "nowhere")),
        (("+model.widht=3",), ("model", "widht")),
        (("model.width=wide",), ("model.width", "wide")),
        (("optimiser.num_steps=0",), ("optimiser.num_steps",)),
        (("seed=-1",), ("seed: got -1",)),
        (("batching.event_budget=-1",), ("batching.event_budget", "-1")),
        (("evaluation.baselines=[oracle]",), ("evaluation.baselines", "oracle", "recency")),
        (("trainer.precision=half",), ("trainer", "'half'", "32-true")),
        (("trainer.accelerator=abacus",), ("trainer", "'abacus'", "cpu")),
    ],
    ids=lambda value: value[0],
)
def test_a_wrong_setting_is_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], overrides: tuple[str, ...], said: tuple[str, ...]
) -> None:
    """Folders that cannot be used and values that cannot be meant."""
    line = refusal(capsys, tmp_path, *overrides)
    for part in said:
        assert part in line, line
    assert (tmp_path / "data" / "events.parquet").is_file()


def test_a_trainer_without_its_gpu_is_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """And the store that was made on the way is kept."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert "trainer=cpu needs none" in refusal(capsys, tmp_path, "trainer=gpu")
    assert (tmp_path / "stores" / "shop").is_dir()


def test_a_key_that_no_one_knows_is_hydras_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Hydra finds it before anything of ours runs, and says how it would be added."""
    with pytest.raises(SystemExit):
        train(tmp_path, "model.widht=3")
    assert "Key 'widht' is not in struct" in capsys.readouterr().err


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_run_folder_without_permission_is_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The system's reason is in the line."""
    (tmp_path / "closed").mkdir(mode=0o500)
    assert "Permission denied" in refusal(capsys, tmp_path, "run_dir=closed/run")
