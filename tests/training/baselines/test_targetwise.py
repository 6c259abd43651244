"""Baselines: what they learn, what they never answer, and what they do with little to learn from."""

from dataclasses import replace

import numpy as np
import pytest
from scipy.special import expit

from builders import small_schema
from holdfast.errors import ConfigError
from holdfast.schema import Schema
from training.baselines import BASELINES, FeatureMatrix, fit_baseline, trees
from training.baselines.features import Categories
from training.baselines.single import Effort
from training.baselines.trees import Trees
from training.outcomes import Outcomes

NAMES = tuple(BASELINES)
# Of so few columns a quarter would mostly be noise.
FEW_ROUNDS = Trees(num_rounds=30, num_amount_rounds=30, parameters={"feature_fraction": 0.8})


def data(
    num: int = 1_200, *, seed: int = 0, features: tuple[str, ...] = ("recency_days", "num_events", "noise")
) -> tuple[FeatureMatrix, Outcomes]:
    """Return readouts whose churn rises with recency and whose spend rises with the events."""
    rng = np.random.default_rng(seed)
    values = rng.normal(size=(num, len(features))).astype(np.float32)
    matrix = FeatureMatrix(values=values, names=features, ids=rng.integers(0, 4, (num, 2)))
    gone = np.stack(
        [rng.random(num) < expit(2 * values[:, 0] + shift) for shift in (1.0, 0.0, -1.0)], axis=1
    ).astype(np.float32)
    buys = gone[:, 2] == 0
    spend = np.where(buys, np.exp(3 + values[:, 1] + 0.3 * rng.normal(size=num)), 0).astype(np.float32)
    orders = rng.poisson(np.exp(values[:, 1])).astype(np.float32)
    return matrix, Outcomes(happened={"churn": gone}, values={"spend": spend, "orders": orders})


def fitted(name: str, matrix: FeatureMatrix, outcomes: Outcomes, schema: Schema | None = None):  # noqa: ANN201
    """Fit a baseline, trees with few rounds."""
    family = FEW_ROUNDS if name == "trees" else None
    return fit_baseline(name, schema or small_schema(), matrix, outcomes, seed=1, family=family)


@pytest.mark.parametrize("name", NAMES)
def test_learns_what_is_there(name: str) -> None:
    """On other readouts, ranks by the true cause and meets the overall level."""
    model = fitted(name, *data())
    matrix, outcomes = data(seed=1)
    answer = model.predict(matrix)
    assert np.corrcoef(answer.probability["churn"][:, 1], matrix.column("recency_days"))[0, 1] > 0.8
    np.testing.assert_allclose(
        answer.probability["churn"].mean(axis=0), outcomes.happened["churn"].mean(axis=0), atol=0.05
    )
    if name != "recency":
        logs = np.log(answer.expected["orders"])
        assert np.corrcoef(logs, matrix.column("num_events"))[0, 1] > 0.9
    assert answer.expected["orders"].mean() == pytest.approx(outcomes.values["orders"].mean(), rel=0.15)


def test_trees_are_the_same_from_features_of_any_width(monkeypatch: pytest.MonkeyPatch) -> None:
    """LightGBM is given float32, which holds the values that float64 would, in half the memory."""
    matrix, outcomes = data()
    narrow = fitted("trees", matrix, outcomes)
    plain = trees._table
    assert plain(matrix, Categories.fit(matrix)).dtype == np.float32
    monkeypatch.setattr(trees, "_table", lambda *given: plain(*given).astype(np.float64))
    wide = fitted("trees", matrix, outcomes)
    assert narrow.probability == wide.probability
    assert narrow.amount == wide.amount


def test_taking_everybody_copies_nothing() -> None:
    """A mask that leaves somebody out, or positions, do."""
    matrix, _ = data(10)
    assert matrix.take(np.ones(10, dtype=bool)) is matrix
    assert len(matrix.take(np.arange(10) > 0)) == 9
    assert matrix.take(np.arange(10)) is not matrix


@pytest.mark.parametrize("name", NAMES)
def test_answers_keep_their_limits(name: str) -> None:
    """Far outside of training too: probabilities inside (0, 1), amounts finite and not negative."""
    model = fitted(name, *data())
    wild = np.array([[1e6, 1e6, -1e6], [-1e6, -1e6, 1e6], [0, 0, 0]], dtype=np.float32)
    matrix = FeatureMatrix(
        values=wild, names=("recency_days", "num_events", "noise"), ids=np.full((3, 2), 99)
    )
    answer = model.predict(matrix)
    probability = answer.probability["churn"]
    assert ((probability > 0) & (probability < 1)).all()
    for amounts in (*answer.expected.values(), *answer.median.values()):
        assert np.isfinite(amounts).all()
        assert (amounts >= 0).all()


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("form", ["inactivity", "event"])
def test_horizons_agree(name: str, form: str) -> None:
    """Longer inactivity is never more probable, an event within longer never less, though fitted apart."""
    schema = small_schema()
    schema = replace(schema, targets=(replace(schema.targets[0], form=form), *schema.targets[1:]))
    matrix, outcomes = data(400)
    if form == "event":
        outcomes = replace(outcomes, happened={"churn": 1.0 - outcomes.happened["churn"]})
    probability = fitted(name, matrix, outcomes, schema).predict(matrix).probability["churn"]
    steps = np.diff(probability, axis=1)
    assert (steps <= 0).all() if form == "inactivity" else (steps >= 0).all()
    assert (steps != 0).any()


@pytest.mark.parametrize("name", NAMES)
def test_the_same_seed_gives_the_same_bits(name: str) -> None:
    """Fitted twice, every answer is equal bit for bit."""
    matrix, outcomes = data(500)
    one, other = (fitted(name, matrix, outcomes).predict(matrix) for _ in range(2))
    assert one.probability["churn"].tobytes() == other.probability["churn"].tobytes()
    assert one.expected["spend"].tobytes() == other.expected["spend"].tobytes()


@pytest.mark.parametrize("name", NAMES)
def test_unknown_outcomes_are_left_out(name: str) -> None:
    """Rows without a known outcome change nothing, whatever their features."""
    matrix, outcomes = data(500)
    num = len(matrix)
    noise = FeatureMatrix(
        values=np.vstack([matrix.values, np.full((50, 3), 7, dtype=np.float32)]),
        names=matrix.names,
        ids=np.vstack([matrix.ids, matrix.ids[:50]]),
    )
    unknown = Outcomes(
        happened={
            "churn": np.vstack([outcomes.happened["churn"], np.full((50, 3), np.nan, dtype=np.float32)])
        },
        values={
            key: np.append(column, np.full(50, np.nan, dtype=np.float32))
            for key, column in outcomes.values.items()
        },
    )
    want, got = fitted(name, matrix, outcomes).predict(matrix), fitted(name, noise, unknown).predict(matrix)
    assert len(noise) == num + 50
    np.testing.assert_array_equal(got.probability["churn"], want.probability["churn"])
    np.testing.assert_array_equal(got.expected["spend"], want.expected["spend"])


@pytest.mark.parametrize("name", NAMES)
def test_little_to_learn_from(name: str) -> None:
    """One class gives its smoothed share, nobody's spending 0, no known outcome NaN; nothing fails."""
    matrix, outcomes = data(98)
    happened = outcomes.happened["churn"].copy()
    happened[:, 0] = 1.0
    happened[:, 2] = np.nan
    poor = Outcomes(
        happened={"churn": happened},
        values={"spend": np.zeros(98, dtype=np.float32), "orders": np.full(98, np.nan, dtype=np.float32)},
    )
    answer = fitted(name, matrix, poor).predict(matrix)
    assert (answer.probability["churn"][:, 0] == 99 / 100).all()
    assert np.isnan(answer.probability["churn"][:, 2]).all()
    assert ((answer.probability["churn"][:, 1] > 0) & (answer.probability["churn"][:, 1] < 1)).all()
    assert (answer.expected["spend"] == 0).all()
    assert np.isnan(answer.expected["orders"]).all()


@pytest.mark.parametrize("name", NAMES)
def test_two_readouts_are_enough_to_run(name: str) -> None:
    """A handful of readouts is no reason to fail."""
    matrix, outcomes = data(2)
    outcomes = replace(outcomes, happened={"churn": np.float32([[0, 0, 0], [1, 1, 1]])})
    answer = fitted(name, matrix, outcomes).predict(matrix)
    assert np.isfinite(answer.probability["churn"]).all()
    assert np.isfinite(answer.expected["spend"]).all()


def test_a_constant_column_is_no_division_by_zero() -> None:
    """Features that never vary, and no category columns at all."""
    matrix, outcomes = data(300)
    values = matrix.values.copy()
    values[:, 2] = 5.0
    matrix = FeatureMatrix(values=values, names=matrix.names, ids=np.zeros((300, 0), dtype=np.int64))
    for name in NAMES:
        assert np.isfinite(fitted(name, matrix, outcomes).predict(matrix).expected["spend"]).all()


def test_unknown_baselines_and_missing_columns_are_named() -> None:
    """The message lists what there is."""
    matrix, outcomes = data(50)
    with pytest.raises(ConfigError, match="linear"):
        fit_baseline("forest", small_schema(), matrix, outcomes, seed=0)
    other = FeatureMatrix(values=matrix.values, names=("a", "b", "c"), ids=matrix.ids)
    with pytest.raises(ConfigError, match="recency_days"):
        fitted("recency", other, outcomes)
    with pytest.raises(ConfigError, match="3 columns"):
        FeatureMatrix(values=matrix.values, names=("a",), ids=matrix.ids)
    with pytest.raises(ConfigError, match="at least one"):
        fitted("linear", matrix.take(np.zeros(0, dtype=np.int64)), outcomes)


@pytest.mark.parametrize("name", ["linear", "trees"])
def test_what_counts_more_is_followed_more(name: str) -> None:
    """Two halves disagree about everybody; the prediction lies near the half with the larger weights."""
    rng = np.random.default_rng(0)
    values = rng.normal(size=(4_000, 2)).astype(np.float32)
    is_second = np.arange(4_000) >= 2_000
    matrix = FeatureMatrix(
        values=values,
        names=("a", "b"),
        ids=np.zeros((4_000, 0), dtype=np.int64),
        weights=np.where(is_second, 1.0, 0.25).astype(np.float32),
    )
    happened = (rng.random(4_000) < np.where(is_second, 0.8, 0.2)).astype(np.float32)
    model = BASELINES[name].fit_probability(matrix, happened, Effort(seed=0, threads=1))
    assert model.predict(matrix).mean() == pytest.approx((0.25 * 0.2 + 0.8) / 1.25, abs=0.02)
