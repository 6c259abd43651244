"""What a multirun left is read from its folders, whoever ran the jobs and wherever they were stopped."""

import io
import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from forms import check_form
from rich.console import Console

from training.sweeps.jobs import JOB_NAME, multirun_result, reason_of
from training.sweeps.result import SweepResult
from training.sweeps.table import render_sweep


def job(folder: Path, number: int, overrides: list[str], *, auroc: float | None, **ended: Any) -> None:
    """Leave what a job leaves; without an end it was killed."""
    place = folder / str(number)
    (place / ".hydra").mkdir(parents=True)
    (place / ".hydra" / "overrides.yaml").write_text(yaml.safe_dump(overrides))
    (place / ".hydra" / "config.yaml").write_text(yaml.safe_dump({"data": {"name": "shop"}}))
    if ended:
        (place / JOB_NAME).write_text(json.dumps({"reason": None} | ended))
    metrics = {"auroc": {"value": auroc}, "log_loss": {"value": 0.5}}
    horizons = [
        {"horizon_days": days, "models": {"blend": {"metrics": metrics if days == 60 else {}}}}
        for days in (30, 60)
    ]
    target = {"name": "churn", "kind": "time_to_event", "horizons": horizons}
    result = {"split": "validation", "main": "blend", "targets": [target]}
    (place / "result.json").write_text(json.dumps(result))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Return the folder of two models and two seeds: one job failed, one was killed, some are gone."""
    shared = ["data=shop", "++data.cutoffs.fit_on=train"]
    done = {"state": "finished", "seconds": 75.0}
    job(tmp_path, 2, [*shared, "model=gru", "seed=1"], auroc=0.7, **done)
    job(tmp_path, 3, [*shared, "model=gru", "seed=2"], auroc=0.8, **done)
    job(
        tmp_path,
        9,
        [*shared, "model=none", "seed=1"],
        auroc=None,
        state="failed",
        seconds=1.0,
        reason="no [x]",
    )
    job(tmp_path, 10, [*shared, "model=none", "seed=2"], auroc=0.6)
    return tmp_path


def test_a_multirun_is_one_table(folder: Path) -> None:
    """In the order of the jobs: what all share stands aside, seeds are averaged, nothing is hidden."""
    result = multirun_result(folder)
    assert result is not None
    check_form(result, SweepResult)
    assert result["shared"] == ["data=shop", "data.cutoffs.fit_on=train"]
    assert [column["name"] for column in result["columns"]] == ["churn_60d_auroc", "churn_60d_log_loss"]
    assert [row["state"] for row in result["rows"]] == ["finished", "finished", "failed", "unfinished"]
    assert result["rows"][3]["overrides"] == {"model": "none", "seed": "2"}
    assert result["rows"][3]["figures"] == {}
    (mean,) = result["means"]
    assert (mean["overrides"], mean["numbers"]) == ({"model": "gru"}, [2, 3])
    assert mean["means"]["churn_60d_auroc"] == pytest.approx(0.75)
    assert mean["spreads"]["churn_60d_auroc"] == pytest.approx(0.1 / 2**0.5)


def test_the_table_says_what_failed_and_why(folder: Path) -> None:
    """At a width of 100, with brackets in a reason as they are, times in words and the best value marked."""
    result = multirun_result(folder)
    assert result is not None
    console = Console(width=100, record=True, file=io.StringIO())
    console.print(render_sweep(result))
    text = console.export_text()
    for part in (
        "failed",
        "unfinished",
        "run 9 failed: no [x]",
        "1 min 15 s",
        "0.750 ±0.0707",
        "all: data=shop",
    ):
        assert part in text, part
    assert max(map(len, text.splitlines())) <= 100
    assert "0.800" in text


def test_many_settings_share_a_column(folder: Path) -> None:
    """Four columns of words would leave no room for figures."""
    result = multirun_result(folder)
    assert result is not None
    result["rows"][0]["overrides"] |= {"model.width": "64", "optimiser.learning_rate": "0.002"}
    console = Console(width=100, record=True, file=io.StringIO())
    console.print(render_sweep(result))
    text = console.export_text()
    assert "settings" in text
    assert "width=64" in text
    assert "learning_rate=0.002" in text


def test_a_command_that_leaves_nothing_to_tabulate_has_no_table(tmp_path: Path) -> None:
    """Such as a multirun of another entry point."""
    assert multirun_result(tmp_path) is None
    job(tmp_path, 0, ["data=shop"], auroc=0.5)
    assert multirun_result(tmp_path) is None


@pytest.mark.parametrize(
    ("error", "line"),
    [(ValueError("first\nsecond"), "ValueError: first"), (MemoryError(), "MemoryError")],
)
def test_an_error_of_nobody_has_one_line(error: Exception, line: str) -> None:
    """Its kind and the first thing that it says."""
    assert reason_of(error) == line
