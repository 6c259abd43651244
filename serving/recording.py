"""What a process notices about its work, as plain numbers that can be added up over processes.

It deliberately knows neither Prometheus nor gRPC: see :mod:`serving.exposition` for what is shown.
To record must cost microseconds: a histogram is a list of counts, and nothing is computed before
somebody looks.
"""

from bisect import bisect_left
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple, TypeAlias

SECONDS_BOUNDS = (
    *(0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05),
    *(0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0),
)
CUSTOMER_BOUNDS = (1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0, 512.0, 1_024.0)
EVENT_BOUNDS = (8.0, 16.0, 32.0, 64.0, 128.0, 256.0, 512.0, 1_024.0, 2_048.0, 4_096.0)

SEPARATOR = "\t"
"""Between the labels of a key."""

Number: TypeAlias = int | float
Family: TypeAlias = Mapping[str, Number | Sequence[Number]]
"""Values by labels: one number, or a histogram's counts and, behind them, the sum of what was counted."""

Snapshot: TypeAlias = Mapping[str, Mapping[str, Family]]
"""Families by name: ``totals`` only ever grow, ``states`` are how things stand now."""

EMPTY: Snapshot = {"totals": {}, "states": {}}


class Histogram:
    """How many values lie up to each bound, and their sum."""

    __slots__ = ("_bounds", "_counts", "_sum")

    def __init__(self, bounds: Sequence[float]) -> None:
        """Count nothing yet; the last count is of what exceeds every bound."""
        self._bounds = bounds
        self._counts = [0] * (len(bounds) + 1)
        self._sum = 0.0

    def add(self, value: float) -> None:
        """Count a value."""
        self._counts[bisect_left(self._bounds, value)] += 1
        self._sum += value

    def numbers(self) -> Sequence[Number]:
        """Return the counts, then the sum."""
        return [*self._counts, self._sum]


class Noticed(NamedTuple):
    """What was noticed about the customers of an answer.

    Attributes:
        num_scored: Customers with predictions.
        num_faults: Customers with a fault of their own.
        num_used: Events that the predictions rest on; likewise the others.
        num_truncated: Older or more than the model takes.
        num_after: After the cutoff.
        num_unknown: With a value that training never saw.
    """

    num_scored: int
    num_faults: int
    num_used: int
    num_truncated: int
    num_after: int
    num_unknown: int


class Recorder:
    """Counts what happens.

    Calls and answers are recorded on the event loop alone, waits and runs by workers under the
    batcher's lock: nothing here is locked by itself.
    """

    def __init__(self) -> None:
        """Begin with nothing."""
        self._calls: defaultdict[str, int] = defaultdict(int)
        self._seconds: dict[str, Histogram] = {}
        self._refusals: defaultdict[str, int] = defaultdict(int)
        self._versions: defaultdict[str, int] = defaultdict(int)
        self._candidates: defaultdict[str, int] = defaultdict(int)
        self._customers = {"scored": 0, "fault": 0}
        self._events = {"used": 0, "truncated": 0, "after": 0, "unknown": 0}
        self._wait = Histogram(SECONDS_BOUNDS)
        self._run_seconds = Histogram(SECONDS_BOUNDS)
        self._run_customers = Histogram(CUSTOMER_BOUNDS)
        self._run_events = Histogram(EVENT_BOUNDS)

    def called(self, service: str, code: str, *, seconds: float) -> None:
        """Count a call that has ended.

        Args:
            service: Which service was called.
            code: The status that it ended with.
            seconds: From when it was read to when it ended.
        """
        self._calls[f"{service}{SEPARATOR}{code}"] += 1
        histogram = self._seconds.get(service)
        if histogram is None:
            histogram = self._seconds[service] = Histogram(SECONDS_BOUNDS)
        histogram.add(seconds)

    def refused(self, reason: str) -> None:
        """Count a call that was not answered, by reason."""
        self._refusals[reason] += 1

    def found_version(self, outcome: str) -> None:
        """Count another version of the model that was found while serving: served, or refused."""
        self._versions[outcome] += 1

    def found_candidate(self, outcome: str) -> None:
        """Count what became of a candidate: taken, refused, or gone."""
        self._candidates[outcome] += 1

    def answered(self, noticed: Noticed) -> None:
        """Count the customers of an answer."""
        self._customers["scored"] += noticed.num_scored
        self._customers["fault"] += noticed.num_faults
        events = self._events
        events["used"] += noticed.num_used
        events["truncated"] += noticed.num_truncated
        events["after"] += noticed.num_after
        events["unknown"] += noticed.num_unknown

    def waited(self, seconds: float) -> None:
        """Count how long a part of a request waited until it was read."""
        self._wait.add(seconds)

    def ran(self, *, customers: int, padded_events: int, seconds: float) -> None:
        """Count a run of the graph."""
        self._run_seconds.add(seconds)
        self._run_customers.add(customers)
        self._run_events.add(padded_events)

    def totals(self) -> Mapping[str, Family]:
        """Return everything that was counted."""
        return {
            "requests": dict(self._calls),
            "request_seconds": {service: found.numbers() for service, found in self._seconds.items()},
            "refusals": dict(self._refusals),
            "versions": dict(self._versions),
            "candidate_versions": dict(self._candidates),
            "customers": dict(self._customers),
            "events": dict(self._events),
            "queue_wait_seconds": {"": self._wait.numbers()},
            "run_seconds": {"": self._run_seconds.numbers()},
            "run_customers": {"": self._run_customers.numbers()},
            "run_padded_events": {"": self._run_events.numbers()},
        }


def added(snapshots: Iterable[Snapshot]) -> Snapshot:
    """Return the sum of what several processes noticed."""
    total: dict[str, dict[str, dict[str, Number | Sequence[Number]]]] = {"totals": {}, "states": {}}
    for snapshot in snapshots:
        for kind, families in snapshot.items():
            for name, family in families.items():
                into = total[kind].setdefault(name, {})
                for labels, value in family.items():
                    into[labels] = _sum(into[labels], value) if labels in into else value
    return total


def _sum(left: Number | Sequence[Number], right: Number | Sequence[Number]) -> Number | Sequence[Number]:
    if isinstance(left, int | float) and isinstance(right, int | float):
        return left + right
    assert isinstance(left, Sequence)
    assert isinstance(right, Sequence)
    return [one + other for one, other in zip(left, right, strict=True)]
