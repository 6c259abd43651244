"""Bare ONNX Runtime on histories that are encoded and padded already; runs in a process of its own.

It deliberately knows neither queue nor network: its best batch is what a server could reach at most.
"""

import functools
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import onnxruntime as ort
from jaxtyping import Float32, Int64
from numpy import ndarray

from benchmarks.serving.models import Model
from benchmarks.serving.summary import percentile
from benchmarks.serving.workload import make_workload
from holdfast.encoding import pad
from holdfast.manifest import MODEL_NAME
from serving.predictor import open_session

LENGTH_STEP = 8
BUDGETS = (0, 128, 256, 512, 1_024, 2_048, 4_096)
"""Padded events of a batch; 0 runs every customer alone."""
BETWEEN_LOOKS = 200
"""Runs of one customer between two looks at the clock."""
ON_REQUEST = ("_survival", "embedding")
"""Outputs that a request asks for explicitly; ours here does not."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Batching:
    """How customers are put into runs.

    Attributes:
        budget: Padded events of a run.
        is_stepped: Whether lengths are padded to multiples of 8, else to the longest of the run.
    """

    budget: int
    is_stepped: bool

    def __str__(self) -> str:
        """Say it in words."""
        size = f"{self.budget} padded events" if self.budget else "one customer"
        return f"{size} a run, {'lengths in steps of 8' if self.is_stepped else 'exact lengths'}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Alone:
    """Customers run one at a time, in no order.

    Attributes:
        mean_seconds: Of a run.
        p50_seconds: Median.
        p99_seconds: 99th percentile.
    """

    mean_seconds: float
    p50_seconds: float
    p99_seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """What the engine is asked.

    Attributes:
        model: The model.
        num_customers: Of the workload.
        seed: Of the workload.
    """

    model: Model
    num_customers: int
    seed: int


class _Engine:
    def __init__(self, asked: Asked) -> None:
        self.session: ort.InferenceSession = open_session((asked.model.artifact / MODEL_NAME).read_bytes())
        workload = make_workload(asked.model, num_customers=asked.num_customers, seed=asked.seed)
        self._encoded = workload.encoded()
        self._inputs = [tensor.name for tensor in self.session.get_inputs()]
        names = [tensor.name for tensor in self.session.get_outputs()]
        self.outputs = [name for name in names if not name.endswith(ON_REQUEST)]

    def runs(self, batching: Batching) -> list[Mapping[str, ndarray]]:
        """Return the inputs of every run, shortest customers first."""
        lengths = self._lengths(is_stepped=batching.is_stepped)
        order = np.argsort(lengths, kind="stable")
        return [
            self._padded(order[start:end], int(lengths[order[end - 1]]))
            for start, end in split_by_budget(lengths[order], budget=batching.budget)
        ]

    def alone(self, *, is_stepped: bool) -> list[Mapping[str, ndarray]]:
        """Return the inputs of every customer, in the order of the requests."""
        lengths = self._lengths(is_stepped=is_stepped)
        return [self._padded(np.array([row]), length) for row, length in enumerate(lengths.tolist())]

    def _lengths(self, *, is_stepped: bool) -> Int64[ndarray, " customer"]:
        step = LENGTH_STEP if is_stepped else 1
        lengths: ndarray = -(-np.maximum(self._encoded.lengths, 1) // step) * step
        return lengths

    def _padded(self, rows: ndarray, length: int) -> Mapping[str, ndarray]:
        inputs = pad(self._encoded, rows, length=length)
        return {name: inputs[name] for name in self._inputs}

    def seconds(self, runs: Sequence[Mapping[str, ndarray]]) -> float:
        start = time.perf_counter()
        for inputs in runs:
            self.session.run(self.outputs, inputs)
        return time.perf_counter() - start


def split_by_budget(ascending: Int64[ndarray, " customer"], *, budget: int) -> list[tuple[int, int]]:
    """Return ranges of customers, ascending by length, that fill a budget of padded events.

    Args:
        ascending: Padded lengths.
        budget: A range has at least one customer, and no more padded events than this otherwise.
    """
    ranges, start = [], 0
    for end in range(1, len(ascending) + 1):
        is_full = end == len(ascending) or (end + 1 - start) * int(ascending[end]) > budget
        if is_full:
            ranges.append((start, end))
            start = end
    return ranges


@functools.cache
def _engine(asked: Asked) -> _Engine:
    return _Engine(asked)


@functools.cache
def _runs(asked: Asked, batching: Batching) -> list[Mapping[str, ndarray]]:
    return _engine(asked).runs(batching)


def find_best(asked: Asked) -> Batching:
    """Return the batching with the highest throughput: all are tried once, the better ones twice more."""
    engine = _engine(asked)
    best = {Batching(budget=budget, is_stepped=grid): np.inf for budget in BUDGETS for grid in (True, False)}
    candidates = list(best)
    for num_kept in (len(candidates), 4, 4):
        candidates = sorted(candidates, key=lambda batching: best[batching])[:num_kept]
        for batching in candidates:
            best[batching] = min(best[batching], engine.seconds(engine.runs(batching)))
    return min(best, key=lambda batching: best[batching])


def throughput(asked: Asked, batching: Batching, min_seconds: float) -> float:
    """Return customers per second over whole passes that take together at least so long."""
    engine, runs = _engine(asked), _runs(asked, batching)
    engine.seconds(runs[: 1 + len(runs) // 4])
    customers, seconds = 0, 0.0
    while seconds < min_seconds:
        seconds += engine.seconds(runs)
        customers += asked.num_customers
    return customers / seconds


def run_alone(asked: Asked, min_seconds: float, pause_seconds: float = 0.0) -> Alone:
    """Return the time of customers one at a time, with exact lengths or in steps: whichever is faster.

    Args:
        asked: The engine and its customers.
        min_seconds: How long to measure.
        pause_seconds: How long the core is left alone before each run.
    """
    engine = _engine(asked)
    found = []
    for is_stepped in (True, False):
        inputs = engine.alone(is_stepped=is_stepped)
        engine.seconds(inputs[:50])
        taken: list[float] = []
        start = time.perf_counter()
        while time.perf_counter() - start < min_seconds / 2:
            for one in inputs[:BETWEEN_LOOKS]:
                if pause_seconds:
                    time.sleep(pause_seconds)
                taken.append(engine.seconds([one]))
            inputs = inputs[BETWEEN_LOOKS:] + inputs[:BETWEEN_LOOKS]
        values = np.array(taken)
        found.append(
            Alone(
                mean_seconds=float(values.mean()),
                p50_seconds=percentile(values, 0.5),
                p99_seconds=percentile(values, 0.99),
            )
        )
    return min(found, key=lambda alone: alone.mean_seconds)


def expected_outputs(asked: Asked, num: int) -> Mapping[str, Float32[ndarray, "customer ..."]]:
    """Return what the graph says about the first customers, each run alone."""
    engine = _engine(asked)
    found = [engine.session.run(engine.outputs, inputs) for inputs in engine.alone(is_stepped=False)[:num]]
    return {
        name: np.concatenate([outputs[index] for outputs in found])
        for index, name in enumerate(engine.outputs)
    }
