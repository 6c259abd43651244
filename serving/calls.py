"""A request on its way: who waits for it, until when, and what its answer is written from.

It deliberately knows neither the queue nor the model.
"""

import asyncio
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from serving.batch import Part
from serving.recording import Noticed
from serving.scored import Scored, noticed_in, scored_of


@dataclass(eq=False, slots=True, kw_only=True)
class Call:
    """A request that waits for its parts.

    Attributes:
        future: What the caller waits for.
        write: Makes the answer of what was scored.
        deadline: When nobody waits any more, by the monotonic clock.
        parts: What it was cut into; none any more once it is answered or given up.
        num_left: Parts that have not ended.
        is_dropped: Whether it is over, whatever its parts still do.
        noticed: About its customers, once the answer is written.
    """

    future: "asyncio.Future[Any]"
    write: Callable[[Scored], Any]
    deadline: float
    parts: Sequence[Part] = field(default_factory=tuple)
    num_left: int = 0
    is_dropped: bool = False
    noticed: Noticed | None = None

    def is_wanted(self) -> bool:
        """Say whether somebody still waits; asked by workers."""
        return not self.is_dropped and time.monotonic() < self.deadline

    def written(self) -> tuple[Any, Exception | None]:
        """Return the answer once all parts have been answered, or why it cannot be written."""
        try:
            scored = scored_of(self.parts)
            self.noticed = noticed_in(scored)
            return self.write(scored), None
        except Exception as error:  # noqa: BLE001 (the caller must hear of it, and the worker live on)
            return None, error
