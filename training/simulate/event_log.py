"""The events and attributes of one block of customers, gathered and turned into tables.

It deliberately does not know how events come about, nor where the tables are written.
"""

import datetime
from collections.abc import Mapping
from typing import Protocol, runtime_checkable

import numpy as np
import polars as pl
from jaxtyping import Float64, UInt8
from numpy import ndarray

from holdfast.schema import MICROSECONDS_PER_DAY
from training.simulate.columns import ACQUISITIONS, REGIONS, People

MICROSECONDS_PER_HOUR = 3_600_000_000

EVENT_COLUMNS = pl.Schema(
    {
        "customer_id": pl.String(),
        "occurred_at": pl.Datetime("us", "UTC"),
        "event_type": pl.String(),
        "amount": pl.Float64(),
        "quantity": pl.Float64(),
        "channel": pl.String(),
        "detail": pl.String(),
    }
)
CUSTOMER_COLUMNS = pl.Schema(
    {
        "customer_id": pl.String(),
        "valid_from": pl.Datetime("us", "UTC"),
        "region": pl.String(),
        "age": pl.Float64(),
        "acquisition": pl.String(),
        "plan": pl.String(),
    }
)


@runtime_checkable
class Names(Protocol):
    """What the codes of a business mean."""

    @property
    def event_types(self) -> tuple[str, ...]:
        """Name of every event type."""

    @property
    def details(self) -> tuple[str, ...]:
        """Name of every detail of an event."""

    @property
    def plans(self) -> tuple[str, ...]:
        """Name of every plan."""

    @property
    def channels(self) -> tuple[str, ...]:
        """Name of every channel."""

    @property
    def channel_shares(self) -> Mapping[int, tuple[float, ...]]:
        """Probability of every channel by event type."""

    @property
    def day_slots(self) -> tuple[tuple[float, float], ...]:
        """Hours of the day between which an event type happens."""

    @property
    def plan_change(self) -> int:
        """The event type whose detail is the new plan."""


class EventLog:
    """Gathers a block's events day by day."""

    def __init__(self) -> None:
        """Start empty."""
        self._kinds: list[ndarray] = []
        self._rows: list[ndarray] = []
        self._days: list[int] = []
        self._amounts: list[ndarray | None] = []
        self._quantities: list[ndarray | None] = []
        self._details: list[ndarray | None] = []

    def add(
        self,
        kind: ndarray,
        row: ndarray,
        day: int,
        *,
        amount: ndarray | None = None,
        quantity: ndarray | None = None,
        detail: ndarray | None = None,
    ) -> None:
        """Take events of one day; what is not given is missing."""
        if len(kind) == 0:
            return
        self._kinds.append(kind)
        self._rows.append(row)
        self._days.append(day)
        self._amounts.append(amount)
        self._quantities.append(quantity)
        self._details.append(detail)

    def events(
        self, rng: np.random.Generator, *, names: Names, customer_ids: pl.Series, start: datetime.date
    ) -> pl.DataFrame:
        """Return the events as a table, by customer and time.

        Args:
            rng: Draws the time of day and the channel, on which nothing else depends.
            names: What the codes mean.
            customer_ids: Name of every row of the block.
            start: Day 0.
        """
        kind, row = np.concatenate(self._kinds), np.concatenate(self._rows)
        day = np.repeat(np.array(self._days, np.int64), [len(kinds) for kinds in self._kinds])
        after_start = day * MICROSECONDS_PER_DAY + _draw_times(rng, kind, names)
        span = (int(day.max()) + 1) * MICROSECONDS_PER_DAY
        order = np.argsort(row * np.int64(span) + after_start, kind="stable")
        channel = _draw_channels(rng, kind, names)[order]
        kind = kind[order]
        occurred_at = after_start[order] + microseconds_of(start)
        return pl.DataFrame(
            {
                "customer_id": customer_ids.gather(row[order]),
                "occurred_at": pl.Series(occurred_at, dtype=pl.Datetime("us")).dt.replace_time_zone("UTC"),
                "event_type": _named(names.event_types, kind),
                "amount": pl.Series(self._joined(self._amounts, np.float64(np.nan))[order]).fill_nan(None),
                "quantity": pl.Series(self._joined(self._quantities, np.float32(np.nan))[order])
                .cast(pl.Float64)
                .fill_nan(None)
                .round(1),
                "channel": _named(names.channels, channel),
                "detail": _named(names.details, self._joined(self._details, np.uint8(255))[order]),
            },
            schema=EVENT_COLUMNS,
        )

    def _joined(self, values: list[ndarray | None], missing: np.generic) -> ndarray:
        whole = [
            np.full(len(kind), missing) if value is None else value
            for kind, value in zip(self._kinds, values, strict=True)
        ]
        return np.concatenate(whole)


def customers_of(
    people: People, plan: ndarray, events: pl.DataFrame, *, names: Names, customer_ids: pl.Series
) -> pl.DataFrame:
    """Return one row per customer as first known, and one more at every plan change.

    Args:
        people: Attributes that never change.
        plan: Code of everybody's first plan.
        events: The block's events.
        names: What the codes mean.
        customer_ids: Name of every row of the block.
    """
    first = pl.DataFrame(
        {
            "customer_id": customer_ids,
            "valid_from": pl.Series([None] * len(customer_ids), dtype=CUSTOMER_COLUMNS["valid_from"]),
            "region": _named(REGIONS, people.region),
            "age": people.age,
            "acquisition": _named(ACQUISITIONS, people.acquisition),
            "plan": _named(names.plans, plan),
        },
        schema=CUSTOMER_COLUMNS,
    )
    later = (
        events.lazy()
        .filter(pl.col("event_type") == names.event_types[names.plan_change])
        .select("customer_id", pl.col("occurred_at").alias("valid_from"), pl.col("detail").alias("plan"))
        .join(first.lazy().drop("valid_from", "plan"), on="customer_id", how="left")
        .select(*CUSTOMER_COLUMNS)
        .collect()
    )
    return pl.concat([first, later]).sort("customer_id", "valid_from", nulls_last=False)


def customer_ids_of(kind: str, first: int, num: int) -> pl.Series:
    """Return the names of customers ``first`` to ``first + num``: ``R00000001`` and so on."""
    numbers = pl.Series(np.arange(first, first + num)).cast(pl.String).str.zfill(8)
    return kind[0].upper() + numbers


def _draw_times(rng: np.random.Generator, kind: UInt8[ndarray, " event"], names: Names) -> ndarray:
    slots: Float64[ndarray, "kind 2"] = np.array(names.day_slots)
    begin, length = slots[:, 0], slots[:, 1] - slots[:, 0]
    hours = begin[kind] + length[kind] * rng.random(len(kind))
    return (hours * MICROSECONDS_PER_HOUR).astype(np.int64)


def _draw_channels(rng: np.random.Generator, kind: UInt8[ndarray, " event"], names: Names) -> ndarray:
    uniform = rng.random(len(kind), dtype=np.float32)
    channel = np.full(len(kind), len(names.channels), np.uint8)
    for code, shares in names.channel_shares.items():
        at = np.flatnonzero(kind == code)
        ends = np.cumsum(np.array(shares[:-1], np.float32))
        channel[at] = np.searchsorted(ends, uniform[at], side="right")
    return channel


def _named(names: tuple[str, ...], codes: ndarray) -> pl.Series:
    """Return the names of codes; a code beyond the last name is missing."""
    table = pl.Series([*names, None], dtype=pl.String)
    return table.gather(np.minimum(codes, len(names)).astype(np.uint32))


def microseconds_of(day: datetime.date) -> int:
    """Return the start of a day as UTC microseconds."""
    return (day - datetime.date(1970, 1, 1)).days * MICROSECONDS_PER_DAY
