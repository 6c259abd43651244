"""What an event is beside the few before it: a causal convolution over the order of events.

It deliberately does not know time: rotary angles carry how far apart events lie, but two events an
hour or a week apart may be neighbours alike, and it is the neighbour that tells a complaint after a
price rise from one without.
"""

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from training.model.config import ModelConfig
from training.model.packing import Packing, gather


class Neighbours(nn.Module):
    """Adds to every event what it means after the ``num_neighbours`` events before it.

    ``x + W gelu(conv(norm(x)))`` with a kernel that reaches back only; before a row's first event
    there is nothing (zeros). The last map starts at zero, so that a new model begins without it.
    """

    def __init__(self, config: ModelConfig) -> None:
        """Make the kernel."""
        super().__init__()
        self.reach = config.num_neighbours
        self.norm = nn.LayerNorm(config.width)
        self.convolution = nn.Conv1d(config.width, config.width, kernel_size=self.reach + 1)
        self.out = nn.Linear(config.width, config.width)
        nn.init.zeros_(self.out.weight)
        nn.init.zeros_(self.out.bias)

    def forward(self, events: Float[Tensor, "batch length channel"]) -> Float[Tensor, "batch length channel"]:
        """Return the events; padding on the right changes nothing to its left."""
        before = F.pad(self.norm(events).transpose(1, 2), (self.reach, 0))
        mixed = F.gelu(self.convolution(before).transpose(1, 2))
        return events + self.out(mixed)

    def forward_packed(
        self, events: Float[Tensor, "event channel"], packing: Packing
    ) -> Float[Tensor, "event channel"]:
        """Do the same for packed events: one matrix product with an event and those before it."""
        back = torch.arange(self.reach, -1, -1, device=events.device)
        reached = packing.positions[:, None] - back
        places = packing.places(packing.rows[:, None].expand_as(reached), torch.clamp(reached, min=0))
        # Behind the last event stands what there is before a first one: nothing.
        places = torch.where(reached >= 0, places, packing.num_events)
        inputs = gather(F.pad(self.norm(events), (0, 0, 0, 1)), places)
        kernel = self.convolution.weight.transpose(1, 2).flatten(start_dim=1)
        mixed = F.gelu(F.linear(inputs.flatten(start_dim=1), kernel, self.convolution.bias))
        return events + self.out(mixed)
