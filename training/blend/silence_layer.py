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
        # From the logs of these (a to e) to the lengths of both stretches of log time, to the places in them,
        # and to what in the exponent is affine.
        of_a, of_b, of_c, of_d, of_e = np.split(np.eye(5 * num), 5, axis=1)
        lengths = np.stack([of_d - of_a, of_c - of_a], axis=2)
        at = of_a[:, :, None, None] + lengths[..., None] * places
        affine = np.stack([of_b * dropout, of_b * dropout + of_e], axis=2)[..., None] + np.zeros(len(places))
        affine[:, :, 0] += at[:, :, 0]
        self.lengths, self.at, self.affine = (fixed(x.reshape(5 * num, -1)) for x in (lengths, at, affine))
        constant = np.zeros((num, 2, len(places)))
        constant[:, 0] = np.log(dropout)[:, None]
        self.constant = fixed(constant.reshape(-1))

        # Of every place: the time that is left to beta, its power, and the share of its stretch.
        per_place = np.ones((num, 2, len(places)))
        self.shift = fixed((per_place * (dropout_rate - rate)[:, None, None]).reshape(-1))
        self.least_time = fixed((per_place * dropout_rate[:, None, None]).reshape(-1))
        self.power = fixed((per_place * np.stack([dropout + 1.0, dropout], axis=1)[..., None]).reshape(-1))
        both = np.eye(2 * num)
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
        lengths = logs @ self.lengths
        time = torch.maximum(torch.exp(logs @ self.at) + self.shift, self.least_time)
        growth = ((summed @ self.of_shape) * lengths) @ self.spread_places
        exponent = logs @ self.affine + self.constant - growth - self.power * torch.log(time)
        integrals = (torch.exp(torch.clamp(exponent, max=_MOST_EXPONENT)) @ self.steps) * lengths
        bought = torch.clamp(integrals @ self.bought, LEAST_CHANCE, 1.0 - LEAST_CHANCE)
        silent = torch.clamp(1.0 - bought + integrals @ self.gone, min=LEAST_CHANCE)
        return torch.clamp(torch.log(silent / bought), -MAX_LOGIT, MAX_LOGIT) @ self.spread
