"""A request on its way: what is asked, who waits for it, until when, and what its answer is written from.

It deliberately knows neither the queue nor the model.
"""

import asyncio
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Generic, NamedTuple, TypeVar

from jaxtyping import Int64
from numpy import ndarray

from serving.artifact import Artifact
from serving.asking import Asked
from serving.batch import Part
from serving.recording import Noticed
from serving.scored import Scored, noticed_in, scored_of

T = TypeVar("T")


class Question(NamedTuple, Generic[T]):
    """What is asked, whoever answers it.

    Attributes:
        asked: About whom.
        as_of_us: One plausible cutoff each, UTC microseconds.
        writing: Returns what makes the answer of what a model has scored.
        deadline: When nobody waits any more, by the monotonic clock.
        customer_id: Of the first customer, which says whether a candidate may answer; None where it may not.
    """

    asked: Asked
    as_of_us: Int64[ndarray, " customer"]
    writing: Callable[[Artifact], Callable[[Scored], T]]
    deadline: float
    customer_id: bytes | None


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
