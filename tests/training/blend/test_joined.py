"""Tests of the blend's arithmetic: curves through given points, expectations met, order kept."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn.functional import softplus

from builders import small_schema
from holdfast.schema import horizon_grid_days
from training.blend.joined import BlendWeights, bent, blended, log_expm1, sequence_answers
from training.blend.questions import MAX_LOGIT, Questions, horizon_ends
from training.model.distributions import log_survival
from training.model.graph import answer
from training.model.outputs import AmountOutput, CountOutput, RawOutputs

SCHEMA = small_schema()
QUESTIONS = Questions.of(SCHEMA)
CHURN = SCHEMA.targets[0]
NUM_BINS = len(horizon_grid_days(CHURN))
HORIZONS = len(CHURN.horizons_days)
EQUAL = BlendWeights(
    weights={
        t.name: ((1 / 3,) * 3,) * (QUESTIONS.columns[t.name].stop - QUESTIONS.columns[t.name].start)
        for t in SCHEMA.targets
    }
)


def raw_outputs(num: int = 50, *, seed: int = 0, size: float = 1.0) -> RawOutputs:
    """Return outputs of a sequence model that has seen nothing."""
    rng = np.random.default_rng(seed)

    def drawn(*shape: int) -> torch.Tensor:
        return torch.from_numpy((size * rng.normal(size=shape)).astype(np.float32))

    return RawOutputs(
        survival={"churn": drawn(num, NUM_BINS) - 2.0},
        amounts={
            "spend": AmountOutput(
                positive_logit=drawn(num) + 2.0,
                mu=3.0 + drawn(num),
                sigma=torch.full((num,), 0.8),
                unit=20.0,
                tied_to="churn",
                tied_bin=NUM_BINS,
            )
        },
        counts={"orders": CountOutput(log_rate=drawn(num), log_dispersion=None)},
        embedding=drawn(num, 4),
    )


def experts(num: int = 50, *, seed: int = 1, size: float = 1.0) -> list[torch.Tensor]:
    """Return answers of two experts, their probabilities in no order."""
    rng = np.random.default_rng(seed)
    return [
        torch.from_numpy((size * rng.normal(size=(num, len(QUESTIONS)))).astype(np.float32)) for _ in "ab"
    ]


def weights_of(*row: float) -> BlendWeights:
    """Return the same weights for every question."""
    return BlendWeights(weights={name: (row,) * len(rows) for name, rows in EQUAL.weights.items()})


def test_a_bent_curve_meets_its_points_and_keeps_its_shape() -> None:
    """Between two points all increments of the cumulative hazard grow by one factor."""
    hazards = raw_outputs().survival["churn"]
    ends = horizon_ends(CHURN)
    points = torch.from_numpy(-np.cumsum(np.random.default_rng(3).uniform(0.05, 1.0, (50, HORIZONS)), axis=1))
    moved = bent(hazards, points.float(), ends)
    np.testing.assert_allclose(log_survival(moved)[:, [e - 1 for e in ends]], points, rtol=1e-4)
    factors = softplus(moved) / softplus(hazards)
    for start, end in zip((0, *ends[:-1]), ends, strict=True):
        np.testing.assert_allclose(
            factors[:, start:end], factors[:, start : start + 1].expand(-1, end - start), rtol=1e-4
        )


def test_the_inverse_of_softplus() -> None:
    """From hazards of almost nothing to certainty, in float32."""
    values = torch.logspace(-5, 1.7, 200)
    np.testing.assert_allclose(softplus(log_expm1(values)), values, rtol=2e-6)


def test_horizons_take_the_mean_logit() -> None:
    """Where the experts are in order already, the blend's logit is the weighted sum of theirs."""
    raw, said = raw_outputs(), [torch.sort(x, dim=1, descending=True).values for x in experts()]
    blend = weights_of(0.5, 0.2, 0.3)
    found = answer(blended(raw, said, blend, SCHEMA), SCHEMA, (0.5,))["churn_probability"]
    columns = QUESTIONS.columns["churn"]
    own = sequence_answers(raw, SCHEMA)
    wanted = torch.sigmoid(0.5 * own + 0.2 * said[0] + 0.3 * said[1])[:, columns]
    np.testing.assert_allclose(found, wanted, atol=2e-5)


def test_expectations_are_the_weighted_means() -> None:
    """Of amounts and counts; quantiles move along, and the zero mass is that of the blended curve."""
    raw, said = raw_outputs(), experts(size=0.3)
    said = [x + sequence_answers(raw, SCHEMA) for x in said]
    joined = blended(raw, said, weights_of(0.5, 0.2, 0.3), SCHEMA)
    found, own = answer(joined, SCHEMA, (0.5, 0.9)), answer(raw, SCHEMA, (0.5, 0.9))
    for name in ("spend", "orders"):
        column = QUESTIONS.columns[name].start
        wanted = 0.5 * own[f"{name}_expected"]
        wanted = wanted + sum(w * torch.exp(x[:, column]) for w, x in zip((0.2, 0.3), said, strict=True))
        np.testing.assert_allclose(found[f"{name}_expected"], wanted, rtol=1e-4)
    assert joined.amounts["spend"].sigma is raw.amounts["spend"].sigma
    log_positive, _ = joined.amounts["spend"].log_masses(joined.survival)
    is_zero = found["spend_quantiles"][:, 0].numpy() == 0
    np.testing.assert_array_equal(is_zero, torch.exp(log_positive).numpy() <= 0.5)


def test_all_weight_on_the_sequence_model_changes_nothing() -> None:
    """To rounding: the curve, amounts with their quantiles, counts."""
    raw = raw_outputs()
    joined = blended(raw, [100 * x for x in experts()], weights_of(1.0, 0.0, 0.0), SCHEMA)
    found, own = answer(joined, SCHEMA, (0.1, 0.5, 0.9)), answer(raw, SCHEMA, (0.1, 0.5, 0.9))
    for name, values in own.items():
        np.testing.assert_allclose(found[name], values, rtol=2e-4, atol=1e-5, err_msg=name)


@pytest.mark.parametrize("form", ["inactivity", "event"])
@settings(max_examples=60)
@given(size=st.sampled_from([0.1, 1.0, 30.0, 1e4, 1e30]), seed=st.integers(0, 10_000))
def test_answers_agree_with_each_other_whatever_the_experts_say(form: str, size: float, seed: int) -> None:
    """Probabilities in [0, 1], curves never rise, horizons in order, amounts finite and not negative."""
    schema = replace(SCHEMA, targets=(replace(CHURN, form=form), *SCHEMA.targets[1:]))
    # A network's outputs are bounded, the other experts' need not be.
    raw = raw_outputs(8, seed=seed, size=min(size, 8.0))
    said = experts(8, seed=seed + 1, size=size)
    weights = np.random.default_rng(seed).dirichlet(np.ones(3), HORIZONS)
    blend = BlendWeights(weights=EQUAL.weights | {"churn": tuple(map(tuple, weights.tolist()))})
    found = answer(blended(raw, said, blend, schema), schema, (0.1, 0.5, 0.9))
    found = {name: values.numpy() for name, values in found.items()}
    assert all(np.isfinite(values).all() for values in found.values())
    for name in ("churn_probability", "churn_survival"):
        assert ((found[name] >= 0) & (found[name] <= 1)).all()
    assert (np.diff(found["churn_survival"]) <= 0).all()
    steps = np.diff(found["churn_probability"])
    assert (steps <= 0).all() if form == "inactivity" else (steps >= 0).all()
    assert (np.diff(found["spend_quantiles"]) >= 0).all()
    assert (found["spend_expected"] >= 0).all()
    assert (found["orders_expected"] >= 0).all()


def test_sure_logits_keep_their_digits() -> None:
    """Survival near 1 and near 0 both have a logit, which the probability alone would have lost."""
    hazards = torch.full((2, NUM_BINS), -13.0)
    hazards[1] = 13.0
    raw = replace(raw_outputs(2), survival={"churn": hazards})
    logits = sequence_answers(raw, SCHEMA)[:, QUESTIONS.columns["churn"]]
    total = NUM_BINS * np.logaddexp(0.0, [-13.0, 13.0])
    wanted = -total - np.log(-np.expm1(-total))
    np.testing.assert_allclose(logits[:, -1], wanted, rtol=1e-4)
    assert abs(wanted[1]) > MAX_LOGIT, "it is clipped before it is weighed"
