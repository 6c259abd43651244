"""A fit is reproducible, survives a kill, and leaves a model that loads to the same bits."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import pytorch_lightning as pl
import torch
from tasks import quiet_trainer, small_task, tiny_config

import training.fitting
from holdfast.errors import ArtifactError, ConfigError, RunError
from training.calibration import Calibration
from training.checkpoints import checkpoint_of
from training.fit_config import FitConfig
from training.fitted import FILE_NAME, FittedModel
from training.fitting import WEIGHED_FOLDER, fit
from training.module import OptimiserConfig
from training.predict import predict_raw
from training.sweeps.watching import ValidationWatch

TASK = small_task(num_customers=100)


class _Killed(BaseException):
    """Stands for SIGKILL: nothing between here and the test may handle it."""


class _KillAfter(pl.Callback):
    def __init__(self, step: int) -> None:
        self.step = step

    def on_train_batch_start(self, trainer: pl.Trainer, *_: object) -> None:
        if trainer.global_step == self.step:
            raise _Killed


@pytest.fixture(scope="module")
def fitted(tmp_path_factory: pytest.TempPathFactory) -> FittedModel:
    """Fit once for all tests that only look."""
    folder = tmp_path_factory.mktemp("run")
    return fit(TASK, tiny_config(), trainer=quiet_trainer(folder), folder=folder)


class _KillInFit(_KillAfter):
    """Kills the second of two fits, or a later one."""

    def __init__(self, number: int, step: int) -> None:
        super().__init__(step)
        self.number, self.num_fits = number, 0

    def on_fit_start(self, *_: object) -> None:
        self.num_fits += 1

    def on_train_batch_start(self, trainer: pl.Trainer, *_: object) -> None:
        if self.num_fits == self.number:
            super().on_train_batch_start(trainer)


def weights(model: FittedModel) -> dict[str, torch.Tensor]:
    """Return all parameters and buffers."""
    return model.model.state_dict()


@pytest.mark.long
def test_the_same_seed_gives_the_same_bits(fitted: FittedModel, tmp_path: Path) -> None:
    """Two runs of one configuration end in identical weights and calibration; another seed does not."""
    again = fit(TASK, tiny_config(), trainer=quiet_trainer(tmp_path), folder=tmp_path)
    other = fit(TASK, tiny_config(seed=4), trainer=quiet_trainer(tmp_path), folder=tmp_path / "other")
    for name, value in weights(fitted).items():
        assert torch.equal(value, weights(again)[name]), name
    assert again.calibration == fitted.calibration
    assert again.blend == fitted.blend
    assert any(not torch.equal(v, weights(other)[n]) for n, v in weights(fitted).items())


@pytest.mark.parametrize(
    "step", [pytest.param(3, marks=pytest.mark.long), 7, pytest.param(11, marks=pytest.mark.long)]
)
def test_a_killed_run_ends_where_the_uninterrupted_one_does(
    fitted: FittedModel, tmp_path: Path, step: int
) -> None:
    """Killed before its first checkpoint, between two, or just before the end: the same bits."""
    killer = quiet_trainer(tmp_path, extra=(_KillAfter(step),))
    with pytest.raises(_Killed):
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
    with pytest.raises(_Killed):
        fit(TASK, config, trainer=quiet_trainer(killed, extra=(_KillAfter(5),)), folder=killed)
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
            raise _Killed

    def on_validation_end(self, *_: object) -> None:
        if self.kill == "after":
            raise _Killed


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
            raise _Killed
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
    with killed_in_finish(number=number), pytest.raises(_Killed):
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
    with pytest.raises(_Killed):
        run(killed, _Steps(kill=kill) if kill else _KillAfter(step))
    again, told = run(killed, steps, resume=True)
    assert told == losses
    assert steps.taken == list(range(0 if kill else 4, 8))
    for name, value in weights(whole).items():
        assert torch.equal(value, weights(again)[name]), name


def test_a_fit_that_ended_early_ends_there_again(tmp_path: Path) -> None:
    """Killed behind its last step, it goes on from before the validation that ended it."""
    config = scheduled(tiny_config(experts=()), validations=3, early_stopping_patience=1, learning_rate=1e-30)
    steps = _Steps()
    with killed_in_finish(number=1), pytest.raises(_Killed):
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
    written = (tmp_path / FILE_NAME).stat()
    fit(TASK, config, trainer=quiet_trainer(tmp_path), folder=tmp_path, resume=True)
    assert (tmp_path / FILE_NAME).stat() == written


def test_a_fit_that_has_diverged_ends_at_once(tmp_path: Path) -> None:
    """In one line that says what to do, before experts, judging and export meet numbers that are none."""
    config = tiny_config(num_steps=4, experts=())
    config = replace(config, optimiser=replace(config.optimiser, learning_rate=1e30))
    with pytest.raises(
        RunError, match=r"validation loss is (nan|inf) after step \d: lower optimiser.learning_rate"
    ):
        fit(TASK, config, trainer=quiet_trainer(tmp_path), folder=tmp_path)


def test_a_fitted_model_loads_to_the_same_answers(fitted: FittedModel, tmp_path: Path) -> None:
    """Spec, scales, weights and calibration survive the file."""
    fitted.save(tmp_path)
    again = FittedModel.load(tmp_path)
    test = TASK.readouts(TASK.splits.test)
    customer, cutoff_us = test.customer[:50], test.cutoff_us[:50]
    mine = predict_raw(fitted.model, TASK.histories, customer=customer, cutoff_us=cutoff_us)
    other = predict_raw(again.model, TASK.histories, customer=customer, cutoff_us=cutoff_us)
    assert torch.equal(mine.survival["churn"], other.survival["churn"])
    assert again.spec == fitted.spec
    assert again.calibration == fitted.calibration
    assert fitted.blend is not None
    assert again.blend == fitted.blend


def test_predictions_come_in_the_order_asked(fitted: FittedModel) -> None:
    """Batching by length is undone; a customer asked twice is answered twice."""
    test = TASK.readouts(TASK.splits.test)
    order = np.random.default_rng(0).permutation(len(test))[:40]
    order = np.append(order, order[:3])
    straight = predict_raw(fitted.model, TASK.histories, customer=test.customer, cutoff_us=test.cutoff_us)
    mixed = predict_raw(
        fitted.model,
        TASK.histories,
        customer=test.customer[order],
        cutoff_us=test.cutoff_us[order],
        event_budget=200,
    )
    torch.testing.assert_close(mixed.survival["churn"], straight.survival["churn"][order], atol=1e-5, rtol=0)


@pytest.mark.parametrize("content", [None, b"", b"not a model", b"PK\x03\x04 truncated"])
def test_a_missing_or_damaged_model_is_named(tmp_path: Path, content: bytes | None) -> None:
    """The message names the file and the reason."""
    if content is not None:
        (tmp_path / FILE_NAME).write_bytes(content)
    with pytest.raises(ArtifactError, match=FILE_NAME):
        FittedModel.load(tmp_path)


@pytest.mark.parametrize("part", ["spec", "config", "scales", "calibration", "blend", "weights"])
def test_a_model_without_a_part_or_with_another_one_is_named(
    fitted: FittedModel, tmp_path: Path, part: str
) -> None:
    """One line that names the file, whatever is missing or does not fit."""
    path = fitted.save(tmp_path)
    content = torch.load(path, weights_only=True)
    torch.save({name: value for name, value in content.items() if name != part}, path)
    with pytest.raises(ArtifactError, match=rf"{FILE_NAME}: it is damaged: '{part}' is not in it"):
        FittedModel.load(tmp_path)
    torch.save(content | {part: {"other": 1}}, path)
    with pytest.raises(ArtifactError, match=rf"{FILE_NAME}: it is damaged: ") as caught:
        FittedModel.load(tmp_path)
    assert "\n" not in str(caught.value)


def test_a_model_of_another_form_is_refused(tmp_path: Path) -> None:
    """A file of another release is not half read."""
    torch.save({"form": 99}, tmp_path / FILE_NAME)
    with pytest.raises(ArtifactError, match="form"):
        FittedModel.load(tmp_path)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("num_steps", 0),
        ("learning_rate", 0.0),
        ("warmup_steps", -1),
        ("pretraining_steps", -1),
        ("passes", 0.0),
        ("steps_range", (5, 4)),
        ("ema_decay", 1.0),
        ("validations", 0),
    ],
)
def test_a_schedule_that_cannot_run_is_refused(key: str, value: Any) -> None:
    """The message names the key."""
    values = {
        name: getattr(tiny_config().optimiser, name) for name in OptimiserConfig.__dataclass_fields__
    } | {key: value}
    with pytest.raises(ConfigError, match=rf"optimiser\.{key}"):
        OptimiserConfig(**values)


def test_the_number_of_steps_is_what_the_data_asks_for_within_the_range() -> None:
    """A given number stands."""
    asked = replace(tiny_config().optimiser, num_steps=None, steps_range=(50, 400))
    settled = [asked.settled(wanted_steps=steps).num_steps for steps in (1, 200, 100_000)]
    assert settled == [50, 200, 400]
    assert tiny_config(num_steps=7).optimiser.settled(wanted_steps=200).num_steps == 7


def test_the_rate_rises_then_falls_to_zero() -> None:
    """Warm-up, peak, and nothing left at the end."""
    schedule = tiny_config().optimiser
    factors = [schedule.factor(step) for step in range(13)]
    assert factors[0] < factors[1] < factors[2] == 1.0
    assert factors[2:] == sorted(factors[2:], reverse=True)
    assert factors[12] == 0.0


def test_refitted_weights_are_neither_validated_nor_weighed_nor_calibrated(tmp_path: Path) -> None:
    """They have seen the validation window: nothing later is left to calibrate on, and no warning is due."""
    task = replace(TASK, fit_on="refit")
    refitted = fit(task, tiny_config(num_steps=4), trainer=quiet_trainer(tmp_path), folder=tmp_path)
    assert refitted.calibration == Calibration()
    assert refitted.blend is not None
    assert refitted.blend.calibration == Calibration()
    weights = refitted.blend.weights.weights
    # Nothing is left to weigh the experts on; Pareto/NBD has no say on amounts.
    assert set(weights["churn"]) == {(0.25, 0.25, 0.25, 0.25)}
    assert set(weights["spend"]) == {(1 / 3, 1 / 3, 1 / 3, 0.0)}
    assert task.readouts(task.fit_split).cutoff_us.max() > TASK.readouts(TASK.fit_split).cutoff_us.max()


@pytest.mark.long
def test_fitting_both_ways_keeps_the_weights_of_the_blend_and_refits_the_rest(tmp_path: Path) -> None:
    """Network and experts are those of a refit, what experts count was found on the validation window.

    Killed in either of the two fits and gone on with, they are the same to the bit.
    """
    config = tiny_config(num_steps=4)
    config = replace(config, optimiser=replace(config.optimiser, checkpoint_every_steps=2))
    folders = {kind: tmp_path / kind for kind in ("train", "refit", "both")}
    fitted = {
        kind: fit(replace(TASK, fit_on=kind), config, trainer=quiet_trainer(folder), folder=folder)
        for kind, folder in folders.items()
    }
    for name, value in weights(fitted["both"]).items():
        assert torch.equal(value, weights(fitted["refit"])[name]), name
    blends = {kind: found.blend for kind, found in fitted.items()}
    assert blends["both"] is not None
    assert blends["train"] is not None
    assert blends["refit"] is not None
    assert blends["both"].experts == blends["refit"].experts
    assert blends["both"].weights == blends["train"].weights != blends["refit"].weights
    assert fitted["both"].calibration == blends["both"].calibration == Calibration()
    task = replace(TASK, fit_on="both")
    for number in (1, 2):
        folder = tmp_path / f"killed_in_{number}"
        killer = quiet_trainer(folder, extra=(_KillInFit(number, 3),))
        with pytest.raises(_Killed):
            fit(task, config, trainer=killer, folder=folder)
        again = fit(task, config, trainer=quiet_trainer(folder), folder=folder, resume=True)
        assert again.blend == blends["both"]
        for name, value in weights(fitted["both"]).items():
            assert torch.equal(value, weights(again)[name]), name


def test_pretraining_learns_the_next_event_and_no_label(tmp_path: Path) -> None:
    """While it lasts, heads of the targets stay as they were, and every customer with an event is drawn."""
    config = tiny_config(num_steps=1)
    config = replace(config, optimiser=replace(config.optimiser, pretraining_steps=3, ema_decay=0.0))
    seen: list[dict[str, torch.Tensor]] = []

    class Keep(pl.Callback):
        def on_train_batch_start(self, _: pl.Trainer, module: pl.LightningModule, pool: Any, __: int) -> None:
            seen.append({name: value.detach().clone() for name, value in module.named_parameters()})
            labelled.append(float(sum(batch.weights.sum() for batch in pool)))

    labelled: list[float] = []
    fit(TASK, config, trainer=quiet_trainer(tmp_path, extra=(Keep(),)), folder=tmp_path)
    assert [count > 0 for count in labelled] == [False, False, False, True]
    moved = {name for name, value in seen[0].items() if not torch.allclose(value, seen[3][name], rtol=0.01)}
    assert any("next_event" in name for name in moved)
    assert not any("survival" in name for name in moved), moved


def test_the_schedule_holds_its_peak_while_pretraining() -> None:
    """Up, flat until labels come, then down to zero at the last step."""
    schedule = replace(tiny_config(num_steps=10).optimiser, pretraining_steps=20, warmup_steps=4)
    factors = [schedule.factor(step) for step in range(schedule.total_steps + 1)]
    assert factors[3] < 1.0
    assert factors[4:21] == [1.0] * 17
    assert factors[25] == 0.5
    assert factors[30] == 0.0


def test_pretraining_without_its_loss_is_refused() -> None:
    """There would be nothing to learn, and the steps would be wasted unseen."""
    config = tiny_config()
    with pytest.raises(ConfigError, match=r"optimiser\.pretraining_steps"):
        replace(
            config,
            optimiser=replace(config.optimiser, pretraining_steps=3),
            weights=replace(config.weights, next_event=0.0),
        )
