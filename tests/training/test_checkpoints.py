"""A killed fit goes on where it was, to the same bits, and what is damaged is made anew."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import pytorch_lightning as pl
import torch
from kills import KillAfter, Killed
from tasks import quiet_trainer, small_task, tiny_config

import training.fitting
from training.checkpoints import checkpoint_of
from training.fit_config import FitConfig
from training.fitted import FILE_NAME, FittedModel
from training.fitting import WEIGHED_FOLDER, fit
from training.sweeps.watching import ValidationWatch

TASK = small_task(num_customers=100)


@pytest.fixture(scope="module")
def fitted(tmp_path_factory: pytest.TempPathFactory) -> FittedModel:
    """Fit once for all tests that only look."""
    folder = tmp_path_factory.mktemp("run")
    return fit(TASK, tiny_config(), trainer=quiet_trainer(folder), folder=folder)


def weights(model: FittedModel) -> dict[str, torch.Tensor]:
    """Return all parameters and buffers."""
    return model.model.state_dict()


@pytest.mark.parametrize(
    "step", [pytest.param(3, marks=pytest.mark.long), 7, pytest.param(11, marks=pytest.mark.long)]
)
def test_a_killed_run_ends_where_the_uninterrupted_one_does(
    fitted: FittedModel, tmp_path: Path, step: int
) -> None:
    """Killed before its first checkpoint, between two, or just before the end: the same bits."""
    killer = quiet_trainer(tmp_path, extra=(KillAfter(step),))
    with pytest.raises(Killed):
        fit(TASK, tiny_config(), trainer=killer, folder=tmp_path)
    resumed = fit(TASK, tiny_config(), trainer=quiet_trainer(tmp_path), folder=tmp_path, resume=True)
    for name, value in weights(fitted).items():
        assert torch.equal(value, weights(resumed)[name]), name
    assert resumed.calibration == fitted.calibration
    assert resumed.blend == fitted.blend


def test_a_killed_run_with_pretraining_does_so_too(tmp_path: Path) -> None:
    """The recurrent model, killed in the second of two phases: the same bits."""
    config = tiny_config(num_steps=4, experts=(), encoder="gru", num_neighbours=0)
    config = replace(config, optimiser=replace(config.optimiser, pretraining_steps=2))
    whole = fit(TASK, config, trainer=quiet_trainer(tmp_path), folder=tmp_path / "whole")
    killed = tmp_path / "killed"
    with pytest.raises(Killed):
        fit(TASK, config, trainer=quiet_trainer(killed, extra=(KillAfter(5),)), folder=killed)
    resumed = fit(TASK, config, trainer=quiet_trainer(killed), folder=killed, resume=True)
    for name, value in weights(whole).items():
        assert torch.equal(value, weights(resumed)[name]), name


def test_checkpoints_are_plain_dictionaries(tmp_path: Path) -> None:
    """They load with weights_only: nothing in them can run code. The last step has none."""
    fit(TASK, tiny_config(num_steps=8, experts=()), trainer=quiet_trainer(tmp_path), folder=tmp_path)
    content = torch.load(tmp_path / "checkpoints" / "last.ckpt", weights_only=True)
    assert content["global_step"] == 4


class _Steps(pl.Callback):
    """Notes every step that is taken, and kills at the first validation or behind it."""

    def __init__(self, *, kill: str | None = None) -> None:
        self.taken: list[int] = []
        self.kill = kill

    def on_train_batch_start(self, trainer: pl.Trainer, *_: object) -> None:
        self.taken.append(trainer.global_step)

    def on_validation_start(self, *_: object) -> None:
        if self.kill == "before":
            raise Killed

    def on_validation_end(self, *_: object) -> None:
        if self.kill == "after":
            raise Killed


class _Told:
    """Takes validation losses by number, as a search does."""

    def __init__(self) -> None:
        self.losses: dict[int, float] = {}

    def report(self, loss: float, validation: int) -> None:
        assert self.losses.setdefault(validation, loss) == loss

    def should_end(self) -> bool:
        return False


def scheduled(config: FitConfig, **changes: Any) -> FitConfig:
    """Return a configuration with another schedule."""
    return replace(config, optimiser=replace(config.optimiser, **changes))


@contextmanager
def killed_in_finish(*, number: int) -> Iterator[None]:
    """Kill behind the last step of a fit, the first one or a later one, before its model is written."""
    finish, started = training.fitting.finish, list[int]()

    def killing(*args: Any, **options: Any) -> FittedModel:
        started.append(number)
        if len(started) == number:
            raise Killed
        return finish(*args, **options)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(training.fitting, "finish", killing)
        yield


@pytest.mark.parametrize(
    ("fit_on", "number"), [("train", 1), pytest.param("both", 1, marks=pytest.mark.long), ("both", 2)]
)
def test_a_run_killed_behind_its_last_step_ends_with_averaged_weights(
    tmp_path: Path, fit_on: str, number: int
) -> None:
    """A fit of as many steps as lie between checkpoints, killed before there is a model: the same bits."""
    task, config = replace(TASK, fit_on=fit_on), tiny_config(num_steps=4, experts=())
    config = scheduled(config, checkpoint_every_steps=2)
    whole = fit(task, config, trainer=quiet_trainer(tmp_path), folder=tmp_path / "whole")
    killed, steps = tmp_path / "killed", _Steps()
    with killed_in_finish(number=number), pytest.raises(Killed):
        fit(task, config, trainer=quiet_trainer(killed), folder=killed)
    again = fit(task, config, trainer=quiet_trainer(killed, extra=(steps,)), folder=killed, resume=True)
    assert steps.taken[:2] == [2, 3]
    for name, value in weights(whole).items():
        assert torch.equal(value, weights(again)[name]), name


@pytest.mark.parametrize(
    ("kill", "step"),
    [("before", 0), ("after", 0), (None, 4), pytest.param(None, 5, marks=pytest.mark.long)],
)
def test_a_validation_of_a_checkpoints_own_step_is_not_lost(
    tmp_path: Path, kill: str | None, step: int
) -> None:
    """Killed before, in or behind it, every validation is taken once, and its loss is the same."""
    config = tiny_config(num_steps=8, experts=())

    def run(folder: Path, *extra: pl.Callback, resume: bool = False) -> tuple[FittedModel, dict[int, float]]:
        told = _Told()
        watch = ValidationWatch(told, part="loss", weight=1.0)
        made = quiet_trainer(folder, extra=(watch, *extra))
        return fit(TASK, config, trainer=made, folder=folder, resume=resume), told.losses

    whole, losses = run(tmp_path / "whole")
    assert sorted(losses) == [1, 2]
    killed, steps = tmp_path / "killed", _Steps()
    with pytest.raises(Killed):
        run(killed, _Steps(kill=kill) if kill else KillAfter(step))
    again, told = run(killed, steps, resume=True)
    assert told == losses
    assert steps.taken == list(range(0 if kill else 4, 8))
    for name, value in weights(whole).items():
        assert torch.equal(value, weights(again)[name]), name


def test_a_fit_that_ended_early_ends_there_again(tmp_path: Path) -> None:
    """Killed behind its last step, it goes on from before the validation that ended it."""
    config = scheduled(tiny_config(experts=()), validations=3, early_stopping_patience=1, learning_rate=1e-30)
    steps = _Steps()
    with killed_in_finish(number=1), pytest.raises(Killed):
        fit(TASK, config, trainer=quiet_trainer(tmp_path, extra=(steps,)), folder=tmp_path)
    assert steps.taken == list(range(8))
    steps = _Steps()
    fit(TASK, config, trainer=quiet_trainer(tmp_path, extra=(steps,)), folder=tmp_path, resume=True)
    assert steps.taken == list(range(4, 8))


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 truncated", "a list"])
def test_a_damaged_checkpoint_is_told_and_the_fit_begins_anew(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, content: bytes | str
) -> None:
    """The log names the file; nobody has to delete it first."""
    config, path, steps = tiny_config(num_steps=2, experts=()), checkpoint_of(tmp_path), _Steps()
    path.parent.mkdir()
    if isinstance(content, bytes):
        path.write_bytes(content)
    else:
        torch.save([content], path)
    fit(TASK, config, trainer=quiet_trainer(tmp_path, extra=(steps,)), folder=tmp_path, resume=True)
    assert steps.taken == [0, 1]
    assert f"{path}: it " in caplog.text
    assert "the fit begins anew" in caplog.text


def test_a_damaged_model_is_told_and_fitted_anew(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """What the first of two fits left, and what both did."""
    task, config = replace(TASK, fit_on="both"), tiny_config(num_steps=1, experts=())
    for folder in (tmp_path, tmp_path / WEIGHED_FOLDER):
        folder.mkdir(exist_ok=True)
        (folder / FILE_NAME).write_bytes(b"PK\x03\x04 truncated")
    fit(task, config, trainer=quiet_trainer(tmp_path), folder=tmp_path, resume=True)
    for folder in (tmp_path, tmp_path / WEIGHED_FOLDER):
        assert f"{folder / FILE_NAME}: it cannot be read" in caplog.text
        FittedModel.load(folder)


def test_a_model_that_is_there_is_neither_fitted_nor_written_again(tmp_path: Path) -> None:
    """A run that was killed while it was judged needs no room on the disk to go on."""
    config = tiny_config(num_steps=1, experts=())
    fit(TASK, config, trainer=quiet_trainer(tmp_path), folder=tmp_path)
    written = (tmp_path / FILE_NAME).stat().st_mtime_ns
    fit(TASK, config, trainer=quiet_trainer(tmp_path), folder=tmp_path, resume=True)
    assert (tmp_path / FILE_NAME).stat().st_mtime_ns == written
