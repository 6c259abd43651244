"""A search as a command: trials on validation alone, gone on with after a kill, one table at the end."""

import json
import os
import sys
from contextlib import chdir
from dataclasses import fields
from pathlib import Path
from typing import Any, get_type_hints

import pytest
import yaml
from commands import run_command
from data_set_builder import purchases, write_shop
from forms import check_form

from holdfast.errors import RunError
from training.sweep import OWN_KEYS
from training.sweeps.proposals import ProposalConfig
from training.sweeps.result import FigureColumn, Mean, Row, SweepResult
from training.sweeps.search import Searching
from training.whole_file import write_whole

# Importing an entry point makes beartype look at the bases of Hydra's DictConfig, which it finds deprecated.
pytestmark = pytest.mark.filterwarnings("ignore:.*deprecated by PEP 585")

DOCUMENT = Path(__file__).parents[2] / "docs" / "training.md"
SMALL = ("model=tiny", "optimiser.num_steps=4", "optimiser.warmup_steps=1", "optimiser.validations=2")
SPACE = {
    "optimiser.learning_rate": {"kind": "real", "low": 1e-4, "high": 1e-2, "scale": "log"},
    "model.width": {"kind": "choice", "choices": [8, 15, 16]},
}
PROPOSALS = {"random_trials": 2, "prune": True, "prune_after_trials": 2, "prune_from_validation": 1}


def write(folder: Path, *, space: dict[str, Any] | None = None, **changes: Any) -> None:
    """Write the shop and a space to search, with parts of the latter replaced."""
    write_shop(folder, purchases())
    (folder / "conf" / "sweep").mkdir()
    objective = {"target": None, "metric": "log_loss"}
    values = {"objective": objective, "proposals": PROPOSALS, "space": SPACE if space is None else space}
    (folder / "conf" / "sweep" / "own.yaml").write_text(yaml.safe_dump(values | changes))


def run(folder: Path, *overrides: str) -> None:
    """Run the command in a folder."""
    with chdir(folder):
        searched = f"hydra.searchpath=[file://{folder / 'conf'}]"
        run_command("training.sweep", "data=shop", "sweep=own", *SMALL, *overrides, searched)


def results(folder: Path) -> list[SweepResult]:
    """Return the tables of all searches there."""
    found = [json.loads(path.read_text()) for path in folder.glob("outputs/sweep/shop/*/sweep.json")]
    for result in found:
        check_form(result, SweepResult)
    return found


@pytest.mark.long
def test_a_killed_search_goes_on(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Trials that had ended stay, the one under way is made; a failed one is a row with its reason."""
    write(tmp_path)
    trial = Searching.trial

    def killed(self: Searching, number: int, *rest: Any) -> Any:
        if number == 1:
            raise KeyboardInterrupt
        return trial(self, number, *rest)

    monkeypatch.setattr(Searching, "trial", killed)
    with pytest.raises(SystemExit):
        run(tmp_path, "num_trials=3")
    (halfway,) = results(tmp_path)
    assert len(halfway["rows"]) == 1
    monkeypatch.setattr(Searching, "trial", trial)
    capsys.readouterr()
    run(tmp_path, "num_trials=3")
    shown = capsys.readouterr().out
    assert "going on with 1 trials" in shown
    (whole,) = results(tmp_path)
    by_number = {row["number"]: row for row in whole["rows"]}
    assert by_number[0] == halfway["rows"][0]
    assert by_number[0]["overrides"] == {"optimiser.learning_rate": "0.002", "model.width": "16"}
    assert len(by_number[0]["losses"]) == 2
    values = [row["value"] for row in whole["rows"] if row["state"] == "finished"]
    assert values == sorted(values)
    failed = [row for row in whole["rows"] if row["state"] == "failed"]
    assert all(row["overrides"]["model.width"] == "15" for row in failed)
    assert all("num_heads" in row["reason"] for row in failed)
    best = " ".join(whole["best"])
    assert f"best: python -m training.train {best}" in " ".join(shown.split())
    assert "num_trials" not in best
    assert f"model.width={whole['rows'][0]['overrides']['model.width']}" in best


@pytest.mark.parametrize(
    ("overrides", "changes", "said"),
    [
        (["evaluation.split=test"], {}, "evaluation.split: got 'test'"),
        (["num_trials=0"], {}, "num_trials: got 0"),
        (["num_trials=many"], {}, "num_trials: got 'many'"),
        (["seeds=[-1]"], {}, "seeds[0]: got -1"),
        (["judged=tress"], {}, "judged: got 'tress'"),
        (["trainer.devices=2"], {}, "one device"),
        ([], {"space": {}}, "sweep.space: got {}"),
        ([], {"objective": {"target": "chrun", "metric": "log_loss"}}, "sweep.objective.target: got 'chrun'"),
        ([], {"objective": {"target": "spend", "metric": "auroc"}}, "sweep.objective.metric: got 'auroc'"),
        ([], {"proposals": PROPOSALS | {"random_trials": 0}}, "sweep.proposals.random_trials: got 0"),
    ],
    ids=lambda value: None if isinstance(value, dict) else str(value)[:40],
)
def test_what_cannot_be_searched_is_one_line(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    overrides: list[str],
    changes: dict[str, Any],
    said: str,
) -> None:
    """The key, the value and the limit are named, before anything is trained."""
    write(tmp_path, **changes)
    with pytest.raises(SystemExit) as ended:
        run(tmp_path, *overrides)
    assert ended.value.code == 2
    assert said in capsys.readouterr().err


def test_an_absent_optuna_is_said_in_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the extra that brings it."""
    write(tmp_path)
    monkeypatch.setitem(sys.modules, "optuna", None)
    with pytest.raises(SystemExit):
        run(tmp_path)
    assert "'.[sweep]'" in capsys.readouterr().err


def test_a_search_where_everything_fails_ends(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """After a few trials, with what the last one said; the failed ones are in the table."""
    write(tmp_path, space={"model.width": {"kind": "choice", "choices": [15, 17, 19]}})
    with pytest.raises(SystemExit):
        run(tmp_path)
    assert "3 failed trials" in capsys.readouterr().err
    (result,) = results(tmp_path)
    assert [row["state"] for row in result["rows"]] == ["failed"] * 3
    assert "best" not in result


def test_a_full_disk_spoils_no_trial(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The search ends and keeps nothing of the trial, which the same command makes; bad values are kept."""
    write(tmp_path)

    def broken(*_: object) -> dict[str, float | None]:
        raise OSError(28, "No space left on device", "model.pt")

    def full(*_: object) -> dict[str, float | None]:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(os, "fsync", broken)
            write_whole(tmp_path / "model.pt", b"weights")
        return {}

    def diverging(*_: object) -> dict[str, float | None]:
        raise RunError("the validation loss is nan after step 2: lower optimiser.learning_rate")

    for at_fault in (full, broken):
        monkeypatch.setattr(Searching, "_figures", at_fault)
        with pytest.raises(SystemExit) as ended:
            run(tmp_path, "num_trials=1")
        assert ended.value.code == 2
        assert "model.pt cannot be written" in capsys.readouterr().err
        assert not list(tmp_path.glob("outputs/sweep/shop/*/trials/*"))
    monkeypatch.setattr(Searching, "_figures", diverging)
    run(tmp_path, "num_trials=1")
    (result,) = results(tmp_path)
    (row,) = result["rows"]
    assert (row["number"], row["state"]) == (0, "failed")
    assert "lower optimiser.learning_rate" in row["reason"]


def test_every_key_is_documented() -> None:
    """Those of the result, of the command and of a space: nobody has to read code to use them."""
    text = DOCUMENT.read_text(encoding="utf-8")
    forms = (SweepResult, Row, Mean, FigureColumn)
    missing = {key for form in forms for key in get_type_hints(form) if f"`{key}`" not in text}
    assert not missing
    shared = {"step_days", "margin", "num_replicates", "out"}
    assert not [key for key in OWN_KEYS - shared if f"`{key}" not in text]
    assert not [
        field.name for field in fields(ProposalConfig) if f"`sweep.proposals.{field.name}`" not in text
    ]
