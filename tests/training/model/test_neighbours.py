"""Events are mixed with those before them, in order, and with nothing else."""

from dataclasses import replace

import pytest
import torch
from tasks import tiny_config

from training.model.neighbours import Neighbours

WIDTH = tiny_config().model.width


def mixer(reach: int = 3) -> Neighbours:
    """Return a mixer whose last map is no longer zero, so that something is mixed."""
    torch.manual_seed(0)
    made = Neighbours(replace(tiny_config().model, num_neighbours=reach))
    torch.nn.init.normal_(made.out.weight)
    return made.eval()


def test_a_new_mixer_changes_nothing() -> None:
    """A model begins without it and learns what it is good for."""
    events = torch.randn(2, 5, WIDTH)
    assert torch.equal(Neighbours(tiny_config().model)(events), events)


@pytest.mark.parametrize("reach", [1, 3])
def test_an_event_reaches_just_so_many_later_ones(reach: int) -> None:
    """Changing event 4 changes events 4 to 4 + reach, and no earlier one by a bit."""
    events = torch.randn(1, 12, WIDTH)
    changed = events.clone()
    changed[0, 4] += 1.0
    made = mixer(reach)
    is_changed = (made(events) != made(changed)).any(dim=-1)[0]
    assert is_changed.nonzero().flatten().tolist() == list(range(4, 5 + reach))


def test_padding_on_the_right_changes_nothing_before_it() -> None:
    """A longer row of padding gives the same events."""
    events, made = torch.randn(3, 6, WIDTH), mixer()
    padded = torch.cat([events, torch.randn(3, 9, WIDTH)], dim=1)
    torch.testing.assert_close(made(padded)[:, :6], made(events), atol=1e-6, rtol=0)


def test_the_order_of_neighbours_counts() -> None:
    """A complaint after a price rise is another thing than one before it."""
    events, made = torch.randn(1, 3, WIDTH), mixer()
    swapped = events[:, [1, 0, 2]]
    assert not torch.allclose(made(events)[0, 2], made(swapped)[0, 2], atol=1e-3)
