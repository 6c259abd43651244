"""What scoring takes beside time: events computed for padding alone, and memory that stays.

It deliberately times nothing.
"""

import math
import time
from typing import Any

import numpy as np
import onnxruntime as ort

from benchmarks.results import Figure
from benchmarks.serving.bench import BATCH, SEED, Bench
from benchmarks.serving.clients import ClosedPlan
from benchmarks.serving.goals import at_most, shown
from benchmarks.serving.workload import make_workload
from holdfast.manifest import MODEL_NAME
from serving.predictor import Predictor, open_session

WARM_SHARE = 0.05
"""Of the requests over which memory must stay flat: after them it is what a warm server holds."""
MEBIBYTE = 2**20


def padding_figures(bench: Bench) -> list[Figure]:
    """Count how many events the server's predictor computes for one that is there."""
    session = _CountingSession(open_session((bench.model.artifact / MODEL_NAME).read_bytes()))
    predictor = Predictor(session, bench.workload.spec)
    figures = []
    for size, goal in ((BATCH, 1.15), (1, None)):
        session.num_computed = num_used = 0
        for start in range(0, bench.workload.num_customers, size):
            rows = np.arange(start, min(start + size, bench.workload.num_customers))
            as_of_us = np.full(len(rows), bench.workload.as_of_us, dtype=np.int64)
            found = predictor.predict(bench.workload.histories.take(rows), as_of_us)
            num_used += int(found.num_used.sum())
        name = f"{bench.model.name}, {'one customer' if size == 1 else f'{size} customers'} a request"
        ratio = session.num_computed / num_used
        figures.append(
            Figure(
                name=f"{name}: events computed per event used",
                value=ratio,
                unit="",
                goal=goal,
                better="lower",
            )
        )
    return figures


class _CountingSession:
    """A session that counts the padded events of its runs; everything else is the session's own."""

    def __init__(self, session: ort.InferenceSession) -> None:
        self._session = session
        self.num_computed = 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._session, name)

    def run(self, names: Any, inputs: Any) -> Any:
        self.num_computed += math.prod(inputs["event_days"].shape[:2])
        return self._session.run(names, inputs)


def memory_figures(bench: Bench, *, num_requests: int, max_seconds: float) -> list[Figure]:
    """Compare the memory of a warm server with that after many requests of random shapes.

    Args:
        bench: The bench.
        num_requests: How many.
        max_seconds: After this the figures say what was reached.
    """
    workload = make_workload(bench.model, num_customers=16_384, seed=SEED + 1)
    requests = workload.mixed_requests(np.random.default_rng(SEED))
    limit = time.monotonic() + max_seconds
    held: list[int] = []
    num_sent = 0
    num_warm = round(WARM_SHARE * num_requests)
    for num in (num_warm, num_requests - num_warm):
        plan = ClosedPlan(
            requests=requests,
            concurrency=bench.effort.singles_in_flight,
            max_seconds=max(0.0, limit - time.monotonic()),
            max_calls=num,
        )
        record = bench.run(bench.ours, plan)
        num_sent += len(record.answer)
        bench.num_wrong += int((record.answer != 0).sum())
        held.append(bench.server.resident_bytes())
    name = f"{bench.model.name}: resident memory"
    return [
        at_most(
            f"{name}, growth over {num_sent:,} requests of random shapes",
            100 * (held[1] / held[0] - 1),
            5.0,
            "%",
        ),
        shown(f"{name} at their end", held[1] / MEBIBYTE, "MiB", better="lower"),
    ]
