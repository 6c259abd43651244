"""What buy-till-you-die models read of a history: how often, since when and for how much was bought.

It deliberately sees nothing but the events of :mod:`holdfast.encoding.windows`, as every other
model does.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float64, Int64
from numpy import ndarray

from holdfast.encoding import Cutoffs, EncodingSpec
from holdfast.encoding.windows import windows_of
from holdfast.histories import Histories, ragged_range
from holdfast.schema import MICROSECONDS_PER_DAY, Target

DAYS_PER_WEEK = 7.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Purchases:
    """The purchases of some readouts; several within one day of UTC are one.

    Time is counted from a history's first purchase, in weeks as the literature does. A history
    without any counts from its first event, so that everybody gets an answer.

    Attributes:
        num_repeat: Purchases after the first one, ``x``.
        last_weeks: Time of the last one, ``t_x``; 0 where there is no repeat purchase.
        tenure_weeks: Time of the cutoff, ``T``.
        has_any: Whether there is a purchase at all.
    """

    num_repeat: Float64[ndarray, " readout"]
    last_weeks: Float64[ndarray, " readout"]
    tenure_weeks: Float64[ndarray, " readout"]
    has_any: Bool[ndarray, " readout"]

    def __len__(self) -> int:
        """Return the number of readouts."""
        return len(self.num_repeat)

    def take(self, rows: ndarray) -> "Purchases":
        """Return some readouts (positions or a mask)."""
        return Purchases(
            num_repeat=self.num_repeat[rows],
            last_weeks=self.last_weeks[rows],
            tenure_weeks=self.tenure_weeks[rows],
            has_any=self.has_any[rows],
        )


def purchases_of(
    histories: Histories,
    spec: EncodingSpec,
    target: Target,
    *,
    customer: Int64[ndarray, " readout"],
    cutoff_us: Int64[ndarray, " readout"],
) -> Purchases:
    """Summarise the events that a target awaits.

    Args:
        histories: All customers.
        spec: The encoding, for the limits of a history.
        target: Its event types are the purchases; none means every event.
        customer: Of every readout.
        cutoff_us: Of every readout.
    """
    windows = windows_of(
        histories,
        Cutoffs.one_each(customer, cutoff_us),
        max_events=spec.max_events,
        history_days=spec.history_days,
    )
    time_us, readout = _matching(histories, windows.start, windows.end, target)
    num = len(customer)
    # Events come in order of time within a readout, so a new day is a change of day or of readout.
    is_new = np.ones(len(time_us), dtype=bool)
    is_new[1:] = (np.diff(time_us // MICROSECONDS_PER_DAY) != 0) | (np.diff(readout) != 0)
    time_us, readout = time_us[is_new], readout[is_new]
    count = np.bincount(readout, minlength=num)
    end = np.cumsum(count)
    has_any = count > 0
    has_events = windows.end > windows.start
    first_us, last_us = cutoff_us.copy(), cutoff_us.copy()
    first_us[has_events] = histories.occurred_at_us[windows.start[has_events]]
    first_us[has_any] = time_us[(end - count)[has_any]]
    last_us[has_any] = time_us[(end - 1)[has_any]]
    weeks = DAYS_PER_WEEK * MICROSECONDS_PER_DAY
    return Purchases(
        num_repeat=np.maximum(count - 1.0, 0.0),
        last_weeks=np.where(has_any, last_us - first_us, 0) / weeks,
        tenure_weeks=(cutoff_us - first_us) / weeks,
        has_any=has_any,
    )


def mean_values(
    histories: Histories,
    spec: EncodingSpec,
    target: Target,
    purchases: Purchases,
    *,
    customer: Int64[ndarray, " readout"],
    cutoff_us: Int64[ndarray, " readout"],
) -> Float64[ndarray, " readout"]:
    """Return what a purchase of every readout brought on average.

    Args:
        histories: All customers.
        spec: The encoding, for the limits of a history.
        target: An amount; its events beside purchases, such as returns, lower the mean.
        purchases: Of the same readouts.
        customer: Of every readout.
        cutoff_us: Of every readout.

    Returns:
        Amounts of 0 or more; 0 where nothing was bought.
    """
    assert target.field is not None, "an amount has a field"
    windows = windows_of(
        histories,
        Cutoffs.one_each(customer, cutoff_us),
        max_events=spec.max_events,
        history_days=spec.history_days,
    )
    rows, readout = _matching_rows(histories, windows.start, windows.end, target)
    value = np.nan_to_num(histories.numeric[target.field][rows].astype(np.float64), nan=0.0)
    total = np.bincount(readout, weights=value, minlength=len(customer))
    mean: ndarray = np.where(purchases.has_any, np.maximum(total, 0.0) / (purchases.num_repeat + 1.0), 0.0)
    return mean


def _matching(
    histories: Histories, start: ndarray, end: ndarray, target: Target
) -> tuple[Int64[ndarray, " match"], Int64[ndarray, " match"]]:
    rows, readout = _matching_rows(histories, start, end, target)
    return histories.occurred_at_us[rows], readout


def _matching_rows(
    histories: Histories, start: ndarray, end: ndarray, target: Target
) -> tuple[Int64[ndarray, " match"], Int64[ndarray, " match"]]:
    """Return the rows of a target's events, and the readout that each belongs to."""
    rows, offsets = ragged_range(start, end)
    readout = np.repeat(np.arange(len(start), dtype=np.int64), np.diff(offsets))
    if not target.event_types:
        return rows, readout
    known = histories.event_type.dictionary.values
    wanted = np.array([value in target.event_types for value in known], dtype=bool)
    is_match = wanted[histories.event_type.codes[rows]] if len(known) else np.zeros(len(rows), dtype=bool)
    return rows[is_match], readout[is_match]
