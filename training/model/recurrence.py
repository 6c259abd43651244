"""A gated recurrent layer for the CPU: the arithmetic of ``nn.GRU`` in fewer and larger operations.

It deliberately knows neither where events come from nor who reads the states: a state depends on no
later event, so what stands to the right of a history is computed and never read.
"""

from collections.abc import Sequence
from typing import Any, cast

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F


def run_recurrent(
    recurrent: nn.GRU, events: Float[Tensor, "batch length channel"], *, training: bool
) -> Float[Tensor, "batch length channel"]:
    """Return the states of the last layer, as ``recurrent(events)[0]`` does to the last digits.

    Args:
        recurrent: Its weights and its dropout between layers are used; it begins with zeros.
        events: Its input; the batch comes first.
        training: Whether dropout drops.
    """
    batch, length, _ = events.shape
    # Rows of one length are packed ones of which all are active at every position.
    packed = events.transpose(0, 1).flatten(0, 1)
    states = run_packed(recurrent, packed, [batch] * length, training=training)
    return states.unflatten(0, (length, batch)).transpose(0, 1)


def run_packed(
    recurrent: nn.GRU, events: Float[Tensor, "event channel"], active: Sequence[int], *, training: bool
) -> Float[Tensor, "event channel"]:
    """Return the states of the last layer, as ``recurrent(PackedSequence(events, active))[0]`` does.

    PyTorch's own loop on a CPU adds up the gradient of the weights anew at every position, and takes
    some thirty operations for it. Here a position takes five forward and four backward; everything
    that does not depend on the position before is done for all of them at once.

    Args:
        recurrent: Its weights and its dropout between layers are used; it begins with zeros.
        events: Its input: the first events of all rows, then the second ones of those that have one ...
        active: How many rows have an event at each position, descending.
        training: Whether dropout drops.
    """
    states, width = events, recurrent.hidden_size
    for layer in range(recurrent.num_layers):
        if layer:
            states = F.dropout(states, recurrent.dropout, training)
        input_weight, weight, input_bias, bias = (
            getattr(recurrent, f"{name}_l{layer}")
            for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
        )
        # The reset gate acts on the new state's recurrent part, bias included: that bias stays apart.
        gates = F.linear(states, input_weight[: 2 * width], (input_bias + bias)[: 2 * width])
        new = F.linear(states, input_weight[2 * width :], input_bias[2 * width :])
        states = cast("Tensor", _Recurrence.apply(gates, new, weight, bias[2 * width :], active))
    return states


class _Recurrence(torch.autograd.Function):
    """Cho et al., Learning Phrase Representations (2014), equations 5 to 8, in the form of ``nn.GRU``.

    ``r, z = sigmoid(gates + W h)``, ``n = tanh(new + r * (V h + b))``, ``h' = n + z * (h - n)``.
    """

    @staticmethod
    def forward(
        ctx: Any,
        gates: Float[Tensor, "event two_channels"],
        new: Float[Tensor, "event channel"],
        weight: Float[Tensor, "three_channels channel"],
        bias: Float[Tensor, " channel"],
        active: Sequence[int],
    ) -> Float[Tensor, "event channel"]:
        """Return the states, position by position."""
        num, width = new.shape
        # What the state is multiplied with for all three, in one product a position.
        mapped = torch.cat([gates, bias.expand(num, width)], dim=1)
        fresh, states = torch.empty_like(new), torch.empty_like(new)
        transposed = weight.t()
        state = new.new_zeros(active[0], width)
        rows = zip(*(x.split(list(active)) for x in (mapped, new, fresh, states)), strict=True)
        for mapping, new_in, candidate, following in rows:
            before = state[: len(new_in)]
            mapping.addmm_(before, transposed)
            gate = mapping[:, : 2 * width].sigmoid_()
            torch.addcmul(new_in, gate[:, :width], mapping[:, 2 * width :], out=candidate).tanh_()
            state = torch.lerp(candidate, before, gate[:, width:], out=following)
        ctx.active = active
        ctx.save_for_backward(mapped, fresh, states, weight)
        return states

    @staticmethod
    def backward(
        ctx: Any, gradient: Float[Tensor, "event channel"]
    ) -> tuple[Tensor, Tensor, Tensor, Tensor, None]:
        """Return the gradients of the inputs, of the weight and of the bias."""
        mapped, fresh, states, weight = ctx.saved_tensors
        active: list[int] = list(ctx.active)
        num, width = fresh.shape
        reset, update, recurrent = mapped.split(width, dim=1)
        before = _before(states, active)
        # What a state's gradient is multiplied by on its way to each gate is known for all positions.
        to_new = torch.ops.aten.tanh_backward(1 - update, fresh)
        factors = gradient.new_empty(num, 3, width)
        of_reset, of_update, of_state = factors.unbind(dim=1)
        torch.mul(to_new, reset, out=of_state)
        sigmoid_backward = torch.ops.aten.sigmoid_backward.grad_input
        sigmoid_backward(to_new * recurrent, reset, grad_input=of_reset)
        sigmoid_backward(before - fresh, update, grad_input=of_update)
        at_gates, at_states = torch.empty_like(factors), gradient.clone()
        carried = fresh[:0]
        rows = [x.split(active) for x in (at_states, factors, update, at_gates)]
        for at_state, factor, kept, at_gate in zip(*(reversed(x) for x in rows), strict=True):
            # Rows that end here have nothing to carry back.
            at_state[: len(carried)].add_(carried)
            torch.mul(at_state[:, None], factor, out=at_gate)
            carried = torch.addmm(at_state * kept, at_gate.flatten(1), weight)
        flat = at_gates.view(num, 3 * width)
        at_bias = flat[:, 2 * width :].sum(dim=0)
        return flat[:, : 2 * width], to_new * at_states, flat.t() @ before, at_bias, None


def _before(states: Float[Tensor, "event channel"], active: Sequence[int]) -> Float[Tensor, "event channel"]:
    """Return the state that every event met; zeros for the first of a row."""
    rows = states.split(list(active))
    met = [state[:num] for state, num in zip(rows, active[1:], strict=False)]
    return torch.cat([states.new_zeros(active[0], states.shape[1]), *met])
