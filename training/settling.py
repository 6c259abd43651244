"""Choices that a data set makes itself: what the configuration leaves to its training cutoffs.

It deliberately decides from training alone, and says in the log what it decided and why.
"""

import logging
from dataclasses import replace

import numpy as np
from jaxtyping import Int64
from numpy import ndarray

from holdfast.histories import search_sorted
from holdfast.schema import MICROSECONDS_PER_DAY
from training.advice import RICH_TYPES, DataFigures, WantedSteps, advice
from training.fit_config import FitConfig
from training.model import ModelConfig
from training.module import OptimiserConfig
from training.task import Readouts, Task

MOST_UNSEEN_DAYS = 45
"""Of the year that training cutoffs may leave out in one piece, if seasons are to be learned."""

LONG_EVENTS = 50
"""Events that a tenth of training cutoffs must see for a second recurrent layer."""

STEPS_OF_ANY_DATA = 1_000
"""As many steps as different histories ask for are taken up to here, however few customers there are."""

MOST_VISITS = 24
"""Times that a customer is seen, on average, in more steps than that."""

_YEAR_DAYS = 365.25

_log = logging.getLogger(__name__)


def settled_model(config: ModelConfig, task: Task, train: Readouts, *, max_events: int) -> ModelConfig:
    """Decide what the configuration leaves to the data: the calendar of the cutoff, and the layers of a GRU.

    What is learned of some months is carried on into those that no cutoff has seen. On Online
    Retail II, asked at 2010-12-14 with cutoffs from nine months, the log loss was .83 with the
    calendar and .73 without; asked a window later, with twelve months, .535 and .541.

    Args:
        config: As configured.
        task: Store and splits.
        train: The training cutoffs.
        max_events: Of the encoding.

    Returns:
        The configuration with ``calendar`` and ``num_layers`` decided.
    """
    if config.calendar == "auto":
        config = replace(config, calendar="output" if _has_year(train) else "none")
    if config.num_layers is None:
        figures = DataFigures.of(task, train, max_events=max_events)
        config = replace(config, num_layers=2 if _bears_two_layers(figures) else 1)
    return config


def _has_year(train: Readouts) -> bool:
    unseen_days = longest_gap_in_year(train.cutoff_us)
    has_year = unseen_days <= MOST_UNSEEN_DAYS
    _log.info(
        "the calendar of the cutoff is %s: %.0f days of the year lie between two training cutoffs, "
        "and %d may",
        "learned" if has_year else "left out",
        unseen_days,
        MOST_UNSEEN_DAYS,
    )
    return has_year


def _bears_two_layers(figures: DataFigures) -> bool:
    """Say whether there is an order that a second recurrent layer can learn.

    On validation it gained .005 of AUROC on the simulated shop (10 event types, 66 events at the longest
    tenth of cutoffs), and .0005 at most where kinds are few (CDNOW, Online Retail II) or histories short
    (BPI 2012: 24 and 38).
    """
    longest = figures.events[2]
    is_borne = figures.num_event_types >= RICH_TYPES and longest >= LONG_EVENTS
    _log.info(
        "%s: %d event types, and a tenth of training cutoffs see %d events or more; "
        "two layers need %d and %d",
        "two recurrent layers" if is_borne else "one recurrent layer",
        figures.num_event_types,
        longest,
        RICH_TYPES,
        LONG_EVENTS,
    )
    return is_borne


def settled_schedule(task: Task, config: FitConfig, train: Readouts) -> OptimiserConfig:
    """Decide the number of steps from different training histories and from customers, and say so in the log.

    Cutoffs of a customer between which nothing happened show the same history twice, and do not bear more
    passes: CDNOW has ten cutoffs for every event. A history counts as its newest cutoff does. Nor do cutoffs
    of one customer whose windows overlap, which tell the same outcomes several times. On validation of
    the simulated shop, where six windows do, 24 passes over the histories of 10,000 customers were 48 over
    the customers and came to .966 of the best possible AUROC; in fewer steps 32 over 12,000 customers came
    to .974, 24 over 14,000 to .978 and 24 over 16,000 to .976 (one seed each). But a network needs steps to
    learn at all: after 24 over 3,000 customers, 281 steps, the validation loss was still falling. Fewer than
    2,000, of whom 24 passes are fewer steps than the least of others, need no more than these, unless their
    histories ask for more: on validation of four data sets that was better (docs/comparison.md).
    """
    num_histories = _num_histories(task, train)
    per_customer = np.unique(train.customer, return_counts=True)[1]
    num_customers = round(len(per_customer) / task.asked_share)
    pool = min(config.batching.pool_customers, len(per_customer))
    mean = np.minimum(per_customer, config.batching.readouts_per_customer).mean()
    readouts_per_step = float(mean) * pool
    optimiser = config.optimiser
    wanted = WantedSteps(
        num=round(optimiser.passes * num_histories / max(readouts_per_step, 1.0)),
        reason=f"{optimiser.passes:g} passes over the different histories of training",
    )
    visits = max(1, round(MOST_VISITS * num_customers / pool))
    least, most = optimiser.steps_range
    if max(visits, wanted.num) < least and optimiser.num_steps is None:
        line = "few customers: at least %d steps, %d passes over them, not the %d of optimiser.steps_range"
        _log.info(line, visits, MOST_VISITS, least)
        optimiser = replace(optimiser, steps_range=(visits, most))
    borne = max(STEPS_OF_ANY_DATA, visits)
    if borne < wanted.num:
        reason = (
            f"{MOST_VISITS} passes over the customers of training, and at least {STEPS_OF_ANY_DATA:,} steps,"
        )
        wanted = WantedSteps(num=borne, reason=reason)
    settled = optimiser.settled(wanted_steps=wanted.num)
    assert settled.num_steps is not None
    _log.info(
        "%d steps of %.0f cutoffs of %d customers; training has %d cutoffs of %d customers, which show %d "
        "different histories",
        settled.num_steps,
        readouts_per_step,
        pool,
        round(len(train) / task.asked_share),
        num_customers,
        num_histories,
    )
    figures = DataFigures.of(task, train, max_events=config.encoding.max_events)
    for line in advice(figures, settled, wanted=wanted if optimiser.num_steps is None else None):
        _log.info("%s", line)
    return settled


def _num_histories(task: Task, train: Readouts) -> int:
    """Return how many different histories training shows."""
    histories = task.histories
    first, last = histories.offsets[train.customer], histories.offsets[train.customer + 1]
    ends = search_sorted(histories.occurred_at_us, first, last, train.cutoff_us)
    weights = task.fit_split.weights(train.cutoff_us)
    distinct, which = np.unique(ends, return_inverse=True)
    most = np.zeros(len(distinct), dtype=np.float64)
    np.maximum.at(most, which, weights)
    return round(most.sum() / task.asked_share)


def longest_gap_in_year(times_us: Int64[ndarray, " time"]) -> float:
    """Return the most days of the year, laid out as a circle, in which none of the times lies.

    Args:
        times_us: At least one time, in UTC microseconds.
    """
    days = np.unique(np.floor(np.unique(times_us) / MICROSECONDS_PER_DAY) % _YEAR_DAYS)
    return float(np.diff(days, append=days[0] + _YEAR_DAYS).max())
