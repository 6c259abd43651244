"""Predictions to output tensors, one row per customer of the request and in its order.

It deliberately does no arithmetic on them. A customer that was not scored has NaN in every
prediction, 0 in every count, and the reason in ``error``.
"""

from collections.abc import Mapping, Sequence

import numpy as np
from numpy import ndarray

from holdfast.errors import HistoryError, RequestError
from holdfast.inference import open_inference_pb2 as pb
from holdfast.manifest import Manifest
from holdfast.results import COUNT_NAMES, ELIGIBLE_NAME, OBSERVED_NAMES
from serving.open_inference.inputs import Asked, input_datatypes, tensor_fault
from serving.open_inference.tensors import datatype_of, write_tensor
from serving.predictor import Predictions

ERROR = "error"
PLATFORM = "holdfast_onnx"


def write_metadata(manifest: Manifest) -> pb.ModelMetadataResponse:
    """Return which tensors a model takes and gives."""
    response = pb.ModelMetadataResponse(name=manifest.name, versions=[manifest.version], platform=PLATFORM)
    for name, datatype in input_datatypes(manifest.schema).items():
        response.inputs.add(name=name, datatype=datatype, shape=[-1])
    for form in manifest.outputs:
        shape = [size if isinstance(size, int) else -1 for size in form.shape]
        response.outputs.add(name=form.name, datatype=datatype_of(form.dtype), shape=shape)
    for name in COUNT_NAMES:
        response.outputs.add(name=name, datatype="INT64", shape=[-1])
    response.outputs.add(name=ELIGIBLE_NAME, datatype="BOOL", shape=[-1])
    response.outputs.add(name=ERROR, datatype="BYTES", shape=[-1])
    return response


def wanted_outputs(manifest: Manifest, request: pb.ModelInferRequest) -> Sequence[str]:
    """Return the names of the outputs that a request asks for, in its order; all where it names none.

    Raises:
        RequestError: There is no such output, it stands twice, or it has a parameter.
    """
    known = [*(form.name for form in manifest.outputs), *OBSERVED_NAMES, ERROR]
    names: dict[str, None] = {}
    for index, output in enumerate(request.outputs):
        if output.name not in known:
            raise RequestError(f"outputs[{index}].name", output.name, f"the model gives {known}")
        if output.name in names:
            raise RequestError(f"outputs[{index}].name", output.name, "every output must stand once")
        if output.parameters:
            limit = "this server knows no parameters of tensors, such as classification"
            raise RequestError(f"outputs[{index}].parameters", sorted(output.parameters), limit)
        names[output.name] = None
    return list(names) or known


def write_outputs(
    manifest: Manifest,
    request: pb.ModelInferRequest,
    names: Sequence[str],
    asked: Asked,
    predictions: Predictions,
    faults: Mapping[int, HistoryError],
) -> pb.ModelInferResponse:
    """Return the answer to a request.

    Args:
        manifest: Of the model that answered.
        request: As it came; the answer is raw where its inputs were.
        names: Of the wanted outputs.
        asked: What was read from it.
        predictions: One row per customer of ``asked``; a row at fault says nothing.
        faults: By row of ``asked``.

    Returns:
        The wanted outputs.
    """
    errors = dict(asked.errors) | {int(asked.positions[row]): error for row, error in faults.items()}
    at_fault = np.fromiter(faults, dtype=np.int64, count=len(faults))
    rows = np.setdiff1d(np.arange(len(asked.positions)), at_fault)
    positions = asked.positions[rows]
    # A size that the graph leaves open is known from what it gave, and 0 where it gave nothing.
    sizes = {f.name: [s if isinstance(s, int) else 0 for s in f.shape[1:]] for f in manifest.outputs}
    found = {name: predictions.outputs[name] for name in names if name in predictions.outputs}
    sizes |= {name: list(values.shape[1:]) for name, values in found.items()}
    is_raw = bool(request.raw_input_contents)
    response = pb.ModelInferResponse(model_name=manifest.name, model_version=manifest.version, id=request.id)
    for name in names:
        if name == ERROR:
            texts = {position: tensor_fault(error).encode() for position, error in errors.items()}
            listed = [texts.get(position, b"") for position in range(asked.num_customers)]
            write_tensor(response, name, listed, is_raw=is_raw)
            continue
        values: ndarray
        if name in OBSERVED_NAMES:
            noticed = getattr(predictions, name)
            values = np.zeros(asked.num_customers, dtype=noticed.dtype)
            values[positions] = noticed[rows]
        else:
            values = np.full((asked.num_customers, *sizes[name]), np.nan, dtype=np.float32)
            if len(rows):
                values[positions] = found[name][rows]
        write_tensor(response, name, values, is_raw=is_raw)
    return response
