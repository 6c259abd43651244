"""What comes after a point in time changes no bit of an answer about it, nor of what is learned before it."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from futures import other_future
from hypothesis import given, settings
from hypothesis import strategies as st
from tasks import quiet_trainer, small_task, tiny_config
from trained import Trained

from builders import DAY, START_US, random_histories, segment_events
from holdfast.encoding import Cutoffs, encode
from holdfast.histories import Histories
from holdfast.wire import Limits, read_customers, write_request
from training.cutoffs import TrainPolicy
from training.fitted import FittedModel
from training.fitting import build_model, fit
from training.labels import Labeller, Labels
from training.splits import temporal_splits
from training.task import Task

NUM_CUSTOMERS = 24


def drawn(seed: int) -> tuple[np.random.Generator, Histories, int]:
    """Return histories and a whole hour, which coincides with events more often than not."""
    rng = np.random.default_rng(seed)
    histories = random_histories(rng, NUM_CUSTOMERS)
    return rng, histories, int(START_US + rng.integers(-24, 510 * 24) * (DAY // 24))


@settings(max_examples=25)
@given(seed=st.integers(0, 2**32 - 1))
def test_another_future_changes_no_bit_of_an_answer(trained: Trained, seed: int) -> None:
    """Every output of the exported graph, and what is counted of the past, for every customer."""
    rng, histories, as_of_us = drawn(seed)
    as_of = np.full(NUM_CUSTOMERS, as_of_us)
    changed = other_future(rng, histories, as_of_us)
    before = trained.predictor.predict(histories, as_of)
    after = trained.predictor.predict(changed, as_of)
    assert set(before.outputs) == set(trained.predictor.output_names)
    for name, values in before.outputs.items():
        assert values.tobytes() == after.outputs[name].tobytes(), name
    for name in ("num_used", "num_truncated", "num_unknown"):
        np.testing.assert_array_equal(getattr(before, name), getattr(after, name), err_msg=name)
    np.testing.assert_array_equal(after.num_after, np.diff(changed.offsets) - _num_past(histories, as_of_us))


@settings(max_examples=10)
@given(seed=st.integers(0, 2**32 - 1))
def test_another_future_on_the_wire_changes_no_bit_of_an_answer(trained: Trained, seed: int) -> None:
    """A caller who sends the whole table, future and all, gets the answer of who sends the past."""
    rng, histories, as_of_us = drawn(seed)
    answers = []
    for sent in (histories, other_future(rng, histories, as_of_us)):
        ids = [str(number) for number in range(NUM_CUSTOMERS)]
        request = write_request(sent, ids, as_of_us=as_of_us, schema=trained.task.schema)
        received = read_customers(request, trained.task.schema, limits=Limits())
        assert not received.errors
        answers.append(trained.predictor.predict(received.histories, np.full(NUM_CUSTOMERS, as_of_us)))
    for name, values in answers[0].outputs.items():
        assert values.tobytes() == answers[1].outputs[name].tobytes(), name


def test_the_past_does_change_answers(trained: Trained) -> None:
    """The proof could fail: what comes an instant earlier, at the cutoff itself, is seen."""
    rng, histories, as_of_us = drawn(3)
    as_of = np.full(NUM_CUSTOMERS, as_of_us)
    before = trained.predictor.predict(histories, as_of).outputs
    earlier = other_future(rng, histories, as_of_us - 1)
    after = trained.predictor.predict(earlier, as_of + 1).outputs
    for name, values in before.items():
        assert values.tobytes() != after[name].tobytes(), name


def _num_past(histories: Histories, as_of_us: int) -> np.ndarray:
    past = np.concatenate([[0], np.cumsum(histories.occurred_at_us <= as_of_us)])
    return np.diff(past[histories.offsets])


def with_histories(task: Task, histories: Histories) -> Task:
    """Return the same task over other histories."""
    return replace(task, histories=histories, labeller=Labeller(histories, task.schema))


def assert_same_labels(left: Labels, right: Labels) -> None:
    """Compare every label to the last bit."""
    for mine, other in ((left.lower, right.lower), (left.upper, right.upper), (left.values, right.values)):
        for name, values in mine.items():
            np.testing.assert_array_equal(values, other[name], err_msg=name)


def drawn_task(seed: int, *, allow_censored: bool) -> Task:
    """Return a task of few customers; on request with training windows that run past the last instant."""
    task = small_task(num_customers=80, seed=seed)
    splits = temporal_splits(
        task.schema,
        TrainPolicy(every_days=30, allow_censored=allow_censored),
        validation_us=(START_US + 300 * DAY,),
        test_us=(START_US + 400 * DAY,),
        observed_from_us=START_US,
        observed_until_us=START_US + 495 * DAY,
    )
    return replace(task, splits=splits)


@pytest.mark.parametrize("split", ["train", "validation", "refit"])
@pytest.mark.parametrize(("seed", "allow_censored"), [(0, False), (1, True), (2, True)])
def test_what_comes_after_a_split_changes_nothing_of_it(split: str, seed: int, allow_censored: bool) -> None:
    """Readouts, labels and their encoding never see past the last instant that the split may see."""
    task = drawn_task(seed, allow_censored=allow_censored)
    part = getattr(task.splits, split)
    changed = other_future(np.random.default_rng(seed), task.histories, part.observed_until_us)
    other = with_histories(task, changed)
    mine, theirs = task.readouts(part), other.readouts(getattr(other.splits, split))
    np.testing.assert_array_equal(mine.customer, theirs.customer)
    np.testing.assert_array_equal(mine.cutoff_us, theirs.cutoff_us)
    assert_same_labels(mine.labels, theirs.labels)
    model = build_model(task, tiny_config(), task.readouts(task.splits.train))
    cutoffs = Cutoffs.one_each(mine.customer, mine.cutoff_us)
    before, after = (encode(t.histories, cutoffs, model.spec) for t in (task, other))
    every = np.arange(cutoffs.num_segments)
    for name, values in segment_events(before, every).items():
        assert values.tobytes() == segment_events(after, every)[name].tobytes(), name
    for name in ("readout_ids", "readout_values"):
        assert getattr(before, name).tobytes() == getattr(after, name).tobytes(), name


@pytest.mark.parametrize("seed", [0, 1])
def test_what_comes_after_training_changes_nothing_that_is_fitted_on_it(seed: int) -> None:
    """Vocabularies, scales, bins, scales of the targets, first weights: all from training history alone."""
    task = small_task(num_customers=80, seed=seed)
    until_us = task.splits.train.observed_until_us
    changed = other_future(np.random.default_rng(seed), task.histories, until_us)
    other = with_histories(task, changed)
    mine, theirs = (build_model(t, tiny_config(), t.readouts(t.splits.train)) for t in (task, other))
    assert mine.spec == theirs.spec
    assert mine.scales == theirs.scales
    for name, weight in mine.state_dict().items():
        assert torch.equal(weight, theirs.state_dict()[name]), name


def test_what_comes_after_the_test_cutoff_changes_no_weight(trained: Trained, tmp_path: Path) -> None:
    """A whole fit, with experts, blend and calibrations, ends in the same bits without the test window."""
    task = trained.task
    changed = other_future(np.random.default_rng(0), task.histories, task.splits.validation.observed_until_us)
    refitted: FittedModel = fit(
        with_histories(task, changed),
        tiny_config(num_steps=4),
        trainer=quiet_trainer(tmp_path),
        folder=tmp_path,
    )
    assert refitted.spec == trained.fitted.spec
    assert refitted.calibration == trained.fitted.calibration
    assert refitted.blend is not None
    assert refitted.blend == trained.fitted.blend, "experts, their weights, and the calibration of the blend"
    for name, weight in trained.fitted.model.state_dict().items():
        assert torch.equal(weight, refitted.model.state_dict()[name]), name
