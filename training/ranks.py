"""What the processes of a training run tell each other: sums, so that many train as one would.

Losses are divided by what the whole pool holds, not by what one process has of it. Gradients are
therefore added, never averaged, once per step and after the last micro-batch: how many of them a
process has does not matter. It deliberately does not know models or losses.
"""

from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext

import pytorch_lightning as pl
import torch
from pytorch_lightning.strategies import DDPStrategy, ModelParallelStrategy
from torch import Tensor


def added(module: pl.LightningModule, values: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return sums of scalars over all processes; each of them has the same names in the same order."""
    if module.trainer.world_size == 1:
        return dict(values)
    own = torch.stack([value.detach().to(module.device) for value in values.values()])
    total = module.trainer.strategy.reduce(own, reduce_op="sum")
    assert isinstance(total, Tensor)
    return dict(zip(values, total.unbind(), strict=True))


def own_gradients(module: pl.LightningModule) -> AbstractContextManager[None]:
    """Return a context in which backward passes leave gradients as they are, for :func:`add_gradients`."""
    strategy = module.trainer.strategy
    return strategy.block_backward_sync() if isinstance(strategy, DDPStrategy) else nullcontext()


def add_gradients(module: pl.LightningModule, parts: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Add the gradients of all processes, and the parts of the loss that they belong to.

    Args:
        module: Its parameters have gradients, the same ones in every process.
        parts: Scalars, the same names in the same order in every process.

    Returns:
        The parts, added.
    """
    if module.trainer.world_size == 1:
        return dict(parts)
    if isinstance(module.trainer.strategy, ModelParallelStrategy):
        # It adds gradients itself, every one where its part of the weights lies.
        return added(module, parts)
    gradients = [parameter.grad for parameter in module.parameters() if parameter.grad is not None]
    # One message instead of one per parameter: most are smaller than what a message costs.
    flat = torch.cat([*(gradient.flatten() for gradient in gradients), torch.stack(list(parts.values()))])
    total = module.trainer.strategy.reduce(flat, reduce_op="sum")
    assert isinstance(total, Tensor)
    pieces = total.split([*(gradient.numel() for gradient in gradients), len(parts)])
    for gradient, piece in zip(gradients, pieces, strict=False):
        gradient.copy_(piece.view_as(gradient))
    return dict(zip(parts, pieces[-1].unbind(), strict=True))
