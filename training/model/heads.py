"""Heads: readout states to the parameters of each target's distribution.

They deliberately do not know labels, and give no probabilities: see ``distributions``.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn

from holdfast.encoding.spec import CALENDAR_SIZE
from training.model.config import ModelConfig
from training.model.outputs import AmountOutput, CountOutput, NextEventOutput
from training.model.scales import TargetScale

LOCATION_BOUND = 6.0
"""A location moves at most this many spreads from the fitted one: exp(40 + 6 * 5 + 16 / 2) is a float32."""

_WEIGHT_STD = 0.01
_MIN_LOG_DISPERSION, _MAX_LOG_DISPERSION = math.log(0.01), math.log(20.0)


class HeadLinear(nn.Module):
    """One affine map of everything that a head may use: the readout state, features, calendar.

    Features come linearly beside the deep path; the calendar is only ever added here, to the outputs.
    """

    def __init__(self, config: ModelConfig, *, num_features: int, biases: list[float]) -> None:
        """Start at ``biases``, one per output."""
        super().__init__()
        num_outputs, self.num_features = len(biases), num_features
        self.deep = nn.Linear(config.width, num_outputs)
        nn.init.normal_(self.deep.weight, std=_WEIGHT_STD)
        with torch.no_grad():
            self.deep.bias.copy_(torch.tensor(biases))
        self.features = (
            _zero_linear(num_features, num_outputs) if config.use_linear_path and num_features else None
        )
        self.calendar = _zero_linear(CALENDAR_SIZE, num_outputs) if config.calendar == "output" else None

    def forward(
        self,
        state: Float[Tensor, "*axes channel"],
        features: Float[Tensor, "*axes feature"],
        calendar: Float[Tensor, "*axes 6"],
    ) -> Float[Tensor, "*axes output"]:
        """Return the sum of the parts."""
        outputs = self.deep(state)
        if self.features is not None:
            outputs = outputs + self.features(features)
        if self.calendar is not None:
            outputs = outputs + self.calendar(calendar)
        return outputs

    def folded(self) -> nn.Linear:
        """Return the same map of state, features and calendar side by side."""
        weight, bias = self.deep.weight, self.deep.bias
        sizes = ((self.features, self.num_features), (self.calendar, CALENDAR_SIZE))
        parts = [weight.new_zeros(len(bias), size) if part is None else part.weight for part, size in sizes]
        return linear_of(torch.cat([weight, *parts], dim=1), bias)


def linear_of(weight: Float[Tensor, "output input"], bias: Float[Tensor, " output"]) -> nn.Linear:
    """Return the layer with these weights, which are copied and not learned any more."""
    linear = nn.utils.skip_init(
        nn.Linear, weight.shape[1], weight.shape[0], device=weight.device, dtype=weight.dtype
    ).requires_grad_(requires_grad=False)
    with torch.no_grad():
        linear.weight.copy_(weight)
        linear.bias.copy_(bias)
    return linear


def _zero_linear(num_inputs: int, num_outputs: int) -> nn.Linear:
    linear = nn.Linear(num_inputs, num_outputs, bias=False)
    nn.init.zeros_(linear.weight)
    return linear


Parameters = Tensor | AmountOutput | CountOutput
"""What a head gives: hazard logits ``[*axes, bin]``, or the parameters of an amount or a count."""


class Head(nn.Module, ABC):
    """An affine map of the three inputs, and what its outputs mean."""

    def forward(self, state: Tensor, features: Tensor, calendar: Tensor) -> Parameters:
        """Return the parameters."""
        return self.read(self.outputs(state, features, calendar))

    @abstractmethod
    def outputs(self, state: Tensor, features: Tensor, calendar: Tensor) -> Float[Tensor, "*axes output"]:
        """Return the outputs of the map."""

    @abstractmethod
    def folded(self) -> nn.Linear:
        """Return the map of state, features and calendar side by side that gives the same outputs."""

    @abstractmethod
    def read(self, outputs: Float[Tensor, "*axes output"]) -> Parameters:
        """Return what the outputs of the map mean."""


class SurvivalHead(Head):
    """Discrete-time hazards over the horizon grid.

    Every bin has a logit of its own, plus one shared by all, which is where features and calendar
    act: they shift the level of the curve.
    """

    def __init__(self, config: ModelConfig, scale: TargetScale, *, num_features: int) -> None:
        """Start at the base hazards."""
        super().__init__()
        self.level = HeadLinear(config, num_features=num_features, biases=[0.0])
        self.bins = nn.Linear(config.width, len(scale.hazards))
        nn.init.normal_(self.bins.weight, std=_WEIGHT_STD)
        with torch.no_grad():
            self.bins.bias.copy_(torch.tensor([_logit(hazard) for hazard in scale.hazards]))

    def outputs(self, state: Tensor, features: Tensor, calendar: Tensor) -> Float[Tensor, "*axes bin"]:
        """Return hazard logits."""
        return self.bins(state) + self.level(state, features, calendar)

    def folded(self) -> nn.Linear:
        """Return the same map of everything side by side; only the state acts on single bins."""
        level, bins = self.level.folded(), self.bins
        unused = level.in_features - bins.in_features
        return linear_of(level.weight + nn.functional.pad(bins.weight, (0, unused)), level.bias + bins.bias)

    def read(self, outputs: Float[Tensor, "*axes bin"]) -> Float[Tensor, "*axes bin"]:
        """Return hazard logits, which is what the outputs are."""
        return outputs


class LinearHead(Head):
    """A head whose outputs are those of one :class:`HeadLinear`."""

    linear: HeadLinear

    def outputs(self, state: Tensor, features: Tensor, calendar: Tensor) -> Float[Tensor, "*axes output"]:
        """Return the outputs of the map."""
        return self.linear(state, features, calendar)

    def folded(self) -> nn.Linear:
        """Return the same map of everything side by side."""
        return self.linear.folded()


class AmountHead(LinearHead):
    """A zero-inflated lognormal with bounded location and scale."""

    def __init__(self, config: ModelConfig, scale: TargetScale, *, num_features: int) -> None:
        """Start at the base rate, the fitted location, and the fitted spread where the bounds allow it."""
        super().__init__()
        self.scale = scale
        self.lowest, self.highest = config.sigma_range
        share = (scale.spread - self.lowest) / (self.highest - self.lowest)
        biases = [_logit(scale.base_rate), 0.0, _logit(min(max(share, 0.02), 0.98))]
        self.linear = HeadLinear(config, num_features=num_features, biases=biases)

    def read(self, outputs: Float[Tensor, "*axes 3"]) -> AmountOutput:
        """Return the parameters; ``sigma`` is bounded here once, for loss and prediction alike."""
        positive_logit, shift, width = outputs.unbind(dim=-1)
        return AmountOutput(
            positive_logit=positive_logit,
            mu=self.scale.location + self.scale.spread * _bounded(shift),
            sigma=self.lowest + (self.highest - self.lowest) * torch.sigmoid(width),
            unit=math.exp(self.scale.location),
            tied_to=self.scale.tied_to,
            tied_bin=self.scale.tied_bin,
        )


class CountHead(LinearHead):
    """A negative binomial or Poisson with log link and bounded rate."""

    def __init__(self, config: ModelConfig, scale: TargetScale, *, num_features: int) -> None:
        """Start at the mean count."""
        super().__init__()
        self.scale = scale
        self.log_base = math.log(scale.base_rate)
        has_dispersion = config.count_distribution == "negative_binomial"
        self.linear = HeadLinear(
            config, num_features=num_features, biases=[0.0, 0.0] if has_dispersion else [0.0]
        )

    def read(self, outputs: Float[Tensor, "*axes output"]) -> CountOutput:
        """Return the parameters."""
        # A count near its mean has a spread near 1 on the log scale; small ones need the room below.
        log_rate = self.log_base + max(1.0, self.scale.spread) * _bounded(outputs[..., 0])
        if outputs.shape[-1] == 1:
            return CountOutput(log_rate=log_rate, log_dispersion=None)
        span = _MAX_LOG_DISPERSION - _MIN_LOG_DISPERSION
        log_dispersion = _MIN_LOG_DISPERSION + span * torch.sigmoid(outputs[..., 1])
        return CountOutput(log_rate=log_rate, log_dispersion=log_dispersion)


class NextEventHead(nn.Module):
    """Type and gap of the event after each one: teaches the encoder, predicts nothing for serving."""

    def __init__(self, config: ModelConfig, *, num_types: int) -> None:
        """Make the weights."""
        super().__init__()
        self.norm = nn.LayerNorm(config.width)
        self.types = nn.Linear(config.width, num_types)
        self.gap = nn.Linear(config.width, 1)

    def forward(self, events: Float[Tensor, "*axes channel"]) -> NextEventOutput:
        """Return logits and log gaps."""
        states = self.norm(events)
        return NextEventOutput(type_logits=self.types(states), log_gap=self.gap(states).squeeze(-1))


class FoldedHeads(nn.Module):
    """All heads as one affine map, for a graph that scores: there, every operation costs.

    Training keeps them apart: what a head shares among its outputs is learned as one number.
    """

    def __init__(self, heads: Sequence[Head]) -> None:
        """Fold the heads; their weights are copied."""
        super().__init__()
        parts = [head.folded() for head in heads]
        self.sizes = [part.out_features for part in parts]
        self.linear = linear_of(
            torch.cat([part.weight for part in parts]), torch.cat([part.bias for part in parts])
        )

    def forward(
        self,
        state: Float[Tensor, "*axes channel"],
        features: Float[Tensor, "*axes feature"],
        calendar: Float[Tensor, "*axes 6"],
    ) -> Sequence[Float[Tensor, "*axes _"]]:
        """Return the outputs of every head, in order."""
        return self.linear(torch.cat([state, features, calendar], dim=-1)).split(self.sizes, dim=-1)


def _bounded(values: Tensor) -> Tensor:
    """Return values within +-LOCATION_BOUND, almost unchanged near zero."""
    return LOCATION_BOUND * torch.tanh(values / LOCATION_BOUND)


def _logit(probability: float) -> float:
    return math.log(probability) - math.log1p(-probability)
