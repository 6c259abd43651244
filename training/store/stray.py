"""Events far away from all others in time: a mistyped date says until when everything is known.

It deliberately leaves nothing out and refuses nothing: it counts, and whoever knows the data decides.
"""

from datetime import timedelta

import numpy as np
from jaxtyping import Int64
from numpy import ndarray

from holdfast.schema import MICROSECONDS_PER_DAY
from training.times import EARLIEST_US, EPOCH, LATEST_US

FEWEST_EVENTS = 100
"""Of fewer it cannot be said what is far away."""

LEAST_GAP_DAYS = 30
TIMES_OTHER_GAPS = 3
"""How much longer than any gap among the others one must be, so that what lies behind it is far away."""

MOST_STRAY = 3
MOST_STRAY_SHARE = 1 / 1_000
"""More events than both are no mistake, but a break in the business."""

_FIRST_DAY, _LAST_DAY = EARLIEST_US // MICROSECONDS_PER_DAY, LATEST_US // MICROSECONDS_PER_DAY


class EventDays:
    """How many events every day has, in UTC."""

    def __init__(self) -> None:
        """Begin without events."""
        self._counts = np.zeros(_LAST_DAY - _FIRST_DAY, dtype=np.int64)

    def add(self, time_us: Int64[ndarray, " event"]) -> None:
        """Count some events; all lie within the years that are taken for times."""
        self._counts += np.bincount(time_us // MICROSECONDS_PER_DAY - _FIRST_DAY, minlength=len(self._counts))

    def notices(self, *, is_start_given: bool, is_end_given: bool) -> dict[str, int]:
        """Return what is to be said of stray events, and how many there are.

        Args:
            is_start_given: Whether ``observed_from`` says where the data begin.
            is_end_given: Whether ``observed_until`` says where they end.
        """
        found = {}
        days = np.flatnonzero(self._counts)
        counts, gaps = self._counts[days], np.diff(days)
        if not is_start_given and (stray := _stray(counts[::-1], gaps[::-1])):
            last = len(days) - 1 - stray
            text = f"events up to {_date(int(days[last]))}, {gaps[last]:,} days before the others"
            found[f"{text}: data count as complete from there on, unless observed_from says otherwise"] = int(
                counts[: last + 1].sum()
            )
        if not is_end_given and (stray := _stray(counts, gaps)):
            text = f"events from {_date(int(days[stray]))} on, {gaps[stray - 1]:,} days after the others"
            found[f"{text}: data count as complete until then, unless observed_until says otherwise"] = int(
                counts[stray:].sum()
            )
        return found


def _stray(counts: Int64[ndarray, " day"], gaps: Int64[ndarray, " gap"]) -> int:
    """Return the first of the last days that are far away from all before, or 0.

    Args:
        counts: Events of every day that has any.
        gaps: Days between one and the next.
    """
    total = int(counts.sum())
    if total < FEWEST_EVENTS:
        return 0
    most = max(MOST_STRAY, int(MOST_STRAY_SHARE * total))
    before = counts.cumsum()[:-1]
    is_among_others = (before > most) & (total - before > most)
    least = max(LEAST_GAP_DAYS, TIMES_OTHER_GAPS * int(gaps[is_among_others].max(initial=0)))
    [places] = np.nonzero((gaps >= least) & (total - before <= most))
    return int(places[0]) + 1 if len(places) else 0


def _date(day: int) -> str:
    return (EPOCH + timedelta(days=day + _FIRST_DAY)).date().isoformat()
