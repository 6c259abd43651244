"""The queue of what is to be scored, and the workers that score it: one owner for both.

It deliberately does not know gRPC or asyncio: parts of requests come in, each of them ends
exactly once, and whoever brought it is told.

A worker that is free takes at once what is next (:mod:`serving.lines`). Requests that wait are
encoded together, since encoding has a high fixed cost and a low one per customer; what was encoded
is put into runs by length; and runs are taken one by one, so that nobody waits for longer than one.
"""

import logging
import os
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import accumulate

import numpy as np
from jaxtyping import Int64, Shaped
from numpy import ndarray

from holdfast.errors import HistoryError, InputError
from serving.asking import Asked
from serving.lines import STRETCH, Lines
from serving.pace import Pace
from serving.predictor import PaddedRun, Predictions, Predictor, RowOf, gathered, spread
from serving.reading import Read
from serving.recording import Recorder

MAX_JOINED_CUSTOMERS = 256
MAX_JOINED_EVENTS = 32_768
"""Most customers, and events as they were sent, that are encoded in one go: some milliseconds."""

MAX_JOINED_PADDED = 8_192
"""Most padded events that may come of them."""

NICENESS = 3
"""How far workers stand behind the event loop."""

_log = logging.getLogger(__name__)


@dataclass(eq=False, slots=True, kw_only=True)
class Part:
    """Some customers that are encoded together and answered together.

    Attributes:
        asked: What is asked about them.
        as_of_us: One cutoff each.
        padded_events: What they will cost, at most.
        sent_events: Their events as they were sent.
        is_large: Whether it belongs to a request of more than a run's size.
        is_wanted: Says whether anybody still waits for it.
        done: Called once, on a worker, with what went wrong or None. A part that nobody waited for
            any more has neither an error nor predictions.
        predictions: One row per customer, once answered; zeros where there is a fault.
        faults: Why customers could not be scored, by row.
        submitted: When it joined the queue, on the clock of the urgencies.
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
    batch: "_Batch | None" = None
    start: int = 0
    num_left: int = 0
    is_alone: bool = False
    is_ended: bool = False


@dataclass(eq=False, slots=True, kw_only=True)
class _Batch:
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
        outputs = gathered(runs, np.array([first[number] + row for number, row in scored]))
        if len(scored) == len(places):
            return outputs
        rows = np.array([row for row, place in enumerate(places) if place is not None])
        return {name: spread(values, rows, num=len(places)) for name, values in outputs.items()}


class Batcher:
    """Owns the queue and the workers."""

    def __init__(
        self,
        predictor: Predictor,
        read: Callable[[Sequence[Asked]], Read],
        *,
        workers: int,
        pace: Pace,
        recorder: Recorder,
    ) -> None:
        """Start the workers.

        Args:
            predictor: What scores.
            read: Reads what several parts ask; may raise where one of them is malformed.
            workers: Threads that score.
            pace: What a padded event costs; kept up to date here.
            recorder: What is told of waits and runs, under the lock.
        """
        self._predictor = predictor
        self._read = read
        self._pace, self._recorder = pace, recorder
        self._lock = threading.Condition()
        self._lines: Lines[Part, tuple[_Batch, PaddedRun]] = Lines()
        self._waiting = {False: 0, True: 0}
        self._is_closed = False
        self._threads = [
            threading.Thread(target=self._work, name=f"score-{number}", daemon=True)
            for number in range(workers)
        ]
        for thread in self._threads:
            thread.start()

    @property
    def waiting_events(self) -> int:
        """Padded events of everything that has not been answered yet."""
        return self._waiting[False] + self._waiting[True]

    def seconds_for(self, padded_events: int) -> float:
        """Return how long all workers together need for so much, as far as the pace tells."""
        return padded_events * self._pace.seconds_per_event / len(self._threads)

    def wait_seconds(self, *, is_large: bool) -> float:
        """Return how long a new part would wait for a worker."""
        ahead, large = self._waiting[False], self._waiting[True]
        # Before a small part only the share of large ones is taken.
        return self.seconds_for(ahead + (large if is_large else min(large, int(ahead / STRETCH))))

    def submit(self, parts: Sequence[Part]) -> None:
        """Queue the parts of a request; each of them ends by a call of its ``done``."""
        urgency = time.monotonic()
        with self._lock:
            assert not self._is_closed, "nobody submits to a closed batcher"
            submitted = urgency
            for part in parts:
                part.submitted = submitted
                self._waiting[part.is_large] += part.padded_events
                self._lines.add_part(part, urgency=urgency, is_large=part.is_large)
                urgency += STRETCH * self.seconds_for(part.padded_events)
            self._lock.notify(len(parts))

    def close(self, error: Exception) -> None:
        """Wait for the workers to end what they do, and end with an error whatever still waits."""
        with self._lock:
            self._is_closed = True
            self._lock.notify_all()
        for thread in self._threads:
            thread.join()
        parts, runs = self._lines.clear()
        for part in (*parts, *(part for batch, _ in runs for part in batch.parts)):
            self._end(part, error)

    def _work(self) -> None:
        _stand_back()
        while True:
            with self._lock:
                while not (self._lines or self._is_closed):
                    self._lock.wait()
                if self._is_closed:
                    return
                urgency, taken = self._lines.take(time.monotonic(), join=_Joint())
            if isinstance(taken, tuple):
                self._score(*taken)
            else:
                self._encode(taken, urgency)

    def _encode(self, taken: Sequence[Part], urgency: float) -> None:
        """Encode parts in one go and queue their runs."""
        started = time.monotonic()
        parts = [part for part in taken if self._is_needed(part)]
        if not parts:
            return
        try:
            batch, runs = self._batch_of(parts)
        except Exception as error:  # noqa: BLE001 (whatever it was, it ends here and the worker lives on)
            self._fail(parts, error)
            return
        is_large = parts[0].is_large
        # Nobody of them can be scored, so that no run would end them.
        unscored = [part for part in parts if not part.num_left]
        with self._lock:
            self._pace.add(seconds=time.monotonic() - started, events=0)
            for part in parts:
                self._recorder.waited(started - part.submitted)
            for run in runs:
                self._lines.add_run((batch, run), urgency=urgency, is_large=is_large)
                if is_large:
                    urgency += STRETCH * self.seconds_for(run.padded_events)
            # This worker takes one of them itself.
            self._lock.notify(max(len(runs) - 1, 0))
        for part in unscored:
            self._finish(batch, part)

    def _batch_of(self, parts: Sequence[Part]) -> tuple[_Batch, Sequence[PaddedRun]]:
        """Read, encode and pad some parts."""
        read = self._read([part.asked for part in parts])
        as_of_us = np.concatenate([part.as_of_us for part in parts])
        owner: list[int] = []
        for number, part in enumerate(parts):
            part.start, part.num_left, part.faults = len(owner), len(part.as_of_us), {}
            owner += [number] * part.num_left
        for row, error in read.faults.items():
            part = parts[owner[row]]
            part.num_left -= 1
            part.faults[row - part.start] = error
        cutoffs_us = as_of_us[read.rows]
        encoded = self._predictor.encode(read.histories, cutoffs_us)
        runs = list(self._predictor.padded_runs(encoded))
        noticed = self._predictor.observe(encoded, read.histories, cutoffs_us)
        if read.faults:
            noticed = {name: spread(values, read.rows, num=len(owner)) for name, values in noticed.items()}
        batch = _Batch(parts=parts, owner=owner, row_of=read.rows, noticed=noticed, place=[None] * len(owner))
        for part in parts:
            part.batch = batch
        return batch, runs

    def _score(self, batch: _Batch, run: PaddedRun) -> None:
        """Send a run through the graph and end the parts that it completes."""
        started = time.monotonic()
        rows = batch.row_of[run.segments].tolist()
        parts = [batch.parts[batch.owner[row]] for row in rows]
        kept = [place for place, part in enumerate(parts) if part.batch is batch and self._is_needed(part)]
        if len(kept) < len(parts):
            run = run.only(kept)
            rows, parts = [rows[place] for place in kept], [parts[place] for place in kept]
        if not parts:
            return
        try:
            found = self._predictor.run(run, self._predictor.output_names)
        except Exception as error:  # noqa: BLE001 (whatever it was, it ends here and the worker lives on)
            self._fail(list(dict.fromkeys(parts)), error)
            return
        now = time.monotonic()
        finished = []
        with self._lock:
            batch.keep(found, rows)
            self._pace.add(seconds=now - started, events=run.padded_events)
            self._recorder.ran(customers=len(rows), padded_events=run.padded_events, seconds=now - started)
            if parts[0].is_large:
                self._lines.claim(now, seconds=(now - started) / len(self._threads))
            for part in parts:
                # It is another batch's where it is being tried again.
                if part.batch is batch:
                    part.num_left -= 1
                    if not part.num_left:
                        finished.append(part)
        for part in finished:
            self._finish(batch, part)

    def _is_needed(self, part: Part) -> bool:
        """Say whether somebody waits for a part; where nobody does any more, it ends here."""
        if not part.is_ended and not part.is_wanted():
            self._end(part, None)
        return not part.is_ended

    def _finish(self, batch: _Batch, part: Part) -> None:
        """End a part whose customers have all been answered or found at fault."""
        part.predictions = batch.predictions(part)
        self._end(part, None)

    def _fail(self, parts: Sequence[Part], error: Exception) -> None:
        """End a part that failed alone; parts that failed together are tried once more, each alone."""
        if len(parts) == 1:
            self._end(parts[0], error)
            return
        if not isinstance(error, InputError):
            _log.warning("a batch failed: its parts are tried one by one", exc_info=error)
        with self._lock:
            for part in parts:
                part.batch, part.is_alone = None, True
                self._lines.add_part(part, urgency=time.monotonic(), is_large=part.is_large)
            self._lock.notify(len(parts))

    def _end(self, part: Part, error: Exception | None) -> None:
        with self._lock:
            if part.is_ended:
                return
            part.is_ended = True
            self._waiting[part.is_large] -= part.padded_events
        part.done(part, error)


def _stand_back() -> None:
    """Let the event loop go first where both want the same core.

    The more requests it reads before a worker goes on, the more of them share the cost of a batch. Only
    Linux has a priority for every thread.
    """
    if sys.platform == "linux":
        with suppress(OSError):
            thread = threading.get_native_id()
            os.setpriority(os.PRIO_PROCESS, thread, os.getpriority(os.PRIO_PROCESS, thread) + NICENESS)


class _Joint:
    """Says, part after part, whether one more is encoded with those before it; the first always is."""

    def __init__(self) -> None:
        self._events_left = MAX_JOINED_EVENTS
        self._customers_left = MAX_JOINED_CUSTOMERS
        self._padded_left = MAX_JOINED_PADDED
        self._is_open = True

    def __call__(self, part: Part, *, is_first: bool) -> bool:
        self._events_left -= part.sent_events
        self._customers_left -= len(part.as_of_us)
        self._padded_left -= part.padded_events
        is_within = min(self._events_left, self._customers_left, self._padded_left) >= 0
        joins = is_first or (self._is_open and is_within and not part.is_alone)
        self._is_open = joins and not part.is_alone
        return joins
