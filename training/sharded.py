"""Training with weights, gradients and optimiser cut over the processes, for models that fill a device.

The steps are those of ``TrainingModule``; only where numbers lie is another matter. It deliberately
does not average weights: Lightning's averaging copies the whole model.
"""

from collections.abc import Mapping
from typing import Any

import torch
from pytorch_lightning.strategies import ModelParallelStrategy
from torch import Tensor
from torch.distributed.checkpoint.state_dict import StateDictOptions, get_model_state_dict
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import FSDPModule, fully_shard

from holdfast.errors import ConfigError
from training.batches import MicroBatch, weightless
from training.model import SequenceModel
from training.model.attention import Block
from training.module import TrainingModule


def check_shardable(*, ema_decay: float) -> None:
    """Refuse what sharded weights cannot do.

    Raises:
        ConfigError: Weights shall be averaged.
    """
    if ema_decay:
        limit = "it must be 0 with trainer=fsdp: averages of sharded weights are not kept"
        raise ConfigError("optimiser.ema_decay", ema_decay, limit)


class ShardedModule(TrainingModule):
    """Fits a model of which every process holds a part."""

    _gathered: Mapping[str, Any] | None = None

    def configure_model(self) -> None:
        """Cut the weights: layer by layer, so that only one of them is ever whole."""
        if isinstance(self.model, FSDPModule):
            return
        mesh = init_device_mesh(self.device.type, (self.trainer.world_size,))
        for block in self.model.modules():
            if isinstance(block, Block):
                fully_shard(block, mesh=mesh)
        fully_shard(self.model, mesh=mesh)
        for part in self.model.modules():
            if isinstance(part, FSDPModule):
                # Losses are divided by the whole pool: gradients are to be added. By a plain sum, because
                # of scaled ones gloo knows nothing.
                part.set_gradient_divide_factor(1.0)
                part.set_force_sum_reduction_for_comms(True)

    def training_step(self, pool: list[MicroBatch], number: int) -> None:
        """Take a step in which every process has as many micro-batches as the one with most."""
        own = torch.tensor(len(pool), device=self.device)
        most = self.trainer.strategy.reduce(own, reduce_op="max")
        assert isinstance(most, Tensor)
        super().training_step(pool + [weightless(pool[-1])] * (int(most) - len(pool)), number)

    def on_train_end(self) -> None:
        """Gather the weights where they are saved, judged and exported."""
        options = StateDictOptions(full_state_dict=True, cpu_offload=True)
        gathered = get_model_state_dict(self.model, options=options)
        self._gathered = {name: value for name, value in gathered.items() if isinstance(value, Tensor)}

    def whole_model(self) -> SequenceModel:
        """Return the model in one piece, on the CPU; of use in the first process only."""
        assert self._gathered is not None, "weights are gathered at the end of a fit"
        model = SequenceModel(self.model.spec, self.model.config, self.model.scales)
        if self._gathered:
            model.load_state_dict(self._gathered)
        return model


def is_sharded(strategy: object) -> bool:
    """Return whether a strategy cuts weights over processes."""
    return isinstance(strategy, ModelParallelStrategy)
