"""Predictions to the messages of an answer, one per customer and in order.

It deliberately does no arithmetic on them: what the graph gave is what is sent.
"""

from collections.abc import Mapping
from typing import Any

from holdfast.description import write_target
from holdfast.errors import HistoryError
from holdfast.manifest import Manifest
from holdfast.v1 import scoring_pb2 as pb
from holdfast.wire import Received
from serving.predictor import Predictions


def wanted_outputs(manifest: Manifest, request: pb.ScoreRequest) -> tuple[str, ...]:
    """Return the names of the outputs that a request asks for."""
    names = []
    for target in manifest.schema.targets:
        if target.kind == "time_to_event":
            names.append(f"{target.name}_probability")
            if request.include_survival:
                names.append(f"{target.name}_survival")
        else:
            names.append(f"{target.name}_expected")
            if target.kind == "amount":
                names.append(f"{target.name}_quantiles")
    return (*names, "embedding") if request.include_embedding else tuple(names)


def write_response(
    manifest: Manifest, request: pb.ScoreRequest, received: Received, predictions: Predictions
) -> pb.ScoreResponse:
    """Return the answer to a request.

    Args:
        manifest: Of the model that answered.
        request: As it came.
        received: What was read from it.
        predictions: For its sound customers, in their order.

    Returns:
        One entry per customer of the request, in its order.
    """
    response = pb.ScoreResponse(model=manifest.name, version=manifest.version)
    response.targets.extend(write_target(target, form) for target, form in manifest.answered_targets())
    row_of = {int(position): row for row, position in enumerate(received.positions)}
    # One conversion per column: reading a NumPy scalar per value would cost more than the rest.
    outputs = {name: values.tolist() for name, values in predictions.outputs.items()}
    observed = {
        name: getattr(predictions, name).tolist()
        for name in ("num_used", "num_truncated", "num_after", "num_unknown")
    }
    for position, customer in enumerate(request.customers):
        result = response.customers.add(customer_id=customer.customer_id)
        if position in received.errors:
            _write_error(result.error, received.errors[position])
            continue
        row = row_of[position]
        _write_prediction(result.prediction, manifest, outputs, row)
        for name, counts in observed.items():
            setattr(result.observed, name, counts[row])
    return response


def _write_error(message: pb.CustomerError, error: HistoryError) -> None:
    message.field, message.value, message.limit = error.field, error.value, error.limit


def _write_prediction(
    message: pb.Prediction, manifest: Manifest, outputs: Mapping[str, list[Any]], row: int
) -> None:
    # A customer counts as scored even if a release should ever have a model without targets.
    message.SetInParent()
    for target in manifest.schema.targets:
        entry = message.targets.add()
        if target.kind == "time_to_event":
            entry.time_to_event.probability.extend(outputs[f"{target.name}_probability"][row])
            survival = outputs.get(f"{target.name}_survival")
            if survival is not None:
                entry.time_to_event.survival.extend(survival[row])
        elif target.kind == "amount":
            entry.amount.expected = outputs[f"{target.name}_expected"][row]
            entry.amount.quantiles.extend(outputs[f"{target.name}_quantiles"][row])
        else:
            entry.count.expected = outputs[f"{target.name}_expected"][row]
    if "embedding" in outputs:
        message.embedding.extend(outputs["embedding"][row])
