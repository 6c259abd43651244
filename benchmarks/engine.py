"""Where the exported graph spends its time, operator by operator (``python -m benchmarks.engine``).

ONNX Runtime's own profiler times every node on one core, and floating-point operations are counted from the
shapes that it notes. Weights do not matter to time, so the models are not trained. Beside them stands the
same core's matrix product, which is the most that it could do.
"""

import argparse
import json
import math
import os
import statistics
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort
from rich.console import Console
from rich.table import Table

from benchmarks.encoding import build
from benchmarks.results import Figure, report
from holdfast.encoding import EncodingSpec
from serving.predictor import Predictor

MODELS = ("gru", "transformer", "transformer_large")
NUM_CUSTOMERS, LENGTH = 16, 48
"""A run as the server forms it: 768 padded events."""

NOTEWORTHY_PERCENT = 5.0
PRODUCT_SIZE = 512


@dataclass(slots=True)
class Operator:
    """All nodes of one kind in one run.

    Attributes:
        seconds: Their time.
        num_nodes: How many there are.
        flops: Floating-point operations of matrix products, recurrences and attention; 0 for others.
    """

    seconds: float = 0.0
    num_nodes: int = 0
    flops: float = 0.0


def open_profiled(model: Path, *, prefix: Path | None) -> ort.InferenceSession:
    """Open a graph on one thread as the server does; with a prefix, its profile is written there."""
    options = ort.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 3
    if prefix is not None:
        options.enable_profiling = True
        options.profile_file_prefix = str(prefix)
    return ort.InferenceSession(model, options, providers=["CPUExecutionProvider"])


def profile(model: Path, spec: EncodingSpec, *, repeats: int) -> Mapping[str, Operator]:
    """Return what every kind of operator takes in one run: the sum of its nodes' medians."""
    session = open_profiled(model, prefix=model.with_suffix(""))
    predictor = Predictor(session, spec)
    for _ in range(repeats):
        predictor.run_blank(num=NUM_CUSTOMERS, length=LENGTH)
    events = json.loads(Path(session.end_profiling()).read_text(encoding="utf-8"))
    nodes: dict[str, list[Mapping[str, Any]]] = defaultdict(list)
    for event in events:
        if event.get("cat") == "Node" and event["name"].endswith("_kernel_time"):
            nodes[event["name"]].append(event)
    operators: dict[str, Operator] = defaultdict(Operator)
    for runs in nodes.values():
        arguments = runs[0]["args"]
        operator = operators[arguments["op_name"]]
        operator.num_nodes += 1
        operator.seconds += statistics.median(run["dur"] for run in runs) / 1e6
        operator.flops += flops_of(arguments["op_name"], arguments)
    return operators


def flops_of(kind: str, arguments: Mapping[str, Any]) -> float:
    """Return the floating-point operations of one node, a multiplication and an addition being two."""
    inputs = _shapes(arguments, "input_type_shape")
    outputs = _shapes(arguments, "output_type_shape")
    if kind in {"MatMul", "FusedMatMul", "Gemm", "FusedGemm"}:
        return 2.0 * math.prod(outputs[0]) * inputs[0][-1]
    if kind == "GRU":
        # Weights are constants, which the profile leaves out; a hidden state has three gates.
        length, batch, width = inputs[0]
        # All states or the last ones alone: what stands in front of the directions differs.
        *_, directions, _, hidden = outputs[-1]
        return 2.0 * length * batch * directions * 3 * hidden * (width + hidden)
    if kind == "Attention":
        queries, keys = inputs[0], inputs[1]
        # Scores and the sum over values; a causal half is computed whole.
        return 4.0 * math.prod(queries) * keys[-2]
    return 0.0


def _shapes(arguments: Mapping[str, Any], key: str) -> Sequence[Sequence[int]]:
    return [shape for entry in arguments.get(key, []) for shape in entry.values()]


def fastest(function: Callable[[], object], *, repeats: int) -> float:
    """Return the least processor time of some calls: other work on the machine only adds to it."""
    taken = []
    for _ in range(repeats):
        start = time.thread_time()
        function()
        taken.append(time.thread_time() - start)
    return min(taken)


def product_gflops(*, repeats: int) -> float:
    """Return what a matrix product in float32 reaches on this core."""
    left = np.ones((PRODUCT_SIZE, PRODUCT_SIZE), dtype=np.float32)
    return 2.0 * PRODUCT_SIZE**3 / fastest(lambda: left @ left, repeats=repeats) / 1e9


def measure(name: str, console: Console, *, product: float, repeats: int) -> list[Figure]:
    """Profile one model, show its operators and return its figures."""
    with tempfile.TemporaryDirectory(prefix="holdfast-bench-") as folder:
        _, spec, _ = build(name, Path(folder))
        model = Path(folder) / "model.onnx"
        operators = profile(model, spec, repeats=repeats)
        plain = Predictor(open_profiled(model, prefix=None), spec)
        seconds = fastest(lambda: plain.run_blank(num=NUM_CUSTOMERS, length=LENGTH), repeats=repeats)
        smallest = fastest(lambda: plain.run_blank(num=1, length=8), repeats=repeats)
    whole = sum(operator.seconds for operator in operators.values())
    gflops = sum(operator.flops for operator in operators.values()) / seconds / 1e9
    ordered = sorted(operators.items(), key=lambda item: -item[1].seconds)
    table = Table("operator", "nodes", "% of the time", title=f"{name}, {NUM_CUSTOMERS} x {LENGTH} events")
    figures = [
        Figure(
            name=f"{name}: a padded event",
            value=1e6 * seconds / NUM_CUSTOMERS / LENGTH,
            unit="us",
            goal=None,
            better="lower",
        ),
        Figure(name=f"{name}: the smallest run", value=1e6 * smallest, unit="us", goal=None, better="lower"),
        Figure(name=f"{name}: operations", value=gflops, unit="GFLOP/s", goal=None, better="higher"),
        Figure(
            name=f"{name}: of the core's matrix product",
            value=100 * gflops / product,
            unit="%",
            goal=None,
            better="higher",
        ),
    ]
    for kind, operator in ordered:
        percent = 100 * operator.seconds / whole
        if percent >= NOTEWORTHY_PERCENT:
            figures.append(
                Figure(
                    name=f"{name}: {operator.num_nodes} {kind}",
                    value=percent,
                    unit="%",
                    goal=None,
                    better="lower",
                )
            )
        if percent >= 1:
            table.add_row(kind, str(operator.num_nodes), f"{percent:.1f}")
    console.print(table)
    return figures


def main() -> None:
    """Profile every model and keep the result."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--models", nargs="+", default=MODELS, help="configurations of conf/model")
    parser.add_argument("--repeats", type=int, default=100, help="how often every graph is run")
    arguments = parser.parse_args()
    console = Console(stderr=True)
    product = product_gflops(repeats=arguments.repeats)
    figures = [
        Figure(
            name=f"matrix product of {PRODUCT_SIZE} x {PRODUCT_SIZE}",
            value=product,
            unit="GFLOP/s",
            goal=None,
            better="higher",
        )
    ]
    for name in arguments.models:
        figures += measure(name, console, product=product, repeats=arguments.repeats)
    method = (
        f"ONNX Runtime's profiler over {arguments.repeats} runs of {NUM_CUSTOMERS} customers of {LENGTH} "
        "padded events on one thread; times without profiling are the least processor time of as many runs; "
        "operators above 5 % of the time"
    )
    report("engine", figures, method=method)


if __name__ == "__main__":
    # NumPy's own threads would make its product that of several cores; read when it is first asked.
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    main()
