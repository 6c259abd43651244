"""A scoring graph to one ONNX file, checked before anybody is asked to trust it.

It deliberately does not know the manifest or the golden cases; it writes ``model.onnx`` alone.
"""

import logging
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import onnx
import onnx_ir
import torch
from torch import Tensor

from holdfast.encoding import EncodingSpec
from holdfast.encoding.padding import EVENT_INPUTS
from holdfast.encoding.spec import CALENDAR_SIZE
from holdfast.errors import ArtifactError, ConfigError
from holdfast.graph import TREES_DOMAIN, check_graph
from training.blend.layers import MARK, Trees
from training.blend.tree_arrays import TreeArrays
from training.model.graph import ScoringGraph

OPSET_VERSION = 23
MAX_IR_VERSION = 11
"""The form of the file that came with opset 23; ONNX Runtime refuses files of a later form than its own."""


_CHATTY = ("torch.onnx._internal.exporter", "onnxscript", "onnx_ir")
"""Loggers that tell every step of an export."""


def export_onnx(graph: ScoringGraph, *, spec: EncodingSpec, path: Path) -> None:
    """Write a scoring graph as one ONNX file with dynamic batch and length.

    Args:
        graph: The model with its calibration; on the CPU.
        spec: The encoding that its inputs come from.
        path: Where to write; an existing file is replaced.

    Raises:
        ArtifactError: The graph holds something that the server would not run; the message names it.
    """
    assert not graph.training, "dropout has no place in an exported graph"
    with _quiet(), torch.no_grad():
        program = torch.onnx.export(
            graph,
            example_inputs(spec),
            dynamo=True,
            opset_version=OPSET_VERSION,
            external_data=False,
            input_names=list(graph.input_names),
            output_names=list(graph.output_names),
            dynamic_shapes=(_dynamic_shapes(graph),),
            optimize=True,
            verbose=False,
        )
    assert program is not None, "the exporter returns nothing only for the old path"
    trees = [module for module in graph.modules() if isinstance(module, Trees)]
    assert len({one.mark for one in trees}) == len(trees), "operators are told apart by their marks"
    _plant(program.model.graph, {one.mark: one.arrays for one in trees})
    _drop_guards(program.model.graph)
    onnx_ir.passes.common.RemoveUnusedNodesPass()(program.model)
    _rename_values(program.model.graph)
    proto = program.model_proto
    _strip(proto)
    data = proto.SerializeToString(deterministic=True)
    check_file(data, path=path)
    path.write_bytes(data)


def example_inputs(spec: EncodingSpec, *, batch: int = 3, length: int = 5) -> tuple[Tensor, ...]:
    """Return inputs of the right shapes and types; sizes above 1, since the exporter freezes a 1."""
    return (
        torch.ones(batch, length, len(spec.event_id_sizes), dtype=torch.int64),
        torch.zeros(batch, length, spec.event_value_size),
        torch.arange(length, dtype=torch.float32).expand(batch, length).contiguous(),
        torch.ones(batch, len(spec.readout_id_sizes), dtype=torch.int64),
        torch.zeros(batch, spec.readout_value_size),
        torch.zeros(batch, CALENDAR_SIZE),
        torch.full((batch,), float(length)),
        torch.full((batch,), length, dtype=torch.int64),
    )


def check_file(data: bytes, *, path: Path) -> None:
    """Refuse a file that is not of the agreed form.

    Args:
        data: The file's bytes.
        path: Where they are, or shall be, kept; for the message.

    Raises:
        ArtifactError: Another opset or form, an operator that is not allowed, external data, or what
            ONNX's own checker refuses.
    """
    try:
        check_graph(data, opset=OPSET_VERSION)
    except ConfigError as error:
        raise ArtifactError(path, str(error)) from error
    proto = onnx.load_model_from_string(data)
    if proto.ir_version > MAX_IR_VERSION:
        raise ArtifactError(
            path, f"it has IR version {proto.ir_version}, but at most {MAX_IR_VERSION} is read"
        )
    try:
        onnx.checker.check_model(proto, full_check=True)
    except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError) as error:
        raise ArtifactError(path, f"ONNX's checker refuses it: {error}") from error


def _plant(graph: onnx_ir.Graph, arrays: Mapping[int, TreeArrays]) -> None:
    """Write trees into the operators that were traced for them, by mark: tracing long lists takes long."""
    for node in graph:
        if (node.domain, node.op_type) == (TREES_DOMAIN, "TreeEnsemble"):
            (mark,) = node.attributes[MARK].as_ints()
            for name, values in tree_attributes(arrays[mark]).items():
                node.attributes[name] = (
                    onnx_ir.AttrTensor(name, onnx_ir.tensor(values))
                    if name in _TREE_TENSORS
                    else onnx_ir.AttrInt64s(name, values.tolist())
                )


def _drop_guards(graph: onnx_ir.Graph) -> None:
    """Make one operator of what the exporter writes for softplus: ``x where x > 20, else Softplus(x)``.

    PyTorch guards itself against an overflow that ONNX's operator does not have.
    """
    for node in graph:
        if node.op_type == "Softplus":
            (values,), (result,) = node.inputs, node.outputs
            for user, place in tuple(result.uses()):
                if user.op_type == "Where" and place == 2 and user.inputs[1] is values:
                    condition = user.inputs[0] and user.inputs[0].producer()
                    if condition and condition.op_type == "Greater" and condition.inputs[0] is values:
                        user.outputs[0].replace_all_uses_with(result)


_TREE_TENSORS = frozenset({"nodes_modes", "nodes_splits", "leaf_weights"})


def tree_attributes(arrays: TreeArrays) -> dict[str, np.ndarray]:
    """Return the attributes of ``ai.onnx.ml.TreeEnsemble`` beside the number of targets."""
    first, second = arrays.children.T
    return {
        "tree_roots": arrays.roots,
        "nodes_featureids": arrays.feature,
        # Mode 0: at most the split goes to the true branch.
        "nodes_modes": np.zeros(len(arrays.feature), dtype=np.uint8),
        "nodes_splits": arrays.threshold,
        "nodes_truenodeids": np.where(first < 0, -1 - first, first),
        "nodes_trueleafs": (first < 0).astype(np.int64),
        "nodes_falsenodeids": np.where(second < 0, -1 - second, second),
        "nodes_falseleafs": (second < 0).astype(np.int64),
        "leaf_targetids": arrays.leaf_target,
        "leaf_weights": arrays.leaf_value,
    }


def _dynamic_shapes(graph: ScoringGraph) -> tuple[dict[int, str], ...]:
    return tuple({0: "batch", 1: "length"} if n in EVENT_INPUTS else {0: "batch"} for n in graph.input_names)


def _rename_values(graph: onnx_ir.Graph) -> None:
    """Number the inner values: the exporter calls one ``embedding`` beside our output of that name.

    What nobody reads gets no name: an operator need not write it then.
    """
    inner = (v for node in graph.all_nodes() for v in node.outputs if not v.is_graph_output())
    for index, value in enumerate(inner):
        value.name = f"value/{index}" if value.uses() else ""


def _strip(proto: onnx.ModelProto) -> None:
    """Remove stack traces and paths of the exporting machine, which also differ between runs."""
    del proto.metadata_props[:]
    proto.producer_version, proto.doc_string = "", ""
    proto.graph.doc_string = ""
    del proto.graph.metadata_props[:]
    for value in (*proto.graph.value_info, *proto.graph.input, *proto.graph.output):
        value.doc_string = ""
        del value.metadata_props[:]
    for node in proto.graph.node:
        node.doc_string = ""
        del node.metadata_props[:]
    for tensor in proto.graph.initializer:
        tensor.doc_string = ""
        del tensor.metadata_props[:]


@contextmanager
def _quiet() -> Iterator[None]:
    """Silence what the exporter says about its own inner use of other libraries."""
    loggers = [logging.getLogger(name) for name in _CHATTY]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            # Raised by the exporter within itself (torch 2.13); nothing that a caller could do otherwise.
            warnings.filterwarnings(
                "ignore", message=".*_check_is_size will be removed.*", category=FutureWarning
            )
            warnings.filterwarnings("ignore", message=".*LeafSpec.* is deprecated.*", category=FutureWarning)
            # Every input shares the names of its axes with the others, as it should.
            warnings.filterwarnings(
                "ignore", message="# The axis name: .* will not be used", category=UserWarning
            )
            # A GRU keeps its weights in a second list, which tracing replaces and puts back.
            warnings.filterwarnings(
                "ignore", message="The tensor attributes .*_flat_weights", category=UserWarning
            )
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
