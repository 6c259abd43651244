"""A graph is refused unless it is plain: known operators of one version, in one file."""

import onnx
import pytest
from artifact_builder import OPSET, build_model
from onnx import TensorProto, helper

from builders import small_spec
from holdfast.errors import ConfigError
from holdfast.graph import ALLOWED_OPERATORS, TREES_DOMAIN, TREES_OPSET, check_graph


def one_node(
    node: onnx.NodeProto, *, domains: tuple[str, ...] = ("",), trees_opset: int = TREES_OPSET, **parts: object
) -> onnx.ModelProto:
    """Return a model of one node."""
    value = helper.make_tensor_value_info("x", TensorProto.FLOAT, [1])
    out = helper.make_tensor_value_info("y", TensorProto.FLOAT, [1])
    graph = helper.make_graph([node], "one", [value], [out], **parts)
    versions = [(domain, trees_opset if domain == TREES_DOMAIN else OPSET) for domain in domains]
    return helper.make_model(graph, opset_imports=[helper.make_opsetid(*version) for version in versions])


def refuse(model: onnx.ModelProto, match: str, *, opset: int = OPSET) -> None:
    """Check that the model is refused for a reason."""
    with pytest.raises(ConfigError, match=match):
        check_graph(model.SerializeToString(), opset=opset)


def test_a_plain_graph_passes() -> None:
    """The graph of the small artifact is sound."""
    check_graph(build_model(small_spec()).SerializeToString(), opset=OPSET)


def test_every_allowed_operator_exists() -> None:
    """The list names real operators, none of which runs random numbers or other graphs."""
    for domain, names in ALLOWED_OPERATORS.items():
        known = {schema.name for schema in onnx.defs.get_all_schemas() if schema.domain == domain}
        assert names <= known, domain
    assert not {"If", "Loop", "Scan", "RandomNormal", "Dropout", "Bernoulli"} & ALLOWED_OPERATORS[""]


def test_another_opset_is_refused() -> None:
    """The version of the operators is part of what was verified at export."""
    refuse(build_model(small_spec(), opset=22), "opset: got 22, but the manifest says 23")


@pytest.mark.parametrize("operator", ["RandomNormal", "Loop", "If", "StringConcat", "Dropout", "Nothing"])
def test_an_operator_outside_the_list_is_named(operator: str) -> None:
    """Randomness, control flow, text and unknown operators are refused by name."""
    refuse(one_node(helper.make_node(operator, ["x"], ["y"], name="odd")), f"nodes.odd.: got '{operator}'")


def test_another_domain_is_refused() -> None:
    """A vendor's operator is not one of the standard's, even under the same name."""
    node = helper.make_node("Add", ["x", "x"], ["y"], domain="com.vendor")
    refuse(one_node(node, domains=("", "com.vendor")), r"com\.vendor\.Add")


def test_trees_are_allowed() -> None:
    """Gradient-boosted trees live in the same graph."""
    node = helper.make_node("TreeEnsemble", ["x"], ["y"], domain=TREES_DOMAIN)
    check_graph(one_node(node, domains=("", TREES_DOMAIN)).SerializeToString(), opset=OPSET)


@pytest.mark.parametrize(
    ("operator", "version", "match"),
    [
        ("TreeEnsembleRegressor", TREES_OPSET, r"got 'ai\.onnx\.ml\.TreeEnsembleRegressor'"),
        ("TreeEnsemble", 3, r"opset of ai\.onnx\.ml: got 3, but it must be 5"),
    ],
)
def test_other_trees_are_refused(operator: str, version: int, match: str) -> None:
    """One form of trees, of one version, is what export writes and tests hold to LightGBM."""
    node = helper.make_node(operator, ["x"], ["y"], domain=TREES_DOMAIN)
    refuse(one_node(node, domains=("", TREES_DOMAIN), trees_opset=version), match)


def test_a_forbidden_operator_inside_an_attribute_is_found() -> None:
    """A graph within a node's attribute is searched like the outer one."""
    inner = one_node(helper.make_node("RandomNormal", [], ["y"], shape=[1])).graph
    node = helper.make_node("Add", ["x", "x"], ["y"], body=inner)
    refuse(one_node(node), "RandomNormal")


def test_data_in_another_file_are_refused() -> None:
    """External data could be swapped without changing the verified file."""
    tensor = helper.make_tensor("w", TensorProto.FLOAT, [1], [1.0])
    tensor.data_location = TensorProto.EXTERNAL
    entry = tensor.external_data.add()
    entry.key, entry.value = "location", "/etc/passwd"
    refuse(one_node(helper.make_node("Add", ["x", "w"], ["y"]), initializer=[tensor]), "external data")
    refuse(one_node(helper.make_node("Constant", [], ["y"], value=tensor)), "external data")


def test_functions_and_training_parts_are_refused() -> None:
    """Both could hide operators from the list."""
    model = build_model(small_spec())
    function = helper.make_function("d", "f", ["a"], ["b"], [], [helper.make_opsetid("", OPSET)])
    model.functions.append(function)
    refuse(model, "functions")
    model = build_model(small_spec())
    model.training_info.add()
    refuse(model, "training_info")


@pytest.mark.parametrize("data", [b"", b"not a model", b"\x00" * 64, b"\x3a\x00"])
def test_what_is_no_model_is_refused(data: bytes) -> None:
    """Bytes of another kind are refused with a reason."""
    with pytest.raises(ConfigError, match="ONNX file"):
        check_graph(data, opset=OPSET)


def test_a_truncated_model_is_refused() -> None:
    """A file that ends too early is no model."""
    data = build_model(small_spec()).SerializeToString()
    with pytest.raises(ConfigError, match="graph"):
        check_graph(data[: len(data) // 2], opset=OPSET)
