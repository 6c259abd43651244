"""What a data set's own figures say about how to train on it, told at the start of a fit.

It deliberately changes nothing: it says what was settled from the data, and which file of
``conf/experiment`` was made for data of its kind.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from holdfast.histories import search_sorted
from holdfast.schema import MICROSECONDS_PER_DAY
from training.module import OptimiserConfig
from training.task import Readouts, Task

SHORT_SPAN_HORIZONS = 6.0
"""Horizons in front of the test below which data is short: three go to the windows of the splits."""

SHORT_EVENTS = 8
"""Median events per customer up to which a history is short, where the span is."""

RICH_TYPES = 8
"""Event types from which on their order may say something that counts do not."""

DENSE_EVENTS = 200
"""Median events at a cutoff from which on the default length of a history cuts many of them off."""

YEAR_DAYS = 365.25
SEASONAL_YEARS = 3.0
"""Years in front of the test from which on two earlier ones have the same day with a whole window."""

_SAMPLE = 20_000


@dataclass(frozen=True, slots=True, kw_only=True)
class DataFigures:
    """The figures of a data set that choices follow from.

    Attributes:
        num_customers: In the store.
        num_training_customers: Of them, those eligible at one training cutoff or more.
        events: Quantiles of the events that a training cutoff sees before any limit: the 10th,
            50th and 90th of 100.
        num_event_types: Different event types.
        num_fields: Fields of events.
        num_cutoffs: Training cutoffs of all customers.
        num_times: Different instants among them.
        span_days: From the first event to the first test cutoff.
        horizon_days: The longest one.
        max_events: Events of a history that are used, at most.
        share_cut: Share of training cutoffs that see more events than that.
    """

    num_customers: int
    num_training_customers: int
    events: tuple[int, int, int]
    num_event_types: int
    num_fields: int
    num_cutoffs: int
    num_times: int
    span_days: float
    horizon_days: int
    max_events: int
    share_cut: float

    @classmethod
    def of(cls, task: Task, train: Readouts, *, max_events: int) -> "DataFigures":
        """Count what the training cutoffs see.

        Args:
            task: Store and splits.
            train: Its training cutoffs.
            max_events: Of the encoding.
        """
        sample = train.sample(_SAMPLE, np.random.default_rng(0))
        histories = task.histories
        first, last = histories.offsets[sample.customer], histories.offsets[sample.customer + 1]
        seen = search_sorted(histories.occurred_at_us, first, last, sample.cutoff_us) - first
        low, middle, high = (int(value) for value in np.quantile(seen, (0.1, 0.5, 0.9), method="lower"))
        test_us = getattr(task.splits.test.candidates, "times_us", (int(train.cutoff_us.max()),))
        begin_us = int(histories.occurred_at_us.min())
        return cls(
            num_customers=histories.num_customers,
            num_training_customers=len(np.unique(train.customer)),
            events=(low, middle, high),
            num_event_types=len(histories.event_type.dictionary.values),
            num_fields=len(task.schema.fields),
            num_cutoffs=len(train),
            num_times=len(np.unique(train.cutoff_us)),
            span_days=(test_us[0] - begin_us) / MICROSECONDS_PER_DAY,
            horizon_days=task.schema.max_horizon_days,
            max_events=max_events,
            share_cut=float((seen > max_events).mean()),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class WantedSteps:
    """What the data asks for, before any limit.

    Attributes:
        num: Steps.
        reason: Who asks for them, in words.
    """

    num: int
    reason: str


def advice(figures: DataFigures, optimiser: OptimiserConfig, *, wanted: WantedSteps | None) -> Iterator[str]:
    """Yield lines for the log: the figures, what was settled from them, and what they speak for.

    Args:
        figures: Of the data.
        optimiser: The schedule with its number of steps settled.
        wanted: Where that number comes from; None where the configuration set it itself.
    """
    yield (
        f"data: {figures.num_training_customers:,} of {figures.num_customers:,} customers are eligible in "
        f"training, at {figures.num_cutoffs:,} cutoffs on {figures.num_times:,} dates; a cutoff sees "
        f"{figures.events[1]:,} events in the median "
        f"({figures.events[0]:,} to {figures.events[2]:,} in 8 of 10); "
        f"event types: {figures.num_event_types}, fields: {figures.num_fields}; "
        f"{figures.span_days / YEAR_DAYS:.1f} years before the test, "
        f"{figures.span_days / figures.horizon_days:.1f} horizons of {figures.horizon_days} days"
    )
    if wanted is None:
        yield f"set: {optimiser.num_steps:,} steps, whatever the data holds (optimiser.num_steps)"
    else:
        least, most = optimiser.steps_range
        yield (
            f"settled from the data: {optimiser.num_steps:,} steps, because {wanted.reason} "
            f"ask for {wanted.num:,}, and optimiser.steps_range allows {least:,} to {most:,}"
        )
    if figures.share_cut >= 0.01:
        yield (
            f"{figures.share_cut:.0%} of training cutoffs see more than {figures.max_events:,} events, "
            "and the older ones are left out (data.encoding.max_events)"
        )
    kinds = list(suited(figures))
    for name, why in kinds:
        yield f"experiment={name} was made for data of this kind: {why}; try it on validation"
    if not kinds:
        yield "no file of conf/experiment was made for data of this kind: the defaults are"


def suited(figures: DataFigures) -> Iterator[tuple[str, str]]:
    """Yield the experiments that were made for such data, each with the figure that says so."""
    horizons = figures.span_days / figures.horizon_days
    if horizons < SHORT_SPAN_HORIZONS and figures.events[1] <= SHORT_EVENTS:
        span = f"{horizons:.1f} horizons before the test (fewer than {SHORT_SPAN_HORIZONS:g})"
        yield "short", f"{span} and a median of {figures.events[1]} events (at most {SHORT_EVENTS})"
    years = figures.span_days / YEAR_DAYS
    if years >= SEASONAL_YEARS and figures.horizon_days < YEAR_DAYS:
        span = f"{years:.1f} years before the test (at least {SEASONAL_YEARS:g})"
        yield "seasonal", f"{span}, in case the business has a yearly rhythm"
    if figures.num_event_types >= RICH_TYPES:
        yield "rich", f"{figures.num_event_types} event types (at least {RICH_TYPES})"
    if figures.events[1] >= DENSE_EVENTS:
        yield "dense", f"a median of {figures.events[1]} events at a cutoff (at least {DENSE_EVENTS})"
