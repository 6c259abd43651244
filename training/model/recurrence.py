"""A gated recurrent layer for the CPU: the arithmetic of ``nn.GRU`` in fewer and larger operations.

It deliberately knows neither lengths nor padding: a state depends on no later event, so what stands
to the right of a history is computed and never read.
"""

from typing import Any, cast

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F


def run_recurrent(
    recurrent: nn.GRU, events: Float[Tensor, "batch length channel"], *, training: bool
) -> Float[Tensor, "batch length channel"]:
    """Return the states of the last layer, as ``recurrent(events)[0]`` does to the last digits.

    PyTorch's own loop on a CPU adds up the gradient of the weights anew at every position, and takes
    some thirty operations for it. Here a position takes six forward and four backward; everything
    that does not depend on the position before is done for all of them at once.

    Args:
        recurrent: Its weights and its dropout between layers are used; it begins with zeros.
        events: Its input; the batch comes first.
        training: Whether dropout drops.
    """
    states, width = events.transpose(0, 1), recurrent.hidden_size
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
        states = cast("Tensor", _Recurrence.apply(gates, new, weight, bias[2 * width :]))
    return states.transpose(0, 1)


class _Recurrence(torch.autograd.Function):
    """Cho et al., Learning Phrase Representations (2014), equations 5 to 8, in the form of ``nn.GRU``.

    ``r, z = sigmoid(gates + W h)``, ``n = tanh(new + r * (V h + b))``, ``h' = n + z * (h - n)``.
    """

    @staticmethod
    def forward(
        ctx: Any,
        gates: Float[Tensor, "length batch two_channels"],
        new: Float[Tensor, "length batch channel"],
        weight: Float[Tensor, "three_channels channel"],
        bias: Float[Tensor, " channel"],
    ) -> Float[Tensor, "length batch channel"]:
        """Return the states, position by position."""
        length, batch, width = new.shape
        gate_weight, new_weight = weight[: 2 * width].t(), weight[2 * width :].t()
        opened, recurrent, fresh = torch.empty_like(gates), torch.empty_like(new), torch.empty_like(new)
        states = new.new_zeros(length + 1, batch, width)
        state = states[0]
        rows = zip(*(x.unbind() for x in (gates, new, opened, recurrent, fresh, states[1:])), strict=True)
        for gate_in, new_in, gate, from_state, candidate, following in rows:
            torch.addmm(gate_in, state, gate_weight, out=gate).sigmoid_()
            torch.addmm(bias, state, new_weight, out=from_state)
            torch.addcmul(new_in, gate[:, :width], from_state, out=candidate).tanh_()
            state = torch.lerp(candidate, state, gate[:, width:], out=following)
        ctx.save_for_backward(opened, recurrent, fresh, states, weight)
        return states[1:]

    @staticmethod
    def backward(
        ctx: Any, gradient: Float[Tensor, "length batch channel"]
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Return the gradients of the inputs, of the weight and of the bias."""
        opened, recurrent, fresh, states, weight = ctx.saved_tensors
        length, batch, width = fresh.shape
        reset, update = opened.split(width, dim=-1)
        before = states[:-1]
        # What a state's gradient is multiplied by on its way to each gate is known for all positions.
        to_new = (1 - update) * (1 - fresh * fresh)
        factors = torch.stack(
            [
                to_new * recurrent * reset * (1 - reset),
                (before - fresh) * update * (1 - update),
                to_new * reset,
            ],
            dim=2,
        )
        at_gates, at_states = torch.empty_like(factors), torch.empty_like(fresh)
        carried = torch.zeros_like(fresh[0])
        rows = [x.unbind() for x in (gradient, factors, update, at_gates, at_states)]
        for given, factor, kept, at_gate, at_state in zip(*(reversed(x) for x in rows), strict=True):
            torch.add(given, carried, out=at_state)
            torch.mul(at_state[:, None], factor, out=at_gate)
            carried = torch.addmm(at_state * kept, at_gate.view(batch, 3 * width), weight)
        flat = at_gates.view(length * batch, 3 * width)
        at_weight = flat.t() @ before.reshape(length * batch, width)
        at_bias = flat[:, 2 * width :].sum(dim=0)
        return at_gates[:, :, :2].flatten(2), to_new * at_states, at_weight, at_bias
