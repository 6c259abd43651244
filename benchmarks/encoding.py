"""Encoding of one request beside its inference (``python -m benchmarks.encoding``).

It deliberately re-implements nothing of serving: the request is written as a client writes it and read as the
server does, and the server's predictor is timed as it is, with a session that notes how long the graph itself
runs: the one that training exports by default, with all experts, and the network of it alone. Weights do not
matter to time, so the network is not trained. All of it runs in the calling thread, so its processor time is
taken: other work on the machine does not count. Where a process's memory comes to lie moves the figures by a
tenth, so several processes measure.
"""

import argparse
import statistics
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort
from jaxtyping import Int64
from numpy import ndarray
from omegaconf import OmegaConf
from rich.console import Console

from benchmarks.measuring import interleaved, run_in_child
from benchmarks.prepare import data_config
from benchmarks.results import ROOT, Figure, report
from holdfast.encoding import EncodingSpec
from holdfast.encoding.windows import Seen
from holdfast.histories import Histories, ragged_range
from holdfast.plain import from_plain
from holdfast.schema import MICROSECONDS_PER_DAY, Schema
from holdfast.wire import Limits, write_request
from serving.asking import AskedBytes
from serving.predictor import PaddedRun, Predictor, open_session
from serving.reading import read_together
from training.blend.experts import BlendConfig
from training.blend.fitting import finish
from training.calibration import Calibration
from training.data_config import DataConfig
from training.fit_encoding import fit_encoding
from training.model import ModelConfig, SequenceModel
from training.model.graph import ScoringGraph
from training.model.scales import fit_target_scales
from training.onnx_export import export_onnx
from training.prepare import prepare
from training.task import Task

SHARE_GOAL_PERCENT = 5.0
NUM_CUSTOMERS = 64
NUM_EVENTS = 64
SIMULATED_CUSTOMERS = 2_000
EXPERT_READOUTS = 5_000
SEED = 1

SERVED, NETWORK = "served", "network"
"""What training exports by default, with all experts of the blend; and the network of it alone."""


class TimedSession:
    """A session that adds up how long the graph runs; everything else is the session's own."""

    def __init__(self, session: ort.InferenceSession) -> None:
        """Stand before a session."""
        self._session = session
        self.seconds = 0.0

    def __getattr__(self, name: str) -> Any:
        """Answer as the session does."""
        return getattr(self._session, name)

    def run(self, names: Any, inputs: Any) -> Any:
        """Run the graph and add its time."""
        start = time.thread_time()
        outputs = self._session.run(names, inputs)
        self.seconds += time.thread_time() - start
        return outputs


def first_events(
    histories: Histories, *, num_customers: int, num_events: int, history_days: int
) -> tuple[Histories, Int64[ndarray, " customer"]]:
    """Return the first events of some customers who have so many in time, and when each one's last came."""
    customers = np.flatnonzero(np.diff(histories.offsets) >= num_events)
    starts = histories.offsets[customers]
    span_us = histories.occurred_at_us[starts + num_events - 1] - histories.occurred_at_us[starts]
    customers = customers[span_us < history_days * MICROSECONDS_PER_DAY][:num_customers]
    if len(customers) < num_customers:
        raise SystemExit(
            f"only {len(customers)} of {num_customers} customers have {num_events} events in time"
        )
    starts = histories.offsets[customers]
    rows, offsets = ragged_range(starts, starts + num_events)
    taken = histories.take(customers)
    request = Histories(
        offsets=offsets,
        occurred_at_us=histories.occurred_at_us[rows],
        event_type=histories.event_type.take(rows),
        categorical={name: column.take(rows) for name, column in histories.categorical.items()},
        numeric={name: column[rows] for name, column in histories.numeric.items()},
        attributes=taken.attributes,
    )
    return request, request.occurred_at_us[offsets[1:] - 1]


def build(model_name: str, folder: Path) -> tuple[Histories, EncodingSpec, Mapping[str, TimedSession]]:
    """Simulate a shop, fit encoding and experts to it, and export what is served, and its network alone."""
    overrides = (f"data.simulate.num_customers={SIMULATED_CUSTOMERS}", "data.simulate.cutoffs=[]")
    config = DataConfig.from_plain(data_config("simulated", folder / "raw", *overrides))
    store = prepare(config, store_dir=folder / "store")
    train = (task := Task.of(config, store)).readouts(task.fit_split)
    spec = fit_encoding(
        store.histories, store.schema, config.encoding, customer=train.customer, cutoff_us=train.cutoff_us
    )
    model_config = from_plain(ModelConfig, _option(f"model/{model_name}"))
    scales = fit_target_scales(store.schema, train.labels, use_tied_amounts=model_config.use_tied_amounts)
    model = SequenceModel(spec, model_config, scales).eval()
    fitted = finish(
        model,
        task,
        train=train.sample(EXPERT_READOUTS, np.random.default_rng(SEED)),
        validation=None,
        config=from_plain(BlendConfig, _option("blend/default")),
        seed=SEED,
    )
    graphs = {
        SERVED: ScoringGraph(fitted.model, fitted.calibration, fitted.blend),
        NETWORK: ScoringGraph(model, Calibration()),
    }
    sessions = {}
    for name, graph in graphs.items():
        path = folder / "model.onnx"
        export_onnx(graph.eval(), spec=spec, path=path)
        sessions[name] = TimedSession(open_session(path.read_bytes()))
    return store.histories, spec, sessions


def _option(name: str) -> Any:
    """Return a file of ``conf`` as plain values."""
    return OmegaConf.to_container(OmegaConf.load(ROOT / "conf" / f"{name}.yaml"))


class TimedPredictor(Predictor):
    """A predictor that adds up how long it makes model inputs of histories."""

    seconds = 0.0

    def see(self, histories: Histories, as_of_us: Int64[ndarray, " customer"]) -> Seen:
        """See them and add the time."""
        start = time.thread_time()
        seen = super().see(histories, as_of_us)
        self.seconds += time.thread_time() - start
        return seen

    def padded_runs(
        self, histories: Histories, as_of_us: Int64[ndarray, " customer"], seen: Seen
    ) -> Iterator[PaddedRun]:
        """Pad all of them before the first is run, as the server does, and add the time."""
        start = time.thread_time()
        runs = list(super().padded_runs(histories, as_of_us, seen))
        self.seconds += time.thread_time() - start
        yield from runs


def written(request: Histories, as_of_us: int, schema: Schema) -> bytes:
    """Return a request as a client writes it."""
    ids = [str(customer) for customer in range(request.num_customers)]
    return write_request(request, ids, as_of_us=as_of_us, schema=schema).SerializeToString()


def received(data: bytes, schema: Schema) -> Histories:
    """Return a request as the server reads it."""
    read = read_together([AskedBytes.parse(data, limits=Limits())], schema, limits=Limits())
    assert not read.faults, "a customer of the store is sound"
    return read.histories


@dataclass(frozen=True, slots=True, kw_only=True)
class Taken:
    """Processor seconds of one request.

    Attributes:
        reading: From bytes to histories.
        encoding: From these to padded inputs.
        inferring: The graph.
        beside: All that is neither reading nor the graph.
    """

    reading: float
    encoding: float
    inferring: float
    beside: float

    @property
    def share_percent(self) -> float:
        """What encoding takes of the graph's time."""
        return 100 * self.encoding / self.inferring


def measure(
    data: bytes, as_of_us: ndarray, spec: EncodingSpec, sessions: Mapping[str, TimedSession], *, repeats: int
) -> list[Figure]:
    """Time whole predictions, and what of each is encoding and padding, and what is the graph.

    Every request is read before it is encoded, as in the server, whose worker does one after the other.
    """
    predictors = {name: TimedPredictor(session, spec) for name, session in sessions.items()}
    taken: dict[str, list[Taken]] = {name: [] for name in predictors}

    def predict(name: str) -> float:
        session, predictor = sessions[name], predictors[name]
        session.seconds = predictor.seconds = 0.0
        start = time.thread_time()
        request = received(data, spec.schema)
        begun = time.thread_time()
        found = predictor.predict(request, as_of_us)
        elapsed = time.thread_time() - begun
        assert int(found.num_used.sum()) == request.num_events, "the request is not what the figure says"
        taken[name].append(
            Taken(
                reading=begun - start,
                encoding=predictor.seconds,
                inferring=session.seconds,
                beside=elapsed - session.seconds,
            )
        )
        return elapsed

    for name, predictor in predictors.items():
        predictor.warm_up()
        predict(name)
        taken[name].clear()
    interleaved({name: partial(predict, name) for name in predictors}, repeats=repeats)
    served, alone = taken[SERVED], taken[NETWORK]
    size = f"{NUM_CUSTOMERS} customers of {NUM_EVENTS} events"
    main = f"encoding {size}, share of inference"
    values = {
        main: ([one.share_percent for one in served], "%"),
        f"encoding {size}": ([1000 * one.encoding for one in served], "ms"),
        f"all beside the graph for {size}, reading apart": ([1000 * one.beside for one in served], "ms"),
        f"reading a request of {size}": ([1000 * one.reading for one in served], "ms"),
        f"inference for {size}": ([1000 * one.inferring for one in served], "ms"),
        f"{main} of the network alone": ([one.share_percent for one in alone], "%"),
        f"inference of the network alone for {size}": ([1000 * one.inferring for one in alone], "ms"),
    }
    return [
        Figure(
            name=name,
            value=statistics.median(found),
            unit=unit,
            goal=SHARE_GOAL_PERCENT if name == main else None,
            better="lower",
        )
        for name, (found, unit) in values.items()
    ]


def measure_alone(model_name: str, repeats: int) -> list[Figure]:
    """Build a model and measure it; for a process of its own."""
    with tempfile.TemporaryDirectory(prefix="holdfast-bench-") as name:
        histories, spec, sessions = build(model_name, Path(name))
        request, as_of_us = first_events(
            histories, num_customers=NUM_CUSTOMERS, num_events=NUM_EVENTS, history_days=spec.history_days
        )
        data = written(request, int(as_of_us.max()), spec.schema)
        return measure(data, as_of_us, spec, sessions, repeats=repeats)


def over_processes(found: Sequence[Sequence[Figure]]) -> list[Figure]:
    """Return the medians of every figure, and between what the first one lay."""
    figures = [
        replace(same[0], value=statistics.median(figure.value for figure in same))
        for same in zip(*found, strict=True)
    ]
    shares = [one[0].value for one in found]
    figures[1:1] = [
        replace(figures[0], name=f"{figures[0].name}: {name}", value=value, goal=None)
        for name, value in (("lowest", min(shares)), ("highest", max(shares)))
    ]
    return figures


def main() -> None:
    """Measure the default model and keep the result."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="gru", help="a configuration of conf/model")
    parser.add_argument("--repeats", type=int, default=100, help="how often the request is predicted")
    parser.add_argument("--processes", type=int, default=5, help="how many do that, one after the other")
    arguments = parser.parse_args()
    console = Console(stderr=True)
    found = []
    for number in range(1, arguments.processes + 1):
        console.print(
            f"{number} of {arguments.processes}: simulating a shop, exporting {arguments.model} ...",
            style="dim",
        )
        found.append(run_in_child(measure_alone, arguments.model, arguments.repeats).value)
    method = (
        f"medians of {arguments.processes} processes' medians of {arguments.repeats} predictions by the "
        f"server's predictor, model {arguments.model} with the experts of the default blend, processor time "
        "of its one thread; encoding is from histories, which the same thread has just read, as in the "
        "server, to padded inputs; all beside the graph is that and bringing the answers together"
    )
    report("encoding", over_processes(found), method=method)


if __name__ == "__main__":
    main()
