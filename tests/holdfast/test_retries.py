"""What is tried again and when: by status, by what the server says, and by the time that is left."""

from typing import Any

import grpc
import pytest
from google.protobuf import any_pb2, duration_pb2
from google.rpc import error_details_pb2, status_pb2

from holdfast.errors import ServiceError
from holdfast.retries import DETAILS_KEY, PUSHBACK_KEY, Tries

Metadata = tuple[tuple[str, Any], ...]
FULL = grpc.StatusCode.RESOURCE_EXHAUSTED
AWAY = grpc.StatusCode.UNAVAILABLE


class Refused(grpc.RpcError):
    """An error as gRPC raises it."""

    def __init__(self, code: grpc.StatusCode, metadata: Metadata | None = ()) -> None:
        """Keep what is asked for."""
        self._code, self._metadata = code, metadata

    def code(self) -> grpc.StatusCode:
        """Return the status."""
        return self._code

    def details(self) -> str:
        """Return the reason."""
        return "refused"

    def trailing_metadata(self) -> Metadata | None:
        """Return the metadata."""
        return self._metadata


class Clock:
    """A clock that a test turns."""

    def __init__(self) -> None:
        """Begin at an odd time."""
        self.now = 1_000.0

    def __call__(self) -> float:
        """Return the time."""
        return self.now


def retry_info(seconds: int, nanos: int = 0) -> Metadata:
    """Return the metadata of a status with RetryInfo behind another detail."""
    packed = [any_pb2.Any(), any_pb2.Any()]
    packed[0].Pack(error_details_pb2.DebugInfo())
    delay = duration_pb2.Duration(seconds=seconds, nanos=nanos)
    packed[1].Pack(error_details_pb2.RetryInfo(retry_delay=delay))
    return ((DETAILS_KEY, status_pb2.Status(details=packed).SerializeToString()),)


@pytest.mark.parametrize(
    ("code", "metadata", "least", "most"),
    [
        (AWAY, (), 0.05, 0.1),
        (AWAY, None, 0.05, 0.1),
        (grpc.StatusCode.CANCELLED, (), 0.05, 0.1),
        (AWAY, ((PUSHBACK_KEY, "300"),), 0.3, 0.375),
        (FULL, ((PUSHBACK_KEY, "300"),), 0.3, 0.375),
        (FULL, ((PUSHBACK_KEY, "0"),), 0.0, 0.0),
        (FULL, retry_info(2, 500_000_000), 2.5, 3.125),
        (FULL, (*retry_info(9), (PUSHBACK_KEY, "100")), 0.1, 0.125),
    ],
)
def test_waits_are_as_told_or_short_and_random(
    code: grpc.StatusCode, metadata: Metadata | None, least: float, most: float
) -> None:
    """Never earlier than the server says, at most a quarter later; its pushback goes before RetryInfo."""
    for draw, expected in ((0.0, least), (1.0, most)):
        tries = Tries(30, clock=Clock(), draw=lambda draw=draw: draw)
        assert tries.wait_after(Refused(code, metadata)) == pytest.approx(expected)


def test_waits_grow_and_end() -> None:
    """They double from try to try, and the fourth failure is the last."""
    tries = Tries(30, clock=Clock(), draw=lambda: 1.0)
    assert [tries.wait_after(Refused(AWAY)) for _ in range(3)] == pytest.approx([0.1, 0.2, 0.4])
    with pytest.raises(ServiceError, match="UNAVAILABLE: refused"):
        tries.wait_after(Refused(AWAY))


@pytest.mark.parametrize(
    ("code", "metadata"),
    [
        (FULL, ()),
        (FULL, ((PUSHBACK_KEY, "-1"),)),
        (AWAY, ((PUSHBACK_KEY, "-1"),)),
        (AWAY, ((PUSHBACK_KEY, "later"),)),
        (grpc.StatusCode.INTERNAL, ((PUSHBACK_KEY, "10"),)),
        (grpc.StatusCode.DEADLINE_EXCEEDED, ()),
        (grpc.StatusCode.INVALID_ARGUMENT, ()),
    ],
)
def test_what_would_not_help_is_not_tried_again(code: grpc.StatusCode, metadata: Metadata) -> None:
    """A refusal without a time to come back, one that says never, and every other status."""
    with pytest.raises(ServiceError) as caught:
        Tries(30, clock=Clock()).wait_after(Refused(code, metadata))
    assert caught.value.code == code.name


def test_a_wait_beyond_the_deadline_is_not_begun() -> None:
    """The caller hears at once what it would hear later; the time of earlier tries counts."""
    clock = Clock()
    tries = Tries(10, clock=clock, draw=lambda: 0.0)
    assert tries.wait_after(Refused(FULL, ((PUSHBACK_KEY, "4000"),))) == 4
    clock.now += 7
    assert tries.seconds_left() == pytest.approx(3)
    with pytest.raises(ServiceError):
        tries.wait_after(Refused(FULL, ((PUSHBACK_KEY, "4000"),)))
    clock.now += 7
    with pytest.raises(ServiceError, match="DEADLINE_EXCEEDED"):
        tries.seconds_left()
