"""Sums of events over soft bins of age: what attention, an average, cannot give.

It deliberately does not know attention or heads: it counts, per readout, what the readout sees.
"""

import math

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from training.model.config import ModelConfig
from training.model.timeline import AnyTimeline, Timeline

MAX_EXPONENT = 80.0
"""The exponential of more comes close to the end of float32; softplus is its argument long before."""

_NOWHERE = -2.0
"""A position on the bin axis at which no bin has any weight."""


def _features(
    sums: Float[Tensor, "batch readout bin kind"], exposure_days: Float[Tensor, "batch readout bin"]
) -> Float[Tensor, "batch readout sum"]:
    cumulative = torch.cumsum(sums, dim=2)
    rates = torch.log(cumulative + 0.5) - torch.log(exposure_days + 1.0)[..., None]
    parts = torch.stack([torch.log1p(sums), torch.log1p(cumulative), rates], dim=2)
    return torch.flatten(parts, start_dim=2)


def softplus(values: Float[Tensor, "*axes"]) -> Float[Tensor, "*axes"]:
    """Return softplus; of every event, so that it is worth knowing what an engine is slow at.

    ONNX Runtime computes its own operator number by number, five times slower than the parts.
    """
    if torch.compiler.is_exporting():
        beyond = torch.relu(values - MAX_EXPONENT)
        return torch.log(torch.exp(torch.clamp(values, max=MAX_EXPONENT)) + 1.0) + beyond
    return nn.functional.softplus(values)


def _integral(days: Tensor) -> Tensor:
    return (1.0 + days) * (torch.log1p(days) - 1.0)


class TimeBins(nn.Module):
    """Soft counts per bin of event age, cumulative counts, and log rates per exposure.

    An event's weight falls linearly from 1 to 0 between the centres of neighbouring bins, which are
    evenly spaced in ``log(1 + age)`` from 0 to ``history_days``, so the weights of an event add up
    to 1. What is counted are ``channels`` learned kinds of events (softplus, so that logs of sums
    exist) and every event as such.
    """

    position: Tensor
    centre_days: Tensor
    end_days: Tensor

    def __init__(self, config: ModelConfig, *, history_days: int) -> None:
        """Lay out the bins."""
        super().__init__()
        self.num_bins, self.history_days = config.time_bins, float(history_days)
        self.step = math.log1p(history_days) / (self.num_bins - 1)
        self.kinds = nn.Linear(config.width, config.time_bin_channels)
        self.num_sums = 3 * self.num_bins * (config.time_bin_channels + 1)
        position = torch.arange(self.num_bins, dtype=torch.float32)
        centre_days = torch.expm1(position * self.step)
        self.register_buffer("position", position, persistent=False)
        self.register_buffer("centre_days", centre_days, persistent=False)
        # The last cumulative sum holds everything, up to the end of the history.
        self.register_buffer("end_days", torch.cat([centre_days[1:], centre_days[-1:]]), persistent=False)

    def forward(
        self,
        events: Float[Tensor, "batch length channel"],
        ages: Float[Tensor, "batch readout length"],
        is_visible: Bool[Tensor, "batch readout length"],
    ) -> Float[Tensor, "batch readout sum"]:
        """Return ``num_sums`` features per readout; counts of nothing where it sees no event."""
        counted = self._counted(events)
        sums = self._binned(ages, is_visible) @ counted[:, None]
        return _features(sums, self.exposure_days(ages, is_visible))

    def over(
        self, events: Float[Tensor, "*axes channel"], timeline: AnyTimeline
    ) -> Float[Tensor, "batch readout sum"]:
        """Return the same of events as they lie: of packed ones only what is counted is laid out by row."""
        if isinstance(timeline, Timeline):
            return self(events, timeline.ages, timeline.is_visible)
        sums, exposures = [], []
        counted = timeline.by_row(self._counted(events))
        for part, of_rows in zip(timeline.parts, counted, strict=True):
            # All readouts of a row in one product.
            weights = torch.flatten(self._binned(part.ages, part.is_visible), start_dim=1, end_dim=2)
            sums.append((weights @ of_rows).unflatten(1, (-1, self.num_bins)))
            exposures.append(self.exposure_days(part.ages, part.is_visible))
        return _features(torch.cat(sums), torch.cat(exposures))

    def exposure_days(
        self, ages: Float[Tensor, "batch readout length"], is_visible: Bool[Tensor, "batch readout length"]
    ) -> Float[Tensor, "batch readout bin"]:
        """Return how many days each cumulative sum has looked at: the weight of an age, integrated over time.

        What lies before the oldest event that a readout sees was not observed. With ``w`` the step
        between centres ``c``, the weight beyond ``c[k]`` is ``1 + k - log(1 + age) / w``, whose integral
        needs ``G(x) = (1 + x)(log(1 + x) - 1)``.
        """
        tenure = torch.amax(ages * is_visible, dim=-1, keepdim=True)
        beyond = torch.clamp(tenure, min=self.centre_days, max=self.end_days)
        falling = (1.0 + self.position) * (beyond - self.centre_days)
        falling = falling - (_integral(beyond) - _integral(self.centre_days)) / self.step
        return torch.minimum(tenure, self.centre_days) + torch.clamp(falling, min=0.0)

    def _counted(self, events: Float[Tensor, "*axes channel"]) -> Float[Tensor, "*axes kind"]:
        kinds = softplus(self.kinds(events))
        return nn.functional.pad(kinds, (0, 1), value=1.0)

    def _binned(self, ages: Tensor, is_visible: Tensor) -> Float[Tensor, "batch readout bin length"]:
        place = torch.log1p(torch.clamp(ages, max=self.history_days)) / self.step
        place = torch.where(is_visible, place, _NOWHERE)
        return torch.relu(1.0 - torch.abs(place[:, :, None, :] - self.position[:, None]))
