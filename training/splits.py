"""The temporal split: which cutoffs train, validate and test, and what their labels may see.

It deliberately does not know how labels are made: it says only up to which instant.
"""

import functools
import logging
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import NoReturn

import numpy as np
from jaxtyping import Bool, Float32, Int64
from numpy import ndarray

from holdfast.errors import ConfigError
from holdfast.schema import MICROSECONDS_PER_DAY, Schema, Target, horizon_grid_days
from training.cutoffs import Candidates, GridCandidates, RandomCandidates, TrainPolicy, candidates
from training.labels import Labeller, Labels

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Split:
    """One part of the temporal split: its cutoffs and the last instant its labels may see.

    Attributes:
        name: ``train``, ``validation``, ``test`` or ``refit``.
        candidates: Where its cutoffs come from.
        observed_until_us: The last instant that its labels may look at, inclusive.
        per_customer: Most cutoffs of a customer per draw; None is no limit.
        newest_us: The last allowed cutoff; None where every cutoff counts alike.
        half_life_days: How far before ``newest_us`` a cutoff counts half.
        most_customers: How many customers cutoffs are drawn of, at most; None is no limit.
    """

    name: str
    candidates: Candidates
    observed_until_us: int
    per_customer: int | None = None
    newest_us: int | None = None
    half_life_days: float | None = None
    most_customers: int | None = None

    @property
    def is_fixed(self) -> bool:
        """Whether every draw gives the same cutoffs: nothing about them is left to chance."""
        return self.per_customer is None and not isinstance(self.candidates, RandomCandidates)

    def draw(
        self, labeller: Labeller, customers: Int64[ndarray, " customer"], rng: np.random.Generator
    ) -> tuple[Int64[ndarray, " readout"], Int64[ndarray, " readout"]]:
        """Draw cutoffs at which the customers are eligible.

        Args:
            labeller: Knows the events and who is eligible.
            customers: Positions in the histories, each one once.
            rng: The only source of chance.

        Returns:
            Positions in ``customers`` and cutoffs in UTC microseconds, ascending by both.
        """
        index, cutoff_us = self.candidates.of(labeller, customers, rng)
        if self.most_customers is not None:
            is_chosen = _chosen(labeller.histories.num_customers, self.most_customers)[customers[index]]
            index, cutoff_us = index[is_chosen], cutoff_us[is_chosen]
        is_eligible = labeller.eligible(customers[index], cutoff_us)
        index, cutoff_us = index[is_eligible], cutoff_us[is_eligible]
        if self.per_customer is not None:
            chosen = _at_most(index, self.per_customer, rng)
            index, cutoff_us = index[chosen], cutoff_us[chosen]
        order = np.lexsort((cutoff_us, index))
        return index[order], cutoff_us[order]

    def weights(self, cutoff_us: Int64[ndarray, " readout"]) -> Float32[ndarray, " readout"]:
        """Return how much each cutoff counts in the loss: 1 for the newest, half of it per half-life."""
        if self.half_life_days is None or self.newest_us is None:
            return np.ones(len(cutoff_us), dtype=np.float32)
        half_lives = (self.newest_us - cutoff_us) / (self.half_life_days * MICROSECONDS_PER_DAY)
        return np.exp2(-half_lives).astype(np.float32)


@dataclass(frozen=True, slots=True, kw_only=True)
class Splits:
    """The temporal split; ``refit`` is training's policy up to the first test cutoff."""

    train: Split
    validation: Split
    test: Split
    refit: Split


def temporal_splits(
    schema: Schema,
    policy: TrainPolicy,
    *,
    validation_us: tuple[int, ...],
    test_us: tuple[int, ...],
    observed_from_us: int,
    observed_until_us: int,
) -> Splits:
    """Lay train, validation and test one after the other, so that none sees the next.

    Args:
        schema: Its longest horizon is the length of every label window.
        policy: How training cutoffs are chosen, and whether censored windows are allowed.
        validation_us: Ascending cutoffs; their labels see nothing after the first test cutoff.
        test_us: Ascending cutoffs; their labels see nothing after ``observed_until_us``.
        observed_from_us: First known instant.
        observed_until_us: Last known instant, inclusive.

    Returns:
        The splits.

    Raises:
        ConfigError: Cutoffs lie before the data, are not ascending, or a window runs into the
            next split and the policy does not allow censored labels; both times and the horizon
            are named.
    """
    for name, times_us in (("validation", validation_us), ("test", test_us)):
        if not times_us or list(times_us) != sorted(set(times_us)):
            limit = "at least one is needed, in ascending order"
            raise ConfigError(f"cutoffs.{name}", [iso(time) for time in times_us], limit)
        if times_us[0] < observed_from_us:
            raise ConfigError(
                f"cutoffs.{name}", iso(times_us[0]), f"the first event is at {iso(observed_from_us)}"
            )
    shortest = _shortest_bin_us(schema) if policy.allow_censored else None
    _refuse_overlap(schema, "validation", validation_us[-1], test_us[0], "the first test cutoff", shortest)
    # The test is never censored: a figure about a part of the window would pass for the whole.
    _refuse_overlap(schema, "test", test_us[-1], observed_until_us, "the end of the data", None)
    return Splits(
        train=_train_split(
            "train", schema, policy, observed_from_us, validation_us[0], "validation", test_us
        ),
        refit=_train_split("refit", schema, policy, observed_from_us, test_us[0], "test", test_us),
        validation=Split(
            name="validation", candidates=GridCandidates(times_us=validation_us), observed_until_us=test_us[0]
        ),
        test=Split(
            name="test", candidates=GridCandidates(times_us=test_us), observed_until_us=observed_until_us
        ),
    )


def all_readouts(
    labeller: Labeller, cutoffs_us: tuple[int, ...], *, name: str = "test"
) -> tuple[Int64[ndarray, " readout"], Int64[ndarray, " readout"]]:
    """Return every customer at every cutoff at which the customer is eligible.

    Args:
        labeller: Knows the events and who is eligible.
        cutoffs_us: UTC microseconds.
        name: Of the split, for messages.

    Returns:
        Customers and cutoffs, ascending by both.

    Raises:
        ConfigError: Nobody is eligible; the customers asked about are counted.
    """
    customers = np.arange(labeller.histories.num_customers, dtype=np.int64)
    split = Split(name=name, candidates=GridCandidates(times_us=cutoffs_us), observed_until_us=0)
    customer, cutoff_us = split.draw(labeller, customers, np.random.default_rng(0))
    if not len(customer):
        raise_none_eligible(labeller, name=name, times_us=cutoffs_us)
    return customer, cutoff_us


def raise_none_eligible(labeller: Labeller, *, name: str, times_us: tuple[int, ...]) -> NoReturn:
    """Say that a split is empty, and what was counted.

    Args:
        labeller: Knows the events and the schema.
        name: Of the split.
        times_us: Its cutoffs, as far as they are the same for everybody.

    Raises:
        ConfigError: Always.
    """
    histories, schema = labeller.histories, labeller.schema
    known = histories.event_type.dictionary.values
    codes = [code for code, value in enumerate(known) if value in schema.activity]
    num_active = int(np.isin(histories.event_type.codes, codes).sum())
    limit = (
        f"0 of {histories.num_customers} customers are eligible there: that takes an event of "
        f"{list(schema.activity)} ({num_active} of {histories.num_events} events are such) in the "
        f"{schema.lookback_days} days up to it and none of {list(schema.ended_by)} before"
    )
    raise ConfigError(f"cutoffs.{name}", [iso(time) for time in times_us], limit)


def check_learnable(labels: Labels, schema: Schema, *, name: str) -> None:
    """Refuse a split from which a target cannot be learned or judged, and warn where nothing came.

    A new business may have no spend yet, so that sums of 0 alone are no mistake; but a model of them answers
    0 for everybody, and whoever reads the log should know.

    Args:
        labels: Of all readouts of the split.
        schema: The targets.
        name: Of the split.

    Raises:
        ConfigError: A ``time_to_event`` target has one class only at its longest horizon, or a
            target has no known label at all; what was counted is named.
    """
    for target in schema.targets:
        where = f"cutoffs.{name}: target {target.name}"
        if target.kind != "time_to_event":
            values = labels.values[target.name]
            if np.isnan(values).all():
                limit = f"0 of {len(values)} readouts have a known label, and at least 1 is needed"
                raise ConfigError(where, 0, limit)
            if not np.nanmax(values) > 0:
                _log.warning(_nothing_came(target, int((~np.isnan(values)).sum()), name=name))
            continue
        lower, upper = labels.lower[target.name], labels.upper[target.name]
        num_bins = len(horizon_grid_days(target))
        # A censored label still says something, as long as any of its bins is known.
        num_came = int((upper <= num_bins).sum())
        num_not = int(((upper > num_bins) & (lower > 0)).sum())
        if not num_came or not num_not:
            limit = (
                f"readouts with and without {list(target.event_types)} are needed: {num_came} with, "
                f"{num_not} without, {len(lower) - num_came - num_not} unknown"
            )
            raise ConfigError(where, "one class", limit)


def iso(time_us: int) -> str:
    """Return a time as ISO 8601 in UTC, without seconds where they are 0."""
    moment = datetime.fromtimestamp(time_us // 1_000_000, tz=UTC)
    return moment.strftime("%Y-%m-%dT%H:%MZ" if moment.second == 0 else "%Y-%m-%dT%H:%M:%SZ")


def _nothing_came(target: Target, num_known: int, *, name: str) -> str:
    what = "an event" if target.field is None else f"a positive sum of {target.field} over events"
    types = f"type {list(target.event_types)}" if target.event_types else "any type"
    use = "learned" if name in {"train", "refit"} else "judged"
    counted = f"none of {num_known:,} {name} cutoffs has {what} of {types}"
    return f"target {target.name}: {counted}, so that nothing can be {use} of it"


def _refuse_overlap(
    schema: Schema, name: str, latest_us: int, until_us: int, what: str, censored_window_us: int | None
) -> None:
    """Refuse a cutoff whose window, or what must be known of it, runs past an instant."""
    days = schema.max_horizon_days
    window_us = days * MICROSECONDS_PER_DAY if censored_window_us is None else censored_window_us
    if latest_us + window_us > until_us:
        part = (
            ""
            if censored_window_us is None
            else f" (the first {window_us / MICROSECONDS_PER_DAY:g} days of it)"
        )
        limit = (
            f"its label window of {days} days{part} must not run past {what}, {iso(until_us)}: "
            f"the newest possible cutoff is {iso(until_us - window_us)}"
        )
        raise ConfigError(f"cutoffs.{name}", iso(latest_us), limit)


def _shortest_bin_us(schema: Schema) -> int:
    """Return how much of a window must be known at least, or a censored label says nothing."""
    timed = [target for target in schema.targets if target.kind == "time_to_event"]
    days = min((horizon_grid_days(target)[0] for target in timed), default=float(schema.max_horizon_days))
    return round(days * MICROSECONDS_PER_DAY)


def _train_split(
    name: str,
    schema: Schema,
    policy: TrainPolicy,
    oldest_us: int,
    until_us: int,
    next_split: str,
    asked_us: tuple[int, ...],
) -> Split:
    """Return training's split before a time; ``random``, ``event`` and ``table`` are cut to the span."""
    window_us = (
        _shortest_bin_us(schema) if policy.allow_censored else schema.max_horizon_days * MICROSECONDS_PER_DAY
    )
    newest_us = until_us - window_us
    if newest_us < oldest_us:
        limit = (
            f"with a label window of {schema.max_horizon_days} days before the first {next_split} cutoff, "
            f"{iso(until_us)}, the newest {name} cutoff would be {iso(newest_us)}, before the first event"
        )
        raise ConfigError("cutoffs.train", iso(oldest_us), limit)
    return Split(
        name=name,
        candidates=candidates(policy, oldest_us=oldest_us, newest_us=newest_us, asked_us=asked_us),
        observed_until_us=until_us,
        per_customer=policy.per_customer,
        newest_us=newest_us,
        half_life_days=policy.half_life_days,
        most_customers=policy.most_customers,
    )


@functools.cache
def _chosen(num_customers: int, most: int) -> Bool[ndarray, " customer"]:
    """Return who belongs to a random choice that depends on nothing but how many there are."""
    return np.random.default_rng(0).permutation(num_customers) < most


def _at_most(index: ndarray, limit: int, rng: np.random.Generator) -> ndarray:
    """Return rows such that no value of ``index`` stands more than ``limit`` times, chosen by chance."""
    order = np.lexsort((rng.random(len(index)), index))
    grouped = index[order]
    start = np.searchsorted(grouped, grouped, side="left")
    return order[np.arange(len(order)) - start < limit]
