"""Operations and operators of an optimiser step, and the best rate of this machine's matrix products.

Operations are those of matrix products and attention, as PyTorch's counter has them, in both
directions and with padding. It deliberately leaves out everything elementwise, so that a share of
the matrix rate is a lower bound.
"""

import time
from collections.abc import Sequence
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import FlopCounterMode

from training.batches import MicroBatch
from training.losses import LabelTensors, loss_sums
from training.module import TrainingModule

ATTENTION = "_scaled_dot_product_flash_attention_for_cpu"
"""PyTorch's operator, which its own counter does not know; nor does it know a product that is added in place,
of which the recurrent layer has one a position."""

_NO_KERNEL = ("aten::detach", "aten::empty", "aten::new_empty", "aten::_unsafe_view")
"""Beginnings of the names of operators that are no views and launch nothing either."""

SIZES = (512, 1024, 2048)
"""Of square matrix products: small ones stay in the caches, large ones hide their start."""


def best_matrix_rate(*, repeats: int) -> float:
    """Return the best rate of a float32 matrix product on all threads, in operations per second."""
    best = 0.0
    for size in SIZES:
        first, second = torch.randn(size, size), torch.randn(size, size)
        out = torch.empty(size, size)
        for _ in range(repeats):
            began = time.perf_counter()
            torch.mm(first, second, out=out)
            best = max(best, 2 * size**3 / (time.perf_counter() - began))
    return best


def step_operations(module: TrainingModule, pool: Sequence[MicroBatch]) -> int:
    """Return the operations of one pool's matrix products, forward and backward.

    Args:
        module: Its loss; gradients are dropped afterwards.
        pool: The micro-batches.
    """
    with FlopCounterMode(display=False, custom_mapping=more_formulas()) as counter:
        _both_ways(module, pool)
    total: int = counter.get_total_flops()
    return total


def step_operators(module: TrainingModule, pool: Sequence[MicroBatch]) -> int:
    """Return how many operators one pool's losses and gradients call that compute or copy: no views.

    A GPU that is given little to do in each takes about as long as their launches.

    Args:
        module: Its loss; gradients are dropped afterwards.
        pool: The micro-batches.
    """
    calls = OperatorCalls()
    with calls:
        _both_ways(module, pool)
    return calls.num


class OperatorCalls(TorchDispatchMode):  # type: ignore[no-untyped-call]  # PyTorch's is untyped
    """Counts calls of operators that compute or copy."""

    def __init__(self) -> None:
        """Count from 0."""
        super().__init__()  # type: ignore[no-untyped-call]  # PyTorch's is untyped
        self.num = 0

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Call the operator, counted."""
        if not func.is_view and not func.name().startswith(_NO_KERNEL):
            self.num += 1
        return func(*args, **kwargs or {})


def _both_ways(module: TrainingModule, pool: Sequence[MicroBatch]) -> None:
    model, weights = module.model, module.weights
    with_next_event = model.config.use_next_event and weights.next_event > 0
    for batch in pool:
        raw = model(batch.inputs, with_next_event=with_next_event)
        labels = LabelTensors.of(batch.labels, like=batch.weights)
        sums = loss_sums(raw, labels, batch.weights, weights, batch=batch.inputs)
        torch.autograd.backward(torch.stack([total for total, _ in sums.values()]).sum())
    module.zero_grad(set_to_none=True)


def more_formulas() -> dict[Any, Any]:
    """Return the operations of what PyTorch's own counter does not know, by operator."""
    aten = torch.ops.aten
    return {
        getattr(aten, ATTENTION): _attention,
        getattr(aten, f"{ATTENTION}_backward"): _attention_backward,
        aten.addmm_: _product,
    }


def _product(_: Any, first: Any, second: Any, *__: Any, **___: Any) -> int:
    return int(2 * first[0] * first[1] * second[1])


def _attention(query: Any, key: Any, *_: Any, **__: Any) -> int:
    # Two products over all pairs; causal, so that half of them are never looked at.
    batch, heads, length, width = query
    return int(2 * 2 * batch * heads * length * key[2] * width) // 2


def _attention_backward(_: Any, query: Any, key: Any, *__: Any, **___: Any) -> int:
    # Scores once more, then the gradients of weights, value, query and key: five products instead of two.
    return _attention(query, key) * 5 // 2
