"""Customers as columns, and the season as a table: what both simulated businesses stand on.

It deliberately does not know any business: which columns there are is declared by subclasses.
"""

import datetime
from dataclasses import dataclass, fields
from typing import Protocol, Self, runtime_checkable

import numpy as np
from jaxtyping import Float32, Float64, Int32, Int64, UInt8
from numpy import ndarray

NEVER = -30_000
"""A day so long ago that every window since has closed."""

REGIONS = ("north", "east", "south", "west", "abroad")
ACQUISITIONS = ("search", "referral", "social", "store")


@dataclass(slots=True, kw_only=True)
class Columns:
    """One array per property of a customer, all of one length; rows are changed in place."""

    row: Int32[ndarray, " customer"]

    def __len__(self) -> int:
        """The number of customers."""
        return len(self.row)

    def take(self, rows: ndarray) -> Self:
        """Return a copy of the given rows (positions, repeated if wished, or a mask)."""
        return type(self)(**{column.name: getattr(self, column.name)[rows] for column in fields(self)})

    def head(self, num: int) -> Self:
        """Return a view of the first ``num`` rows: changes are seen on both sides."""
        return type(self)(**{column.name: getattr(self, column.name)[:num] for column in fields(self)})


@runtime_checkable
class EventSink(Protocol):
    """Where a process puts its events: kept as rows, or only summed."""

    def add(
        self,
        kind: UInt8[ndarray, " event"],
        row: Int32[ndarray, " event"],
        day: int,
        *,
        amount: Float64[ndarray, " event"] | None = None,
        quantity: Float32[ndarray, " event"] | None = None,
        detail: UInt8[ndarray, " event"] | None = None,
    ) -> None:
        """Take events of one day; a row comes at most once per call."""


class NoSink:
    """Takes events and forgets them."""

    def add(self, kind: ndarray, row: ndarray, day: int, **fields_of_events: ndarray | None) -> None:
        """Forget."""


@dataclass(frozen=True, slots=True, kw_only=True)
class People:
    """Attributes of customers that never change, and what they do to the log rate."""

    region: UInt8[ndarray, " customer"]
    age: Float64[ndarray, " customer"]
    acquisition: UInt8[ndarray, " customer"]
    log_rate: Float32[ndarray, " customer"]


def draw_people(
    rng: np.random.Generator, num: int, *, attribute_effect: float, heterogeneity: float
) -> People:
    """Draw attributes and the customers' own log rates (mean about 0)."""
    region = rng.choice(len(REGIONS), size=num, p=[0.3, 0.25, 0.2, 0.15, 0.1]).astype(np.uint8)
    acquisition = rng.choice(len(ACQUISITIONS), size=num, p=[0.4, 0.2, 0.25, 0.15]).astype(np.uint8)
    age = np.floor(np.clip(rng.normal(44.0, 15.0, num), 18.0, 90.0))
    by_region = np.array([0.5, 0.0, 0.5, -0.5, -2.0])[region]
    by_acquisition = np.array([0.0, 1.5, -1.5, 0.5])[acquisition]
    log_rate = attribute_effect * (by_region + by_acquisition + (age - 44.0) / 30.0)
    log_rate += rng.normal(0.0, heterogeneity, num)
    return People(region=region, age=age, acquisition=acquisition, log_rate=log_rate.astype(np.float32))


def draw_arrival_days(
    rng: np.random.Generator, num: int, *, num_days: int, early_share: float, early_days: float
) -> Int64[ndarray, " customer"]:
    """Draw ascending arrival days in ``[0, num_days)``: some early, the others evenly after."""
    early_days = min(early_days, float(num_days))
    is_early = rng.random(num) < early_share
    within = rng.random(num)
    days = np.where(is_early, within * early_days, early_days + within * (num_days - early_days))
    return np.sort(np.minimum(days.astype(np.int64), num_days - 1))


def season_of(
    start: datetime.date, num_days: int, *, yearly: float, weekly: float
) -> Float64[ndarray, " day"]:
    """Return the season's addition to the log rate for every day from ``start`` on.

    The year peaks in mid-December and the week on Saturday.
    """
    days = np.arange(num_days)
    year_position = (days + start.timetuple().tm_yday - 350) / 365.25
    week_position = (days + start.weekday() - 5) / 7.0
    return yearly * np.cos(2 * np.pi * year_position) + weekly * np.cos(2 * np.pi * week_position)


def choose(probabilities: Float32[ndarray, "kind row"], uniform: Float32[ndarray, " row"]) -> ndarray:
    """Return which of the competing kinds happens per row: its index, or the number of kinds for none."""
    ends = np.cumsum(probabilities, axis=0)
    chosen: ndarray = np.add.reduce(uniform >= ends, axis=0, dtype=np.uint8)
    return chosen


def positions_by_kind(kind: UInt8[ndarray, " row"], num_kinds: int) -> list[ndarray]:
    """Return the ascending positions of every kind below ``num_kinds``."""
    order = np.argsort(kind, kind="stable")
    ends = np.cumsum(np.bincount(kind, minlength=num_kinds + 1)[:num_kinds])
    return np.split(order, ends)[:num_kinds]
