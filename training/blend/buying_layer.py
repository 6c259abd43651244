"""The Pareto/NBD models of an expert as a layer: readout features in, log odds and log amounts out.

It deliberately repeats in float32 what :mod:`training.baselines.repeat_buying` says, for the exported graph;
tests hold both together.
"""

from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Float, Int64
from numpy import ndarray
from torch import Tensor, nn

from holdfast.encoding import EncodingSpec
from holdfast.encoding.aggregates import NUM_RETURNS
from holdfast.encoding.readouts import feature_names
from training.baselines.buying import LEAST_CHANCE, SILENCE_NODES, SILENCE_WEIGHTS
from training.baselines.purchases import DAYS_PER_WEEK
from training.baselines.repeat_buying import RepeatAmount, SilenceProbability
from training.blend.experts import Expert
from training.blend.fixed import fixed
from training.blend.questions import MAX_LOGIT, Questions

_MOST_LOG_DAYS = 15.0
"""A history of more days is none; nothing computed from fewer overflows."""

_MOST_LOG_AMOUNT = 60.0
"""Of what a history sums up to, in the unit of the field."""

_MOST_EXPONENT = 60.0
"""Beyond, whoever has gone has gone."""

_LEAST_TIME = 1e-8
"""Of a place, as a share of beta + T: less is what rounding leaves of it."""

NUM_SUMS = 5
"""Of every model: alpha + T, beta + T, alpha + T + h, alpha + t_x and r + x."""

_Model = SilenceProbability | RepeatAmount


class BuyingLayer(nn.Module):
    """All models of an expert, as ``ParetoNbd`` and ``GammaGamma`` compute them.

    A graph pays for every operation, so that all that is affine is one product with a matrix: over the
    models, over both integrals of each, over their places. The first integral is always that of having gone.
    The second one is that of the next purchase where silence is asked for, and of the time alive within
    the horizon where an amount is.
    """

    def __init__(self, expert: Expert, spec: EncodingSpec) -> None:
        """Lay out the parameters of the questions that it answers."""
        super().__init__()
        models = expert.models(Questions.of(spec.schema))
        able = [model for model in models if isinstance(model, SilenceProbability | RepeatAmount)]
        paid = [model for model in able if isinstance(model, RepeatAmount)]
        self.num_silences, self.num_paid = len(able) - len(paid), len(paid)
        self._lay_out_sums(able, paid, spec)
        self._lay_out_places(able, num_paid=len(paid))
        self._lay_out_answers(able, paid)
        each = np.eye(len(models))
        self.spread_silences = fixed(each[[isinstance(model, SilenceProbability) for model in models]])
        self.spread_paid = fixed(each[[isinstance(model, RepeatAmount) for model in models]])

    def _lay_out_sums(self, able: Sequence[_Model], paid: Sequence[RepeatAmount], spec: EncodingSpec) -> None:
        """Lay out what logs are taken of: sums of parameters and features, the latter in their own units.

        They are those of :data:`NUM_SUMS` of every model, then of every amount ``p n + q - 1`` and
        ``gamma + z``, of ``n`` purchases that brought ``z``.
        """
        names, num, each = feature_names(spec), len(able), np.eye(len(able))
        # Readout values to logs of one more: days there are, since the first, since the last; and amounts.
        scales = np.zeros((NUM_RETURNS, spec.readout_value_size, num))
        totals = np.zeros((spec.readout_value_size, len(paid)))
        for place, model in enumerate(able):
            columns = [names.index(name) for name in model.columns.names]
            scales[range(NUM_RETURNS), columns[:NUM_RETURNS], place] = model.columns.stds[:NUM_RETURNS]
        for place, amount in enumerate(paid):
            totals[names.index(amount.columns.names[-1]), place] = amount.columns.stds[-1]
        self.scales = fixed(np.concatenate([*scales, totals], axis=1))
        of_days = np.array([model.columns.means[:NUM_RETURNS] for model in able]).T
        self.means = fixed(np.array([*of_days.reshape(-1), *(amount.columns.means[-1] for amount in paid)]))
        self.most = fixed(np.repeat([_MOST_LOG_DAYS, _MOST_LOG_AMOUNT], [NUM_RETURNS * num, len(paid)]))

        shape, rate, _, dropout_rate = _parameters(able)
        horizon = np.array([model.horizon_weeks for model in able])
        p, q, gamma = np.array([[a.value.p, a.value.q, a.value.gamma] for a in paid]).reshape(-1, 3).T
        is_paid = each[[isinstance(model, RepeatAmount) for model in able]]
        week, none, bare = each / DAYS_PER_WEEK, np.zeros_like(each), np.zeros((num, len(paid)))
        num_days = [none, none, none, none, each, is_paid.T * p, bare]
        first, last = [week, week, week, week, none, bare, bare], [none, none, none, -week, none, bare, bare]
        total = [*[bare.T] * NUM_SUMS, np.zeros((len(paid), len(paid))), np.eye(len(paid))]
        rows = (num_days, first, last, total)
        self.sums = fixed(np.concatenate([np.concatenate(row, axis=1) for row in rows]))
        # None less than without a history. Logs are of one more, and the first of the days is no repetition.
        start = np.concatenate([rate, dropout_rate, rate + horizon, rate, shape, q - 1.0, gamma])
        beyond = np.repeat([1 / DAYS_PER_WEEK] * 3 + [0.0, 2.0], num)
        self.start = fixed(start - np.concatenate([beyond, p, np.ones(len(paid))]))
        self.least = fixed(start)

    def _lay_out_places(self, able: Sequence[_Model], *, num_paid: int) -> None:
        """Lay out both integrals of every model over the places at which they are summed."""
        dropout = _parameters(able)[2]
        is_silence = np.array([isinstance(model, SilenceProbability) for model in able], dtype=np.float64)
        num, places = len(able), 0.5 + 0.5 * SILENCE_NODES
        # From these (a to e) to the lengths of both stretches of log time, as logs of quotients: where alpha
        # is large, the difference of two logs has few digits.
        of_a, of_b, of_c, of_d, of_e = _columns(num, num_paid)
        self.ends = fixed(_paired(of_d, of_c))
        self.now = fixed(_paired(of_a, of_a))
        # From their logs to what is affine in the exponent: one of the powers of the time is the derivative
        # of what has gone, and of the time alive.
        at_places = np.ones(len(places))
        second = of_e * is_silence + of_a * (1.0 - is_silence)
        self.affine = fixed(np.kron(_paired(of_a - of_b, second), [at_places]))
        constant = np.stack([np.log(dropout), np.zeros(num)], axis=1)
        self.constant = fixed(np.kron(constant.reshape(-1), at_places))
        self.is_derived = fixed(np.stack([np.ones(num), 1.0 - is_silence], axis=1).reshape(-1))
        self.of_shape = fixed(_paired(of_e, of_e * is_silence))

        # Of every place: both sums, the power of the time over beta + T, and the share of its stretch.
        self.buying = fixed(np.kron(_paired(of_a, of_a), [at_places]))
        self.staying = fixed(np.kron(_paired(of_b, of_b), [at_places]))
        powers = np.stack([dropout + 1.0, dropout], axis=1)
        self.power = fixed(np.kron(powers.reshape(-1), at_places))
        both = np.eye(2 * num)
        self.spread_places = fixed(np.kron(both, places))
        self.steps = fixed(np.kron(both, 0.5 * SILENCE_WEIGHTS).T)

    def _lay_out_answers(self, able: Sequence[_Model], paid: Sequence[RepeatAmount]) -> None:
        """Lay out what of the integrals each kind of answer wants."""
        is_paid = np.array([isinstance(model, RepeatAmount) for model in able])
        each = np.eye(len(able))
        # The first stretch runs backward: its length is negative.
        gone, second = np.kron(each, [[-1.0], [0.0]]), np.kron(each, [[0.0], [1.0]])
        self.gone, self.bought = fixed(gone[:, ~is_paid]), fixed(second[:, ~is_paid])
        self.gone_paid, self.alive_paid = fixed(gone[:, is_paid]), fixed(second[:, is_paid])
        # The rate of buying, (r + x) / (alpha + T), times the value of a purchase.
        of_a, _, _, _, of_e = _columns(len(able), len(paid))
        of_values = np.concatenate([np.zeros((NUM_SUMS * len(able), len(paid))), -np.eye(len(paid))])
        of_values = np.concatenate([of_values, np.eye(len(paid))])
        self.of_amount = fixed((of_e - of_a)[:, is_paid] + of_values)
        self.log_p = fixed(np.log([amount.value.p for amount in paid]))

    def forward(
        self, values: Float[Tensor, "batch feature"], ids: Int64[Tensor, "batch column"]
    ) -> Float[Tensor, "batch question"]:
        """Return the answers; 0 where it has none."""
        del ids
        units = torch.exp(torch.minimum(torch.relu(values @ self.scales + self.means), self.most))
        summed = torch.maximum(units @ self.sums + self.start, self.least)
        logs = torch.log(summed)
        lengths = torch.log((summed @ self.ends) / (summed @ self.now))
        # The time of a place over beta + T, from how far it lies from now: where dropout hardly varies, its
        # power is so high that two logs would leave no digits of their difference.
        away = torch.exp(lengths @ self.spread_places) - 1.0
        time = torch.clamp(away * ((summed @ self.buying) / (summed @ self.staying)) + 1.0, min=_LEAST_TIME)
        falling = (lengths * (self.is_derived - summed @ self.of_shape)) @ self.spread_places
        exponent = logs @ self.affine + self.constant + falling - self.power * torch.log(time)
        integrals = (torch.exp(torch.clamp(exponent, max=_MOST_EXPONENT)) @ self.steps) * lengths
        answers = []
        if self.num_silences:
            bought = torch.clamp(integrals @ self.bought, LEAST_CHANCE, 1.0 - LEAST_CHANCE)
            silent = torch.clamp(1.0 - bought + integrals @ self.gone, min=LEAST_CHANCE)
            odds = torch.clamp(torch.log(silent / bought), -MAX_LOGIT, MAX_LOGIT)
            answers.append(odds @ self.spread_silences)
        if self.num_paid:
            weeks = (integrals @ self.alive_paid) / (1.0 + integrals @ self.gone_paid)
            amounts = torch.log(weeks) + logs @ self.of_amount + self.log_p
            answers.append(amounts @ self.spread_paid)
        return answers[0] if len(answers) == 1 else answers[0] + answers[1]


def _parameters(able: Sequence[_Model]) -> ndarray:
    """Return r, alpha, s and beta of every model."""
    found: ndarray = np.array([[m.model.r, m.model.alpha, m.model.s, m.model.beta] for m in able]).T
    return found


def _columns(num: int, num_paid: int) -> Sequence[ndarray]:
    """Return what takes each of :data:`NUM_SUMS` out of all sums."""
    return np.split(np.eye(NUM_SUMS * num + 2 * num_paid, NUM_SUMS * num), NUM_SUMS, axis=1)


def _paired(first: ndarray, second: ndarray) -> ndarray:
    """Return columns in turn: both integrals of a model stand side by side."""
    return np.stack([first, second], axis=2).reshape(len(first), -1)
