"""Judging a finished run once more: what does not belong together is one line."""

import json
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console
from shop_run import fill_disk, shop_settings
from trained import fitted_once

import training.evaluate
from holdfast.errors import ArtifactError, ConfigError, RunError, SchemaMismatchError
from holdfast.plain import from_plain
from training.judging import EvaluationConfig

# Importing an entry point makes beartype look at the bases of Hydra's DictConfig, which it finds deprecated.
pytestmark = pytest.mark.filterwarnings("ignore:.*deprecated by PEP 585")


@pytest.fixture
def run(tmp_path: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of a run on a shop, with the model of another data set."""
    shop_settings(tmp_path)
    fitted_once(tmp_path_factory).save(tmp_path)
    return tmp_path


def evaluate(run: Path, *, split: str = "test") -> Any:
    """Judge the model of a run."""
    plain = {"split": split, "baselines": [], "num_bootstrap": 0, "seed": 1}
    config = from_plain(EvaluationConfig, plain)
    return training.evaluate.evaluate_run(run, config=config, console=Console(quiet=True))


def test_a_model_of_another_data_set_is_refused(run: Path) -> None:
    """Both are named, with what they differ in, instead of a column that nobody has heard of."""
    with pytest.raises(SchemaMismatchError) as caught:
        evaluate(run)
    said = str(caught.value)
    assert said.startswith(
        f"{run / 'model.pt'}: it was fitted on another data set than that of the store {run}"
    )
    assert "fields are ['amount', 'quantity', 'channel'] there and ['amount', 'channel'] here" in said


@pytest.mark.parametrize("store_dir", [None, 3])
def test_settings_without_a_store_are_named(
    tmp_path: Path, tmp_path_factory: pytest.TempPathFactory, store_dir: object
) -> None:
    """As those of something else may be."""
    shop_settings(tmp_path, store_dir=store_dir)
    fitted_once(tmp_path_factory).save(tmp_path)
    with pytest.raises(ArtifactError, match=r"settings\.json: its store_dir must be the folder of a store"):
        evaluate(tmp_path)


def test_a_full_disk_leaves_the_result_that_was_there(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Half of a file would be taken for a result."""
    monkeypatch.setattr(training.evaluate, "check_same_schema", lambda *_: None)
    monkeypatch.setattr(training.evaluate, "judge", lambda *_, **__: {"form": 1})
    evaluate(run)
    before = (run / "result_test.json").read_bytes()
    fill_disk(monkeypatch)
    with pytest.raises(RunError, match=r"result_test\.json cannot be written: No space left on device"):
        evaluate(run)
    assert (run / "result_test.json").read_bytes() == before
    assert not list(run.glob("*.partial"))


@pytest.mark.parametrize(
    ("fit_on", "judged_on"), [("train", "test"), ("both", "validation")], ids=["fitted once", "first of two"]
)
def test_weights_that_end_before_validation_are_judged_there(
    run: Path, monkeypatch: pytest.MonkeyPatch, fit_on: str, judged_on: str
) -> None:
    """So are those of a run that was judged there first: of two fits it made one."""
    _settings_with(run, fit_on=fit_on, split=judged_on)
    monkeypatch.setattr(training.evaluate, "check_same_schema", lambda *_: None)
    monkeypatch.setattr(training.evaluate, "judge", lambda *_, config, **__: {"split": config.split})
    evaluate(run, split="validation")
    assert json.loads((run / "result_validation.json").read_text()) == {"split": "validation"}


@pytest.mark.parametrize("fit_on", ["both", "refit"])
def test_weights_that_have_seen_the_window_are_not_judged_there(run: Path, fit_on: str) -> None:
    """One line with a way out, before anything is read."""
    _settings_with(run, fit_on=fit_on, split="test")
    said = f"fit_on={fit_on} have seen the validation window; .*[+][+]data.cutoffs.fit_on=train"
    with pytest.raises(ConfigError, match=said):
        evaluate(run, split="validation")


def _settings_with(run: Path, *, fit_on: str, split: str) -> None:
    """Let a run's settings say how it was fitted and first judged."""
    path = run / "settings.json"
    settings = json.loads(path.read_text())
    settings["data"]["cutoffs"]["fit_on"] = fit_on
    settings["evaluation"]["split"] = split
    path.write_text(json.dumps(settings))
