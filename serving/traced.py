"""What is noted of a call that is traced, while it lasts.

It deliberately knows neither gRPC nor OpenTelemetry: :mod:`serving.tracing` makes spans of it. Numbers and
the model's name are told, and never who a customer is nor what a history holds.
"""

import time
from collections.abc import Sequence
from contextvars import ContextVar
from typing import Any

from serving.batch import Part
from serving.calls import Call
from serving.engine import Engine


class Trace:
    """What one call tells: attributes, and phases from when to when, by the monotonic clock."""

    __slots__ = ("attributes", "phases")

    def __init__(self) -> None:
        """Begin with nothing."""
        self.attributes: dict[str, str | int] = {}
        self.phases: list[tuple[str, float, float]] = []

    async def answered(self, engine: Engine, call: Call) -> Any:
        """Return what a model answers, and note which one it is, about how much, and what took the time.

        Args:
            engine: The model.
            call: Cut into parts and not submitted yet.
        """
        manifest, parts = engine.artifact.manifest, call.parts
        self.attributes |= {"holdfast.model": manifest.name, "holdfast.model_version": manifest.version}
        self.attributes["holdfast.customers"] = sum(len(part.as_of_us) for part in parts)
        self.attributes["holdfast.events"] = sum(part.sent_events for part in parts)
        try:
            return await engine.answered(call)
        finally:
            self._ended(parts)

    def _ended(self, parts: Sequence[Part]) -> None:
        """Note when the parts of a call were queued and read: the rest of the time they were scored."""
        now = time.monotonic()
        read = [part.read for part in parts if part.read]
        submitted = min((part.submitted for part in parts), default=now)
        self.phases.append(("queue", submitted, min(read, default=now)))
        if read:
            self.phases.append(("score", min(read), now))


CURRENT: ContextVar[Trace | None] = ContextVar("trace", default=None)
"""Of the call that is answered; None where it is not traced."""
