"""A fit is reproducible, follows its schedule, and leaves a model that answers in the order asked."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import pytorch_lightning as pl
import torch
from kills import Killed, KillInFit
from tasks import quiet_trainer, small_task, tiny_config

from holdfast.errors import ConfigError, RunError
from training import calibration
from training.calibration import Calibration
from training.fitted import FittedModel
from training.fitting import fit
from training.model.distributions import SCORE_KNOTS
from training.module import OptimiserConfig
from training.predict import predict_raw

TASK = small_task(num_customers=100)


@pytest.fixture(scope="module")
def fitted(tmp_path_factory: pytest.TempPathFactory) -> FittedModel:
    """Fit once for all tests that only look."""
    folder = tmp_path_factory.mktemp("run")
    return fit(TASK, tiny_config(), trainer=quiet_trainer(folder), folder=folder)


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


def test_a_fit_that_has_diverged_ends_at_once(tmp_path: Path) -> None:
    """In one line that says what to do, before experts, judging and export meet numbers that are none."""
    config = tiny_config(num_steps=4, experts=())
    config = replace(config, optimiser=replace(config.optimiser, learning_rate=1e30))
    with pytest.raises(
        RunError, match=r"validation loss is (nan|inf) after step \d: lower optimiser.learning_rate"
    ):
        fit(TASK, config, trainer=quiet_trainer(tmp_path), folder=tmp_path)


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
def test_fitting_both_ways_keeps_the_weights_of_the_blend_and_refits_the_rest(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Network and experts are those of a refit; what experts count, and how amounts lie, was found before.

    Killed in either of the two fits and gone on with, they are the same to the bit.
    """
    monkeypatch.setattr(calibration, "fit_scores", lambda *_: SCORE_KNOTS)
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
    assert (
        fitted["both"].calibration == blends["both"].calibration == Calibration(scores={"spend": SCORE_KNOTS})
    )
    task = replace(TASK, fit_on="both")
    for number in (1, 2):
        folder = tmp_path / f"killed_in_{number}"
        killer = quiet_trainer(folder, extra=(KillInFit(number, 3),))
        with pytest.raises(Killed):
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
