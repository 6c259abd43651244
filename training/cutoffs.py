"""Where cutoffs come from: a calendar grid, random times, events, a company's own table.

It deliberately does not know who is eligible, nor which span a split may use:
:mod:`training.splits` asks both, and :mod:`training.labels` alone looks past a cutoff.
"""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Literal, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Int64
from numpy import ndarray

from holdfast.errors import ConfigError
from holdfast.histories import ragged_range, ragged_rows, search_sorted
from holdfast.schema import MICROSECONDS_PER_DAY
from training.labels import Labeller

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

PolicyName = Literal["grid", "random", "event", "table"]
FitOn = Literal["train", "refit", "both"]
"""See :class:`training.data_config.CutoffsConfig`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainPolicy:
    """How training cutoffs are chosen.

    Attributes:
        policy: ``grid``: calendar times counted back from the newest allowed one; ``random``:
            uniform per customer over the allowed span from the customer's first event on;
            ``event``: the time of every event of one type; ``table``: the rows of the company's
            own labels.
        every_days: ``grid``: distance of its points.
        shifts_days: ``grid``: further grids, moved this far into the past; 0 is the first one.
        yearly: ``grid``: its points are the days of the year of the test cutoffs, in the years
            before, instead of every ``every_days``; the shifts move them.
        num: ``grid``: points per grid, the newest ones; None is as many as the span holds.
        per_customer: Cutoffs per customer and draw, chosen at random among the eligible ones;
            None is all of them. ``random`` needs it.
        event_type: ``event``: which events.
        allow_censored: Take cutoffs whose window runs past the next split's first cutoff; their
            labels are censored there, so that training still sees nothing later.
        half_life_days: A cutoff that lies this much before the newest allowed one counts half as
            much in the loss; None counts all alike.
        most_customers: Customers that training may draw cutoffs of, at most; a random choice, the
            same for every seed, in which a smaller number is part of a greater one. None is all.
            It shows what more customers would be worth.
    """

    policy: PolicyName = "grid"
    every_days: int = 30
    shifts_days: tuple[int, ...] = (0,)
    yearly: bool = False
    num: int | None = None
    per_customer: int | None = None
    event_type: str | None = None
    allow_censored: bool = False
    half_life_days: float | None = None
    most_customers: int | None = None

    def __post_init__(self) -> None:
        """Refuse settings that contradict the policy.

        Raises:
            ConfigError: Naming the key.
        """
        where = "cutoffs.train"
        if self.every_days < 1:
            raise ConfigError(f"{where}.every_days", self.every_days, "it must be at least 1")
        if not self.shifts_days or min(self.shifts_days) < 0:
            raise ConfigError(
                f"{where}.shifts_days", self.shifts_days, "shifts are days into the past, 0 or more"
            )
        if self.num is not None and self.num < 1:
            raise ConfigError(f"{where}.num", self.num, "it must be at least 1")
        for name in ("per_customer", "most_customers"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ConfigError(f"{where}.{name}", value, "it must be at least 1, or null")
        if self.half_life_days is not None and not self.half_life_days > 0:
            raise ConfigError(f"{where}.half_life_days", self.half_life_days, "it must be positive, or null")
        if self.yearly and self.policy != "grid":
            raise ConfigError(f"{where}.yearly", self.yearly, "only the policy grid has such points")
        if self.policy == "random" and self.per_customer is None:
            raise ConfigError(f"{where}.per_customer", None, "the policy random needs it")
        if (self.event_type is not None) != (self.policy == "event"):
            raise ConfigError(
                f"{where}.event_type", self.event_type, "the policy event has one, the others have none"
            )


@runtime_checkable
class Candidates(Protocol):
    """Where cutoffs come from, before anybody asks who is eligible."""

    def of(
        self, labeller: Labeller, customers: Int64[ndarray, " customer"], rng: np.random.Generator
    ) -> tuple[Int64[ndarray, " candidate"], Int64[ndarray, " candidate"]]:
        """Return positions in ``customers`` and cutoffs."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GridCandidates:
    """The same times for every customer."""

    times_us: tuple[int, ...]

    def of(
        self,
        labeller: Labeller,  # noqa: ARG002 (the protocol's)
        customers: Int64[ndarray, " customer"],
        rng: np.random.Generator,  # noqa: ARG002 (the protocol's)
    ) -> tuple[Int64[ndarray, " candidate"], Int64[ndarray, " candidate"]]:
        """Return every customer at every time."""
        index = np.repeat(np.arange(len(customers), dtype=np.int64), len(self.times_us))
        return index, np.tile(np.array(self.times_us, dtype=np.int64), len(customers))


@dataclass(frozen=True, slots=True, kw_only=True)
class RandomCandidates:
    """Uniform times between a customer's first event and the end of the span, bounds included."""

    oldest_us: int
    newest_us: int
    per_customer: int

    def of(
        self, labeller: Labeller, customers: Int64[ndarray, " customer"], rng: np.random.Generator
    ) -> tuple[Int64[ndarray, " candidate"], Int64[ndarray, " candidate"]]:
        """Return ``per_customer`` times of every customer with an event before the span's end."""
        offsets, times_us = labeller.histories.offsets, labeller.histories.occurred_at_us
        index = np.flatnonzero(offsets[customers] < offsets[customers + 1])
        from_us = np.maximum(times_us[offsets[customers[index]]], self.oldest_us)
        index, from_us = index[from_us <= self.newest_us], from_us[from_us <= self.newest_us]
        drawn = rng.integers(from_us[:, None], self.newest_us + 1, (len(index), self.per_customer))
        return np.repeat(index, self.per_customer), drawn.reshape(-1)


@dataclass(frozen=True, slots=True, kw_only=True)
class EventCandidates:
    """The time of every event of one type; events at the same instant give one cutoff."""

    event_type: str
    oldest_us: int
    newest_us: int

    def of(
        self,
        labeller: Labeller,
        customers: Int64[ndarray, " customer"],
        rng: np.random.Generator,  # noqa: ARG002 (the protocol's)
    ) -> tuple[Int64[ndarray, " candidate"], Int64[ndarray, " candidate"]]:
        """Return the events' customers and times."""
        histories = labeller.histories
        known = histories.event_type.dictionary.values
        if self.event_type not in known:
            raise ConfigError(
                "cutoffs.train.event_type", self.event_type, f"the data has only {sorted(known)}"
            )
        rows, offsets = ragged_rows(histories.offsets, customers)
        time_us = histories.occurred_at_us[rows]
        index = np.repeat(np.arange(len(customers), dtype=np.int64), np.diff(offsets))
        is_wanted = histories.event_type.codes[rows] == known.index(self.event_type)
        is_wanted &= (time_us >= self.oldest_us) & (time_us <= self.newest_us)
        index, time_us = index[is_wanted], time_us[is_wanted]
        is_new = np.ones(len(index), dtype=bool)
        is_new[1:] = (np.diff(index) != 0) | (np.diff(time_us) != 0)
        return index[is_new], time_us[is_new]


@dataclass(frozen=True, slots=True, kw_only=True)
class TableCandidates:
    """The rows of the company's own table of labels."""

    oldest_us: int
    newest_us: int

    def of(
        self,
        labeller: Labeller,
        customers: Int64[ndarray, " customer"],
        rng: np.random.Generator,  # noqa: ARG002 (the protocol's)
    ) -> tuple[Int64[ndarray, " candidate"], Int64[ndarray, " candidate"]]:
        """Return the rows' customers and cutoffs."""
        table = labeller.table
        if table is None:
            raise ConfigError(
                "cutoffs.train.policy", "table", "it needs a table of labels, and the data has none"
            )
        start, end = table.offsets[customers], table.offsets[customers + 1]
        first = search_sorted(table.cutoff_us, start, end, np.full(len(start), self.oldest_us - 1))
        last = search_sorted(table.cutoff_us, start, end, np.full(len(start), self.newest_us))
        rows, offsets = ragged_range(first, np.maximum(first, last))
        return np.repeat(np.arange(len(customers), dtype=np.int64), np.diff(offsets)), table.cutoff_us[rows]


def candidates(
    policy: TrainPolicy, *, oldest_us: int, newest_us: int, asked_us: tuple[int, ...] = ()
) -> Candidates:
    """Return where training's cutoffs come from.

    Args:
        policy: How they are chosen.
        oldest_us: The first allowed cutoff.
        newest_us: The last allowed cutoff; a grid is counted back from it.
        asked_us: The test cutoffs, whose days of the year a yearly grid takes.
    """
    match policy.policy:
        case "grid":
            if policy.yearly:
                return GridCandidates(times_us=_yearly_grid(policy, oldest_us, newest_us, asked_us))
            return GridCandidates(times_us=_calendar_grid(policy, oldest_us, newest_us))
        case "random":
            assert policy.per_customer is not None
            return RandomCandidates(
                oldest_us=oldest_us, newest_us=newest_us, per_customer=policy.per_customer
            )
        case "event":
            assert policy.event_type is not None
            return EventCandidates(event_type=policy.event_type, oldest_us=oldest_us, newest_us=newest_us)
        case "table":
            return TableCandidates(oldest_us=oldest_us, newest_us=newest_us)


def _calendar_grid(policy: TrainPolicy, oldest_us: int, newest_us: int) -> tuple[int, ...]:
    step_us = policy.every_days * MICROSECONDS_PER_DAY
    times: set[int] = set()
    for shift in policy.shifts_days:
        start_us = newest_us - shift * MICROSECONDS_PER_DAY
        num = max(0, (start_us - oldest_us) // step_us + 1)
        times.update(start_us - step_us * i for i in range(min(num, policy.num or num)))
    return tuple(sorted(times))


def _yearly_grid(
    policy: TrainPolicy, oldest_us: int, newest_us: int, asked_us: tuple[int, ...]
) -> tuple[int, ...]:
    """Return the test cutoffs' days of the year, in the years before, as far as they are allowed.

    Raises:
        ConfigError: There is none.
    """
    times: set[int] = set()
    for asked in asked_us:
        for shift in policy.shifts_days:
            moved = (_years_before(asked, years) - shift * MICROSECONDS_PER_DAY for years in range(1, 200))
            allowed = [time_us for time_us in moved if oldest_us <= time_us <= newest_us]
            times.update(allowed[: policy.num])
    if not times:
        limit = "no earlier year has such a day with a label window that ends before the next split"
        raise ConfigError("cutoffs.train.yearly", policy.yearly, limit)
    return tuple(sorted(times))


def _years_before(time_us: int, years: int) -> int:
    """Return the same date and time of an earlier year; 29 February becomes the 28th."""
    moment = _EPOCH + timedelta(microseconds=time_us)
    day = 28 if (moment.month, moment.day) == (2, 29) else moment.day
    # A span in whole microseconds, because a float of seconds would lose the last ones.
    return (moment.replace(year=max(1, moment.year - years), day=day) - _EPOCH) // timedelta(microseconds=1)
