"""From an error to a status of gRPC: the one place where it is chosen, for every service of the port.

It deliberately knows no request: whatever is said about one is in the error.
"""

import logging
import math
import time
import uuid
from types import TracebackType
from typing import Any, NoReturn

import grpc
from google.protobuf import any_pb2, duration_pb2, message
from google.rpc import code_pb2, error_details_pb2, status_pb2  # type: ignore[import-untyped]

from holdfast.errors import RequestError
from serving.errors import (
    CallError,
    ExpiredError,
    OtherSchemaError,
    OverloadedError,
    UnauthenticatedError,
    UnavailableError,
    UnknownModelError,
    forget_frames,
)
from serving.recording import Recorder

Context = grpc.aio.ServicerContext[Any, Any]
PUSHBACK = "grpc-retry-pushback-ms"
"""Trailing metadata that tells gRPC's own retries how long to wait."""

_log = logging.getLogger(__name__)
_CODES = {
    OverloadedError: grpc.StatusCode.RESOURCE_EXHAUSTED,
    UnavailableError: grpc.StatusCode.UNAVAILABLE,
    UnauthenticatedError: grpc.StatusCode.UNAUTHENTICATED,
    UnknownModelError: grpc.StatusCode.NOT_FOUND,
    OtherSchemaError: grpc.StatusCode.FAILED_PRECONDITION,
    ExpiredError: grpc.StatusCode.DEADLINE_EXCEEDED,
}


class Counted:
    """Counts a call when it ends, by the status that its error means; used as ``with Counted(...)``."""

    __slots__ = ("_recorder", "_service", "_started")

    def __init__(self, recorder: Recorder, service: str) -> None:
        """Remember what is counted where."""
        self._recorder, self._service = recorder, service

    def __enter__(self) -> None:
        """Note when it began."""
        self._started = time.monotonic()

    def __exit__(
        self, _type: type[BaseException] | None, error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        """Count it, whatever became of it."""
        code = "OK"
        if isinstance(error, Exception):
            code = code_of(error).name
            self._recorder.refused(_reason(error))
        elif error is not None:
            code = grpc.StatusCode.CANCELLED.name
        self._recorder.called(self._service, code, seconds=time.monotonic() - self._started)


def code_of(error: Exception) -> grpc.StatusCode:
    """Return the status code of an error; INTERNAL for what is not raised on purpose."""
    if isinstance(error, RequestError):
        return grpc.StatusCode.INVALID_ARGUMENT
    return _CODES.get(type(error), grpc.StatusCode.INTERNAL)


def _reason(error: Exception) -> str:
    if isinstance(error, RequestError):
        return "invalid"
    return error.reason if isinstance(error, CallError) else "internal"


async def abort(context: Context, error: Exception) -> NoReturn:
    """End a call with the status of an error.

    Args:
        context: Of the call.
        error: What scoring raised. What is not raised on purpose is INTERNAL: it is logged under a
            number, and the caller learns the number alone.
    """
    if isinstance(error, grpc.aio.AbortError):
        # Already ended by whoever raised it.
        raise error
    failure = _logged(error) if code_of(error) is grpc.StatusCode.INTERNAL else ""
    forget_frames(error)
    if isinstance(error, RequestError):
        await _refuse_request(context, error)
    elif isinstance(error, OverloadedError):
        await _refuse_overload(context, error)
    elif isinstance(error, CallError):
        await context.abort(code_of(error), str(error))
    else:
        reason = f"internal error {failure}; the server's log says more"
        await context.abort(grpc.StatusCode.INTERNAL, reason)
    raise AssertionError("abort always raises")


def _logged(error: Exception) -> str:
    """Write what nobody raised on purpose into the log; return the number under which it stands there."""
    failure = uuid.uuid4().hex[:12]
    _log.error("scoring failed", extra={"failure": failure}, exc_info=error)
    return failure


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
