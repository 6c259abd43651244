"""When a failed request is tried again, how long to wait first, and when to give up.

It deliberately makes no call and waits for nothing itself: both clients ask it what to do next.
"""

import random
import time
from collections.abc import Callable
from typing import Any

import grpc

from holdfast.errors import ServiceError

MAX_TRIES = 4
FIRST_WAIT_SECONDS = 0.1
MAX_WAIT_SECONDS = 2.0
PUSHBACK_KEY = "grpc-retry-pushback-ms"
"""Metadata in which a server says when to come back; gRPC's own name for it."""
DETAILS_KEY = "grpc-status-details-bin"

_WORTH_A_TRY = {
    grpc.StatusCode.UNAVAILABLE,
    grpc.StatusCode.CANCELLED,
    grpc.StatusCode.RESOURCE_EXHAUSTED,
}


class Tries:
    """The tries of one request within one deadline.

    Only what cannot have had an effect twice is tried again, which is everything here, since to
    score changes nothing; and only where it can help: UNAVAILABLE, CANCELLED, as which a call ends that
    reaches a server in the moment in which it stops, and RESOURCE_EXHAUSTED where the server says when to
    come back (a message that is too large will not be smaller next time).
    """

    def __init__(
        self,
        timeout_seconds: float,
        *,
        clock: Callable[[], float] = time.monotonic,
        draw: Callable[[], float] = random.random,
    ) -> None:
        """Begin the first try.

        Args:
            timeout_seconds: Until the deadline, which holds for all tries and the waits between them.
            clock: Seconds that never run backwards.
            draw: Uniform in [0, 1), so that callers who were refused together do not return together.
        """
        self._clock, self._draw = clock, draw
        self._deadline = clock() + timeout_seconds
        self._num_failed = 0

    def seconds_left(self) -> float:
        """Return how long the next try may take.

        Raises:
            ServiceError: The deadline has passed; to send the request would be to waste work.
        """
        left = self._deadline - self._clock()
        if left <= 0:
            raise ServiceError(
                grpc.StatusCode.DEADLINE_EXCEEDED.name, "the deadline passed before the request was sent"
            )
        return left

    def wait_after(self, error: grpc.RpcError) -> float:
        """Return how many seconds to wait before the next try.

        Args:
            error: How the last try ended.

        Raises:
            ServiceError: There is no next try: it would not help, the tries are used up, or the
                deadline would pass first.
        """
        self._num_failed += 1
        wait_seconds = self._wait_seconds(error)
        is_last = self._num_failed >= MAX_TRIES
        if wait_seconds is None or is_last or self._clock() + wait_seconds >= self._deadline:
            raise service_error(error) from error
        return wait_seconds

    def _wait_seconds(self, error: grpc.RpcError) -> float | None:
        if error.code() not in _WORTH_A_TRY:
            return None
        pushback = _metadata(error).get(PUSHBACK_KEY)
        asked = _retry_info_seconds(error) if pushback is None else _pushback_seconds(pushback)
        if asked is not None:
            # Never earlier than told, and a negative number tells not to come back at all.
            return asked * (1 + self._draw() / 4) if asked >= 0 else None
        if error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED:
            return None
        longest = min(FIRST_WAIT_SECONDS * 2.0 ** (self._num_failed - 1), MAX_WAIT_SECONDS)
        return longest * (1 + self._draw()) / 2


def service_error(error: grpc.RpcError) -> ServiceError:
    """Return gRPC's error as ours, with the violations of ``google.rpc.BadRequest`` where it has any."""
    bad = _detail(error, "BadRequest")
    violations = () if bad is None else tuple((v.field, v.description) for v in bad.field_violations)
    return ServiceError(error.code().name, error.details() or "no reason given", violations)


def closed_error() -> ServiceError:
    """Return what a call ends with whose client is closed."""
    return ServiceError(grpc.StatusCode.CANCELLED.name, "the client was closed")


def _pushback_seconds(pushback: Any) -> float:
    try:
        return int(pushback) / 1_000
    except ValueError:
        # As gRPC reads it: what is no number tells not to come back.
        return -1.0


def _retry_info_seconds(error: grpc.RpcError) -> float | None:
    info = _detail(error, "RetryInfo")
    return None if info is None else info.retry_delay.seconds + info.retry_delay.nanos / 1e9


def _detail(error: grpc.RpcError, name: str) -> Any:
    """Return the error's detail of a kind of ``google.rpc``; None where it has none."""
    packed = _metadata(error).get(DETAILS_KEY)
    if packed is None:
        return None
    try:
        # Generated code without types.
        from google.rpc import error_details_pb2, status_pb2  # type: ignore[import-untyped]
    except ImportError:
        # googleapis-common-protos is the caller's choice; reason and pushback say the same.
        return None
    for detail in status_pb2.Status.FromString(packed).details:
        found = getattr(error_details_pb2, name)()
        if detail.Unpack(found):
            return found
    return None


def _metadata(error: grpc.RpcError) -> dict[str, Any]:
    trailing: Any = error.trailing_metadata() or ()
    return dict(iter(trailing))
