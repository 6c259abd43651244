"""A customer's answer is its own: alone or in company, in torch or ONNX, for ordinary input or absurd one."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from model_cases import to_batch
from tasks import python_answers
from trained import Trained

from builders import DAY, START_US, histories_of_lengths, random_histories
from holdfast.encoding import Cutoffs, encode
from holdfast.faults import EARLIEST_US, LATEST_US, find_faults
from holdfast.histories import ALWAYS_US, AttributeVersions, CodedColumn, Histories
from holdfast.schema import horizon_grid_days
from holdfast.vocabulary import Dictionary
from serving.predictor import Predictions
from training.calibration import calibrated
from training.model.graph import answer

AS_OF_US = START_US + 450 * DAY
TOLERANCE = {"rtol": 1e-5, "atol": 1e-5}


def asked(trained: Trained, histories: Histories, as_of_us: int = AS_OF_US) -> Predictions:
    """Predict everyone at one time."""
    return trained.predictor.predict(histories, np.full(histories.num_customers, as_of_us))


@settings(max_examples=20)
@given(
    seed=st.integers(0, 2**32 - 1),
    length=st.sampled_from([0, 1, 2, 7, 8, 9, 63, 64, 65, 200]),
    neighbours=st.lists(st.sampled_from([0, 1, 2, 8, 40, 64, 300]), min_size=1, max_size=40),
)
def test_company_changes_no_answer(trained: Trained, seed: int, length: int, neighbours: list[int]) -> None:
    """Any number of neighbours of any lengths, at any position: the answer of the customer alone, to 1e-5."""
    rng = np.random.default_rng(seed)
    position = int(rng.integers(0, len(neighbours) + 1))
    lengths = np.insert(np.array(neighbours), position, length)
    everyone = histories_of_lengths(rng, lengths)
    alone = asked(trained, everyone.take(np.array([position]))).outputs
    together = asked(trained, everyone).outputs
    order = rng.permutation(len(lengths))
    shuffled = asked(trained, everyone.take(order)).outputs
    for name, values in alone.items():
        np.testing.assert_allclose(together[name][position], values[0], err_msg=name, **TOLERANCE)
        np.testing.assert_allclose(shuffled[name], together[name][order], err_msg=name, **TOLERANCE)


def test_torch_and_onnx_agree_on_every_length(trained: Trained) -> None:
    """The server's predictor and the calibrated blend, within 1e-4, for 0, 1, 2, most and more events."""
    most = trained.fitted.spec.max_events
    lengths = np.array([0, 1, 2, 3, most - 1, most, most + 1, 5 * most])
    histories = histories_of_lengths(np.random.default_rng(1), lengths, span_days=360)
    num = len(lengths)
    found = trained.predictor.predict(histories, np.full(num, START_US + 361 * DAY))
    assert found.num_used.tolist() == [0, 1, 2, 3, most - 1, most, most, most]
    cutoff_us = np.full(num, START_US + 361 * DAY)
    wanted = python_answers(trained.fitted, histories, np.arange(num), cutoff_us)
    assert set(wanted) == set(found.outputs)
    for name, values in wanted.items():
        np.testing.assert_allclose(found.outputs[name], values, atol=1e-4, rtol=1e-4, err_msg=name)


@settings(max_examples=20)
@given(seed=st.integers(0, 2**32 - 1), num_cutoffs=st.integers(2, 9))
def test_a_cutoff_alone_is_answered_as_among_many(trained: Trained, seed: int, num_cutoffs: int) -> None:
    """Training's shared pass and serving's single one are the same function, as far as both see the past."""
    rng = np.random.default_rng(seed)
    model, spec = trained.fitted.model, trained.fitted.spec
    # Short enough that the shared segment begins with the first event, as every single history does.
    histories = histories_of_lengths(rng, np.array([0, 1, 2, int(rng.integers(3, 65))]), span_days=300)
    times = np.sort(START_US + rng.integers(-10, 301 * 24, num_cutoffs) * (DAY // 24))
    shared = Cutoffs(
        customer=np.arange(4),
        offsets=np.arange(0, 4 * num_cutoffs + 1, num_cutoffs),
        time_us=np.tile(times, 4),
    )
    single = Cutoffs.one_each(np.repeat(np.arange(4), num_cutoffs), np.tile(times, 4))
    one_pass, many = encode(histories, shared, spec), encode(histories, single, spec)
    levels = model.config.quantile_levels
    with torch.no_grad():
        together = model(to_batch(one_pass, list(range(4)))).map_readouts(lambda x: x.flatten(0, 1))
        alone = model(to_batch(many, list(range(4 * num_cutoffs)))).map_readouts(lambda x: x[:, 0])
        schema = trained.task.schema
        left = answer(calibrated(together, trained.fitted.calibration), schema, levels)
        right = answer(calibrated(alone, trained.fitted.calibration), schema, levels)
    for name, values in right.items():
        torch.testing.assert_close(left[name], values, atol=1e-5, rtol=1e-5, msg=name)


def assert_sane(trained: Trained, found: Predictions) -> None:
    """Check what must hold of every answer, whatever was asked."""
    for target in trained.task.schema.targets:
        if target.kind == "time_to_event":
            survival = found.outputs[f"{target.name}_survival"]
            probability = found.outputs[f"{target.name}_probability"]
            for values in (survival, probability):
                # Written so that NaN fails.
                assert ((values >= 0) & (values <= 1)).all()
            assert (np.diff(survival, axis=1) <= 0).all()
            grid = horizon_grid_days(target)
            at = [grid.index(float(days)) for days in target.horizons_days]
            expected = survival[:, at] if target.form == "inactivity" else 1 - survival[:, at]
            np.testing.assert_allclose(probability, expected, atol=1e-6)
            continue
        expected = found.outputs[f"{target.name}_expected"]
        assert (np.isfinite(expected) & (expected >= 0)).all()
        if target.kind == "amount":
            quantiles = found.outputs[f"{target.name}_quantiles"]
            assert (np.isfinite(quantiles) & (quantiles >= 0)).all()
            assert (np.diff(quantiles, axis=1) >= 0).all()
    assert np.isfinite(found.outputs["embedding"]).all()


NASTY = (3e38, -3e38, 3.4028235e38, 1e-38, -1e-38, 1e-45, 0.0, -0.0, float("nan"), 1e30)
INSTANTS = (EARLIEST_US, EARLIEST_US + 1, START_US, AS_OF_US - 1, AS_OF_US, AS_OF_US + 1, LATEST_US - 1)


few = st.lists(st.sampled_from(NASTY), min_size=1, max_size=4)
nasty = st.fixed_dictionaries(
    {
        "customers": st.lists(
            st.tuples(st.lists(st.sampled_from(INSTANTS), max_size=90), st.booleans()), min_size=1, max_size=5
        ),
        "amount": few,
        "quantity": few,
        "age": few,
        "codes": st.lists(st.integers(-1, 2), min_size=1, max_size=4),
    }
)


def nasty_histories(drawn: dict[str, Any]) -> Histories:
    """Return customers with the worst amounts and attributes, the first and last times, strange words."""
    lengths = [len(times) for times, _ in drawn["customers"]]
    has_attributes = [int(has) for _, has in drawn["customers"]]
    num, num_versions = sum(lengths), sum(has_attributes)

    def column(name: str, size: int) -> np.ndarray:
        return np.resize(np.array(drawn[name], dtype=np.float32), size)

    def codes(words: tuple[str, ...], size: int, lowest: int = -1) -> CodedColumn:
        some = np.clip(np.array(drawn["codes"], dtype=np.int32), lowest, len(words) - 1)
        return CodedColumn(codes=np.resize(some, size), dictionary=Dictionary(words))

    return Histories(
        offsets=np.concatenate([[0], np.cumsum(lengths, dtype=np.int64)]),
        occurred_at_us=np.array(
            [time for times, _ in drawn["customers"] for time in sorted(times)], dtype=np.int64
        ),
        event_type=codes(("purchase", "return", "\x00"), num, lowest=0),
        categorical={"channel": codes(("web", "e\u0301", ""), num)},
        numeric={name: column(name, num) for name in ("amount", "quantity")},
        attributes=AttributeVersions(
            offsets=np.concatenate([[0], np.cumsum(has_attributes, dtype=np.int64)]),
            valid_from_us=np.full(num_versions, ALWAYS_US),
            categorical={"region": codes(("north", "\u202enever"), num_versions)},
            numeric={"age": column("age", num_versions)},
        ),
    )


@settings(max_examples=60)
@given(drawn=nasty, as_of_us=st.sampled_from(INSTANTS))
def test_absurd_input_gives_sane_answers(trained: Trained, drawn: dict[str, Any], as_of_us: int) -> None:
    """Survival falls, probabilities lie in [0, 1], expectations are finite and not negative."""
    histories = nasty_histories(drawn)
    assert not find_faults(histories)
    assert_sane(trained, asked(trained, histories, as_of_us))


@pytest.mark.parametrize("amount", [3e38, -3e38, 1e-38, float("nan")])
def test_a_hundred_thousand_events_in_one_microsecond_give_a_sane_answer(
    trained: Trained, amount: float
) -> None:
    """All in one tie, of one amount, right at the cutoff: the newest ones count, the others are reported."""
    histories = histories_of_lengths(np.random.default_rng(0), np.array([100_000]))
    histories = replace(
        histories,
        occurred_at_us=np.full(100_000, AS_OF_US),
        numeric={name: np.full(100_000, amount, dtype=np.float32) for name in histories.numeric},
    )
    found = asked(trained, histories)
    assert_sane(trained, found)
    most = trained.fitted.spec.max_events
    assert (found.num_used[0], found.num_truncated[0], found.num_after[0]) == (most, 100_000 - most, 0)


@pytest.mark.parametrize(("year", "is_taken"), [(1900, False), (1970, False), (1971, True), (2199, True)])
def test_dates_far_from_training_are_refused_or_answered_sanely(
    trained: Trained, year: int, is_taken: bool
) -> None:
    """What must be a mistaken unit is a fault, what may be a date is answered; and so would be the rest."""
    time_us = int(np.datetime64(f"{year}-07-01", "us").astype(np.int64))
    histories = histories_of_lengths(np.random.default_rng(0), np.array([40]))
    histories = replace(histories, occurred_at_us=np.full(40, time_us))
    faults = find_faults(histories)
    assert bool(faults) != is_taken
    if not is_taken:
        assert str(faults[0]).startswith("occurred_at_us[0]: got ")
    for as_of_us in (time_us, AS_OF_US):
        assert_sane(trained, asked(trained, histories, as_of_us))


def test_ordinary_histories_give_sane_answers_that_differ(trained: Trained) -> None:
    """The checks above are not met by a constant."""
    found = asked(trained, random_histories(np.random.default_rng(2), 200))
    assert_sane(trained, found)
    for name, values in found.outputs.items():
        # Of the quantiles the highest: the others may be 0 for everyone, which spend mostly is.
        assert np.ptp(values.reshape(200, -1)[:, -1]) > 1e-4, name
