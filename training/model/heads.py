"""Heads: readout states to the parameters of each target's distribution.

They deliberately do not know labels, and give no probabilities: see ``distributions``.
"""

import math

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
        num_outputs = len(biases)
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


def _zero_linear(num_inputs: int, num_outputs: int) -> nn.Linear:
    linear = nn.Linear(num_inputs, num_outputs, bias=False)
    nn.init.zeros_(linear.weight)
    return linear


class SurvivalHead(nn.Module):
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

    def forward(self, state: Tensor, features: Tensor, calendar: Tensor) -> Float[Tensor, "*axes bin"]:
        """Return hazard logits."""
        return self.bins(state) + self.level(state, features, calendar)


class AmountHead(nn.Module):
    """A zero-inflated lognormal with bounded location and scale."""

    def __init__(self, config: ModelConfig, scale: TargetScale, *, num_features: int) -> None:
        """Start at the base rate, the fitted location, and the fitted spread where the bounds allow it."""
        super().__init__()
        self.scale = scale
        self.lowest, self.highest = config.sigma_range
        share = (scale.spread - self.lowest) / (self.highest - self.lowest)
        biases = [_logit(scale.base_rate), 0.0, _logit(min(max(share, 0.02), 0.98))]
        self.linear = HeadLinear(config, num_features=num_features, biases=biases)

    def forward(self, state: Tensor, features: Tensor, calendar: Tensor) -> AmountOutput:
        """Return the parameters; ``sigma`` is bounded here once, for loss and prediction alike."""
        positive_logit, shift, width = self.linear(state, features, calendar).unbind(dim=-1)
        return AmountOutput(
            positive_logit=positive_logit,
            mu=self.scale.location + self.scale.spread * _bounded(shift),
            sigma=self.lowest + (self.highest - self.lowest) * torch.sigmoid(width),
            unit=math.exp(self.scale.location),
            tied_to=self.scale.tied_to,
            tied_bin=self.scale.tied_bin,
        )


class CountHead(nn.Module):
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

    def forward(self, state: Tensor, features: Tensor, calendar: Tensor) -> CountOutput:
        """Return the parameters."""
        outputs = self.linear(state, features, calendar)
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


def _bounded(values: Tensor) -> Tensor:
    """Return values within +-LOCATION_BOUND, almost unchanged near zero."""
    return LOCATION_BOUND * torch.tanh(values / LOCATION_BOUND)


def _logit(probability: float) -> float:
    return math.log(probability) - math.log1p(-probability)
