"""Dropout whose chance costs a CPU little: eight bits an element instead of a draw of its own.

It deliberately does not know what it is applied to.
"""

from typing import Any, cast

import torch
from torch import Tensor, nn

_LEVELS = 256


class Dropout(nn.Dropout):
    """``nn.Dropout``; on a CPU the probability is rounded to 256ths, and the scale follows what it then is.

    PyTorch draws a number for every element there, which takes three times as long. Within a compiled
    graph it is ``nn.Dropout`` everywhere: the draws are part of the code that is made.
    """

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002 (the base class's)
        """Return the input in evaluation; in training with elements set to 0 and the others scaled up."""
        dropped = round(self.p * _LEVELS)
        is_plain = not self.training or not dropped or dropped == _LEVELS
        if is_plain or input.device.type != "cpu" or torch.compiler.is_compiling():
            return super().forward(input)
        return cast("Tensor", _Dropped.apply(input, dropped))


class _Dropped(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, values: Tensor, dropped: int) -> Tensor:
        """Draw all bits at once, eight bytes at a time."""
        num = values.numel()
        drawn = torch.empty(-(-num // 8), dtype=torch.int64).random_(torch.iinfo(torch.int64).min, None)
        kept = drawn.view(torch.uint8)[:num].view(values.shape) >= dropped
        factor = kept.to(values.dtype).mul_(_LEVELS / (_LEVELS - dropped))
        ctx.save_for_backward(factor)
        return values * factor

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        """Scale the gradient as the values were."""
        (factor,) = ctx.saved_tensors
        return gradient * factor, None
