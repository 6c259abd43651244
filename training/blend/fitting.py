"""Fits what stands behind the weights of the sequence model: experts, blend and calibrations.

It deliberately sees training and validation cutoffs only. Where weights were fitted up to the test
cutoff nothing later is left: experts count alike then, and nothing is calibrated.
"""

import logging
from collections.abc import Mapping

import numpy as np
import torch

from holdfast.encoding import EncodingSpec
from training.baselines.repeat_buying import PARETO_NBD, RepeatBuying, fit_repeat_buying
from training.blend.blend import FittedBlend
from training.blend.experts import BlendConfig, Expert, buying_expert, fit_expert
from training.blend.joined import blended, sequence_answers
from training.blend.questions import Questions
from training.blend.weights import Judged, equal_weights, fit_weights
from training.calibration import Calibration, fit_calibration
from training.fitted import FittedModel
from training.model import RawOutputs, SequenceModel
from training.predict import feature_matrix, predict_raw
from training.task import Readouts, Task

_log = logging.getLogger(__name__)

MOST_READOUTS = 200_000
"""Training readouts that experts and baselines are fitted on, at most; a random sample of more."""


def finish(
    model: SequenceModel,
    task: Task,
    *,
    train: Readouts,
    validation: Readouts | None,
    config: BlendConfig,
    seed: int,
) -> FittedModel:
    """Return the fitted model with calibration and blend.

    Args:
        model: With its weights, in evaluation mode.
        task: Store and splits.
        train: Readouts of the split that the weights were fitted on.
        validation: Readouts of a later window that nothing was fitted on, or None.
        config: What is blended.
        seed: Of the experts.
    """
    experts = fit_experts(model.spec, task, train, config, seed=seed)
    if validation is None:
        return FittedModel(
            model=model, calibration=Calibration(), blend=_unseen_blend(experts, task) if experts else None
        )
    raw = predict_raw(model, task.histories, customer=validation.customer, cutoff_us=validation.cutoff_us)
    return FittedModel(
        model=model,
        calibration=fit_calibration(raw, validation.labels, task.schema, model="sequence"),
        blend=fit_blend(experts, raw, model.spec, task, validation, config) if experts else None,
    )


def fit_experts(
    spec: EncodingSpec, task: Task, train: Readouts, config: BlendConfig, *, seed: int
) -> dict[str, Expert]:
    """Fit the experts on training: their readout features, or all histories as far as it may see them."""
    if not config.experts:
        return {}
    train = expert_readouts(train, seed=seed)
    features = feature_matrix(
        task.histories,
        spec,
        customer=train.customer,
        cutoff_us=train.cutoff_us,
        weights=task.fit_split.weights(train.cutoff_us),
    )
    outcomes = task.outcomes(train, task.fit_split)
    threads = torch.get_num_threads()
    experts: dict[str, Expert] = {}
    for name in config.experts:
        if name != PARETO_NBD:
            experts[name] = fit_expert(name, task.schema, features, outcomes, seed=seed, threads=threads)
            continue
        buying = _repeat_buying(spec, task, seed=seed)
        if buying.probability or buying.amount:
            experts[name] = buying_expert(task.schema, buying)
        else:
            _log.info("the blend does without %s: no target is a silence after repeated events", name)
    return experts


def _repeat_buying(spec: EncodingSpec, task: Task, *, seed: int) -> RepeatBuying:
    """Fit it, and leave out what a company labels itself: that need not be silence, nor a sum."""
    until_us, own = task.fit_split.observed_until_us, task.labeller.answered_by_table
    found = fit_repeat_buying(task.histories, spec, until_us=until_us, seed=seed)
    return RepeatBuying(
        probability={name: models for name, models in found.probability.items() if name not in own},
        amount={name: model for name, model in found.amount.items() if name not in own},
    )


def expert_readouts(train: Readouts, *, seed: int) -> Readouts:
    """Return the training readouts that experts and baselines are fitted on."""
    return train.sample(MOST_READOUTS, np.random.default_rng([seed, 5]))


def fit_blend(
    experts: Mapping[str, Expert],
    raw: RawOutputs,
    spec: EncodingSpec,
    task: Task,
    validation: Readouts,
    config: BlendConfig,
) -> FittedBlend:
    """Fit weights on the validation window, and then the calibration of what they give there.

    Args:
        experts: Fitted on training cutoffs.
        raw: Uncalibrated outputs of the sequence model on the validation window.
        spec: The encoding.
        task: Targets and splits.
        validation: The window's readouts.
        config: What is blended.
    """
    schema, questions = task.schema, Questions.of(task.schema)
    features = feature_matrix(
        task.histories, spec, customer=validation.customer, cutoff_us=validation.cutoff_us
    )
    said = {name: expert.baseline(name, schema).predict(features) for name, expert in experts.items()}
    answers = [questions.answers(predictions) for predictions in said.values()]
    judged = Judged(
        answers=[sequence_answers(raw, schema).numpy(), *answers],
        outcomes=task.outcomes(validation, task.splits.validation),
        customer=validation.customer,
    )
    weights = fit_weights(judged, questions, _ability(experts, questions), prior_std=config.prior_std)
    together = blended(raw, [torch.from_numpy(array) for array in answers], weights, schema)
    calibration = fit_calibration(together, validation.labels, schema, model="blend")
    return FittedBlend(experts=experts, weights=weights, calibration=calibration)


def _unseen_blend(experts: Mapping[str, Expert], task: Task) -> FittedBlend:
    questions = Questions.of(task.schema)
    weights = equal_weights(questions, _ability(experts, questions))
    return FittedBlend(experts=experts, weights=weights, calibration=Calibration())


def _ability(experts: Mapping[str, Expert], questions: Questions) -> np.ndarray:
    """Return [expert, question]: the sequence model, which comes first, answers everything."""
    everything = np.ones(len(questions), dtype=bool)
    return np.stack([everything, *(expert.is_able(questions) for expert in experts.values())])
