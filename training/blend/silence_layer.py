"""The Pareto/NBD models of an expert as a layer: readout features in, log odds of silence out.

It deliberately repeats in float32 what :mod:`training.baselines.silence` says, for the exported graph; tests
hold both together.
"""

import numpy as np
import torch
from jaxtyping import Float, Int64
from numpy import ndarray
from torch import Tensor, nn

from holdfast.encoding import EncodingSpec
from holdfast.encoding.readouts import feature_names
from training.baselines.buying import LEAST_CHANCE, SILENCE_NODES, SILENCE_WEIGHTS
from training.baselines.purchases import DAYS_PER_WEEK
from training.baselines.silence import SilenceProbability
from training.blend.experts import Expert
from training.blend.fixed import fixed
from training.blend.questions import MAX_LOGIT, Questions

_MOST_LOG_DAYS = 15.0
"""A history of more days is none; nothing computed from fewer overflows."""

_MOST_EXPONENT = 60.0
"""Beyond, whoever has gone has gone."""


class SilenceLayer(nn.Module):
    """All models of silence of an expert, as ``ParetoNbd.log_odds_of_silence`` computes them.

    A graph pays for every operation, so that all that is affine is one product with a matrix: over the
    questions, over both integrals of each (having gone, and the next purchase), over their places.
    """

    def __init__(self, expert: Expert, spec: EncodingSpec) -> None:
        """Lay out the parameters of the questions that it answers."""
        super().__init__()
        models = expert.models(Questions.of(spec.schema))
        able = [model for model in models if isinstance(model, SilenceProbability)]
        names, each = feature_names(spec), np.eye(len(able))
        shape, rate, dropout, dropout_rate = np.array(
            [[model.model.r, model.model.alpha, model.model.s, model.model.beta] for model in able]
        ).T
        horizon = np.array([model.horizon_weeks for model in able])

        # Readout values to logs of days plus one: how many there are, since the first, since the last.
        scales = np.zeros((3, spec.readout_value_size, len(able)))
        for question, model in enumerate(able):
            columns = [names.index(name) for name in model.names]
            scales[range(3), columns, question] = model.stds
        self.scales = fixed(np.concatenate(scales, axis=1))
        self.means = fixed(np.array([model.means for model in able]).T.reshape(-1))

        # To alpha + T, beta + T, alpha + T + h, alpha + t_x and r + x, none less than without a history.
        week, none = each / DAYS_PER_WEEK, np.zeros_like(each)
        first, last = [week, week, week, week, none], [none, none, none, -week, none]
        days = [none, none, none, none, each]
        self.sums = fixed(np.concatenate([np.concatenate(row, axis=1) for row in (days, first, last)]))
        start = np.concatenate([rate, dropout_rate, rate + horizon, rate, shape])
        # The logs are of one more; and the first of the days is no repetition.
        beyond = np.repeat([1 / DAYS_PER_WEEK] * 3 + [0.0, 2.0], len(able))
        self.start, self.least = fixed(start - beyond), fixed(start)

        self._lay_out_places(rate, dropout, dropout_rate)
        of_questions = [isinstance(model, SilenceProbability) for model in models]
        self.spread = fixed(np.eye(len(models))[of_questions])

    def _lay_out_places(self, rate: ndarray, dropout: ndarray, dropout_rate: ndarray) -> None:
        """Lay out both integrals of every question over the places at which they are summed."""
        num, each, places = len(rate), np.eye(len(rate)), 0.5 + 0.5 * SILENCE_NODES
        # From these (a to e) to the lengths of both stretches of log time, as logs of quotients: where alpha
        # is large, the difference of two logs has few digits.
        of_a, of_b, of_c, of_d, of_e = np.split(np.eye(5 * num), 5, axis=1)
        self.ends = fixed(np.stack([of_d, of_c], axis=2).reshape(5 * num, -1))
        self.now = fixed(np.kron(of_a, [1, 1]))
        # From their logs to the places in the stretches, and to what is affine in the exponent.
        both, at_places = np.eye(2 * num), np.ones(len(places))
        self.at_now = fixed(np.kron(of_a, [np.kron([1, 1], at_places)]))
        affine = np.stack([of_b * dropout + of_a, of_b * dropout + of_e], axis=2).reshape(5 * num, -1)
        self.affine = fixed(np.kron(affine, [at_places]))
        constant = np.stack([np.log(dropout), np.zeros(num)], axis=1)
        self.constant = fixed(np.kron(constant.reshape(-1), at_places))
        # One of the powers of the time is the derivative of what has gone.
        self.is_gone = fixed(np.tile([1.0, 0.0], num))

        # Of every place: the time that is left to beta, its power, and the share of its stretch.
        self.shift = fixed(np.repeat(dropout_rate - rate, 2 * len(places)))
        self.least_time = fixed(np.repeat(dropout_rate, 2 * len(places)))
        powers = np.stack([dropout + 1.0, dropout], axis=1)
        self.power = fixed(np.kron(powers.reshape(-1), at_places))
        self.spread_places = fixed(np.kron(both, places))
        self.steps = fixed(np.kron(both, 0.5 * SILENCE_WEIGHTS).T)
        self.of_shape = fixed(np.kron(of_e, [1, 1]))
        # The first stretch runs backward: its length is negative.
        self.gone, self.bought = fixed(np.kron(each, [[-1.0], [0.0]])), fixed(np.kron(each, [[0.0], [1.0]]))

    def forward(
        self, values: Float[Tensor, "batch feature"], ids: Int64[Tensor, "batch column"]
    ) -> Float[Tensor, "batch question"]:
        """Return the answers; 0 where it has none."""
        del ids
        days = torch.exp(torch.clamp(values @ self.scales + self.means, 0.0, _MOST_LOG_DAYS))
        summed = torch.maximum(days @ self.sums + self.start, self.least)
        logs = torch.log(summed)
        lengths = torch.log((summed @ self.ends) / (summed @ self.now))
        place = logs @ self.at_now + lengths @ self.spread_places
        time = torch.maximum(torch.exp(place) + self.shift, self.least_time)
        falling = (lengths * (self.is_gone - summed @ self.of_shape)) @ self.spread_places
        exponent = logs @ self.affine + self.constant + falling - self.power * torch.log(time)
        integrals = (torch.exp(torch.clamp(exponent, max=_MOST_EXPONENT)) @ self.steps) * lengths
        bought = torch.clamp(integrals @ self.bought, LEAST_CHANCE, 1.0 - LEAST_CHANCE)
        silent = torch.clamp(1.0 - bought + integrals @ self.gone, min=LEAST_CHANCE)
        return torch.clamp(torch.log(silent / bought), -MAX_LOGIT, MAX_LOGIT) @ self.spread
