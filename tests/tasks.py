"""A small task over random histories, and the smallest way to fit it."""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytorch_lightning as pl
import torch
import yaml

from builders import DAY, START_US, random_histories, small_schema
from holdfast.histories import Histories
from holdfast.plain import from_plain
from training.batches import BatchingConfig
from training.blend.experts import EXPERTS, BlendConfig
from training.cutoffs import TrainPolicy
from training.fit_config import FitConfig
from training.fit_encoding import EncodingSettings
from training.fitted import FittedModel
from training.labels import Labeller
from training.losses import LossWeights
from training.model import ModelConfig
from training.model.graph import answer
from training.module import OptimiserConfig
from training.predict import feature_matrix, predict_raw
from training.splits import temporal_splits
from training.task import Task

CONF = Path(__file__).parents[1] / "conf"


def small_task(*, num_customers: int = 300, seed: int = 0) -> Task:
    """Return a task over random histories of up to 80 events."""
    histories = random_histories(np.random.default_rng(seed), num_customers, max_length=80)
    schema = small_schema()
    return Task(
        name="small",
        schema=schema,
        histories=histories,
        labeller=Labeller(histories, schema),
        splits=temporal_splits(
            schema,
            TrainPolicy(every_days=30),
            validation_us=(START_US + 300 * DAY,),
            test_us=(START_US + 400 * DAY,),
            observed_from_us=START_US,
            observed_until_us=START_US + 495 * DAY,
        ),
    )


def tiny_config(
    *, num_steps: int = 12, seed: int = 3, experts: tuple[str, ...] = EXPERTS, **model: Any
) -> FitConfig:
    """Return the smallest model with every part switched on, and a schedule of a few steps."""
    values = yaml.safe_load((CONF / "model" / "tiny.yaml").read_text()) | model
    return FitConfig(
        model=from_plain(ModelConfig, values),
        optimiser=OptimiserConfig(
            learning_rate=2e-3,
            weight_decay=0.02,
            num_steps=num_steps,
            pretraining_steps=0,
            passes=1.0,
            steps_range=(1, 1000),
            warmup_steps=2,
            gradient_clip=1.0,
            ema_decay=0.9,
            early_stopping_patience=None,
            validations=2,
            checkpoint_every_steps=4,
        ),
        batching=BatchingConfig(pool_customers=64, readouts_per_customer=4, event_budget=1024),
        weights=LossWeights(),
        encoding=EncodingSettings(max_events=64, history_days=365),
        blend=BlendConfig(experts=experts, prior_std=1.0),
        seed=seed,
    )


@torch.no_grad()
def python_answers(
    fitted: FittedModel, histories: Histories, customer: np.ndarray, cutoff_us: np.ndarray
) -> dict[str, torch.Tensor]:
    """Return the answers that the exported graph must give, with LightGBM's own trees."""
    raw = predict_raw(fitted.model, histories, customer=customer, cutoff_us=cutoff_us)
    features = feature_matrix(histories, fitted.spec, customer=customer, cutoff_us=cutoff_us)
    joined = fitted.joined(raw, fitted.ask_experts(features))
    return answer(joined, fitted.spec.schema, fitted.model.config.quantile_levels)


def quiet_trainer(folder: Path, *, extra: tuple[pl.Callback, ...] = ()) -> Callable[..., pl.Trainer]:
    """Return a maker of CPU trainers that log nothing."""

    def make(*, callbacks: list[pl.Callback], **settings: Any) -> pl.Trainer:
        make_plain = partial(pl.Trainer, accelerator="cpu", devices=1, deterministic=True, logger=False)
        return make_plain(
            callbacks=[*callbacks, *extra],
            enable_progress_bar=False,
            default_root_dir=folder,
            **settings,
        )

    return make
