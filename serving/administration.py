"""The port of those who run a server: ``/metrics``, ``/livez`` and ``/readyz`` over HTTP.

It deliberately knows neither the model nor gRPC: it is handed what to say. It lives on the server's
own event loop, so that a loop that hangs is found not to be alive.
"""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from http import HTTPStatus

from holdfast.errors import RunError
from serving.exposition import expose
from serving.recording import Snapshot

MAX_HEAD_BYTES = 16_384
MAX_SECONDS = 5.0
"""How long a request may take to arrive, and its answer to leave."""

_PLAIN = "text/plain; charset=utf-8"


class Administration:
    """A small HTTP server: one request per connection, GET and HEAD alone.

    Attributes:
        port: The port that it listens on, once started.
    """

    def __init__(self, *, snapshot: Callable[[], Awaitable[Snapshot]], is_ready: Callable[[], bool]) -> None:
        """Listen nowhere yet.

        Args:
            snapshot: What was noticed so far, of all processes.
            is_ready: Whether requests are answered.
        """
        self.port = 0
        self._snapshot = snapshot
        self._is_ready = is_ready
        self._server: asyncio.Server | None = None

    async def start(self, host: str, port: int) -> None:
        """Listen.

        Raises:
            RunError: The address cannot be listened on.
        """
        try:
            self._server = await asyncio.start_server(self._serve, host, port, limit=MAX_HEAD_BYTES)
        except OSError as error:
            raise RunError(
                f"cannot listen on {host}:{port} for metrics: is the port taken, the address this machine's?"
            ) from error
        self.port = self._server.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        """Stop listening."""
        if self._server is not None:
            self._server.close()
            await self._server.wait_closed()
            self._server = None

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        # Whoever sends nothing whole, or reads nothing, is hung up on.
        try:
            with suppress(OSError, TimeoutError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
                async with asyncio.timeout(MAX_SECONDS):
                    head = await reader.readuntil(b"\r\n\r\n")
                    writer.write(await self._answer(head.decode("latin-1")))
                    await writer.drain()
        finally:
            writer.close()

    async def _answer(self, head: str) -> bytes:
        first, *headers = head.split("\r\n")
        method, _, target = first.partition(" ")
        path = target.partition(" ")[0].partition("?")[0]
        if method not in {"GET", "HEAD"}:
            return _response(HTTPStatus.METHOD_NOT_ALLOWED, b"GET and HEAD are answered\n", _PLAIN)
        if path == "/metrics":
            accept = next((line[7:] for line in headers if line.lower().startswith("accept:")), "")
            response = _response(HTTPStatus.OK, *expose(await self._snapshot(), accept.strip()))
        elif path == "/livez":
            response = _response(HTTPStatus.OK, b"alive\n", _PLAIN)
        elif path == "/readyz" and self._is_ready():
            response = _response(HTTPStatus.OK, b"ready\n", _PLAIN)
        elif path == "/readyz":
            response = _response(HTTPStatus.SERVICE_UNAVAILABLE, b"not ready\n", _PLAIN)
        else:
            response = _response(HTTPStatus.NOT_FOUND, b"there are /metrics, /livez and /readyz\n", _PLAIN)
        return response if method == "GET" else response.partition(b"\r\n\r\n")[0] + b"\r\n\r\n"


def _response(status: HTTPStatus, body: bytes, content_type: str) -> bytes:
    head = (
        f"HTTP/1.1 {status.value} {status.phrase}\r\nContent-Type: {content_type}\r\n"
        f"Content-Length: {len(body)}\r\nConnection: close\r\n\r\n"
    )
    return head.encode("latin-1") + body
