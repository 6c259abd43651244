"""Tests of the exported file: the same numbers as torch, in one checked file, the same bytes each time."""

import warnings
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import onnx
import onnx_ir
import onnxruntime
import pytest
import torch
from model_cases import encoded_histories, load_config, make_model, named, to_batch

from builders import small_spec
from holdfast.errors import ArtifactError
from holdfast.schema import horizon_grid_days
from training.calibration import Calibration, SurvivalCalibration
from training.model.distributions import log_event_by
from training.model.graph import ScoringGraph
from training.model.time_bins import softplus
from training.onnx_export import MAX_IR_VERSION, OPSET_VERSION, check_file, export_onnx

SPEC = small_spec()
CHURN, SPEND, ORDERS = SPEC.schema.targets
# An export takes seconds, more with every target: each kind and form of target is in one of them.
TARGETS = {"transformer": (CHURN, SPEND, ORDERS), "gru": (replace(CHURN, form="event"),), "none": (SPEND,)}
LENGTHS = (0, 1, 2, SPEC.max_events, 7, 0, 13)
CALIBRATION = Calibration(
    survival={"churn": SurvivalCalibration(slope=1.2, intercepts=tuple(0.1 * k for k in range(12)))},
    log_factors={"spend": 0.3, "orders": -0.2},
)


@pytest.fixture(
    scope="module",
    params=["gru", *(pytest.param(name, marks=pytest.mark.long) for name in ("transformer", "none"))],
)
def exported(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> tuple[ScoringGraph, Path]:
    """Return a graph of every encoder and its file."""
    spec = replace(SPEC, schema=replace(SPEC.schema, targets=TARGETS[request.param]))
    num_layers = 1 if request.param == "none" else 2
    config = load_config(
        encoder=request.param, num_layers=num_layers, use_next_event=False, attention_days=200.0
    )
    survival = CALIBRATION.survival if request.param != "none" else {}
    graph = ScoringGraph(make_model(config, spec), replace(CALIBRATION, survival=survival))
    path = tmp_path_factory.mktemp("export") / "model.onnx"
    export_onnx(graph, spec=spec, path=path)
    return graph, path


def open_session(path: Path) -> onnxruntime.InferenceSession:
    """Return a session as the server opens it: one thread on the CPU."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


def assert_same(
    graph: ScoringGraph, session: onnxruntime.InferenceSession, inputs: dict[str, torch.Tensor]
) -> None:
    """Compare torch and ONNX Runtime on some inputs, to 1e-4."""
    with torch.no_grad():
        expected = graph(*inputs.values())
    found = session.run(list(graph.output_names), {name: x.numpy() for name, x in inputs.items()})
    for name, one, other in zip(graph.output_names, found, expected, strict=True):
        assert np.isfinite(one).all(), name
        np.testing.assert_allclose(one, other.numpy(), rtol=1e-4, atol=1e-4, err_msg=name)


def test_torch_and_onnx_agree(exported: tuple[ScoringGraph, Path]) -> None:
    """Lengths 0, 1, 2 and the most, batches of 1 and 7, padded to widths that the export never saw."""
    graph, path = exported
    session = open_session(path)
    encoded = encoded_histories(LENGTHS, cutoff_days=(300,))
    for rows in [[row] for row in range(len(LENGTHS))] + [list(range(7)), [0, 5], [1, 0, 6]]:
        longest = max(1, *(LENGTHS[row] for row in rows))
        for length in {longest, longest + 1, 33}:
            batch = to_batch(encoded, rows, length=length)
            inputs = {n: x[:, 0] if n.startswith("readout") else x for n, x in named(batch)}
            assert_same(graph, session, inputs)


def test_a_customer_alone_and_in_a_padded_batch_gets_the_same_from_the_file(
    exported: tuple[ScoringGraph, Path],
) -> None:
    """The skew test of serving, on the file itself: equal to 1e-5."""
    graph, path = exported
    session = open_session(path)
    encoded = encoded_histories(LENGTHS, cutoff_days=(300,))
    together = to_batch(encoded, list(range(7)), length=40)
    whole = session.run(
        None, {n: (x[:, 0] if n.startswith("readout") else x).numpy() for n, x in named(together)}
    )
    for row in range(7):
        batch = to_batch(encoded, [row])
        alone = session.run(
            None, {n: (x[:, 0] if n.startswith("readout") else x).numpy() for n, x in named(batch)}
        )
        for name, one, many in zip(graph.output_names, alone, whole, strict=True):
            np.testing.assert_allclose(one[0], many[row], rtol=1e-5, atol=1e-5, err_msg=name)


def test_the_file_answers_extreme_inputs_in_range(exported: tuple[ScoringGraph, Path]) -> None:
    """The operators of the engine, not torch's, at the ends of float32."""
    graph, path = exported
    session = open_session(path)
    batch = to_batch(encoded_histories((0, 5), cutoff_days=(300,)), [0, 1])
    for size in (1e6, -1e6, 3.4e38, -3.4e38):
        inputs = {n: x[:, 0] if n.startswith("readout") else x for n, x in named(batch)}
        inputs = {n: torch.full_like(x, size) if x.dtype == torch.float32 else x for n, x in inputs.items()}
        found = dict(
            zip(graph.output_names, session.run(None, {n: x.numpy() for n, x in inputs.items()}), strict=True)
        )
        assert all(np.isfinite(values).all() for values in found.values())
        for name, values in found.items():
            if name.startswith("churn"):
                assert ((values >= 0) & (values <= 1)).all()
            elif name != "embedding":
                assert (values >= 0).all()
        assert (np.diff(found.get("churn_survival", np.zeros((1, 2))), axis=1) <= 0).all()


def test_inputs_and_outputs_are_those_of_the_architecture(exported: tuple[ScoringGraph, Path]) -> None:
    """Names, types and axes; batch and length stay open."""
    graph, path = exported
    session = open_session(path)
    num_bins = len(horizon_grid_days(CHURN))
    inputs = {entry.name: (entry.type, entry.shape) for entry in session.get_inputs()}
    assert inputs == {
        "event_ids": ("tensor(int64)", ["batch", "length", 2]),
        "event_values": ("tensor(float)", ["batch", "length", SPEC.event_value_size]),
        "event_days": ("tensor(float)", ["batch", "length"]),
        "readout_ids": ("tensor(int64)", ["batch", 3]),
        "readout_values": ("tensor(float)", ["batch", SPEC.readout_value_size]),
        "readout_calendar": ("tensor(float)", ["batch", 6]),
        "readout_days": ("tensor(float)", ["batch"]),
        "readout_visible": ("tensor(int64)", ["batch"]),
    }
    assert [entry.name for entry in session.get_inputs()] == list(graph.input_names)
    outputs = {
        "churn": [("churn_probability", ["batch", 3]), ("churn_survival", ["batch", num_bins])],
        "spend": [("spend_expected", ["batch"]), ("spend_quantiles", ["batch", 5])],
        "orders": [("orders_expected", ["batch"])],
    }
    expected = [output for target in graph.schema.targets for output in outputs[target.name]]
    found = [(entry.name, entry.shape) for entry in session.get_outputs()]
    assert found == [*expected, ("embedding", ["batch", 16])]


def test_softplus_is_one_operator(exported: tuple[ScoringGraph, Path]) -> None:
    """Without the guard that PyTorch needs and ONNX does not."""
    nodes = onnx.load(str(exported[1])).graph.node
    softplus = {node.output[0] for node in nodes if node.op_type == "Softplus"}
    assert softplus
    assert not [node for node in nodes if node.op_type == "Where" and softplus & set(node.input)]


class Rare(torch.nn.Module):
    """The log probability of an event, and the softplus that time bins count with."""

    def forward(self, hazard_logits: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return both."""
        return log_event_by(hazard_logits, bin_end=1), softplus(hazard_logits)


@pytest.fixture(scope="module")
def rare(tmp_path_factory: pytest.TempPathFactory) -> onnxruntime.InferenceSession:
    """Return its file, opened."""
    path = tmp_path_factory.mktemp("rare") / "rare.onnx"
    inputs, shapes = (torch.zeros(3, 1),), {"hazard_logits": {0: "batch"}}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(Rare().eval(), inputs, path, dynamo=True, dynamic_shapes=shapes, verbose=False)
    return open_session(path)


def test_rare_and_sure_events_keep_their_digits(rare: onnxruntime.InferenceSession) -> None:
    """From one in a hundred million to a sure one, relative to the probability."""
    logits = np.linspace(-18.0, 10.0, 100, dtype=np.float32)[:, None]
    found, _ = rare.run(None, {rare.get_inputs()[0].name: logits})
    exact = -np.logaddexp(0.0, -logits[:, 0].astype(np.float64))
    np.testing.assert_allclose(found, exact, atol=2e-6)


def test_softplus_of_anything_is_softplus(rare: onnxruntime.InferenceSession) -> None:
    """Beyond the end of the exponential too."""
    values = np.float32([-200.0, -30.0, 0.0, 30.0, 79.0, 81.0, 300.0, 1e30])[:, None]
    _, found = rare.run(None, {rare.get_inputs()[0].name: values})
    exact = np.logaddexp(0.0, values.astype(np.float64))
    np.testing.assert_allclose(found, exact, rtol=1e-6, atol=1e-7)


def test_the_file_is_one_file_of_the_agreed_form_and_names_no_path(
    exported: tuple[ScoringGraph, Path],
) -> None:
    """Standard operators of opset 23 only, and nothing of the machine that exported it."""
    _, path = exported
    assert [entry.name for entry in path.parent.iterdir()] == ["model.onnx"]
    data = path.read_bytes()
    proto = onnx.load_model_from_string(data)
    assert [(entry.domain, entry.version) for entry in proto.opset_import] == [("", OPSET_VERSION)]
    assert proto.ir_version <= MAX_IR_VERSION
    for trace in (b".py", b"site-packages", str(Path.cwd()).encode()):
        assert trace not in data


# The recurrent one: the exporter once froze the length of every further one in a process.
@pytest.mark.long
@pytest.mark.parametrize("exported", ["gru"], indirect=True)
def test_the_same_model_gives_the_same_bytes(exported: tuple[ScoringGraph, Path], tmp_path: Path) -> None:
    """So that a hash in a manifest means the model, not the hour of its export."""
    graph, path = exported
    again = tmp_path / "again.onnx"
    export_onnx(graph, spec=graph.model.spec, path=again)
    assert again.read_bytes() == path.read_bytes()


def small_graph(op_type: str = "Relu", *, domain: str = "", opset: int = OPSET_VERSION) -> onnx.ModelProto:
    """Return a graph of one node."""
    value = [
        onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, ["batch"]) for name in ("x", "y")
    ]
    node = onnx.helper.make_node(op_type, ["x"], ["y"], domain=domain)
    graph = onnx.helper.make_graph([node], "graph", value[:1], value[1:])
    return onnx.helper.make_model(
        graph, opset_imports=[onnx.helper.make_opsetid(domain, opset)], ir_version=MAX_IR_VERSION
    )


def test_a_plain_graph_passes_the_check() -> None:
    """The guard of the tests below."""
    check_file(small_graph().SerializeToString(), path=Path("model.onnx"))


@pytest.mark.parametrize(
    ("proto", "reason"),
    [
        (small_graph("NonMaxSuppression"), "NonMaxSuppression"),
        (small_graph("Loop"), "Loop"),
        (small_graph(opset=17), "17"),
        (small_graph("Relu", domain="com.microsoft"), "opset"),
    ],
)
def test_another_form_is_refused_with_file_and_reason(proto: onnx.ModelProto, reason: str) -> None:
    """An operator outside of the allow-list, another opset, another domain."""
    with pytest.raises(ArtifactError, match=reason) as caught:
        check_file(proto.SerializeToString(), path=Path("somewhere/model.onnx"))
    assert caught.value.path == Path("somewhere/model.onnx")


def test_a_later_form_and_an_inconsistent_graph_are_refused() -> None:
    """IR version beyond the engine's; an input that nothing defines."""
    late = small_graph()
    late.ir_version = MAX_IR_VERSION + 1
    with pytest.raises(ArtifactError, match="IR version"):
        check_file(late.SerializeToString(), path=Path("model.onnx"))
    broken = small_graph()
    broken.graph.node[0].input[0] = "nowhere"
    with pytest.raises(ArtifactError, match="checker"):
        check_file(broken.SerializeToString(), path=Path("model.onnx"))


def test_nothing_is_written_when_the_graph_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file that stands already survives a refused export."""
    path = tmp_path / "model.onnx"
    path.write_bytes(b"the last good one")
    graph = ScoringGraph(make_model(load_config(encoder="none", use_next_event=False)), Calibration())
    proto = small_graph("Loop")
    program = SimpleNamespace(model=onnx_ir.from_proto(proto), model_proto=proto)
    monkeypatch.setattr(torch.onnx, "export", lambda *_, **__: program)
    with pytest.raises(ArtifactError, match="Loop"):
        export_onnx(graph, spec=SPEC, path=path)
    assert path.read_bytes() == b"the last good one"
