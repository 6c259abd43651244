"""What an ONNX file may contain: standard operators and trees of one version, and no file beside it.

It deliberately does not know how to run a graph, nor does it need the onnx package: protobuf
reads the few parts that the check looks at, and both export and loading call it.
"""

from collections.abc import Iterator
from functools import cache
from typing import Any

from google.protobuf import descriptor_pb2, descriptor_pool, message, message_factory

from holdfast.errors import ConfigError

STANDARD_DOMAINS = frozenset({"", "ai.onnx"})
TREES_DOMAIN = "ai.onnx.ml"
TREES_OPSET = 5
"""Version of the tree operators, where a graph declares them: the first one with ``TreeEnsemble``."""
EXTERNAL = 1
"""``TensorProto.data_location`` of a tensor whose data lie in another file."""

_STANDARD_OPERATORS = """
    Abs Add And BitShift BitwiseAnd BitwiseNot BitwiseOr BitwiseXor Ceil Clip Cos Div Equal Erf Exp
    Floor Greater
    GreaterOrEqual IsInf IsNaN Less LessOrEqual Log Max Mean Min Mod Mul Neg Not Or Pow Reciprocal
    Round Sign Sin
    Sqrt Sub Sum Tan Tanh Where Xor
    Celu Elu Gelu HardSigmoid HardSwish LayerNormalization LeakyRelu LogSoftmax LpNormalization Mish PRelu
    RMSNormalization Relu Selu Sigmoid Softmax Softplus Softsign Swish
    Attention Conv Einsum GRU Gemm LSTM MatMul RNN RotaryEmbedding
    ArgMax ArgMin CumSum ReduceL1 ReduceL2 ReduceLogSum ReduceLogSumExp ReduceMax ReduceMean
    ReduceMin ReduceProd
    ReduceSum ReduceSumSquare TopK
    Cast CastLike Compress Concat Constant ConstantOfShape Expand EyeLike Flatten Gather
    GatherElements GatherND
    Identity NonZero OneHot Pad Range Reshape ReverseSequence ScatterElements ScatterND Shape Size Slice Split
    Squeeze Tile Transpose Trilu Unsqueeze
"""
ALLOWED_OPERATORS = {
    "": frozenset(_STANDARD_OPERATORS.split()),
    TREES_DOMAIN: frozenset({"TreeEnsemble"}),
}
"""By domain, deterministic operators without control flow, text, sequences or randomness."""


def check_graph(data: bytes, *, opset: int) -> None:
    """Refuse an ONNX file that holds more than a plain graph.

    Args:
        data: The file.
        opset: Version of the standard operators that it must declare.

    Raises:
        ConfigError: It is no ONNX file, declares another version (of the trees' too), uses an
            operator that is not allowed, or refers to data in another file.
    """
    model = _model_class()()
    try:
        model.ParseFromString(data)
    except message.DecodeError as error:
        raise ConfigError("graph", str(error), "it must be an ONNX file") from error
    # A few bytes of anything can be read as a message, but not as one with a graph.
    if not model.HasField("graph") or not model.graph.node:
        raise ConfigError("graph", f"{len(data)} bytes without nodes", "it must be an ONNX file")
    declared = {_standard(entry.domain): entry.version for entry in model.opset_import}
    if declared.get("") != opset:
        raise ConfigError("graph.opset", declared.get(""), f"the manifest says {opset}")
    if declared.get(TREES_DOMAIN, TREES_OPSET) != TREES_OPSET:
        where = f"graph.opset of {TREES_DOMAIN}"
        raise ConfigError(where, declared[TREES_DOMAIN], f"it must be {TREES_OPSET}")
    if model.training_info:
        raise ConfigError("graph.training_info", len(model.training_info), "it must be empty")
    graphs = [model.graph]
    for function in model.functions:
        raise ConfigError("graph.functions", function.name, "functions must be inlined")
    while graphs:
        graph = graphs.pop()
        _check_tensors(graph)
        for node in graph.node:
            _check_operator(node)
            graphs.extend(_subgraphs(node))


def _check_operator(node: Any) -> None:
    domain = _standard(node.domain)
    if node.op_type not in ALLOWED_OPERATORS.get(domain, frozenset()):
        name = f"{domain}.{node.op_type}" if domain else node.op_type
        raise ConfigError(f"graph.nodes[{node.name}]", name, "it is not on the list of allowed operators")


def _check_tensors(graph: Any) -> None:
    tensors = [*graph.initializer, *(attribute.t for node in graph.node for attribute in node.attribute)]
    for tensor in tensors:
        if tensor.data_location == EXTERNAL or tensor.external_data:
            raise ConfigError(
                f"graph.tensors[{tensor.name}]", "external data", "one file must hold the model"
            )


def _subgraphs(node: Any) -> Iterator[Any]:
    for attribute in node.attribute:
        if attribute.HasField("g"):
            yield attribute.g
        yield from attribute.graphs


def _standard(domain: str) -> str:
    return "" if domain in STANDARD_DOMAINS else domain


@cache
def _model_class() -> type[Any]:
    """Return a message class with the parts of onnx.proto that are looked at, by its field numbers.

    protobuf skips what is not declared here, weights included, in compiled code. The numbers
    are fixed by the published format: https://github.com/onnx/onnx/blob/main/onnx/onnx.proto3
    """
    file = descriptor_pb2.FileDescriptorProto(name="holdfast_graph.proto", package="holdfast.graph")
    text, integer = (
        descriptor_pb2.FieldDescriptorProto.TYPE_STRING,
        descriptor_pb2.FieldDescriptorProto.TYPE_INT64,
    )
    many, one = (
        descriptor_pb2.FieldDescriptorProto.LABEL_REPEATED,
        descriptor_pb2.FieldDescriptorProto.LABEL_OPTIONAL,
    )
    forms: dict[str, list[tuple[str, int, Any, Any]]] = {
        "Model": [
            ("graph", 7, "Graph", one),
            ("opset_import", 8, "Opset", many),
            ("training_info", 20, "Opaque", many),
            ("functions", 25, "Function", many),
        ],
        "Opset": [("domain", 1, text, one), ("version", 2, integer, one)],
        "Opaque": [],
        "Function": [("name", 1, text, one)],
        "Graph": [("node", 1, "Node", many), ("initializer", 5, "Tensor", many)],
        "Node": [
            ("name", 3, text, one),
            ("op_type", 4, text, one),
            ("attribute", 5, "Attribute", many),
            ("domain", 7, text, one),
        ],
        "Attribute": [("t", 5, "Tensor", one), ("g", 6, "Graph", one), ("graphs", 11, "Graph", many)],
        "Tensor": [
            ("name", 8, text, one),
            ("external_data", 13, "Opaque", many),
            ("data_location", 14, integer, one),
        ],
    }
    for name, declared in forms.items():
        form = file.message_type.add(name=name)
        for field, number, kind, label in declared:
            added = form.field.add(name=field, number=number, label=label)
            if isinstance(kind, str):
                added.type, added.type_name = (
                    descriptor_pb2.FieldDescriptorProto.TYPE_MESSAGE,
                    f".{file.package}.{kind}",
                )
            else:
                added.type = kind
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName("holdfast.graph.Model"))
