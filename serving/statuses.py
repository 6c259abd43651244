"""From an error to a status of gRPC: the one place where it is chosen, for every service of the port.

It deliberately knows no request: whatever is said about one is in the error.
"""

import logging
import math
import uuid
from typing import Any, NoReturn

import grpc
from google.protobuf import any_pb2, duration_pb2, message
from google.rpc import code_pb2, error_details_pb2, status_pb2  # type: ignore[import-untyped]

from holdfast.errors import RequestError
from serving.errors import (
    ExpiredError,
    OtherSchemaError,
    OverloadedError,
    UnavailableError,
    UnknownModelError,
)

Context = grpc.aio.ServicerContext[Any, Any]
PUSHBACK = "grpc-retry-pushback-ms"
"""Trailing metadata that tells gRPC's own retries how long to wait."""

_log = logging.getLogger(__name__)
_PLAIN = {
    UnavailableError: grpc.StatusCode.UNAVAILABLE,
    UnknownModelError: grpc.StatusCode.NOT_FOUND,
    OtherSchemaError: grpc.StatusCode.FAILED_PRECONDITION,
    ExpiredError: grpc.StatusCode.DEADLINE_EXCEEDED,
}


async def abort(context: Context, error: Exception) -> NoReturn:
    """End a call with the status of an error.

    Args:
        context: Of the call.
        error: What scoring raised. What is not raised on purpose is INTERNAL: it is logged under a
            number, and the caller learns the number alone.
    """
    if isinstance(error, RequestError):
        await _refuse_request(context, error)
    elif isinstance(error, OverloadedError):
        await _refuse_overload(context, error)
    elif (code := _PLAIN.get(type(error))) is not None:
        await context.abort(code, str(error))
    elif isinstance(error, grpc.aio.AbortError):
        # Already ended by whoever raised it.
        raise error
    else:
        failure = uuid.uuid4().hex[:12]
        _log.error("scoring failed", extra={"failure": failure}, exc_info=error)
        reason = f"internal error {failure}; the server's log says more"
        await context.abort(grpc.StatusCode.INTERNAL, reason)
    raise AssertionError("abort always raises")


async def _refuse_request(context: Context, error: RequestError) -> None:
    violation = error_details_pb2.BadRequest.FieldViolation(
        field=error.field, description=f"got {error.value}, but {error.limit}"
    )
    detail = error_details_pb2.BadRequest(field_violations=[violation])
    status = _status(code_pb2.INVALID_ARGUMENT, error, detail)
    await context.abort(grpc.StatusCode.INVALID_ARGUMENT, str(error), (status,))


async def _refuse_overload(context: Context, error: OverloadedError) -> None:
    wait = duration_pb2.Duration()
    milliseconds = math.ceil(1_000 * error.retry_after_seconds)
    wait.FromMilliseconds(milliseconds)
    detail = error_details_pb2.RetryInfo(retry_delay=wait)
    metadata = (_status(code_pb2.RESOURCE_EXHAUSTED, error, detail), (PUSHBACK, str(milliseconds)))
    await context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, str(error), metadata)


def _status(code: int, error: Exception, detail: message.Message) -> tuple[str, bytes]:
    """Return the richer status as google.rpc has it: an entry of the trailing metadata."""
    packed = any_pb2.Any()
    packed.Pack(detail)
    status = status_pb2.Status(code=code, message=str(error), details=[packed])
    return "grpc-status-details-bin", status.SerializeToString()
