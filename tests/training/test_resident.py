"""Micro-batches whose events the device gathers are those that bring their events, to the last bit."""

import logging
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import pytorch_lightning as pl
import torch
from tasks import quiet_trainer, small_task, tiny_config

from builders import DAY, START_US, random_histories, small_schema, small_spec
from holdfast.encoding import EncodingSpec
from holdfast.errors import RunError
from training import resident
from training.batches import BatchingConfig, MicroBatch, PoolDataset
from training.fit_config import FitConfig
from training.fitting import fit_weights
from training.labels import Labeller, Labels
from training.resident import Residence, ResidentEvents, SeenEvents, resident_events

CPU = torch.device("cpu")
CUTOFFS_US = START_US + np.array([100, 200, 300, 400]) * DAY
UNTIL_US = int(CUTOFFS_US[-1]) + 40 * DAY
HISTORIES = random_histories(np.random.default_rng(0), 50)
LABELLER = Labeller(HISTORIES, small_schema())
TASK = small_task()


def draw(customers: np.ndarray, _: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Ask about everybody on every date, those without an event included."""
    return np.repeat(np.arange(len(customers)), 4), np.tile(CUTOFFS_US, len(customers))


def label(customer: np.ndarray, cutoff_us: np.ndarray) -> Labels:
    """Label with what training may see."""
    return LABELLER.label(customer, cutoff_us, observed_until_us=UNTIL_US)


def pools(
    spec: EncodingSpec, *, seen: SeenEvents | None = None, event_budget: int = 256, **chosen: Any
) -> PoolDataset:
    """Build pools over all customers."""
    return PoolDataset(
        HISTORIES,
        spec,
        customers=np.arange(50),
        draw=draw,
        label=label,
        weigh=lambda cutoff_us: ((cutoff_us - START_US) / DAY).astype(np.float32),
        config=BatchingConfig(pool_customers=50, readouts_per_customer=3, event_budget=event_budget),
        num_steps=3,
        seed=7,
        seen=seen,
        **chosen,
    )


def held(spec: EncodingSpec, *, until_us: int = UNTIL_US) -> ResidentEvents:
    """Return the events as the device holds them."""
    return ResidentEvents(SeenEvents(HISTORIES, until_us=until_us), spec, device=CPU)


def assert_same(mine: MicroBatch, other: MicroBatch) -> None:
    """Compare inputs by name, order, type and bits, and everything else."""
    assert [*mine.inputs] == [*other.inputs]
    for name, tensor in mine.inputs.items():
        assert tensor.dtype == other.inputs[name].dtype
        assert torch.equal(tensor, other.inputs[name]), name
    assert torch.equal(mine.weights, other.weights)
    assert mine.shape == other.shape
    for name in ("num_readouts", "num_events", "num_padded", "gathered_length"):
        assert getattr(mine, name) == getattr(other, name)
    for part in ("lower", "upper", "values"):
        for target, values in getattr(mine.labels, part).items():
            np.testing.assert_array_equal(values, getattr(other.labels, part)[target])


@pytest.mark.parametrize(
    "limits", [{}, {"max_events": 5}, {"history_days": 45}, {"max_events": 900}], ids=str
)
@pytest.mark.parametrize("is_packed", [True, False], ids=["packed", "rows"])
def test_gathered_batches_are_those_that_bring_their_events(
    is_packed: bool, limits: dict[str, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Several cutoffs of a customer, in one segment or several; histories that are empty or cut by a limit.

    Events are encoded in parts that end in the middle of a customer's history.
    """
    monkeypatch.setattr(resident, "EVENTS_AT_ONCE", 7)
    spec = small_spec(**limits)
    events = held(spec)
    assert events.seen.num < HISTORIES.num_events
    chosen = {"is_packed": is_packed}
    with_events, without = pools(spec, **chosen), pools(spec, seen=events.seen, **chosen)
    num_segments, is_empty, is_shared = 0, False, False
    for step in range(3):
        for mine, other in zip(without[step], with_events[step], strict=True):
            assert not any(name.startswith("event") for name in mine.inputs)
            assert_same(mine.to(CPU, events), other.to(CPU))
            num_segments += len(other.weights)
            is_empty |= bool((other.inputs["readout_visible"] == 0).any())
            is_shared |= other.shape[2] > 1
    assert is_empty
    assert is_shared
    assert num_segments > 3 * 50


@pytest.mark.parametrize("is_packed", [True, False], ids=["packed", "rows"])
def test_a_process_without_a_share_gathers_padding(is_packed: bool) -> None:
    """It takes part with a batch that adds nothing, whether or not it brings its events."""
    spec = small_spec()
    events = held(spec)
    chosen = {"rank": 50, "num_ranks": 51, "is_packed": is_packed}
    (mine,), (other,) = pools(spec, seen=events.seen, **chosen)[0], pools(spec, **chosen)[0]
    assert mine.num_readouts == 0
    assert_same(mine.to(CPU, events), other)


def test_segments_without_an_event_gather_one_that_is_padding() -> None:
    """No axis is ever empty."""
    spec = small_spec(history_days=20)
    events = held(spec)
    chosen = {"is_packed": True, "event_budget": 4}
    others = pools(spec, **chosen)[0]
    assert any(batch.num_events == 0 for batch in others)
    for mine, other in zip(pools(spec, seen=events.seen, **chosen)[0], others, strict=True):
        assert_same(mine.to(CPU, events), other)


def test_a_cutoff_after_what_training_may_see_is_an_error() -> None:
    """It would be given the events of the next customer."""
    spec = small_spec()
    seen = SeenEvents(HISTORIES, until_us=int(CUTOFFS_US[0]))
    with pytest.raises(AssertionError, match="no event of a later time"):
        _ = pools(spec, seen=seen)[0]


def test_memory_is_counted_to_the_byte() -> None:
    """What is asked of the device before it is taken."""
    spec = small_spec()
    events = held(spec)
    taken = sum(tensor.nbytes for tensor in (events._ids, events._values, events._days))
    assert events.seen.num_bytes(spec) == taken


class _Losses(pl.Callback):
    """Keeps the loss of every step, and whether its events had to be gathered."""

    def __init__(self) -> None:
        self.losses: list[float] = []
        self.names: set[str] = set()

    def on_train_batch_end(self, trainer: pl.Trainer, _: Any, __: Any, pool: Any, ___: int) -> None:
        self.losses.append(float(trainer.callback_metrics["train/loss"]))
        self.names |= {name for batch in pool for name in batch.inputs}


def fitted(folder: Path, *, wanted: Residence, **model: Any) -> tuple[_Losses, dict[str, torch.Tensor]]:
    """Fit for a few steps, two of them pretraining; return losses and weights."""
    config = chosen(wanted=wanted, **model)
    config = replace(config, optimiser=replace(config.optimiser, pretraining_steps=2))
    watching = _Losses()
    trainer = quiet_trainer(folder, extra=(watching,))
    weighted = fit_weights(TASK, config, trainer=trainer, folder=folder, checkpoint=None)
    return watching, weighted.model.state_dict()


def chosen(*, wanted: Residence, **model: Any) -> FitConfig:
    """Return the smallest configuration with a residence."""
    config = tiny_config(num_steps=3, experts=(), **model)
    return replace(config, batching=replace(config.batching, resident=wanted))


def test_a_fit_takes_the_very_same_steps(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Losses, on labels and while pretraining, and all weights are the same to the bit."""
    made: list[ResidentEvents | None] = []

    def kept(*args: Any, **settings: Any) -> ResidentEvents | None:
        made.append(resident_events(*args, **settings))
        return made[-1]

    monkeypatch.setattr("training.pools.resident_events", kept)
    with_events, weights = fitted(tmp_path / "without", wanted=False)
    gathered, same = fitted(tmp_path / "with", wanted=True)
    assert [events is None for events in made] == [True, False]
    assert gathered.losses == with_events.losses
    assert len(gathered.losses) == 5
    assert gathered.names == with_events.names
    for name, value in weights.items():
        assert torch.equal(value, same[name]), name


def ask(monkeypatch: pytest.MonkeyPatch, *, wanted: Residence, free: int | None) -> ResidentEvents | None:
    """Ask for residence on a device with so much memory free; None is that of a CPU."""
    monkeypatch.setattr(resident, "free_bytes", lambda _: free)
    return resident_events(HISTORIES, small_spec(), wanted=wanted, until_us=UNTIL_US, device=CPU)


def test_where_events_are_held(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    """On a GPU up to a share of what is free there, on a CPU on request alone; the log has the figures."""
    assert resident.free_bytes(CPU) is None
    needed = SeenEvents(HISTORIES, until_us=UNTIL_US).num_bytes(small_spec())
    with caplog.at_level(logging.INFO, logger="training.resident"):
        assert ask(monkeypatch, wanted="auto", free=None) is None
        assert ask(monkeypatch, wanted=False, free=2**40) is None
        assert not caplog.messages
        assert ask(monkeypatch, wanted="auto", free=2 * needed) is not None
        assert ask(monkeypatch, wanted="auto", free=2 * needed - 1) is None
        assert ask(monkeypatch, wanted=True, free=needed) is not None
        assert ask(monkeypatch, wanted=True, free=None) is not None
    held, off = "and are gathered there", "off, pools bring their events"
    for message, expected in zip(caplog.messages, [held, off, held, held], strict=True):
        assert message.startswith("resident: ")
        assert expected in message
        assert "encoded events take 0 MiB" in message
    with pytest.raises(RunError, match=r"batching\.resident=true: .* MiB .* free") as caught:
        ask(monkeypatch, wanted=True, free=needed - 1)
    assert "\n" not in str(caught.value)
