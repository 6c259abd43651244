"""What a process notices about a candidate beside the version that is served, as plain numbers.

It deliberately judges nothing, and counts only while there is a candidate: all of it speaks of the same time.
Everything is recorded on the event loop.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping, MutableMapping, Sequence

from serving.comparing import BOUNDS, Compared
from serving.recording import SECONDS_BOUNDS, SEPARATOR, Family, Histogram, Noticed, Number


class TrialRecorder:
    """Counts who answered what, and how far the answers lie apart."""

    def __init__(self) -> None:
        """Begin with nothing."""
        self._requests: defaultdict[str, int] = defaultdict(int)
        self._customers: defaultdict[str, int] = defaultdict(int)
        self._seconds: dict[str, Histogram] = {}
        self._failures: defaultdict[str, int] = defaultdict(int)
        self._dropped: defaultdict[str, int] = defaultdict(int)
        self._sums: defaultdict[str, float] = defaultdict(float)
        self._differences: dict[str, dict[str, list[Number]]] = {kind: {} for kind in BOUNDS}

    def answered(self, role: str, version: str, noticed: Noticed, *, seconds: float) -> None:
        """Count a call that was scored.

        Args:
            role: What the version was there for: ``served`` or ``candidate``.
            version: Which one it was.
            noticed: What was noticed about the customers.
            seconds: From when it was asked to when it had answered.
        """
        labels = f"{role}{SEPARATOR}{version}"
        self._requests[labels] += 1
        for status, num in (("scored", noticed.num_scored), ("fault", noticed.num_faults)):
            self._customers[f"{labels}{SEPARATOR}{status}"] += num
        histogram = self._seconds.get(labels)
        if histogram is None:
            histogram = self._seconds[labels] = Histogram(SECONDS_BOUNDS)
        histogram.add(seconds)

    def failed(self, version: str, reason: str) -> None:
        """Count a call that a candidate could not answer, by version and reason."""
        self._failures[f"{version}{SEPARATOR}{reason}"] += 1

    def dropped(self, reason: str) -> None:
        """Count a call that a shadow was not asked, by reason."""
        self._dropped[reason] += 1

    def compared(self, version: str, found: Iterable[Compared]) -> None:
        """Count how far a candidate's answers about some customers lie from those of the version served."""
        for one in found:
            labels = f"{one.target}{SEPARATOR}{version}"
            _add(self._differences[one.kind], labels, one.numbers)
            for role, total in (("served", one.served), ("candidate", one.candidate)):
                self._sums[f"{role}{SEPARATOR}{labels}"] += total

    def totals(self) -> Mapping[str, Family]:
        """Return everything that was counted."""
        return {
            "role_requests": dict(self._requests),
            "role_customers": dict(self._customers),
            "role_seconds": {labels: found.numbers() for labels, found in self._seconds.items()},
            "candidate_failures": dict(self._failures),
            "shadow_dropped": dict(self._dropped),
            "shadow_expected": dict(self._sums),
            **{f"shadow_{kind}": dict(found) for kind, found in self._differences.items()},
        }


def _add(into: MutableMapping[str, list[Number]], labels: str, numbers: Sequence[Number]) -> None:
    former = into.get(labels, [0] * len(numbers))
    into[labels] = [one + other for one, other in zip(former, numbers, strict=True)]
