"""Calls over gRPC and HTTP whose requests and answers are bytes already, so that the client costs little.

It deliberately knows no message: bytes go out, and what matters of an answer is how it ended.
"""

import asyncio
from collections import deque
from dataclasses import dataclass
from typing import Literal, Protocol

import grpc

from benchmarks.serving.load import Answer

MAX_ANSWER_BYTES = 64 * 1_024 * 1_024
_TOO_MUCH = frozenset({429, 503})
"""HTTP's RESOURCE_EXHAUSTED."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """Where a load goes.

    Attributes:
        kind: ``grpc`` or ``http``.
        port: On the loopback interface.
        path: The method's full name, or the URL's path.
    """

    kind: Literal["grpc", "http"]
    port: int
    path: str


class Transport(Protocol):
    """A way to a server; open it where an event loop runs."""

    async def send(self, request: bytes) -> Answer:
        """Send a request and say how it ended."""

    async def ask(self, request: bytes) -> bytes:
        """Send a request and return the answer; raises where there is none."""

    async def close(self) -> None:
        """Close the connections."""


def open_transport(target: Target, *, timeout_seconds: float) -> Transport:
    """Return the way to a target.

    Args:
        target: Where to.
        timeout_seconds: Deadline of every call.
    """
    if target.kind == "grpc":
        return GrpcTransport(target, timeout_seconds=timeout_seconds)
    return HttpTransport(target, timeout_seconds=timeout_seconds)


class GrpcTransport:
    """Unary calls on one channel, without retries."""

    def __init__(self, target: Target, *, timeout_seconds: float) -> None:
        """Open a channel."""
        options = (("grpc.enable_retries", 0), ("grpc.max_receive_message_length", MAX_ANSWER_BYTES))
        self._channel = grpc.aio.insecure_channel(f"127.0.0.1:{target.port}", options=options)
        self._call: grpc.aio.UnaryUnaryMultiCallable[bytes, bytes] = self._channel.unary_unary(target.path)
        self._timeout_seconds = timeout_seconds

    async def send(self, request: bytes) -> Answer:
        """Send a request and say how it ended."""
        try:
            await self._call(request, timeout=self._timeout_seconds)
        except grpc.aio.AioRpcError as error:
            is_full = error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
            return Answer.REFUSED if is_full else Answer.FAILED
        return Answer.OK

    async def ask(self, request: bytes) -> bytes:
        """Send a request and return the answer."""
        answer: bytes = await self._call(request, timeout=self._timeout_seconds)
        return answer

    async def close(self) -> None:
        """Close the channel."""
        await self._channel.close()


class HttpTransport:
    """POST requests over connections that are kept; as many as there are calls in flight.

    It reads what a server of today answers: a status, headers with a Content-Length, a body.
    """

    def __init__(self, target: Target, *, timeout_seconds: float) -> None:
        """Keep the address; connections are opened as calls need them."""
        self._target = target
        self._timeout_seconds = timeout_seconds
        self._idle: deque[_Connection] = deque()

    async def send(self, request: bytes) -> Answer:
        """Send a request and say how it ended."""
        try:
            status, _ = await self._post(request)
        except (OSError, TimeoutError):
            return Answer.FAILED
        if status in _TOO_MUCH:
            return Answer.REFUSED
        return Answer.OK if status == 200 else Answer.FAILED

    async def ask(self, request: bytes) -> bytes:
        """Send a request and return the body of its answer."""
        status, body = await self._post(request)
        if status != 200:
            raise ConnectionError(f"HTTP status {status}: {body[:200]!r}")
        return body

    async def close(self) -> None:
        """Close the connections."""
        while self._idle:
            self._idle.pop().close()

    async def _post(self, request: bytes) -> tuple[int, bytes]:
        # The one that was used last: its buffers are warm.
        connection = self._idle.pop() if self._idle else await self._connect()
        head = (
            f"POST {self._target.path} HTTP/1.1\r\nHost: 127.0.0.1\r\n"
            f"Content-Type: application/json\r\nContent-Length: {len(request)}\r\n\r\n"
        )
        try:
            async with asyncio.timeout(self._timeout_seconds):
                answer = await connection.ask(head.encode("ascii") + request)
        except BaseException:
            connection.close()
            raise
        self._idle.append(connection)
        return answer

    async def _connect(self) -> "_Connection":
        loop = asyncio.get_running_loop()
        _, connection = await loop.create_connection(_Connection, "127.0.0.1", self._target.port)
        return connection


class _Connection(asyncio.Protocol):
    """One connection with one request at a time."""

    def __init__(self) -> None:
        self._transport: asyncio.Transport | None = None
        self._received = bytearray()
        self._answer: asyncio.Future[tuple[int, bytes]] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._received += data
        head_size = self._received.find(b"\r\n\r\n")
        if head_size < 0 or self._answer is None:
            return
        lines = self._received[:head_size].decode("latin-1").lower().split("\r\n")
        body_size = next(int(line[15:]) for line in lines if line.startswith("content-length:"))
        end = head_size + 4 + body_size
        if len(self._received) >= end and not self._answer.done():
            body = bytes(self._received[head_size + 4 : end])
            del self._received[:end]
            self._answer.set_result((int(lines[0].split()[1]), body))

    def connection_lost(self, exc: Exception | None) -> None:
        if self._answer is not None and not self._answer.done():
            self._answer.set_exception(exc or ConnectionResetError("the server closed the connection"))

    async def ask(self, request: bytes) -> tuple[int, bytes]:
        assert self._transport is not None
        if self._transport.is_closing():
            raise ConnectionResetError("the server closed the connection")
        self._answer = asyncio.get_running_loop().create_future()
        self._transport.write(request)
        return await self._answer

    def close(self) -> None:
        if self._transport is not None:
            self._transport.close()
