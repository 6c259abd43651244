"""Judging asks the blend, every expert alone, and baselines; experts are those of the artifact."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tasks import python_answers, quiet_trainer, small_task, tiny_config
from trained import fitted_once

import training.judging
from holdfast.errors import ConfigError
from training.blend.experts import BlendConfig
from training.calibration import calibrated
from training.fitted import FittedModel
from training.fitting import fit
from training.judging import BLEND, SEQUENCE, EvaluationConfig, judge, model_predictions
from training.model.graph import ScoringGraph, answer
from training.predict import feature_matrix, predict_raw
from training.store import HistoryStore

TASK = small_task()
TEST = TASK.readouts(TASK.splits.test)
NO_STORE = HistoryStore.__new__(HistoryStore)
"""Only the truth asks it anything, and there is none here."""

CONFIG = EvaluationConfig(split="test", baselines=("recency", "trees", "linear"), num_bootstrap=3, seed=0)


@pytest.fixture(scope="module")
def fitted(tmp_path_factory: pytest.TempPathFactory) -> FittedModel:
    """Return the model that all tests share; it has both experts."""
    return fitted_once(tmp_path_factory)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"baselines": ("oracle",)}, r"evaluation\.baselines: got \['oracle'\]"),
        ({"num_bootstrap": -1}, r"evaluation\.num_bootstrap: got -1, .* 0, or at least 2"),
        ({"num_bootstrap": 1}, r"evaluation\.num_bootstrap: got 1, .* 0, or at least 2"),
        ({"seed": -1}, r"evaluation\.seed: got -1, .* 2\^32"),
        ({"seed": 2**32}, r"evaluation\.seed: got 4294967296"),
    ],
)
def test_what_cannot_be_judged_by_is_refused_before_a_fit(changes: dict[str, Any], message: str) -> None:
    """Naming key, value and limit."""
    with pytest.raises(ConfigError, match=f"^{message}"):
        replace(CONFIG, **changes)


def test_experts_are_those_of_the_artifact(fitted: FittedModel, monkeypatch: pytest.MonkeyPatch) -> None:
    """Only what has no place in the blend is fitted for the table, and the blend is compared with all."""
    fitted_again = []
    plain = training.judging.fit_baseline

    def noted(name: str, *args: object, **options: object) -> object:
        fitted_again.append(name)
        return plain(name, *args, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(training.judging, "fit_baseline", noted)
    result = judge(fitted, TASK, NO_STORE, config=CONFIG, truth=None)
    assert fitted_again == ["recency"]
    assert result["models"] == [BLEND, SEQUENCE, "trees", "linear", "recency"]
    assert result["main"] == BLEND
    features = feature_matrix(TASK.histories, fitted.spec, customer=TEST.customer, cutoff_us=TEST.cutoff_us)
    assert fitted.blend is not None
    trees = fitted.blend.experts["trees"].probability["churn"][0].predict(features)
    np.testing.assert_array_equal(
        model_predictions(fitted, TASK, TEST)["trees"].probability["churn"][:, 0], trees
    )


def test_the_blend_answers_as_the_graph(fitted: FittedModel) -> None:
    """What the table judges is what is exported."""
    said = model_predictions(fitted, TASK, TEST)[BLEND]
    answers = python_answers(fitted, TASK.histories, TEST.customer, TEST.cutoff_us)
    np.testing.assert_array_equal(said.probability["churn"], answers["churn_probability"])
    np.testing.assert_array_equal(said.expected["spend"], answers["spend_expected"])


def test_without_a_blend_the_sequence_model_stands_alone_bit_for_bit(
    fitted: FittedModel, tmp_path: Path
) -> None:
    """The same weights and calibration as beside experts, and its answers are all there is."""
    config = replace(tiny_config(num_steps=4), blend=BlendConfig(experts=(), prior_std=1.0))
    alone = fit(TASK, config, trainer=quiet_trainer(tmp_path), folder=tmp_path)
    assert alone.blend is None
    assert alone.calibration == fitted.calibration
    for name, weight in fitted.model.state_dict().items():
        assert torch.equal(weight, alone.model.state_dict()[name]), name
    result = judge(alone, TASK, NO_STORE, config=replace(CONFIG, baselines=()), truth=None)
    assert (result["models"], result["main"]) == ([SEQUENCE], SEQUENCE)
    raw = predict_raw(alone.model, TASK.histories, customer=TEST.customer, cutoff_us=TEST.cutoff_us)
    plain = answer(calibrated(raw, alone.calibration), TASK.schema, alone.model.config.quantile_levels)
    for name, values in python_answers(alone, TASK.histories, TEST.customer, TEST.cutoff_us).items():
        assert torch.equal(values, plain[name]), name
    assert not ScoringGraph(alone.model, alone.calibration, alone.blend).experts


def test_the_blend_meets_the_total_of_the_validation_window(fitted: FittedModel) -> None:
    """Predicted over actual spend is 1 where the calibration was fitted."""
    validation = TASK.readouts(TASK.splits.validation, seed=tiny_config().seed)
    said = model_predictions(fitted, TASK, validation)
    actual = validation.labels.values["spend"].sum(dtype=np.float64)
    for name in (BLEND, SEQUENCE):
        assert said[name].expected["spend"].sum(dtype=np.float64) / actual == pytest.approx(1.0, abs=1e-3)
