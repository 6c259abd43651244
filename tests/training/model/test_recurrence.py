"""The recurrent layer for the CPU is ``nn.GRU``: outputs and every gradient."""

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence

from training.model.recurrence import run_packed, run_recurrent


def outputs_and_gradients(states: Tensor, events: Tensor, recurrent: nn.GRU) -> list[Tensor]:
    """Return the states, and the gradients of an uneven sum of them."""
    weights = torch.linspace(-1, 1, states.numel(), dtype=states.dtype).view(states.shape)
    return [states, *torch.autograd.grad((states * weights).sum(), [events, *recurrent.parameters()])]


@pytest.mark.parametrize(("batch", "length"), [(3, 1), (1, 7), (4, 9)])
@pytest.mark.parametrize("num_layers", [1, 2])
def test_it_is_the_library_s_recurrent_layer(batch: int, length: int, num_layers: int) -> None:
    """States and gradients of inputs, weights and biases are those of PyTorch, to the last digits."""
    torch.manual_seed(0)
    recurrent = nn.GRU(5, 5, num_layers, batch_first=True).double()
    events = torch.randn(batch, length, 5, dtype=torch.float64, requires_grad=True)
    expected = outputs_and_gradients(recurrent(events)[0], events, recurrent)
    found = outputs_and_gradients(run_recurrent(recurrent, events, training=True), events, recurrent)
    for mine, other in zip(found, expected, strict=True):
        torch.testing.assert_close(mine, other, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("active", [[1], [4, 4, 4], [5, 3, 3, 1], [1, 1, 1]], ids=str)
@pytest.mark.parametrize("num_layers", [1, 2])
def test_packed_rows_are_the_library_s_packed_sequence(active: list[int], num_layers: int) -> None:
    """States and gradients, whoever ends when, to the last digits."""
    torch.manual_seed(0)
    recurrent = nn.GRU(5, 5, num_layers).double()
    events = torch.randn(sum(active), 5, dtype=torch.float64, requires_grad=True)
    library = recurrent(PackedSequence(events, torch.tensor(active)))[0].data
    expected = outputs_and_gradients(library, events, recurrent)
    found = outputs_and_gradients(run_packed(recurrent, events, active, training=True), events, recurrent)
    for mine, other in zip(found, expected, strict=True):
        torch.testing.assert_close(mine, other, rtol=1e-12, atol=1e-12)


def test_dropout_between_layers_drops_in_training_only() -> None:
    """Nothing is dropped in evaluation; in training the second layer sees less."""
    torch.manual_seed(0)
    recurrent = nn.GRU(8, 8, 2, batch_first=True, dropout=0.5)
    events = torch.randn(2, 6, 8)
    expected = recurrent.eval()(events)[0]
    torch.testing.assert_close(run_recurrent(recurrent, events, training=False), expected)
    assert not torch.allclose(run_recurrent(recurrent, events, training=True), expected)
