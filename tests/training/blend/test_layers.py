"""Tests of experts as layers: the same numbers as LightGBM and the regressions, at thresholds too."""

from dataclasses import replace

import lightgbm
import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from onnx import helper
from scipy.special import expit

from builders import histories_of_lengths, small_spec
from holdfast.encoding import EncodingSpec
from holdfast.encoding.readouts import feature_names
from holdfast.encoding.scaling import MAX_SCALED
from holdfast.graph import TREES_DOMAIN, TREES_OPSET, check_graph
from training.baselines import FeatureMatrix
from training.baselines.buying import GammaGamma, ParetoNbd
from training.baselines.features import Categories
from training.baselines.repeat_buying import (
    PARETO_NBD,
    RepeatAmount,
    RepeatBuying,
    ScaledColumns,
    fit_repeat_buying,
)
from training.baselines.trees import Boosted
from training.blend.experts import Expert, buying_expert, fit_expert
from training.blend.layers import expert_layer
from training.blend.questions import Questions
from training.blend.tree_arrays import TreeArrays, rounded_down
from training.onnx_export import OPSET_VERSION, tree_attributes
from training.outcomes import Outcomes

SPEC = small_spec()
EVENT = replace(
    SPEC,
    schema=replace(
        SPEC.schema, targets=(replace(SPEC.schema.targets[0], form="event"), *SPEC.schema.targets[1:])
    ),
)


def features_of(num: int, *, seed: int = 0, scale: float = 1.0) -> FeatureMatrix:
    """Return readouts of the size that the encoding gives."""
    rng = np.random.default_rng(seed)
    values = (scale * rng.normal(size=(num, SPEC.readout_value_size))).astype(np.float32)
    ids = np.stack([rng.integers(0, size, num) for size in SPEC.readout_id_sizes], axis=1)
    return FeatureMatrix(values=values, names=feature_names(SPEC), ids=ids)


def outcomes_of(features: FeatureMatrix, *, seed: int = 1) -> Outcomes:
    """Return outcomes that follow the features and the ids; one horizon has one class only."""
    rng = np.random.default_rng(seed)
    score = features.values[:, 0] + (features.ids[:, 0] == 2)
    happened = np.stack([rng.normal(size=len(score)) < score + shift for shift in (0.5, 0.0, -9.0)], axis=1)
    spend = np.exp(score + rng.normal(size=len(score))) * (rng.random(len(score)) < 0.6)
    return Outcomes(
        happened={"churn": happened.astype(np.float32)},
        values={"spend": spend.astype(np.float32), "orders": np.zeros(len(score), dtype=np.float32)},
    )


LEARNED = ("trees", "linear")
"""Those that learn from outcomes."""


@pytest.fixture(scope="module")
def fitted() -> dict[str, Expert]:
    """Fit both experts once; nobody ordered anything, and one horizon never happened."""
    features = features_of(600)
    return {
        name: fit_expert(name, SPEC.schema, features, outcomes_of(features), seed=0, threads=1)
        for name in LEARNED
    }


def answers_of(
    name: str, expert: Expert, features: FeatureMatrix, spec: EncodingSpec = SPEC
) -> tuple[np.ndarray, np.ndarray]:
    """Return what the layer and what the baseline say, horizons left as they were fitted."""
    layer = expert_layer(name, expert, spec).eval()
    found = layer(torch.from_numpy(features.values), torch.from_numpy(features.ids)).numpy()
    raw = [model.predict(features) for model in expert.models(Questions.of(spec.schema))]
    probability = [np.clip(p, 1e-12, 1.0 - 1e-12) for p in raw[:3]]
    columns = [np.log(p) - np.log1p(-p) for p in probability] + [np.log(np.maximum(raw[3].expected, 1e-30))]
    return found, np.stack(columns, axis=1)


@pytest.mark.parametrize("name", LEARNED)
@pytest.mark.parametrize("scale", [1.0, 30.0])
def test_a_layer_says_what_its_baseline_says(name: str, scale: float, fitted: dict[str, Expert]) -> None:
    """On new readouts, far outside of training too; a constant is one for everybody."""
    found, wanted = answers_of(name, fitted[name], features_of(400, seed=5, scale=scale))
    np.testing.assert_allclose(found[:, :4], wanted, rtol=1e-4, atol=1e-4)
    assert np.ptp(found[:, 2]) == 0
    assert fitted[name].is_able(Questions.of(SPEC.schema)).tolist() == [True, True, False, True, False]


@pytest.mark.parametrize("name", LEARNED)
def test_survival_is_asked_where_the_event_was_learned(name: str, fitted: dict[str, Expert]) -> None:
    """A model of the event's probability answers with the logit of its absence."""
    features = features_of(100, seed=5)
    (stays, _), (comes, _) = (answers_of(name, fitted[name], features, spec) for spec in (SPEC, EVENT))
    np.testing.assert_array_equal(comes[:, :3], -stays[:, :3])
    np.testing.assert_array_equal(comes[:, 3:], stays[:, 3:])


@pytest.mark.parametrize("name", LEARNED)
def test_a_layer_takes_any_finite_input(name: str, fitted: dict[str, Expert]) -> None:
    """At the ends of float32 nothing overflows."""
    layer = expert_layer(name, fitted[name], SPEC)
    ids = torch.ones(4, len(SPEC.readout_id_sizes), dtype=torch.int64)
    extremes = torch.tensor([3.4e38, -3.4e38, 1e-40, 0.0])[:, None].expand(-1, SPEC.readout_value_size)
    assert torch.isfinite(layer(extremes, ids)).all()


@pytest.fixture(scope="module")
def buying() -> Expert:
    """Return a Pareto/NBD for all three horizons of churn, and for spend."""
    histories = histories_of_lengths(np.random.default_rng(3), np.arange(60) % 20, span_days=400)
    until_us = int(histories.occurred_at_us.max())
    fitted = fit_repeat_buying(histories, SPEC, until_us=until_us, seed=0)
    # Complaints have amounts too, made up as all events are: a model of the same kind stands in.
    columns = ScaledColumns.of(SPEC, (*fitted.probability["churn"][0].columns.names, "amount_sum_all"))
    spend = RepeatAmount(
        model=fitted.probability["churn"][0].model,
        value=GammaGamma(p=3.0, q=4.0, gamma=20.0),
        horizon_weeks=90 / 7,
        columns=columns,
    )
    return buying_expert(SPEC.schema, replace(fitted, amount={"spend": spend}))


@pytest.mark.parametrize("scale", [1.0, 3.0, 30.0])
def test_the_layer_of_buying_says_what_its_models_say(buying: Expert, scale: float) -> None:
    """On any features; it has no answer to how many orders come, and knows it."""
    features = features_of(400, seed=5, scale=scale)
    # As far as the encoding goes.
    features = replace(features, values=np.clip(features.values, -MAX_SCALED, MAX_SCALED))
    found, wanted = answers_of(PARETO_NBD, buying, features)
    # Who is all but certain to buy is certain to fewer digits in float32.
    np.testing.assert_allclose(found[:, :3], np.clip(wanted[:, :3], -15, 15), rtol=1e-2, atol=1e-3)
    assert np.ptp(found[:, 2]) > 1
    # Nor does float32 hold who is all but certainly gone.
    is_told = wanted[:, 3] > -15
    np.testing.assert_allclose(found[is_told, 3], wanted[is_told, 3], rtol=1e-2, atol=5e-3)
    assert is_told.mean() > 0.5
    assert (found[~is_told, 3] < -14).all()
    assert not found[:, 4:].any()
    assert buying.is_able(Questions.of(SPEC.schema)).tolist() == [True, True, True, True, False]


@pytest.mark.parametrize(
    "model",
    [
        (54.0, 400.0, 0.05, 0.1),
        (0.5, 8.0, 20.0, 8000.0),
        (0.001, 0.001, 5, 1),
        # Dropout that hardly varies between customers, as a few of them leave it.
        (2.0, 60.0, 487.0, 7170.0),
        (5.0, 300.0, 8103.0, 8103.0),
    ],
)
def test_the_layer_of_buying_keeps_its_digits(buying: Expert, model: tuple[float, ...]) -> None:
    """At the bounds of a fit; and alone a customer gets what all get together."""
    fitted = ParetoNbd(**dict(zip(("r", "alpha", "s", "beta"), map(float, model), strict=True)))
    models = tuple(replace(one, model=fitted) for one in buying.probability["churn"])
    amount = replace(buying.amount["spend"], model=fitted)
    expert = replace(buying, probability={"churn": models}, amount={**buying.amount, "spend": amount})
    features = features_of(400, seed=5)
    features = replace(features, values=np.clip(features.values, -3, 3))
    found, wanted = answers_of(PARETO_NBD, expert, features)
    np.testing.assert_allclose(expit(found[:, :3]), expit(wanted[:, :3]), atol=3e-4)
    np.testing.assert_allclose(np.exp(found[:, 3]), np.exp(wanted[:, 3]), rtol=5e-3, atol=1e-4)
    layer, ids = expert_layer(PARETO_NBD, expert, SPEC), torch.from_numpy(features.ids)
    values = torch.from_numpy(features.values)
    alone = torch.cat([layer(values[row : row + 1], ids[row : row + 1]) for row in range(400)]).numpy()
    np.testing.assert_allclose(expit(alone[:, :3]), expit(found[:, :3]), atol=2e-5)
    np.testing.assert_allclose(alone[:, 3], found[:, 3], atol=1e-3)


def test_the_layer_of_buying_answers_either_question_alone(buying: Expert) -> None:
    """Where a company labels one of them itself, the other one stands."""
    features = features_of(50, seed=5)
    together = answers_of(PARETO_NBD, buying, features)[0]
    silence = {"churn": buying.probability["churn"]}
    spend = {"spend": buying.amount["spend"]}
    for parts, kept in (({"probability": silence}, slice(0, 3)), ({"amount": spend}, slice(3, 4))):
        expert = buying_expert(SPEC.schema, RepeatBuying(**parts))
        layer = expert_layer(PARETO_NBD, expert, SPEC)
        found = layer(torch.from_numpy(features.values), torch.from_numpy(features.ids)).numpy()
        np.testing.assert_allclose(found[:, kept], together[:, kept], rtol=1e-4, atol=1e-4)
        assert not np.delete(found, kept, axis=1).any()


def test_the_layer_of_buying_takes_any_finite_input(buying: Expert) -> None:
    """At the ends of float32 nothing overflows."""
    layer = expert_layer(PARETO_NBD, buying, SPEC)
    ids = torch.ones(4, len(SPEC.readout_id_sizes), dtype=torch.int64)
    extremes = torch.tensor([3.4e38, -3.4e38, 1e-40, 0.0])[:, None].expand(-1, SPEC.readout_value_size)
    assert torch.isfinite(layer(extremes, ids)).all()


def test_thresholds_round_down() -> None:
    """Never up, so that a float32 above a threshold stays above it; a float32 stays, and none is infinite."""
    values = np.array([0.1, -0.1, 1.0, 16777217.0, -16777217.0, 1e-50])
    down = rounded_down(values)
    assert (down <= values).all()
    assert (np.nextafter(down, np.float32(np.inf)) > values).all()
    assert down[2] == 1.0
    most = np.finfo(np.float32).max
    np.testing.assert_array_equal(rounded_down(np.array([1e300, -1e300])), [most, -most])


@pytest.fixture(scope="module")
def boosted() -> list[Boosted]:
    """Return trees that split between neighbouring float32 numbers, on several scales."""
    rng = np.random.default_rng(0)
    steps = np.float32([1.0, 100.0, 1e-3, -7.0])
    # A handful of adjacent numbers per column: every threshold lies between two of them, or on one.
    values = steps + np.spacing(steps) * rng.integers(0, 6, (4_000, 4)).astype(np.float32)
    labels = (values > steps + 2 * np.spacing(steps)) @ [1.0, -2.0, 0.5, 3.0] + rng.normal(size=4_000)
    models = []
    for seed in range(2):
        table, quiet = values.astype(np.float64), {"min_data_in_bin": 1, "verbosity": -1}
        parameters = {
            "num_leaves": 12,
            "seed": seed,
            "num_threads": 1,
            "bagging_fraction": 0.5,
            "bagging_freq": 1,
        }
        data = lightgbm.Dataset(table, labels, params=quiet)
        booster = lightgbm.train(quiet | parameters, data, num_boost_round=25)
        models.append(Boosted(text=booster.model_to_string(), categories=Categories(common=())))
    return models


def near_thresholds(boosted: list[Boosted]) -> np.ndarray:
    """Return readouts on the float32 nearest to every threshold, and on both its neighbours."""
    rows = []
    for model in boosted:
        frame = model.booster.trees_to_dataframe().dropna(subset=["threshold"])
        for feature, threshold in zip(frame["split_feature"], frame["threshold"], strict=True):
            nearest = np.float32(threshold)
            for towards in (-np.inf, nearest, np.inf):
                row = np.float32([1.0, 100.0, 1e-3, -7.0])
                row[int(feature.removeprefix("Column_"))] = np.nextafter(nearest, np.float32(towards))
                rows.append(row)
    return np.unique(np.stack(rows), axis=0)


def test_the_operator_says_what_lightgbm_says_next_to_every_threshold(boosted: list[Boosted]) -> None:
    """ONNX Runtime on float32, on and beside thresholds, and at random; two targets and one without trees."""
    arrays = TreeArrays.of([boosted[0], None, boosted[1]], [range(4), (), range(4)])
    node = helper.make_node(
        "TreeEnsemble", ["x"], ["y"], domain=TREES_DOMAIN, n_targets=3,
        **{
            name: onnx.numpy_helper.from_array(values) if values.dtype != np.int64 else values.tolist()
            for name, values in tree_attributes(arrays).items()
        },
    )  # fmt: skip
    graph = helper.make_graph(
        [node],
        "trees",
        [helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, ["batch", 4])],
        [helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, ["batch", 3])],
    )
    opsets = [helper.make_opsetid("", OPSET_VERSION), helper.make_opsetid(TREES_DOMAIN, TREES_OPSET)]
    data = helper.make_model(graph, opset_imports=opsets, ir_version=11).SerializeToString()
    check_graph(data, opset=OPSET_VERSION)
    session = onnxruntime.InferenceSession(data, providers=["CPUExecutionProvider"])
    random = np.random.default_rng(1).normal(scale=100, size=(500, 4)).astype(np.float32)
    for rows in (near_thresholds(boosted), random):
        assert len(rows) > 10
        (found,) = session.run(None, {"x": rows})
        for target, model in ((0, boosted[0]), (2, boosted[1])):
            wanted = model.booster.predict(rows.astype(np.float64), raw_score=True)
            np.testing.assert_allclose(found[:, target], wanted, atol=1e-5)
        assert (found[:, 1] == 0).all()


def test_rounding_to_nearest_would_be_wrong(boosted: list[Boosted]) -> None:
    """The guard of the test above: its inputs tell the two roundings apart."""
    arrays = TreeArrays.of([boosted[0]], [range(4)])
    thresholds = boosted[0].booster.trees_to_dataframe()["threshold"].dropna().to_numpy()
    assert len(arrays.threshold) == len(thresholds)
    assert (thresholds.astype(np.float32) > thresholds).any()
