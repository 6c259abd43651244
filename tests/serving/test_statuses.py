"""Every error has one status, with what a program needs to react to it, and no leak."""

import logging
from typing import Any
from unittest.mock import create_autospec

import grpc
import pytest
from google.rpc import error_details_pb2, status_pb2

from holdfast.errors import RequestError
from serving.errors import (
    ExpiredError,
    OtherSchemaError,
    OverloadedError,
    UnauthenticatedError,
    UnavailableError,
    UnknownModelError,
)
from serving.statuses import abort


async def aborted(error: Exception) -> tuple[grpc.StatusCode, str, dict[str, Any]]:
    """Return code, reason and trailing metadata of a call that ends with an error."""
    context = create_autospec(grpc.aio.ServicerContext, instance=True)
    context.abort.side_effect = grpc.aio.AbortError
    with pytest.raises(grpc.aio.AbortError):
        await abort(context, error)
    code, reason, *metadata = context.abort.await_args.args
    return code, reason, dict(metadata[0]) if metadata else {}


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (UnavailableError("stopping"), grpc.StatusCode.UNAVAILABLE),
        (UnauthenticatedError("no token"), grpc.StatusCode.UNAUTHENTICATED),
        (UnknownModelError("none"), grpc.StatusCode.NOT_FOUND),
        (OtherSchemaError("other"), grpc.StatusCode.FAILED_PRECONDITION),
        (ExpiredError(), grpc.StatusCode.DEADLINE_EXCEEDED),
    ],
)
async def test_an_error_on_purpose_has_its_status_and_its_words(
    error: Exception, code: grpc.StatusCode
) -> None:
    """The caller reads what was raised."""
    assert await aborted(error) == (code, str(error), {})


async def test_a_malformed_request_carries_its_violation() -> None:
    """For programs the same as for people."""
    code, reason, metadata = await aborted(RequestError("as_of", None, "it must be named"))
    assert (code, reason) == (grpc.StatusCode.INVALID_ARGUMENT, "as_of: got None, but it must be named")
    status = status_pb2.Status.FromString(metadata["grpc-status-details-bin"])
    detail = error_details_pb2.BadRequest()
    assert status.details[0].Unpack(detail)
    assert detail.field_violations[0].field == "as_of"


@pytest.mark.parametrize(("seconds", "milliseconds"), [(0.0101, 11), (2.0, 2_000), (1e-9, 1)])
async def test_an_overload_says_when_to_come_back(seconds: float, milliseconds: int) -> None:
    """As RetryInfo and as the metadata that gRPC's own retries obey, in whole milliseconds and never 0."""
    code, _, metadata = await aborted(OverloadedError("full", reason="queue", retry_after_seconds=seconds))
    assert code is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert metadata["grpc-retry-pushback-ms"] == str(milliseconds)
    detail = error_details_pb2.RetryInfo()
    status = status_pb2.Status.FromString(metadata["grpc-status-details-bin"])
    assert status.details[0].Unpack(detail)
    assert detail.retry_delay.ToMilliseconds() == milliseconds


async def test_a_defect_is_a_number_to_the_caller_and_a_traceback_in_the_log(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Nothing of what was raised leaves the server."""
    with caplog.at_level(logging.ERROR):
        code, reason, metadata = await aborted(ZeroDivisionError("secret"))
    assert (code, metadata) == (grpc.StatusCode.INTERNAL, {})
    assert "secret" not in reason
    record = caplog.records[-1]
    assert record.failure in reason
    assert record.exc_info is not None
    assert "secret" in str(record.exc_info[1])


async def test_a_call_that_was_ended_already_is_left_as_it_is() -> None:
    """Whoever aborted it has chosen the status."""
    context = create_autospec(grpc.aio.ServicerContext, instance=True)
    with pytest.raises(grpc.aio.AbortError):
        await abort(context, grpc.aio.AbortError())
    context.abort.assert_not_awaited()
