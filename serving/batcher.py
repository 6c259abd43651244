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

import numpy as np

from holdfast.errors import InputError
from holdfast.results import ELIGIBLE_NAME
from serving.asking import Asked
from serving.batch import Batch, Part
from serving.drift import Drift
from serving.lines import STRETCH, Lines
from serving.pace import Pace
from serving.predictor import PaddedRun, Predictor, spread
from serving.reading import Read
from serving.recording import Family, Recorder

MAX_JOINED_CUSTOMERS = 256
MAX_JOINED_EVENTS = 32_768
"""Most customers, and events as they were sent, that are encoded in one go: some milliseconds."""

MAX_JOINED_PADDED = 16_384
"""Most padded events that may come of them: the more customers there are to choose from, the fuller are
the runs of each length, and the fewer."""

NICENESS = 3
"""How far workers stand behind the event loop."""

_log = logging.getLogger(__name__)


class Batcher:
    """Owns the queue and the workers.

    Attributes:
        recorder: What is told of waits and runs.
    """

    def __init__(
        self,
        predictor: Predictor,
        read: Callable[[Sequence[Asked]], Read],
        *,
        workers: int,
        pace: Pace,
        recorder: Recorder,
        drift: Drift,
        niceness: int = NICENESS,
    ) -> None:
        """Start the workers.

        Args:
            predictor: What scores.
            read: Reads what several parts ask; may raise where one of them is malformed.
            workers: Threads that score.
            pace: What a padded event costs; kept up to date here.
            recorder: What is told of waits and runs, under the lock.
            drift: What is told of the runs' customers, likewise.
            niceness: How far the workers stand behind the event loop.
        """
        self._predictor = predictor
        self._read = read
        self._pace, self.recorder, self._drift = pace, recorder, drift
        self._niceness = niceness
        self._lock = threading.Condition()
        self._lines: Lines[Part, tuple[Batch, PaddedRun]] = Lines()
        self._waiting = {False: 0, True: 0}
        self._is_closed = False
        self._drained: Callable[[], None] | None = None
        self._num_working = workers
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

    def drifted(self) -> Mapping[str, Family]:
        """Return how the customers of late lie in the model's reference."""
        with self._lock:
            return self._drift.states()

    def submit(self, parts: Sequence[Part]) -> None:
        """Queue the parts of a request; each of them ends by a call of its ``done``."""
        urgency = time.monotonic()
        with self._lock:
            is_asked = not self._is_closed and self._drained is None
            assert is_asked, "nobody submits to a batcher that ends"
            submitted = urgency
            for part in parts:
                part.submitted = submitted
                self._waiting[part.is_large] += part.padded_events
                self._lines.add_part(part, urgency=urgency, is_large=part.is_large)
                urgency += STRETCH * self.seconds_for(part.padded_events)
            self._lock.notify(len(parts))

    def drain(self, drained: Callable[[], None]) -> None:
        """Have the workers end once everything that was submitted has ended.

        Args:
            drained: Called then, by the last of them; sooner where the batcher is closed before.
        """
        with self._lock:
            self._drained = drained
            self._lock.notify_all()

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
        _stand_back(self._niceness)
        while (found := self._take()) is not None:
            urgency, taken = found
            if isinstance(taken, tuple):
                self._score(*taken)
            else:
                self._encode(taken, urgency)
        with self._lock:
            self._num_working -= 1
            is_last = not self._num_working
        if is_last and self._drained is not None:
            self._drained()

    def _take(self) -> tuple[float, Sequence[Part] | tuple[Batch, PaddedRun]] | None:
        """Wait for what is next; None where nothing will be."""
        with self._lock:
            while not (self._lines or self._is_closed or self._drained is not None):
                self._lock.wait()
            # Whoever puts more in line is a worker, and looks again.
            if self._is_closed or not self._lines:
                return None
            return self._lines.take(time.monotonic(), join=_Joint())

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
                self.recorder.waited(started - part.submitted)
                part.read = started
            for run in runs:
                self._lines.add_run((batch, run), urgency=urgency, is_large=is_large)
                if is_large:
                    urgency += STRETCH * self.seconds_for(run.padded_events)
            # This worker takes one of them itself.
            self._lock.notify(max(len(runs) - 1, 0))
        for part in unscored:
            self._finish(batch, part)

    def _batch_of(self, parts: Sequence[Part]) -> tuple[Batch, Sequence[PaddedRun]]:
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
        seen = self._predictor.see(read.histories, cutoffs_us)
        runs = list(self._predictor.padded_runs(read.histories, cutoffs_us, seen))
        unknown = [(run.segments, run.num_unknown) for run in runs]
        noticed = self._predictor.observe(read.histories, cutoffs_us, seen, unknown)
        if read.faults:
            noticed = {name: spread(values, read.rows, num=len(owner)) for name, values in noticed.items()}
        batch = Batch(parts=parts, owner=owner, row_of=read.rows, noticed=noticed, place=[None] * len(owner))
        for part in parts:
            part.batch = batch
        return batch, runs

    def _score(self, batch: Batch, run: PaddedRun) -> None:
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
            self.recorder.ran(customers=len(rows), padded_events=run.padded_events, seconds=now - started)
            self._drift.ran(run.inputs, found, batch.noticed[ELIGIBLE_NAME][rows])
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

    def _finish(self, batch: Batch, part: Part) -> None:
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
            # The batch knows its parts: what is answered goes at once, not when cycles are collected.
            part.batch = None
        part.done(part, error)


def _stand_back(niceness: int) -> None:
    """Let the event loop go first where both want the same core.

    The more requests it reads before a worker goes on, the more of them share the cost of a batch. Only
    Linux has a priority for every thread.
    """
    if sys.platform == "linux":
        with suppress(OSError):
            thread = threading.get_native_id()
            os.setpriority(os.PRIO_PROCESS, thread, os.getpriority(os.PRIO_PROCESS, thread) + niceness)


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
