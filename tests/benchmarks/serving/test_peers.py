"""What other servers are sent says the same at their side."""

import struct

import numpy as np
import pytest
from google.protobuf.wrappers_pb2 import BytesValue

from benchmarks.serving.peers.packed import Request, pack_request, unpack_request
from benchmarks.serving.peers.protocol import (
    bytes_value,
    infer_request,
    read_bytes_value,
    read_infer_response,
)


def test_a_request_survives_the_wire() -> None:
    """Names, types, shapes and values come back."""
    request = Request(
        is_padded=True,
        lengths=[2, 1],
        events={"event_ids": np.arange(6, dtype=np.int64).reshape(3, 2)},
        customers={"readout_values": np.array([[0.5], [np.nan]], dtype=np.float32)},
    )
    found = unpack_request(pack_request(request))
    assert found.is_padded
    assert found.lengths == [2, 1]
    for name, array in (request.events | request.customers).items():
        other = (found.events | found.customers)[name]
        assert other.dtype == array.dtype
        np.testing.assert_array_equal(other, array)


@pytest.mark.parametrize("size", [0, 1, 127, 128, 70_000])
def test_bytes_values_are_those_of_protobuf(size: int) -> None:
    """Our few lines and protobuf's own code read each other."""
    data = bytes(size)
    assert BytesValue.FromString(bytes_value(data)).value == data
    if size:
        assert read_bytes_value(BytesValue(value=data).SerializeToString()) == data


def test_an_answer_may_be_raw_or_typed() -> None:
    """Both forms of the Open Inference Protocol are read; other fields are passed over."""
    request = infer_request("model", b"answer")
    # A request's input stands under the number of an answer's output, with the same form.
    assert read_infer_response(request) == b"answer"
    raw = struct.pack("<I", 3) + b"raw"
    assert read_infer_response(b"\x0a\x01m\x32" + bytes([len(raw)]) + raw) == b"raw"
