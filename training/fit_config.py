"""Everything that is chosen about fitting, as one dataclass.

It deliberately knows neither the trainer nor the data.
"""

from dataclasses import dataclass

from holdfast.errors import ConfigError
from training.batches import BatchingConfig
from training.blend.experts import BlendConfig
from training.compiled import COMPILE_BACKENDS
from training.fit_encoding import EncodingSettings
from training.losses import LossWeights
from training.model import ModelConfig
from training.module import OptimiserConfig


@dataclass(frozen=True, slots=True, kw_only=True)
class FitConfig:
    """Everything that is chosen about fitting, beside the trainer.

    ``compile`` is what makes code of the step's graphs; None runs it operation by operation. The other
    attributes are configurations with documentation of their own.
    """

    model: ModelConfig
    optimiser: OptimiserConfig
    batching: BatchingConfig
    weights: LossWeights
    encoding: EncodingSettings
    blend: BlendConfig
    seed: int
    compile: str | None = None

    def __post_init__(self) -> None:
        """Refuse a seed that is none, to pretrain what learns nothing there, and to compile what cannot be.

        Raises:
            ConfigError: Naming the key.
        """
        if not 0 <= self.seed < 2**32:
            raise ConfigError("seed", self.seed, "it must lie in [0, 2^32)")
        learns = self.model.use_next_event and self.weights.next_event > 0
        if self.optimiser.pretraining_steps and not learns:
            limit = "pretraining needs model.use_next_event and a positive loss.next_event"
            raise ConfigError("optimiser.pretraining_steps", self.optimiser.pretraining_steps, limit)
        if self.compile is not None and self.compile not in COMPILE_BACKENDS:
            limit = f"it must be null or one of {', '.join(COMPILE_BACKENDS)}"
            raise ConfigError("compile", self.compile, limit)
        if self.compile is not None and self.model.encoder == "gru":
            limit = (
                "it must be null with model.encoder=gru, whose loop over events is a kernel of its own "
                "and no graph; transformer and none can be compiled"
            )
            raise ConfigError("compile", self.compile, limit)
