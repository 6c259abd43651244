"""Tests of the scoring graph: every answer finite and in range, for any finite input."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from model_cases import encoded_histories, load_config, make_model, scoring_inputs, to_batch

from builders import small_schema
from holdfast.schema import horizon_grid_days
from training.calibration import Calibration, SurvivalCalibration
from training.model.graph import ScoringGraph, output_names

WILD = Calibration(
    survival={
        "churn": SurvivalCalibration(slope=5.0, intercepts=tuple(float(9 * (-1) ** k) for k in range(12)))
    },
    log_factors={"spend": 3.0, "orders": -3.0},
    scores={"spend": (-3.0, -2.9, -0.1, 0.0, 0.0, 0.1, 3.0, 4.0, 9.0)},
)
NAMES = (
    "churn_probability",
    "churn_survival",
    "spend_expected",
    "spend_quantiles",
    "orders_expected",
    "embedding",
)


@pytest.fixture(scope="module", params=["transformer", "gru", "none"])
def graph(request: pytest.FixtureRequest) -> ScoringGraph:
    """Return a graph of every encoder with a calibration that pulls hard."""
    config = load_config(encoder=request.param, use_next_event=False)
    return ScoringGraph(make_model(config), WILD)


@torch.no_grad()
def answers(graph: ScoringGraph, inputs: tuple[torch.Tensor, ...]) -> dict[str, np.ndarray]:
    """Return the answers by name."""
    return {name: x.numpy() for name, x in zip(graph.output_names, graph(*inputs), strict=True)}


def assert_in_range(found: dict[str, np.ndarray]) -> None:
    """Check everything that a caller may rely on, whatever went in."""
    for name, values in found.items():
        assert np.isfinite(values).all(), name
    for name in ("churn_probability", "churn_survival"):
        assert ((found[name] >= 0) & (found[name] <= 1)).all()
    assert (np.diff(found["churn_survival"], axis=1) <= 0).all()
    assert (np.diff(found["churn_probability"], axis=1) <= 0).all(), "less and less likely to stay away"
    assert (found["spend_expected"] >= 0).all()
    assert (found["spend_quantiles"] >= 0).all()
    assert (np.diff(found["spend_quantiles"], axis=1) >= 0).all()
    assert (found["orders_expected"] >= 0).all()


def test_names_and_shapes_are_those_of_the_architecture(graph: ScoringGraph) -> None:
    """In target order: probability per horizon, survival per bin, expected, quantile per level, embedding."""
    found = answers(graph, scoring_inputs(to_batch(encoded_histories((0, 5, 32)), [0, 1, 2])))
    assert graph.output_names == NAMES
    shapes = [found[name].shape for name in NAMES]
    assert shapes == [(3, 3), (3, 12), (3,), (3, 5), (3,), (3, 16)]
    assert_in_range(found)


@pytest.mark.parametrize("size", [1.0, 8.0, 1e6, 1e30, 3.4e38])
@pytest.mark.parametrize("sign", [1.0, -1.0, 0.0])
def test_extreme_inputs_give_answers_in_range(graph: ScoringGraph, size: float, sign: float) -> None:
    """Numbers at the ends of float32, all of one sign or mixed; rows with and without events."""
    inputs = list(scoring_inputs(to_batch(encoded_histories((0, 5, 32)), [0, 1, 2])))
    signs = torch.from_numpy(np.random.default_rng(0).choice([-1.0, 1.0], 4096)).float()
    for index, x in enumerate(inputs):
        if x.dtype == torch.float32:
            pattern = signs[: x.numel()].reshape(x.shape) if sign == 0.0 else sign
            inputs[index] = torch.full_like(x, size) * pattern
    assert_in_range(answers(graph, tuple(inputs)))


@settings(max_examples=40)
@given(data=st.data())
def test_any_finite_input_gives_answers_in_range(graph: ScoringGraph, data: st.DataObject) -> None:
    """Drawn inputs of any size in any place, ids at the ends of their range, any number visible."""
    spec = graph.model.spec
    number = st.floats(width=32, allow_nan=False, allow_infinity=False)
    length = data.draw(st.integers(1, 4))
    rng = np.random.default_rng(data.draw(st.integers(0, 1000)))

    def numbers(*shape: int) -> torch.Tensor:
        few = np.array(data.draw(st.lists(number, min_size=1, max_size=5)), dtype=np.float32)
        return torch.from_numpy(rng.choice(few, shape).astype(np.float32))

    def ids(sizes: tuple[int, ...], *shape: int) -> torch.Tensor:
        return torch.from_numpy(np.stack([rng.choice([0, 1, size - 1], shape) for size in sizes], axis=-1))

    inputs = (
        ids(spec.event_id_sizes, 2, length),
        numbers(2, length, spec.event_value_size),
        numbers(2, length),
        ids(spec.readout_id_sizes, 2),
        numbers(2, spec.readout_value_size),
        numbers(2, 6),
        numbers(2),
        torch.from_numpy(rng.integers(0, length + 1, 2)),
    )
    assert_in_range(answers(graph, inputs))


def test_the_probability_is_what_the_form_says() -> None:
    """Inactivity: the probability that nothing came; event: that one came. Both read off one curve."""
    schema = small_schema()
    event = replace(schema, targets=(replace(schema.targets[0], form="event"), *schema.targets[1:]))
    inputs = scoring_inputs(to_batch(encoded_histories((3, 20)), [0, 1]))
    graph = ScoringGraph(make_model(load_config(use_tied_amounts=False)), Calibration())
    stays = answers(graph, inputs)
    graph.schema = event
    comes = answers(graph, inputs)
    grid = horizon_grid_days(schema.targets[0])
    bins = [grid.index(float(h)) for h in schema.targets[0].horizons_days]
    np.testing.assert_array_equal(stays["churn_probability"], stays["churn_survival"][:, bins])
    np.testing.assert_allclose(comes["churn_probability"], 1 - stays["churn_probability"], atol=1e-6)
    assert (np.diff(comes["churn_probability"], axis=1) >= 0).all()


def test_expected_spend_agrees_with_its_quantiles() -> None:
    """The mean of the distribution whose quantiles are given, by integration over its levels."""
    levels = tuple(np.linspace(0.001, 0.999, 999).tolist())
    graph = ScoringGraph(
        make_model(load_config(quantile_levels=levels, sigma_range=(0.1, 0.5))),
        Calibration(log_factors={"spend": 0.7}),
    )
    found = answers(graph, scoring_inputs(to_batch(encoded_histories((3, 20)), [0, 1])))
    np.testing.assert_allclose(found["spend_quantiles"].mean(axis=1), found["spend_expected"], rtol=0.02)


def test_calibration_lives_inside() -> None:
    """The same weights with and without: the curve, the tied zero mass and the amounts all move."""
    model = make_model(load_config())
    inputs = scoring_inputs(to_batch(encoded_histories((3, 20)), [0, 1]))
    plain = answers(ScoringGraph(model, Calibration()), inputs)
    lower = Calibration(survival={"churn": SurvivalCalibration(slope=1.0, intercepts=(-3.0,) * 12)})
    moved = answers(ScoringGraph(model, lower), inputs)
    assert (moved["churn_probability"] > plain["churn_probability"]).all()
    assert (moved["spend_expected"] < plain["spend_expected"]).all()
    np.testing.assert_array_equal(moved["orders_expected"], plain["orders_expected"])
    doubled = answers(ScoringGraph(model, Calibration(log_factors={"spend": float(np.log(2))})), inputs)
    np.testing.assert_allclose(doubled["spend_expected"], 2 * plain["spend_expected"], rtol=1e-5)
    np.testing.assert_allclose(doubled["spend_quantiles"], 2 * plain["spend_quantiles"], rtol=1e-5)
    np.testing.assert_array_equal(doubled["churn_survival"], plain["churn_survival"])


def test_a_graph_never_drops_out() -> None:
    """Making one from a model in training switches dropout off."""
    graph = ScoringGraph(make_model(load_config(dropout=0.5)).train(), Calibration())
    inputs = scoring_inputs(to_batch(encoded_histories((3, 20)), [0, 1]))
    np.testing.assert_array_equal(answers(graph, inputs)["embedding"], answers(graph, inputs)["embedding"])


def test_output_names_follow_the_targets() -> None:
    """Targets in declared order, the embedding last."""
    assert output_names(small_schema()) == NAMES
