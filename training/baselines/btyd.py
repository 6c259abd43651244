"""Buy-till-you-die baselines: repeat buying for churn by inactivity, times its value for amounts.

It deliberately answers nothing else: an event of its own, such as a cancellation, is no silence,
and an amount of other events is no value of a purchase.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64, Int64
from numpy import ndarray

from holdfast.encoding import EncodingSpec
from holdfast.histories import Histories
from holdfast.schema import Schema, Target
from training.baselines.buying import (
    BgNbd,
    Buying,
    BuyingKind,
    GammaGamma,
    ParetoNbd,
    fit_buying,
    fit_gamma_gamma,
    no_purchase_probability,
)
from training.baselines.purchases import DAYS_PER_WEEK, Purchases, mean_values, purchases_of
from training.outcomes import Predictions
from training.pages import customers_in_parts, in_parts

BUYING_MODELS: Mapping[str, BuyingKind] = {"btyd": BgNbd, "pareto_nbd": ParetoNbd}
"""By the name that configuration, tables and reports use; both with Gamma-Gamma for what is spent."""

MOST_CUSTOMERS = 20_000
"""Fitted on a random sample of this many customers: seven parameters need no more."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BuyTillYouDie:
    """Fitted models of repeat buying and of the value of a purchase.

    Attributes:
        spec: The encoding, for the limits of a history.
        buying: Of every answered ``time_to_event`` target.
        value: Of every answered ``amount`` target.
        awaited: The ``time_to_event`` target whose events every answered amount adds up.
    """

    spec: EncodingSpec
    buying: Mapping[str, Buying]
    value: Mapping[str, GammaGamma]
    awaited: Mapping[str, str]

    def predict(
        self,
        histories: Histories,
        *,
        customer: Int64[ndarray, " readout"],
        cutoff_us: Int64[ndarray, " readout"],
    ) -> Predictions:
        """Answer the targets that these models know.

        Args:
            histories: All customers; events after a cutoff have no influence.
            customer: Of every readout.
            cutoff_us: Of every readout.

        Returns:
            Probabilities of no purchase within each horizon, and expected amounts.
        """
        parts = [
            self._predicted(own, {"customer": cutoffs.customer, "cutoff_us": cutoffs.time_us})
            for own, cutoffs in in_parts(histories, customer, cutoff_us)
        ]
        # Of no readouts too, the answers have a column for every horizon.
        parts = parts or [self._predicted(histories, {"customer": customer, "cutoff_us": cutoff_us})]
        return Predictions(
            probability={n: np.concatenate([part.probability[n] for part in parts]) for n in self.buying},
            expected={n: np.concatenate([part.expected[n] for part in parts]) for n in self.value},
            median={},
        )

    def _predicted(self, histories: Histories, asked: Mapping[str, ndarray]) -> Predictions:
        """Answer for so few readouts that all of their events fit into memory."""
        targets = {target.name: target for target in self.spec.schema.targets}
        bought = {name: purchases_of(histories, self.spec, targets[name], **asked) for name in self.buying}
        expected = {}
        for name, value in self.value.items():
            awaited, target = self.awaited[name], targets[name]
            purchases = bought[awaited]
            mean = mean_values(histories, self.spec, target, purchases, **asked)
            num = np.where(purchases.has_any, purchases.num_repeat + 1.0, 0.0)
            per_purchase = value.expected_value(num, mean)
            weeks = target.max_horizon_days / DAYS_PER_WEEK
            expected[name] = per_purchase * self.buying[awaited].expected_purchases(
                purchases.num_repeat, purchases.last_weeks, purchases.tenure_weeks, weeks
            )
        probability = {
            name: _per_horizon(model, bought[name], targets[name].horizons_days)
            for name, model in self.buying.items()
        }
        return Predictions(probability=probability, expected=expected, median={})


def fit_buy_till_you_die(
    name: str, histories: Histories, spec: EncodingSpec, *, until_us: int, seed: int
) -> BuyTillYouDie | None:
    """Fit on everybody's history up to a time.

    Args:
        name: One of :data:`BUYING_MODELS`.
        histories: All customers.
        spec: The encoding, for the schema and the limits of a history.
        until_us: End of the calibration period, the last instant that training may see.
        seed: Of the sample of customers.

    Returns:
        The fitted models; None where no target is of a kind that they answer, or nobody bought twice.
    """
    return fit_on_customers(name, histories, spec, sampled_customers(histories, until_us, seed), until_us)


def fit_on_customers(
    name: str,
    histories: Histories,
    spec: EncodingSpec,
    customer: Int64[ndarray, " customer"],
    until_us: int,
) -> BuyTillYouDie | None:
    """Do the same on these customers, drawn by :func:`sampled_customers`."""
    awaited = _awaited(spec.schema)
    buying = _fitted_buying(BUYING_MODELS[name], histories, spec, customer, until_us)
    value: dict[str, GammaGamma] = {}
    for target in spec.schema.targets:
        if awaited.get(target.name) in buying:
            repeated = _named(spec.schema, awaited[target.name])
            num, mean = _values(histories, spec, target, repeated, customer, until_us)
            if len(num):
                value[target.name] = fit_gamma_gamma(num, mean)
    if not buying:
        return None
    return BuyTillYouDie(
        spec=spec, buying=buying, value=value, awaited={name: awaited[name] for name in value}
    )


def sampled_customers(histories: Histories, until_us: int, seed: int) -> Int64[ndarray, " customer"]:
    """Return customers with an event up to a time, some of them where there are very many.

    Args:
        histories: All customers.
        until_us: The last instant that training may see.
        seed: Of the sample.
    """
    customer = np.concatenate([_begun(histories, part, until_us) for part in customers_in_parts(histories)])
    if len(customer) > MOST_CUSTOMERS:
        customer = np.sort(np.random.default_rng([seed, 6]).choice(customer, MOST_CUSTOMERS, replace=False))
    return customer


def _fitted_buying(
    kind: BuyingKind, histories: Histories, spec: EncodingSpec, customer: ndarray, until_us: int
) -> dict[str, Buying]:
    buying: dict[str, Buying] = {}
    if not len(customer):
        return buying
    for target in spec.schema.silences:
        times = _times(histories, spec, target, customer, until_us)
        if times[0].any():
            buying[target.name] = fit_buying(kind, *times)
    return buying


def _awaited(schema: Schema) -> dict[str, str]:
    """Return by amount the inactivity target whose events it adds up, perhaps among others."""
    return {
        amount.name: timed.name
        for amount in schema.targets
        for timed in schema.targets
        if amount.kind == "amount"
        and timed.form == "inactivity"
        and (not amount.event_types or set(timed.event_types) <= set(amount.event_types))
        and (timed.event_types or not amount.event_types)
    }


def _named(schema: Schema, name: str) -> Target:
    return next(target for target in schema.targets if target.name == name)


def _times(
    histories: Histories, spec: EncodingSpec, target: Target, customer: ndarray, until_us: int
) -> tuple[ndarray, ndarray, ndarray]:
    """Return repeat purchases, last one and tenure of those who bought, a part of the customers at a time."""
    parts = []
    for own, cutoffs in in_parts(histories, customer, np.full(len(customer), until_us, dtype=np.int64)):
        found = purchases_of(own, spec, target, customer=cutoffs.customer, cutoff_us=cutoffs.time_us)
        bought = found.take(found.has_any)
        parts.append((bought.num_repeat, bought.last_weeks, bought.tenure_weeks))
    num_repeat, last, tenure = (np.concatenate(column) for column in zip(*parts, strict=True))
    return num_repeat, last, tenure


def _values(
    histories: Histories,
    spec: EncodingSpec,
    target: Target,
    repeated: Target,
    customer: ndarray,
    until_us: int,
) -> tuple[ndarray, ndarray]:
    """Return the purchases and their mean values of those who spent, a part of the customers at a time."""
    parts = []
    for own, cutoffs in in_parts(histories, customer, np.full(len(customer), until_us, dtype=np.int64)):
        asked = {"customer": cutoffs.customer, "cutoff_us": cutoffs.time_us}
        purchases = purchases_of(own, spec, repeated, **asked)
        mean = mean_values(own, spec, target, purchases, **asked)
        parts.append((purchases.num_repeat[mean > 0] + 1.0, mean[mean > 0]))
    num, mean = (np.concatenate(column) for column in zip(*parts, strict=True))
    return num, mean


def _begun(histories: Histories, customers: ndarray, until_us: int) -> Int64[ndarray, " customer"]:
    first, end = histories.offsets[customers], histories.offsets[customers + 1]
    has_events = end > first
    customers, first = customers[has_events], first[has_events]
    return customers[histories.occurred_at_us[first] <= until_us]


def _per_horizon(
    model: Buying, purchases: Purchases, horizons_days: tuple[int, ...]
) -> Float64[ndarray, "readout horizon"]:
    history = (purchases.num_repeat, purchases.last_weeks, purchases.tenure_weeks)
    columns = [no_purchase_probability(model, *history, days / DAYS_PER_WEEK) for days in horizons_days]
    return np.stack(columns, axis=1)
