"""Tensors become the histories that they say, and whatever does not fit is named with its limit."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from artifact_builder import AS_OF_US
from open_inference_requests import infer_request, tensors_of

from builders import random_histories, small_schema
from holdfast.errors import RequestError
from holdfast.histories import ALWAYS_US, Histories
from holdfast.inference import open_inference_pb2 as pb
from holdfast.wire import Limits
from serving.open_inference.inputs import Asked, read_inputs

Tensors = dict[str, tuple[str, Any]]


def tensors(num_customers: int = 5) -> Tensors:
    """Return the tensors of random customers."""
    return tensors_of(random_histories(np.random.default_rng(0), num_customers, max_length=6))


def read(request: pb.ModelInferRequest, **limits: int) -> Asked:
    """Read a request for the small schema."""
    return read_inputs(request, small_schema(), limits=Limits(**limits))


def texts(histories: Histories) -> list[str | None]:
    """Return the channels of all events."""
    column = histories.categorical["channel"]
    return [column.dictionary.values[code] if code >= 0 else None for code in column.codes.tolist()]


@pytest.mark.parametrize("is_raw", [True, False])
def test_columns_arrive_as_they_were_sent(is_raw: bool) -> None:
    """Typed and raw, with versions of attributes, missing values and customers without events."""
    histories = random_histories(np.random.default_rng(4), 12)
    asked = read(infer_request(tensors_of(histories), is_raw=is_raw))
    found = asked.histories
    assert (asked.num_customers, asked.errors, asked.positions.tolist()) == (12, {}, list(range(12)))
    assert asked.as_of_us.tolist() == [AS_OF_US] * 12
    np.testing.assert_array_equal(found.offsets, histories.offsets)
    np.testing.assert_array_equal(found.occurred_at_us, histories.occurred_at_us)
    assert texts(found) == texts(histories)
    for name, values in histories.numeric.items():
        np.testing.assert_array_equal(found.numeric[name], values)
    np.testing.assert_array_equal(found.attributes.offsets, histories.attributes.offsets)
    np.testing.assert_array_equal(found.attributes.valid_from_us, histories.attributes.valid_from_us)
    np.testing.assert_array_equal(found.attributes.numeric["age"], histories.attributes.numeric["age"])


def test_what_is_not_sent_is_missing() -> None:
    """Fields without a tensor are missing throughout; without attributes there is no version of them."""
    given = {n: t for n, t in tensors().items() if "." not in n and not n.startswith(("version", "valid"))}
    histories = read(infer_request(given)).histories
    assert set(texts(histories)) == {None}
    assert np.isnan(histories.numeric["amount"]).all()
    assert histories.attributes.offsets.tolist() == [0] * 6


def test_attributes_without_versions_always_hold() -> None:
    """One value per customer and no time: the simple case needs no further tensor."""
    given = {n: t for n, t in tensors().items() if not n.startswith(("version", "valid", "attributes"))}
    given["attributes.age"] = ("FP64", np.array([20, 30, np.nan, 50, 60], dtype=np.float64))
    versions = read(infer_request(given)).histories.attributes
    assert versions.offsets.tolist() == [0, 1, 2, 3, 4, 5]
    assert versions.valid_from_us.tolist() == [ALWAYS_US] * 5
    np.testing.assert_array_equal(
        versions.numeric["age"], np.array([20, 30, np.nan, 50, 60], dtype=np.float32)
    )
    assert versions.categorical["region"].codes.tolist() == [-1] * 5


def test_the_empty_text_is_an_event_type_and_a_missing_category() -> None:
    """An event always has a type; a category may miss."""
    given = tensors(3)
    num = len(given["occurred_at_us"][1])
    given["event_type"] = given["fields.channel"] = ("BYTES", [b""] * num)
    histories = read(infer_request(given)).histories
    assert histories.event_type.dictionary.values == ("",)
    assert set(texts(histories)) == {None}


def test_customers_at_fault_are_left_out_and_named() -> None:
    """Bad text, too many events, an impossible cutoff of its own: the others are asked about."""
    given = tensors_of(random_histories(np.random.default_rng(1), 6, max_length=20))
    offsets = given["event_offsets"][1]
    lengths = np.diff(offsets)
    most = int(lengths.max())
    assert lengths[2] < most
    as_of_us = np.full(6, AS_OF_US)
    as_of_us[1] = 5
    given["as_of_us"] = ("INT64", as_of_us)
    types = list(given["event_type"][1])
    types[offsets[2] + 1] = b"\xff\xfe"
    given["event_type"] = ("BYTES", types)
    asked = read(infer_request(given), max_events_per_customer=most - 1)
    largest = dict.fromkeys(np.flatnonzero(lengths == most).tolist(), "occurred_at_us")
    found = {position: error.field for position, error in asked.errors.items()}
    assert found == largest | {1: "as_of_us[1]", 2: "event_type[1]"}
    assert asked.errors[2].value == repr(b"\xff\xfe")
    assert asked.positions.tolist() == [row for row in range(6) if row not in found]
    assert asked.histories.num_customers == len(asked.as_of_us) == len(asked.positions)


def replaced(name: str, datatype: str, values: Any) -> Callable[[Tensors], Tensors]:
    """Return a change of one tensor."""
    return lambda given: given | {name: (datatype, values)}


def without(*names: str) -> Callable[[Tensors], Tensors]:
    """Return the removal of tensors."""
    return lambda given: {name: tensor for name, tensor in given.items() if name not in names}


@pytest.mark.parametrize("is_raw", [True, False])
@pytest.mark.parametrize(
    ("change", "field", "limit"),
    [
        (without("as_of_us"), "as_of_us", "this input is needed"),
        (without("event_offsets"), "event_offsets", "this input is needed"),
        (without("valid_from_us"), "valid_from_us", "it is needed beside version_offsets"),
        (without("version_offsets"), "version_offsets", "it is needed beside valid_from_us"),
        (replaced("fields.amonut", "FP32", []), "inputs[11].name", "the model takes"),
        (replaced("event_offsets", "INT64", []), "event_offsets[0]", "it must be there, and 0"),
        (replaced("event_offsets", "INT64", [1, 2]), "event_offsets[0]", "it must be there, and 0"),
        (replaced("event_offsets", "INT64", [0, 5, 3]), "event_offsets[2]", "offsets must not descend"),
        (replaced("event_offsets", "INT64", [0, 2**63 - 1, -(2**63)]), "event_offsets[2]", "not descend"),
        (replaced("event_offsets", "INT64", [0, 3]), "event_offsets[1]", "the last offset must be"),
        (replaced("event_offsets", "FP32", [0, 3]), "event_offsets.datatype", "it must be INT64"),
        (replaced("event_offsets", "INT64", [0] * 12), "event_offsets.shape", "at most 10 customers"),
        (replaced("occurred_at_us", "INT64", [1] * 101), "occurred_at_us.shape", "at most 100 events"),
        (replaced("version_offsets", "INT64", [0]), "version_offsets.shape", "it must be [6]"),
        (replaced("as_of_us", "INT64", [1, 2]), "as_of_us.shape", "it must be [1] or [5]"),
        (replaced("as_of_us", "INT64", [7]), "as_of_us[0]", "from 1971 up to 2200"),
        (replaced("fields.amount", "FP32", [1.0]), "fields.amount.shape", "occurred_at_us says"),
        (replaced("fields.amount", "BYTES", [b"1"] * 99), "fields.amount", "it must be FP32 or FP64"),
        (replaced("event_type", "INT64", [1] * 99), "event_type", "it must be BYTES"),
        (replaced("attributes.age", "FP32", [1.0]), "attributes.age.shape", "valid_from_us says"),
    ],
)
def test_what_does_not_fit_is_named(
    change: Callable[[Tensors], Tensors], field: str, limit: str, is_raw: bool
) -> None:
    """Tensor, value and limit, whichever way the values came."""
    given = tensors()
    num = len(given["occurred_at_us"][1])
    changed = {n: (d, v[:num] if len(v) == 99 else v) for n, (d, v) in change(given).items()}
    with pytest.raises(RequestError) as caught:
        read(infer_request(changed, is_raw=is_raw), max_customers=10, max_events=100)
    assert caught.value.field.startswith(field)
    assert limit in caught.value.limit


def change_shape(request: pb.ModelInferRequest) -> None:
    """Say that there are far more events than there is room for."""
    request.inputs[1].shape[0] = 2**62


def add_twice(request: pb.ModelInferRequest) -> None:
    """Send a tensor a second time."""
    request.inputs.add(name="event_type", shape=[0])
    request.raw_input_contents.append(b"")


@pytest.mark.parametrize(
    ("change", "field"),
    [
        (change_shape, "occurred_at_us.shape"),
        (lambda r: r.inputs[0].shape.append(1), "event_offsets.shape"),
        (lambda r: r.inputs[0].ClearField("shape"), "event_offsets.shape"),
        (lambda r: r.inputs[0].shape.__setitem__(0, -6), "event_offsets.shape"),
        (lambda r: r.inputs.add(name="event_type"), "raw_input_contents"),
        (add_twice, "inputs[11]"),
        (lambda r: r.inputs[1].contents.int64_contents.append(1), "occurred_at_us.contents"),
        (lambda r: r.inputs[1].parameters["shared_memory_region"].SetInParent(), "occurred_at_us.parameters"),
        (lambda r: r.raw_input_contents.__setitem__(1, b"\0" * 7), "occurred_at_us"),
        (lambda r: r.raw_input_contents.__setitem__(2, b"\xff\xff\xff\xff"), "event_type[0]"),
        (lambda r: r.raw_input_contents.__setitem__(2, b"\x01"), "event_type[0]"),
        (lambda r: r.raw_input_contents.__setitem__(2, r.raw_input_contents[2] + b"!"), "event_type"),
    ],
)
def test_bytes_that_do_not_fit_are_named(change: Callable[[pb.ModelInferRequest], Any], field: str) -> None:
    """Sizes are compared with what is there before anything is allocated for them."""
    request = infer_request(tensors())
    change(request)
    with pytest.raises(RequestError) as caught:
        read(request)
    assert caught.value.field.startswith(field)


def test_typed_values_stand_in_the_list_of_their_datatype() -> None:
    """A value in another list is not silently left out, and too few are not filled up."""
    request = infer_request(tensors(), is_raw=False)
    request.inputs[1].contents.fp32_contents.append(1.0)
    with pytest.raises(RequestError, match="stand in int64_contents"):
        read(request)
    request = infer_request(tensors(), is_raw=False)
    request.inputs[2].contents.bytes_contents.append(b"visit")
    with pytest.raises(RequestError, match=r"event_type: got '.* values', but its shape is"):
        read(request)
