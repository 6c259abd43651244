"""Parts of requests, and what several of them that were encoded in one go have become.

It deliberately knows neither queue nor workers: whoever calls holds the lock.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import accumulate

import numpy as np
from jaxtyping import Int64, Shaped
from numpy import ndarray

from holdfast.errors import HistoryError
from serving.asking import Asked
from serving.outputs import RowOf, RowsOf
from serving.predictor import Predictions, spread


@dataclass(eq=False, slots=True, kw_only=True)
class Part:
    """Some customers that are encoded together and answered together.

    Attributes:
        asked: What is asked about them.
        as_of_us: One cutoff each.
        padded_events: What they will cost, at most.
        sent_events: Their events as they were sent.
        is_large: Whether it belongs to a large request, which gives way to others.
        is_wanted: Says whether anybody still waits for it.
        done: Called once, on a worker, with what went wrong or None. A part that nobody waited for
            any more has neither an error nor predictions.
        predictions: One row per customer, once answered; zeros where there is a fault.
        faults: Why customers could not be scored, by row.
        submitted: When it joined the queue, on the clock of the urgencies.
        read: When it was taken out to be read, by the same clock; 0 before.
        batch: What it is encoded in now; this and what follows is the batcher's own.
        start: Its first row there.
        num_left: How many of its customers wait for their run.
        is_alone: Whether it has failed together with others.
        is_ended: Whether ``done`` has been called, or is about to be.
    """

    asked: Asked
    as_of_us: Int64[ndarray, " customer"]
    padded_events: int
    sent_events: int
    is_large: bool
    is_wanted: Callable[[], bool]
    done: Callable[["Part", Exception | None], None]
    predictions: Predictions | None = None
    faults: dict[int, HistoryError] = field(default_factory=dict)
    submitted: float = 0.0
    read: float = 0.0
    batch: "Batch | None" = None
    start: int = 0
    num_left: int = 0
    is_alone: bool = False
    is_ended: bool = False


@dataclass(eq=False, slots=True, kw_only=True)
class Batch:
    """Parts that were encoded in one go; their customers are its rows.

    Attributes:
        parts: In order.
        owner: The part of every row.
        row_of: The row of every segment.
        noticed: What was noticed about their events, by name, one per row.
        found: Outputs by name of the runs that are done.
        place: Of every row, which of these runs it was in and where; None where it has not been run.
    """

    parts: Sequence[Part]
    owner: Sequence[int]
    row_of: Int64[ndarray, " segment"]
    noticed: Mapping[str, Shaped[ndarray, " row"]]
    found: list[Mapping[str, Shaped[ndarray, "batch ..."]]] = field(default_factory=list)
    place: list[tuple[int, int] | None] = field(default_factory=list)

    def keep(self, found: Mapping[str, Shaped[ndarray, "batch ..."]], rows: Sequence[int]) -> None:
        """Keep what a run gave about some rows."""
        number = len(self.found)
        self.found.append(found)
        for place, row in enumerate(rows):
            self.place[row] = number, place

    def predictions(self, part: Part) -> Predictions:
        """Return what is known of a part; customers at fault are zeros."""
        rows = slice(part.start, part.start + len(part.as_of_us))
        return Predictions(
            outputs=self._outputs(self.place[rows]),
            **{name: values[rows] for name, values in self.noticed.items()},
        )

    def _outputs(self, places: Sequence[tuple[int, int] | None]) -> Mapping[str, ndarray]:
        scored = [place for place in places if place is not None]
        if not scored:
            return {}
        numbers = sorted({number for number, _ in scored})
        if len(places) == 1:
            return RowOf(self.found[numbers[0]], scored[0][1])
        runs = [self.found[number] for number in numbers]
        sizes = [len(next(iter(found.values()))) for found in runs]
        first = dict(zip(numbers, accumulate([0, *sizes[:-1]]), strict=True))
        outputs = RowsOf(runs, np.array([first[number] + row for number, row in scored]))
        if len(scored) == len(places):
            return outputs
        rows = np.array([row for row, place in enumerate(places) if place is not None])
        return {name: spread(values, rows, num=len(places)) for name, values in outputs.items()}
