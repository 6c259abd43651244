"""Requests of the Open Inference Protocol, as a client would write them, and their answers as arrays."""

import struct
from typing import Any

import numpy as np
from artifact_builder import AS_OF_US

from holdfast.histories import CodedColumn, Histories
from holdfast.inference import open_inference_pb2 as pb

CONTENTS = {
    "BOOL": "bool_contents",
    "INT64": "int64_contents",
    "FP32": "fp32_contents",
    "FP64": "fp64_contents",
    "BYTES": "bytes_contents",
}
DTYPES = {"BOOL": np.bool_, "INT64": np.int64, "FP32": np.float32, "FP64": np.float64}


def texts_of(column: CodedColumn) -> list[bytes]:
    """Return a coded column as the elements of BYTES: empty where a value is missing."""
    values = column.dictionary.values
    return [values[code].encode() if code >= 0 else b"" for code in column.codes.tolist()]


def tensors_of(histories: Histories, *, as_of_us: Any = AS_OF_US) -> dict[str, tuple[str, Any]]:
    """Return the tensors that ask about some histories: datatype and values by name."""
    versions = histories.attributes
    tensors: dict[str, tuple[str, Any]] = {
        "event_offsets": ("INT64", histories.offsets),
        "occurred_at_us": ("INT64", histories.occurred_at_us),
        "event_type": ("BYTES", texts_of(histories.event_type)),
    }
    for name, column in histories.categorical.items():
        tensors[f"fields.{name}"] = ("BYTES", texts_of(column))
    for name, values in histories.numeric.items():
        tensors[f"fields.{name}"] = ("FP32", values)
    for name, column in versions.categorical.items():
        tensors[f"attributes.{name}"] = ("BYTES", texts_of(column))
    for name, values in versions.numeric.items():
        tensors[f"attributes.{name}"] = ("FP32", values)
    tensors["version_offsets"] = ("INT64", versions.offsets)
    tensors["valid_from_us"] = ("INT64", versions.valid_from_us)
    tensors["as_of_us"] = ("INT64", np.atleast_1d(as_of_us))
    return tensors


def raw_bytes(datatype: str, values: Any) -> bytes:
    """Return the bytes of a tensor."""
    if datatype == "BYTES":
        return b"".join(struct.pack("<I", len(value)) + value for value in values)
    return np.asarray(values, dtype=DTYPES[datatype]).tobytes()


def infer_request(
    tensors: dict[str, tuple[str, Any]], *, is_raw: bool = True, outputs: tuple[str, ...] = ()
) -> pb.ModelInferRequest:
    """Return the request that sends some tensors."""
    request = pb.ModelInferRequest(model_name="small", id="17")
    for name, (datatype, values) in tensors.items():
        tensor = request.inputs.add(name=name, datatype=datatype, shape=[len(values)])
        if is_raw:
            request.raw_input_contents.append(raw_bytes(datatype, values))
        else:
            listed = values if datatype == "BYTES" else np.asarray(values).tolist()
            getattr(tensor.contents, CONTENTS[datatype]).extend(listed)
    for name in outputs:
        request.outputs.add(name=name)
    return request


def arrays_of(response: pb.ModelInferResponse) -> dict[str, Any]:
    """Return the outputs of an answer by name: arrays, and lists of bytes."""
    found: dict[str, Any] = {}
    for index, output in enumerate(response.outputs):
        if response.raw_output_contents:
            values = _from_bytes(output.datatype, response.raw_output_contents[index])
        else:
            values = list(getattr(output.contents, CONTENTS[output.datatype]))
        if output.datatype != "BYTES":
            values = np.asarray(values, dtype=DTYPES[output.datatype]).reshape(output.shape)
        assert len(values) == output.shape[0]
        found[output.name] = values
    return found


def _from_bytes(datatype: str, raw: bytes) -> Any:
    if datatype != "BYTES":
        return np.frombuffer(raw, dtype=DTYPES[datatype])
    elements, position = [], 0
    while position < len(raw):
        (length,) = struct.unpack_from("<I", raw, position)
        elements.append(raw[position + 4 : position + 4 + length])
        position += 4 + length
    return elements
