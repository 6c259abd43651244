"""Every customer gets its own answer: alone, in company, in any order and at any length."""

from pathlib import Path
from unittest.mock import Mock

import numpy as np
import pytest
from artifact_builder import AS_OF_US
from hypothesis import given, settings
from hypothesis import strategies as st

from builders import DAY, START_US, histories_of_lengths, random_histories, small_spec
from holdfast.encoding import Cutoffs, encode, pad
from holdfast.errors import ConfigError
from holdfast.histories import Histories
from serving.artifact import Artifact
from serving.plan import RunPlan
from serving.predictor import Predictions, Predictor, open_session

TOLERANCE = {"rtol": 1e-5, "atol": 1e-6}


@pytest.fixture(scope="module")
def predictor(artifact_folder: Path) -> Predictor:
    """Return the small artifact's predictor."""
    return Artifact.load(artifact_folder).predictor


def predict(predictor: Predictor, histories: Histories, **options: object) -> Predictions:
    """Predict everyone at the same time."""
    return predictor.predict(histories, np.full(histories.num_customers, AS_OF_US), **options)


@settings(max_examples=20)
@given(seed=st.integers(0, 2**32 - 1))
def test_a_customer_alone_gets_the_answer_that_it_gets_in_company(predictor: Predictor, seed: int) -> None:
    """Neither company nor place changes an answer, whatever the lengths."""
    rng = np.random.default_rng(seed)
    histories = random_histories(rng, 30)
    together = predict(predictor, histories)
    shuffled = rng.permutation(30)
    elsewhere = predict(predictor, histories.take(shuffled))
    for index in (0, 1, 2, int(rng.integers(3, 30))):
        alone = predict(predictor, histories.take(np.array([index])))
        for name, values in together.outputs.items():
            np.testing.assert_allclose(alone.outputs[name][0], values[index], **TOLERANCE)
    for name, values in together.outputs.items():
        np.testing.assert_allclose(elsewhere.outputs[name], values[shuffled], **TOLERANCE)
    np.testing.assert_array_equal(elsewhere.num_used, together.num_used[shuffled])


def test_the_same_call_gives_the_same_bits(predictor: Predictor) -> None:
    """Nothing is random, and no earlier call leaves a trace."""
    histories = random_histories(np.random.default_rng(3), 40)
    first = predict(predictor, histories)
    predict(predictor, random_histories(np.random.default_rng(4), 17))
    again = predict(predictor, histories)
    for name, values in first.outputs.items():
        assert values.tobytes() == again.outputs[name].tobytes()


def test_answers_are_those_of_the_graph_at_any_padding(predictor: Predictor) -> None:
    """What is scattered back is what one plain run over all customers gives, at twice the length."""
    spec = small_spec()
    histories = random_histories(np.random.default_rng(5), 20)
    cutoffs = Cutoffs.one_each(np.arange(20), np.full(20, AS_OF_US))
    inputs = pad(encode(histories, cutoffs, spec), np.arange(20), length=2 * spec.max_events)
    plain = predictor._session.run(predictor.output_names, dict(inputs))
    found = predict(predictor, histories).outputs
    for name, expected in zip(predictor.output_names, plain, strict=True):
        np.testing.assert_allclose(found[name], expected, **TOLERANCE)


def test_every_customer_has_a_point_in_time_of_its_own(predictor: Predictor) -> None:
    """Golden cases may differ in time, so the predictor takes one per customer."""
    histories = histories_of_lengths(np.random.default_rng(6), np.array([20])).take(
        np.zeros(3, dtype=np.int64)
    )
    times = START_US + np.array([100, 200, 450]) * DAY
    found = predictor.predict(histories, times)
    for index, time_us in enumerate(times):
        alone = predictor.predict(histories.take(np.array([index])), np.array([time_us]))
        np.testing.assert_allclose(found.outputs["spend_expected"][index], alone.outputs["spend_expected"][0])
    assert (found.num_used + found.num_truncated + found.num_after == 20).all()
    assert len(set(found.num_after.tolist())) == 3


def test_nobody_to_predict_is_an_empty_answer_of_the_right_form(predictor: Predictor) -> None:
    """Shapes and types are those of any other answer, for the outputs asked for."""
    nobody = random_histories(np.random.default_rng(0), 0)
    outputs = predict(predictor, nobody, output_names=("churn_survival", "spend_expected")).outputs
    assert {name: (values.shape, values.dtype.name) for name, values in outputs.items()} == {
        "churn_survival": ((0, 12), "float32"),
        "spend_expected": ((0,), "float32"),
    }


def test_only_wanted_outputs_are_given(predictor: Predictor) -> None:
    """An embedding that nobody asked for is not computed into the answer."""
    histories = random_histories(np.random.default_rng(0), 5)
    assert set(predict(predictor, histories, output_names=("orders_expected",)).outputs) == {
        "orders_expected"
    }
    assert set(predict(predictor, histories).outputs) == set(predictor.output_names)


def test_how_runs_are_formed_changes_no_answer(predictor: Predictor) -> None:
    """One customer per run, or lengths mixed without regard to padding: the same numbers."""
    histories = random_histories(np.random.default_rng(1), 60)
    expected = predict(predictor, histories).outputs
    for budget, merge in ((1, 0), (100_000, 100_000)):
        plan = RunPlan(max_events=32, budget_events=budget, merge_events=merge)
        found = predict(predictor.with_plan(plan), histories).outputs
        for name, values in expected.items():
            np.testing.assert_allclose(found[name], values, **TOLERANCE)


def test_every_length_is_warm_before_anybody_is_served(
    predictor: Predictor, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The largest and the smallest batch of every padded length have been run."""
    warmed = set()
    monkeypatch.setattr(Predictor, "run_blank", lambda _, *, num, length: warmed.add((num, length)))
    predictor.with_plan(RunPlan(max_events=32, budget_events=64)).warm_up()
    assert warmed == {(8, 8), (4, 16), (2, 24), (2, 32), (1, 8), (1, 16), (1, 24), (1, 32)}


def test_blank_customers_cost_what_the_longest_histories_cost(
    artifact_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Their time is what runs are planned by, and a graph may stop where a history ends."""
    session = open_session((artifact_folder / "model.onnx").read_bytes())
    run = Mock(wraps=session.run)
    monkeypatch.setattr(session, "run", run)
    Predictor(session, small_spec()).run_blank(num=3, length=16)
    _, inputs = run.call_args.args
    assert inputs["readout_visible"].tolist() == [16, 16, 16]
    assert inputs["event_days"].shape == (3, 16)


def test_a_provider_that_is_not_there_is_named(artifact_folder: Path) -> None:
    """One line: the setting, its value, and what this machine offers."""
    with pytest.raises(ConfigError, match=r"--provider .*'cuda', but .*CPUExecutionProvider") as caught:
        open_session((artifact_folder / "model.onnx").read_bytes(), provider="cuda")
    assert "\n" not in str(caught.value)


def test_a_caller_may_give_up_between_runs(predictor: Predictor) -> None:
    """The question is asked before every run, and what it raises ends the work."""
    calls = []

    def give_up() -> None:
        calls.append(None)
        if len(calls) == 2:
            raise TimeoutError

    histories = histories_of_lengths(np.random.default_rng(3), np.repeat([5, 12, 20, 30], 3))
    plan = RunPlan(max_events=32, merge_events=0)
    with pytest.raises(TimeoutError):
        predict(predictor.with_plan(plan), histories, before_run=give_up)
    assert len(calls) == 2


def test_a_hundred_thousand_events_are_truncated_and_counted(predictor: Predictor) -> None:
    """Only the newest events count, and the answer is that of the newest alone."""
    histories = histories_of_lengths(np.random.default_rng(4), np.array([100_000]), span_days=440)
    found = predict(predictor, histories)
    assert (found.num_used[0], found.num_truncated[0], found.num_after[0]) == (32, 99_968, 0)
    kept = np.arange(99_968, 100_000)
    newest = Histories(
        offsets=np.array([0, 32]),
        occurred_at_us=histories.occurred_at_us[kept],
        event_type=histories.event_type.take(kept),
        categorical={name: column.take(kept) for name, column in histories.categorical.items()},
        numeric={name: values[kept] for name, values in histories.numeric.items()},
        attributes=histories.attributes,
    )
    alone = predict(predictor, newest)
    for name, values in found.outputs.items():
        assert values.tobytes() == alone.outputs[name].tobytes(), name
