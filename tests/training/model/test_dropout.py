"""Dropout drops its share, keeps the mean, and is gone in evaluation."""

import pytest
import torch

from training.model.dropout import Dropout


@pytest.mark.parametrize("probability", [0.15, 0.5])
def test_it_drops_its_share_and_keeps_the_mean(probability: float) -> None:
    """The share is right to a 256th and chance, and what is kept is scaled by exactly its inverse."""
    torch.manual_seed(0)
    values = torch.ones(333, 301)
    found = Dropout(probability)(values)
    kept = found[found != 0]
    share = 1 - len(kept) / found.numel()
    assert abs(share - probability) < 0.5 / 256 + 0.005
    assert (kept == kept[0]).all()
    assert 1 - 1 / float(kept[0]) == pytest.approx(round(probability * 256) / 256, abs=1e-6)


def test_the_gradient_goes_where_the_values_went() -> None:
    """What was dropped gets none, the others get it scaled."""
    torch.manual_seed(0)
    values = torch.randn(7, 5, requires_grad=True)
    found = Dropout(0.3)(values)
    (gradient,) = torch.autograd.grad(found.sum(), values)
    torch.testing.assert_close(gradient * values, found)
    assert ((gradient == 0) == (found == 0)).all()


def test_the_seed_decides() -> None:
    """The same seed drops the same elements, and every row its own."""
    layer, values = Dropout(0.5), torch.ones(4, 64)
    torch.manual_seed(3)
    first = layer(values)
    torch.manual_seed(3)
    assert torch.equal(layer(values), first)
    assert len(first.unique(dim=0)) == 4


@pytest.mark.parametrize("probability", [0.0, 0.001, 1.0])
def test_nothing_and_everything_are_the_library_s(probability: float) -> None:
    """A probability that rounds to none or all of 256ths is left to PyTorch."""
    torch.manual_seed(0)
    found = Dropout(probability)(torch.ones(50, 40))
    expected = float(1 - probability > 0)
    assert found.mean() == pytest.approx(expected, abs=0.01)


def test_evaluation_changes_nothing() -> None:
    """The very tensor comes back."""
    values = torch.randn(3, 2)
    assert Dropout(0.5).eval()(values) is values
