"""Which experts a blend has, and what becomes of them when everything is fitted twice."""

import logging
from dataclasses import dataclass, field, replace

import numpy as np
import pytest
from tasks import small_task, tiny_config

from training.baselines.repeat_buying import PARETO_NBD, RepeatBuying
from training.blend.blend import FittedBlend
from training.blend.experts import Expert, buying_expert
from training.blend.fitting import fit_experts
from training.blend.questions import Questions
from training.blend.weights import equal_weights
from training.calibration import Calibration
from training.fit_encoding import fit_encoding
from training.labels import Labeller
from training.model.distributions import SCORE_KNOTS
from training.task import Readouts, Task

TASK = small_task(num_customers=80)


@dataclass(frozen=True)
class Table:
    """A company's own labels: whether a few customers left."""

    customer: np.ndarray = field(default_factory=lambda: np.arange(3))
    cutoff_us: np.ndarray = field(default_factory=lambda: np.arange(3))
    values: dict[str, np.ndarray] = field(default_factory=lambda: {"churned": np.array([0.0, 1.0, 0.0])})


def experts_of(task: Task) -> dict[str, Expert]:
    """Fit all experts on the training cutoffs of the whole task."""
    train: Readouts = TASK.readouts(TASK.fit_split)
    spec = fit_encoding(
        task.histories,
        task.schema,
        tiny_config().encoding,
        customer=train.customer,
        cutoff_us=train.cutoff_us,
    )
    return fit_experts(spec, task, train, tiny_config().blend, seed=0)


def test_repeat_buying_has_an_expert_of_its_own() -> None:
    """It answers every horizon of churn; not what is spent, since any other events have amounts here too."""
    experts = experts_of(TASK)
    assert list(experts) == ["trees", "linear", PARETO_NBD]
    questions = Questions.of(TASK.schema)
    able = experts[PARETO_NBD].is_able(questions)
    assert able[questions.columns["churn"]].all()
    assert not able[questions.columns["spend"]].any()


def test_labels_of_a_company_are_no_silence(caplog: pytest.LogCaptureFixture) -> None:
    """What a table calls churn need not be that nothing happens; a line says who is left out."""
    own = replace(TASK, labeller=Labeller(TASK.histories, TASK.schema, table=Table()))
    with caplog.at_level(logging.INFO, logger="training.blend.fitting"):
        assert list(experts_of(own)) == ["trees", "linear"]
    assert f"the blend does without {PARETO_NBD}" in caplog.text


def test_weights_found_then_go_with_the_experts_of_then() -> None:
    """A later fit takes their place, unless it answers less; who was not weighed is left out."""
    experts, questions = experts_of(TASK), Questions.of(TASK.schema)
    silent = buying_expert(TASK.schema, RepeatBuying())
    able = np.ones((1 + len(experts), len(questions)), dtype=bool)
    weights = equal_weights(questions, able)
    found = Calibration(log_factors={"spend": 0.3}, scores={"spend": SCORE_KNOTS})
    then = FittedBlend(experts=experts, weights=weights, calibration=found)
    others = equal_weights(questions, able[:-1])
    later = {"trees": experts["linear"], PARETO_NBD: silent, "unweighed": experts["trees"]}
    now = FittedBlend(experts=later, weights=others, calibration=Calibration())
    merged = now.weighed_as(then, TASK.schema)
    assert merged.weights is weights
    assert merged.calibration == Calibration(scores=found.scores), "a level belongs to its date"
    assert list(merged.experts) == list(experts)
    assert merged.experts["trees"] is later["trees"]
    assert merged.experts["linear"] is experts["linear"]
    assert merged.experts[PARETO_NBD] is experts[PARETO_NBD]
