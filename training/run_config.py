"""A training run's configuration as dataclasses, checked before anything is computed.

It deliberately computes nothing; Hydra composes, this reads.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from holdfast.errors import ConfigError
from holdfast.plain import from_plain
from training.batches import BatchingConfig
from training.blend.experts import BlendConfig
from training.data_config import DataConfig
from training.fit_config import FitConfig
from training.judging import EvaluationConfig
from training.losses import LossWeights
from training.model import ModelConfig
from training.module import OptimiserConfig


@dataclass(frozen=True, slots=True, kw_only=True)
class _Own:
    """Keys of a fit that stand in no group; of runs before there was a ``compile``, too."""

    seed: int
    compile: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class RunConfig:
    """One run.

    Attributes:
        data: The data set.
        fit: How the model is fitted.
        evaluation: How it is judged.
    """

    data: DataConfig
    fit: FitConfig
    evaluation: EvaluationConfig

    @classmethod
    def from_plain(cls, settings: Mapping[str, Any]) -> "RunConfig":
        """Build the configuration from what ``conf/train.yaml`` resolves to.

        Raises:
            ConfigError: A key is unknown, missing, of another type or out of range.
        """
        for key in ("data", "evaluation", "model", "optimiser", "batching", "loss", "blend"):
            if key not in settings:
                raise ConfigError(key, None, "this key is needed")
        own = from_plain(
            _Own, {key: settings[key] for key in ("seed", "compile") if key in settings}, where=""
        )
        data = DataConfig.from_plain(settings["data"])
        if not 0 <= own.seed < 2**32:
            # Before the seeds that follow from it are read.
            raise ConfigError("seed", own.seed, "it must lie in [0, 2^32)")
        evaluation = from_plain(EvaluationConfig, settings["evaluation"], where="evaluation")
        if evaluation.split == "validation":
            data = _up_to_validation(data)
        # Before anything is fitted, not after.
        evaluation.check_unseen(data.cutoffs.fit_on)
        optimiser = from_plain(OptimiserConfig, settings["optimiser"], where="optimiser")
        _check_stopping(optimiser, data)
        return cls(
            data=data,
            fit=FitConfig(
                model=from_plain(ModelConfig, settings["model"], where="model"),
                optimiser=optimiser,
                batching=from_plain(BatchingConfig, settings["batching"], where="batching"),
                weights=from_plain(LossWeights, settings["loss"], where="loss"),
                encoding=data.encoding,
                blend=from_plain(BlendConfig, settings["blend"], where="blend"),
                seed=own.seed,
                compile=own.compile,
            ),
            evaluation=evaluation,
        )


def _up_to_validation(data: DataConfig) -> DataConfig:
    """Of two fits leave the first: the second one would have seen the window that is judged."""
    if data.cutoffs.fit_on != "both":
        return data
    return replace(data, cutoffs=replace(data.cutoffs, fit_on="train"))


def _check_stopping(optimiser: OptimiserConfig, data: DataConfig) -> None:
    """Refuse to stop a fit by a window that its weights see.

    Raises:
        ConfigError: Naming the key.
    """
    patience, fit_on = optimiser.early_stopping_patience, data.cutoffs.fit_on
    if patience is not None and fit_on != "train":
        limit = (
            f"a fit is stopped by the validation window, which weights see with cutoffs.fit_on={fit_on}: "
            "add ++data.cutoffs.fit_on=train"
        )
        raise ConfigError("optimiser.early_stopping_patience", patience, limit)
