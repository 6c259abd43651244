"""A fitted model beside baselines and truth, asked the same questions at the same cutoffs.

It deliberately fits no baseline on anything but the model's own training cutoffs and inputs.
"""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import polars as pl
import torch
from jaxtyping import Float
from numpy import ndarray

from holdfast.encoding import EncodingSpec
from holdfast.errors import ConfigError, DataError
from holdfast.schema import Schema
from training.baselines import BASELINE_NAMES, BUYING_MODELS, fit_baseline, fit_buy_till_you_die
from training.baselines.repeat_buying import PARETO_NBD
from training.blend.fitting import expert_readouts
from training.blend.questions import Questions
from training.calibration import calibrated
from training.data_config import TruthConfig
from training.evaluation import TRUTH, EvaluationResult, evaluate
from training.evaluation.closer import look_closer
from training.fitted import FittedModel
from training.metrics.bootstrap import check_num_replicates
from training.model import RawOutputs
from training.model.graph import answer
from training.outcomes import Outcomes, Predictions
from training.predict import feature_matrix, predict_raw
from training.splits import Split
from training.store import HistoryStore
from training.task import Readouts, Task

_LOG = logging.getLogger(__name__)

SEQUENCE = "sequence"
"""Name of the sequence model alone in tables and reports."""

BLEND = "blend"
"""Name of all experts together."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EvaluationConfig:
    """How a fitted model is judged.

    Attributes:
        split: The window it is judged on: ``validation`` while models are chosen, ``test`` for the
            one that was.
        baselines: Names of the baselines to judge beside it and its experts.
        num_bootstrap: Resamples of an interval; 0 leaves intervals out.
        seed: Of baselines and resamples.
    """

    split: Literal["validation", "test"]
    baselines: tuple[str, ...]
    num_bootstrap: int
    seed: int

    def __post_init__(self) -> None:
        """Refuse what cannot be judged by, before a model has been fitted for hours.

        Raises:
            ConfigError: Naming the key.
        """
        check_num_replicates("evaluation.num_bootstrap", self.num_bootstrap)
        if not 0 <= self.seed < 2**32:
            raise ConfigError("evaluation.seed", self.seed, "it must lie in [0, 2^32)")
        unknown = [name for name in self.baselines if name not in BASELINE_NAMES]
        if unknown:
            raise ConfigError("evaluation.baselines", unknown, f"the baselines are {list(BASELINE_NAMES)}")

    def check_unseen(self, fit_on: str) -> None:
        """Refuse to judge weights on a window that they were fitted on.

        Raises:
            ConfigError: They were fitted on every window before the test cutoff.
        """
        if self.split == "validation" and fit_on != "train":
            limit = f"weights fitted with cutoffs.fit_on={fit_on} have seen the validation window"
            limit += "; those of a training with ++data.cutoffs.fit_on=train can be judged there"
            raise ConfigError("evaluation.split", self.split, limit)


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """The eligible cutoffs of a window, what every model said there, and what came.

    Attributes:
        split: Name of the window.
        readouts: The cutoffs.
        outcomes: What came.
        predictions: By model, in the order of tables.
        main: The model that the others are compared with.
    """

    split: str
    readouts: Readouts
    outcomes: Outcomes
    predictions: Mapping[str, Predictions]
    main: str


def judge(
    fitted: FittedModel,
    task: Task,
    store: HistoryStore,
    *,
    config: EvaluationConfig,
    truth: TruthConfig | None,
) -> EvaluationResult:
    """Judge a model on every eligible cutoff of a window.

    Args:
        fitted: The model.
        task: Targets and splits.
        store: For the ids of the customers, by which the truth is told.
        config: Which window, baselines, resamples and seed.
        truth: Where the simulator's truth lies, or None.

    Returns:
        The result as plain values.

    Raises:
        ConfigError: The weights have seen the window.
    """
    asked = ask(fitted, task, store, config=config, truth=truth)
    result = evaluate(
        task.schema,
        split=asked.split,
        customer=asked.readouts.customer,
        cutoff_us=asked.readouts.cutoff_us,
        outcomes=asked.outcomes,
        predictions=asked.predictions,
        main=asked.main,
        num_replicates=config.num_bootstrap,
        seed=config.seed,
    )
    result["closer"] = look_closer(
        task.histories,
        task.schema,
        customer=asked.readouts.customer,
        cutoff_us=asked.readouts.cutoff_us,
        labels=asked.readouts.labels,
        outcomes=asked.outcomes,
        predictions=asked.predictions,
        main=asked.main,
        num_replicates=config.num_bootstrap,
        seed=config.seed,
    )
    return result


def check_window(task: Task, config: EvaluationConfig) -> Readouts:
    """Return the cutoffs that a model will be judged on; asked before it has been fitted for hours too.

    Args:
        task: Targets and splits.
        config: Which window.

    Raises:
        ConfigError: The weights have seen the window, or it holds nothing to judge by.
    """
    config.check_unseen(task.fit_on)
    return task.readouts(_judged(task, config), seed=config.seed)


def _judged(task: Task, config: EvaluationConfig) -> Split:
    return task.splits.test if config.split == "test" else task.splits.validation


def ask(
    fitted: FittedModel,
    task: Task,
    store: HistoryStore,
    *,
    config: EvaluationConfig,
    truth: TruthConfig | None,
) -> Asked:
    """Ask a model, baselines and truth about every eligible cutoff of a window; see :func:`judge`."""
    seed, split = config.seed, _judged(task, config)
    readouts = check_window(task, config)
    predictions = model_predictions(fitted, task, readouts)
    # Experts of the blend are those in the artifact, not others of the same name.
    others = [name for name in config.baselines if name not in predictions]
    predictions |= baseline_predictions(fitted.spec, task, readouts, others, seed=seed)
    if truth is not None:
        predictions[TRUTH] = true_predictions(truth.path, task, store, readouts)
    return Asked(
        split=split.name,
        readouts=readouts,
        outcomes=task.outcomes(readouts, split),
        predictions=predictions,
        main=SEQUENCE if fitted.blend is None else BLEND,
    )


def model_predictions(fitted: FittedModel, task: Task, readouts: Readouts) -> dict[str, Predictions]:
    """Return what the blend says, as the exported graph would, and every expert of all targets by itself.

    Without a blend the sequence model alone is what is exported.
    """
    raw = predict_raw(fitted.model, task.histories, customer=readouts.customer, cutoff_us=readouts.cutoff_us)
    levels = fitted.model.config.quantile_levels
    alone = {SEQUENCE: predictions_from(calibrated(raw, fitted.calibration), task.schema, levels)}
    if fitted.blend is None:
        return alone
    said = fitted.ask_experts(
        feature_matrix(task.histories, fitted.spec, customer=readouts.customer, cutoff_us=readouts.cutoff_us)
    )
    # Who answers some of the targets only is no model to compare with.
    questions, experts = Questions.of(task.schema), fitted.blend.experts
    shown = {
        name: own
        for name, own in said.items()
        if name != PARETO_NBD or experts[name].is_able(questions).all()
    }
    return {BLEND: predictions_from(fitted.joined(raw, said), task.schema, levels)} | alone | shown


@torch.no_grad()
def predictions_from(raw: RawOutputs, schema: Schema, levels: tuple[float, ...]) -> Predictions:
    """Return the answers that calibrated outputs give."""
    answers = answer(raw, schema, levels)
    names = {kind: [t.name for t in schema.targets if t.kind == kind] for kind in ("amount", "count")}

    def at(level: float) -> dict[str, ndarray]:
        if level not in levels:
            return {}
        return {n: answers[f"{n}_quantiles"][:, levels.index(level)].numpy() for n in names["amount"]}

    return Predictions(
        probability={
            target.name: answers[f"{target.name}_probability"].numpy()
            for target in schema.targets
            if target.kind == "time_to_event"
        },
        expected={n: answers[f"{n}_expected"].numpy() for n in (*names["amount"], *names["count"])},
        median=at(0.5),
        upper=at(0.9),
        survival={
            target.name: answers[f"{target.name}_survival"].numpy()
            for target in schema.targets
            if target.kind == "time_to_event"
        },
    )


def baseline_predictions(
    spec: EncodingSpec, task: Task, readouts: Readouts, names: Sequence[str], *, seed: int
) -> dict[str, Predictions]:
    """Fit baselines on the cutoffs and inputs that the model was fitted on, and ask them.

    Returns:
        By name, in the order given; without those that have no answer to any of the targets,
        which are told to the log.
    """
    on_features = [name for name in names if name not in BUYING_MODELS]
    said = _feature_predictions(spec, task, readouts, on_features, seed=seed)
    for name in names:
        if name in BUYING_MODELS:
            until_us = task.fit_split.observed_until_us
            buying = fit_buy_till_you_die(name, task.histories, spec, until_us=until_us, seed=seed)
            if buying is None:
                _LOG.info("%s is left out: no target is a silence after repeated purchases", name)
            else:
                asked = {"customer": readouts.customer, "cutoff_us": readouts.cutoff_us}
                said[name] = buying.predict(task.histories, **asked)
    return {name: said[name] for name in names if name in said}


def _feature_predictions(
    spec: EncodingSpec, task: Task, readouts: Readouts, names: Sequence[str], *, seed: int
) -> dict[str, Predictions]:
    if not names:
        return {}
    train = expert_readouts(task.readouts(task.fit_split, seed=seed), seed=seed)
    outcomes = task.outcomes(train, task.fit_split)
    features, asked = (
        feature_matrix(
            task.histories, spec, customer=part.customer, cutoff_us=part.cutoff_us, weights=weights
        )
        for part, weights in ((train, task.fit_split.weights(train.cutoff_us)), (readouts, None))
    )
    threads = torch.get_num_threads()
    return {
        name: fit_baseline(name, task.schema, features, outcomes, seed=seed, threads=threads).predict(asked)
        for name in names
    }


def true_predictions(path: str, task: Task, store: HistoryStore, readouts: Readouts) -> Predictions:
    """Return what the simulator knows; NaN for a customer, cutoff or horizon that it did not write.

    Raises:
        DataError: The table cannot be read.
    """
    try:
        table = pl.read_parquet(path)
    except (OSError, pl.exceptions.PolarsError) as error:
        raise DataError("data.truth.path", path, f"it must be the simulator's truth ({error})") from error
    asked = pl.DataFrame(
        {
            "customer_id": store.customer_ids.gather(readouts.customer),
            "cutoff": pl.Series(readouts.cutoff_us).cast(pl.Datetime("us", "UTC")),
        }
    )

    def known(column: str, horizon_days: int) -> Float[ndarray, " readout"]:
        own = table.filter(pl.col("horizon_days") == horizon_days).select("customer_id", "cutoff", column)
        joined = asked.join(own, on=["customer_id", "cutoff"], how="left", maintain_order="left")
        return joined[column].fill_null(float("nan")).to_numpy()

    first = {
        kind: [t for t in task.schema.targets if t.kind == kind][:1] for kind in ("time_to_event", "amount")
    }
    return Predictions(
        probability={
            t.name: np.stack([known("churn_probability", days) for days in t.horizons_days], axis=1)
            for t in first["time_to_event"]
        },
        expected={t.name: known("expected_spend", t.max_horizon_days) for t in first["amount"]},
        median={},
    )
