"""What is noted of a call that is traced, while it lasts.

It deliberately knows neither gRPC nor OpenTelemetry: :mod:`serving.tracing` makes spans of it. Numbers and
the model's name are told, and never who a customer is nor what a history holds.
"""

import time
from collections.abc import Sequence
from contextvars import ContextVar

from serving.batch import Part


class Trace:
    """What one call tells: attributes, and phases from when to when, by the monotonic clock."""

    __slots__ = ("attributes", "phases")

    def __init__(self) -> None:
        """Begin with nothing."""
        self.attributes: dict[str, str | int] = {}
        self.phases: list[tuple[str, float, float]] = []

    def asked(self, model: str, version: str, *, num_events: Sequence[int]) -> None:
        """Note which model answers, and about how much.

        Args:
            model: Its name.
            version: Its version.
            num_events: Events of every customer.
        """
        self.attributes |= {"holdfast.model": model, "holdfast.model_version": version}
        self.attributes |= {"holdfast.customers": len(num_events), "holdfast.events": sum(num_events)}

    def ended(self, parts: Sequence[Part]) -> None:
        """Note when the parts of a call were queued and read: the rest of the time they were scored."""
        now = time.monotonic()
        read = [part.read for part in parts if part.read]
        submitted = min((part.submitted for part in parts), default=now)
        self.phases.append(("queue", submitted, min(read, default=now)))
        if read:
            self.phases.append(("score", min(read), now))


CURRENT: ContextVar[Trace | None] = ContextVar("trace", default=None)
"""Of the call that is answered; None where it is not traced."""
