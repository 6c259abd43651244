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
    states = events
    for layer in range(recurrent.num_layers):
        if layer:
            states = F.dropout(states, recurrent.dropout, training)
        input_weight, weight, input_bias, bias = (
            getattr(recurrent, f"{name}_l{layer}")
            for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
        )
        inputs = (states, input_weight, input_bias)
        states = cast("Tensor", _Recurrence.apply(*inputs, weight, bias, active))
    return states


class _Recurrence(torch.autograd.Function):
    """Cho et al., Learning Phrase Representations (2014), equations 5 to 8, in the form of ``nn.GRU``.

    ``r, z = sigmoid(U x + c + W h + d)``, ``n = tanh(V x + e + r * (X h + f))``, ``h' = n + z * (h - n)``.
    """

    @staticmethod
    def forward(
        ctx: Any,
        events: Float[Tensor, "event channel"],
        input_weight: Float[Tensor, "three_widths channel"],
        input_bias: Float[Tensor, " three_widths"],
        weight: Float[Tensor, "three_widths width"],
        bias: Float[Tensor, " three_widths"],
        active: Sequence[int],
    ) -> Float[Tensor, "event width"]:
        """Return the states, position by position."""
        width = weight.shape[1]
        of_gates, of_new = slice(2 * width), slice(2 * width, None)
        # What the state is multiplied with for all three, in one product a position. The reset gate acts on
        # the new state's recurrent part, bias included: its input stays apart.
        mapped = bias.repeat(len(events), 1)
        mapped[:, of_gates].add_(input_bias[of_gates]).addmm_(events, input_weight[of_gates].t())
        new = torch.addmm(input_bias[of_new], events, input_weight[of_new].t())
        fresh, states = torch.empty_like(new), torch.empty_like(new)
        transposed = weight.t()
        state = new.new_zeros(active[0], width)
        reset, update, recurrent = mapped.split(width, dim=1)
        columns = (mapped, mapped[:, of_gates], reset, update, recurrent, new, fresh, states)
        # Views of all positions at once: a position's own would take as long as its arithmetic.
        for mapping, gates, let, keep, own, new_in, candidate, following in _by_position(columns, active):
            before = state[: len(new_in)]
            mapping.addmm_(before, transposed)
            gates.sigmoid_()
            torch.addcmul(new_in, let, own, out=candidate).tanh_()
            state = torch.lerp(candidate, before, keep, out=following)
        ctx.active = active
        ctx.save_for_backward(events, input_weight, weight, mapped, fresh, states)
        return states

    @staticmethod
    def backward(
        ctx: Any, gradient: Float[Tensor, "event width"]
    ) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor, None]:
        """Return the gradients of the events, of both weights and of both biases."""
        events, input_weight, weight, mapped, fresh, states = ctx.saved_tensors
        active: list[int] = list(ctx.active)
        num, width = fresh.shape
        reset, update, recurrent = mapped.split(width, dim=1)
        before = _before(states, active)
        # What a state's gradient is multiplied by on its way to each gate is known for all positions; it
        # becomes the gate's gradient once the state's is known.
        to_new = torch.ops.aten.tanh_backward(1 - update, fresh)
        at_gates = gradient.new_empty(num, 3, width)
        of_reset, of_update, of_state = at_gates.unbind(dim=1)
        torch.mul(to_new, reset, out=of_state)
        sigmoid_backward = torch.ops.aten.sigmoid_backward.grad_input
        sigmoid_backward(to_new * recurrent, reset, grad_input=of_reset)
        sigmoid_backward(before - fresh, update, grad_input=of_update)
        at_states = gradient.clone()
        flat = at_gates.view(num, 3 * width)
        columns = (at_states, at_states[:, None], at_gates, flat, update)
        later: tuple[Tensor, Tensor, Tensor] | None = None
        for at_state, for_each, at_gate, mapping, keep in reversed(_by_position(columns, active)):
            if later is not None:
                # Rows that end here have nothing to take over.
                state_there, kept_there, mapping_there = later
                taking = at_state[: len(state_there)]
                taking.addcmul_(state_there, kept_there).addmm_(mapping_there, weight)
            at_gate.mul_(for_each)
            later = at_state, keep, mapping
        at_new = to_new.mul_(at_states)
        gates = flat[:, : 2 * width]
        at_events = (at_new @ input_weight[2 * width :]).addmm_(gates, input_weight[: 2 * width])
        at_input_weight = torch.cat([gates.t() @ events, at_new.t() @ events])
        at_bias = flat.sum(dim=0)
        at_input_bias = torch.cat([at_bias[: 2 * width], at_new.sum(dim=0)])
        return at_events, at_input_weight, at_input_bias, flat.t() @ before, at_bias, None


def _by_position(columns: Sequence[Tensor], active: Sequence[int]) -> list[tuple[Tensor, ...]]:
    return list(zip(*(column.split(list(active)) for column in columns), strict=True))


def _before(states: Float[Tensor, "event channel"], active: Sequence[int]) -> Float[Tensor, "event channel"]:
    """Return the state that every event met; zeros for the first of a row."""
    rows = states.split(list(active))
    met = [state[:num] for state, num in zip(rows, active[1:], strict=False)]
    return torch.cat([states.new_zeros(active[0], states.shape[1]), *met])
