"""Everything that is chosen about fitting, as one dataclass.

It deliberately knows neither the trainer nor the data.
"""

from dataclasses import dataclass

from holdfast.errors import ConfigError
from training.batches import BatchingConfig
from training.blend.experts import BlendConfig
from training.fit_encoding import EncodingSettings
from training.losses import LossWeights
from training.model import ModelConfig
from training.module import OptimiserConfig


@dataclass(frozen=True, slots=True, kw_only=True)
class FitConfig:
    """Everything that is chosen about fitting, beside the trainer."""

    model: ModelConfig
    optimiser: OptimiserConfig
    batching: BatchingConfig
    weights: LossWeights
    encoding: EncodingSettings
    blend: BlendConfig
    seed: int

    def __post_init__(self) -> None:
        """Refuse to pretrain what learns nothing there.

        Raises:
            ConfigError: Naming the key.
        """
        learns = self.model.use_next_event and self.weights.next_event > 0
        if self.optimiser.pretraining_steps and not learns:
            limit = "pretraining needs model.use_next_event and a positive loss.next_event"
            raise ConfigError("optimiser.pretraining_steps", self.optimiser.pretraining_steps, limit)
