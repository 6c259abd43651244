"""What a load says: rates, percentiles of the latency from scheduled times, refusals and errors.

It deliberately sends nothing.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64
from numpy import ndarray

from benchmarks.serving.load import Answer, Record


@dataclass(frozen=True, slots=True, kw_only=True)
class Summary:
    """One load in figures.

    Attributes:
        num_calls: Calls that were due after the warm-up.
        num_refused: Of them, refused by the server.
        num_failed: Of them, ended by another error or never answered.
        seconds: From the end of the warm-up to the last call due; rates are over this time.
        offered_rate: Calls due per second, refused and failed ones too.
        rate: Good answers per second, those to calls of the warm-up too.
        p50_seconds: Median latency, counted from the scheduled time.
        p99_seconds: 99th percentile; a call without a good answer counts as infinitely late.
        late_p99_seconds: 99th percentile of how long after its time the client sent a call: large
            values mean that the client was the bottleneck.
    """

    num_calls: int
    num_refused: int
    num_failed: int
    seconds: float
    offered_rate: float
    rate: float
    p50_seconds: float
    p99_seconds: float
    late_p99_seconds: float

    @property
    def is_clean(self) -> bool:
        """Whether every call got a good answer."""
        return self.num_calls > 0 and not self.num_refused and not self.num_failed


def percentile(values: Float64[ndarray, " value"], share: float) -> float:
    """Return the smallest value that at least a share of the values does not exceed.

    This is the nearest rank: a value that was measured, never one between two. Infinities are values.

    Args:
        values: In any order.
        share: In (0, 1].

    Returns:
        The value; NaN where there is none.
    """
    if not len(values):
        return math.nan
    rank = max(1, math.ceil(round(share * len(values), 9)))
    return float(np.partition(values, rank - 1)[rank - 1])


def summarise(record: Record, *, warm_up_seconds: float, stream: int | None = None) -> Summary:
    """Return a load in figures.

    Args:
        record: What happened.
        warm_up_seconds: Calls that were due before this are left out.
        stream: The stream that is asked about; None for all.

    Returns:
        The figures.
    """
    if stream is not None:
        record = record.take(record.stream == stream)
    taken = record.take(record.scheduled >= warm_up_seconds)
    is_ok = taken.answer == Answer.OK
    latency = np.where(is_ok, taken.finished - taken.scheduled, np.inf)
    last_due = float(taken.scheduled.max(initial=warm_up_seconds))
    seconds = last_due - warm_up_seconds
    # What was begun during the warm-up and answered after it is work of this time; what is answered after
    # the last call is not: with fewer and fewer calls in flight it says nothing about the server.
    came = (record.answer == Answer.OK) & (record.finished >= warm_up_seconds) & (record.finished <= last_due)
    return Summary(
        num_calls=len(latency),
        num_refused=int((taken.answer == Answer.REFUSED).sum()),
        num_failed=int((taken.answer == Answer.FAILED).sum()),
        seconds=seconds,
        offered_rate=len(latency) / seconds if seconds > 0 else math.nan,
        rate=int(came.sum()) / seconds if seconds > 0 else math.nan,
        p50_seconds=percentile(latency, 0.5),
        p99_seconds=percentile(latency, 0.99),
        late_p99_seconds=percentile(taken.started - taken.scheduled, 0.99),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Sustained:
    """The highest rate that kept the bound.

    Attributes:
        rate: Offered calls per second.
        summary: Of the trial at this rate.
    """

    rate: float
    summary: Summary


def keeps(summary: Summary, *, bound_seconds: float) -> bool:
    """Say whether every call was answered well and the 99th percentile kept the bound."""
    return summary.is_clean and summary.p99_seconds <= bound_seconds


def highest_rate(
    trial: Callable[[float], Summary],
    *,
    start: float,
    bound_seconds: float,
    max_trials: int = 8,
    precision: float = 0.04,
) -> Sustained | None:
    """Search for the highest rate whose 99th percentile keeps a bound without one refusal or error.

    From the start it goes up, or down, by a quarter until one rate kept the bound and a higher one did
    not, and halves the distance between them (in the logarithm) from then on.

    Args:
        trial: Offers a rate, in calls per second, and says what happened.
        start: The rate that is tried first.
        bound_seconds: For the 99th percentile of the latency from scheduled times.
        max_trials: No more trials than this.
        precision: Two rates as near as this are the same.

    Returns:
        The best rate that kept the bound; None if none did.
    """
    best: Sustained | None = None
    too_high = math.inf
    rate = start
    for _ in range(max_trials):
        summary = trial(rate)
        if keeps(summary, bound_seconds=bound_seconds):
            best = Sustained(rate=rate, summary=summary)
        else:
            too_high = rate
        if best is None:
            rate = too_high / 1.25
        elif math.isinf(too_high):
            rate = best.rate * 1.25
        elif too_high / best.rate <= 1 + precision:
            break
        else:
            rate = math.sqrt(best.rate * too_high)
    return best
