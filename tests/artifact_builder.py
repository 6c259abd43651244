"""A small artifact whose graph uses every input, and real servers of it on a free port."""

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from builders import DAY, START_US, random_histories, small_spec
from holdfast.encoding import Cutoffs, EncodingSpec, encode, pad
from holdfast.encoding.spec import CALENDAR_SIZE
from holdfast.golden import write_golden
from holdfast.histories import Histories
from holdfast.manifest import (
    FORM_VERSION,
    GOLDEN_NAME,
    MODEL_NAME,
    Manifest,
    TargetForm,
    TensorForm,
    TrainingWindow,
    file_records,
    write_manifest,
)
from holdfast.reference import Reference, quantities_of
from holdfast.schema import horizon_grid_days
from serving.predictor import Predictor, open_session
from serving.server import ScoringServer
from serving.settings import Settings

OPSET = 23
AS_OF_US = START_US + 450 * DAY
QUANTILE_LEVELS = (0.1, 0.5, 0.9)


class _Graph:
    """Collects nodes; every call returns the name of its output."""

    def __init__(self) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.constants: list[onnx.TensorProto] = []

    def constant(self, values: object, dtype: type = np.float32) -> str:
        name = f"constant_{len(self.constants)}"
        self.constants.append(numpy_helper.from_array(np.array(values, dtype=dtype), name))
        return name

    def call(self, operator: str, *inputs: str, output: str = "", **attributes: object) -> str:
        output = output or f"value_{len(self.nodes)}"
        self.nodes.append(helper.make_node(operator, list(inputs), [output], name=output, **attributes))
        return output


def build_model(spec: EncodingSpec, *, opset: int = OPSET) -> onnx.ModelProto:
    """Return a graph in which a swapped, missing or altered input changes every output."""
    rng = np.random.default_rng(11)
    graph = _Graph()
    target = spec.schema.targets[0]
    grid_days = horizon_grid_days(target)

    def weighted(name: str, size: int, scale: float, *, is_id: bool = False) -> str:
        source = graph.call("Cast", name, to=TensorProto.FLOAT) if is_id else name
        return graph.call("MatMul", source, graph.constant(rng.normal(0, scale, size)))

    def scaled(name: str, scale: float) -> str:
        return graph.call("Mul", name, graph.constant(scale))

    event = graph.call(
        "Add", weighted("event_values", spec.event_value_size, 0.3), scaled("event_days", 0.001)
    )
    event = graph.call("Add", event, weighted("event_ids", len(spec.event_id_sizes), 0.2, is_id=True))
    event_type = graph.call("Gather", "event_ids", graph.constant(0, np.int64), axis=2)
    is_real = graph.call("Greater", event_type, graph.constant(0, np.int64))
    masked = graph.call("Where", is_real, graph.call("Tanh", event), graph.constant(0.0))
    z = scaled(graph.call("ReduceSum", masked, graph.constant([1], np.int64), keepdims=0), 0.05)
    visible = graph.call("Cast", "readout_visible", to=TensorProto.FLOAT)
    for part in (
        graph.call("Tanh", weighted("readout_values", spec.readout_value_size, 0.1)),
        weighted("readout_ids", len(spec.readout_id_sizes), 0.1, is_id=True),
        weighted("readout_calendar", CALENDAR_SIZE, 0.2),
        scaled("readout_days", 0.001),
        scaled(visible, 0.01),
    ):
        z = graph.call("Add", z, part)
    column = graph.call("Unsqueeze", z, graph.constant([1], np.int64))

    def shifted(shifts: object) -> str:
        return graph.call("Add", column, graph.constant(shifts))

    horizons = [-0.01 * days for days in target.horizons_days]
    graph.call("Sigmoid", shifted(horizons), output="churn_probability")
    graph.call("Sigmoid", shifted([-0.01 * days for days in grid_days]), output="churn_survival")
    graph.call("Softplus", z, output="spend_expected")
    graph.call("Softplus", shifted(QUANTILE_LEVELS), output="spend_quantiles")
    graph.call("Softplus", graph.call("Neg", z), output="orders_expected")
    graph.call("Tanh", shifted([0.0, 0.1, 0.2, 0.3]), output="embedding")
    inputs = [_value(form) for form in input_forms(spec)]
    outputs = [_value(form) for form in output_forms(spec)]
    made = helper.make_graph(graph.nodes, "small", inputs, outputs, graph.constants)
    return helper.make_model(made, opset_imports=[helper.make_opsetid("", opset)], ir_version=11)


def _value(form: TensorForm) -> onnx.ValueInfoProto:
    kinds = {"float32": TensorProto.FLOAT, "int64": TensorProto.INT64}
    return helper.make_tensor_value_info(form.name, kinds[form.dtype], list(form.shape))


def input_forms(spec: EncodingSpec) -> tuple[TensorForm, ...]:
    """Return the graph's inputs, in the order of ARCHITECTURE.md."""
    forms = {
        "event_ids": ("int64", "batch", "length", len(spec.event_id_sizes)),
        "event_values": ("float32", "batch", "length", spec.event_value_size),
        "event_days": ("float32", "batch", "length"),
        "readout_ids": ("int64", "batch", len(spec.readout_id_sizes)),
        "readout_values": ("float32", "batch", spec.readout_value_size),
        "readout_calendar": ("float32", "batch", CALENDAR_SIZE),
        "readout_days": ("float32", "batch"),
        "readout_visible": ("int64", "batch"),
    }
    return tuple(
        TensorForm(name=name, dtype=dtype, shape=tuple(shape)) for name, (dtype, *shape) in forms.items()
    )


def output_forms(spec: EncodingSpec) -> tuple[TensorForm, ...]:
    """Return the graph's outputs."""
    target = spec.schema.targets[0]
    shapes: dict[str, tuple[int | str, ...]] = {
        "churn_probability": ("batch", len(target.horizons_days)),
        "churn_survival": ("batch", len(horizon_grid_days(target))),
        "spend_expected": ("batch",),
        "spend_quantiles": ("batch", len(QUANTILE_LEVELS)),
        "orders_expected": ("batch",),
        "embedding": ("batch", 4),
    }
    return tuple(TensorForm(name=name, dtype="float32", shape=shape) for name, shape in shapes.items())


def build_artifact(
    folder: Path,
    *,
    spec: EncodingSpec | None = None,
    model: onnx.ModelProto | None = None,
    golden: Histories | None = None,
    name: str = "small",
) -> Path:
    """Write a whole artifact: graph, golden cases, report and manifest."""
    spec = spec or small_spec()
    folder.mkdir(parents=True, exist_ok=True)
    data = (model or build_model(spec)).SerializeToString()
    (folder / MODEL_NAME).write_bytes(data)
    (folder / "report.html").write_text("<p>report</p>", encoding="utf-8")
    histories = golden or random_histories(np.random.default_rng(5), 6)
    as_of_us = np.full(6, AS_OF_US, dtype=np.int64)
    predictor = Predictor(open_session(data), spec)
    outputs = predictor.predict(histories, as_of_us).outputs
    write_golden(folder / GOLDEN_NAME, histories, as_of_us, outputs)
    manifest = build_manifest(folder, spec, name=name)
    write_manifest(folder, replace(manifest, reference=build_reference(predictor, spec, histories)))
    return folder


def build_reference(predictor: Predictor, spec: EncodingSpec, histories: Histories) -> tuple[Reference, ...]:
    """Return how inputs and answers are distributed over some customers."""
    num = histories.num_customers
    as_of_us = np.full(num, AS_OF_US, dtype=np.int64)
    inputs = pad(encode(histories, Cutoffs.of_all(as_of_us), spec), np.arange(num), length=spec.max_events)
    tensors = {**inputs, **predictor.predict(histories, as_of_us).outputs}
    return tuple(Reference.of(quantity, quantity.of(tensors)) for quantity in quantities_of(spec))


def build_manifest(folder: Path, spec: EncodingSpec, *, name: str = "small") -> Manifest:
    """Return the manifest of the files that lie in the folder."""
    return Manifest(
        form_version=FORM_VERSION,
        name=name,
        version="1",
        created_at="2025-06-01T12:00:00+00:00",
        encoding=spec,
        targets=(
            TargetForm(name="churn", grid_days=horizon_grid_days(spec.schema.targets[0])),
            TargetForm(name="spend", quantile_levels=QUANTILE_LEVELS),
            TargetForm(name="orders"),
        ),
        inputs=input_forms(spec),
        outputs=output_forms(spec),
        training_window=TrainingWindow(first_cutoff_us=START_US, last_cutoff_us=AS_OF_US),
        reference=(),
        metrics={"test": {"churn": {"auroc": 0.8, "interval": [0.75, 0.85]}}},
        library_versions={"onnx": onnx.__version__},
        source_revision="0" * 40,
        opset=OPSET,
        tolerance=1e-5,
        files=file_records(folder, (MODEL_NAME, GOLDEN_NAME, "report.html")),
    )


@contextmanager
def running_server(artifact: Path, **settings: object) -> Iterator[ScoringServer]:
    """Run a real server on a free port, on an event loop of its own thread."""
    fixed = {"threads": 2, "budget_events": 256}
    server = ScoringServer(Settings(artifact=artifact, port=0, **fixed | settings))
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, name="server")
    thread.start()

    def run(work: object) -> None:
        asyncio.run_coroutine_threadsafe(work, loop).result(timeout=30)

    try:
        run(server.start())
        run(server.load())
        yield server
    finally:
        run(server.stop(5.0))
        loop.call_soon_threadsafe(loop.stop)
        thread.join(timeout=30)
        loop.close()
