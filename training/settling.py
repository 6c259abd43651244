"""Choices that a data set makes itself: what the configuration leaves to its training cutoffs.

It deliberately decides from training alone, and says in the log what it decided and why.
"""

import logging
from dataclasses import replace

import numpy as np
from jaxtyping import Int64
from numpy import ndarray

from holdfast.schema import MICROSECONDS_PER_DAY
from training.model import ModelConfig
from training.task import Readouts

MOST_UNSEEN_DAYS = 45
"""Of the year that training cutoffs may leave out in one piece, if seasons are to be learned."""

_YEAR_DAYS = 365.25

_log = logging.getLogger(__name__)


def settled_model(config: ModelConfig, train: Readouts) -> ModelConfig:
    """Decide whether the calendar of the cutoff is learned, where the configuration says ``auto``.

    What is learned of some months is carried on into those that no cutoff has seen. On Online
    Retail II, asked at 2010-12-14 with cutoffs from nine months, the log loss was .83 with the
    calendar and .73 without; asked a window later, with twelve months, .535 and .541.

    Args:
        config: As configured.
        train: The training cutoffs.

    Returns:
        The configuration with ``calendar`` decided.
    """
    if config.calendar != "auto":
        return config
    unseen_days = longest_gap_in_year(train.cutoff_us)
    has_year = unseen_days <= MOST_UNSEEN_DAYS
    decided = "learned" if has_year else "left out"
    _log.info(
        "the calendar of the cutoff is %s: %.0f days of the year lie between two training cutoffs, "
        "and %d may",
        decided,
        unseen_days,
        MOST_UNSEEN_DAYS,
    )
    return replace(config, calendar="output" if has_year else "none")


def longest_gap_in_year(times_us: Int64[ndarray, " time"]) -> float:
    """Return the most days of the year, laid out as a circle, in which none of the times lies.

    Args:
        times_us: At least one time, in UTC microseconds.
    """
    days = np.unique(np.floor(np.unique(times_us) / MICROSECONDS_PER_DAY) % _YEAR_DAYS)
    return float(np.diff(days, append=days[0] + _YEAR_DAYS).max())
