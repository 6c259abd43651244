"""Calls end as what they are: answered, refused or failed."""

import asyncio
from contextlib import suppress

import grpc
import pytest

from benchmarks.serving.load import Answer
from benchmarks.serving.transports import Target, open_transport

PATH = "/some.Service/Do"
HTTP = {
    b"ok": ("200 OK", Answer.OK),
    b"full": ("503 Busy", Answer.REFUSED),
    b"bad": ("500 No", Answer.FAILED),
}


async def answer_http(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Answer every request of a connection with the status that its body asks for, in two pieces."""
    with suppress(asyncio.IncompleteReadError):
        while True:
            head = await reader.readuntil(b"\r\n\r\n")
            size = next(int(line[15:]) for line in head.split(b"\r\n") if line.startswith(b"Content-Length:"))
            body = await reader.readexactly(size)
            if body == b"gone":
                break
            writer.write(f"HTTP/1.1 {HTTP[body][0]}\r\ncontent-length: {2 * size}\r\n\r\n".encode() + body)
            await writer.drain()
            writer.write(body)
    writer.close()
    await writer.wait_closed()


async def test_http_answers_are_told_apart_and_connections_kept() -> None:
    """A whole body is waited for; a closed connection is a failure and the next call opens another."""
    answering: list[asyncio.Task[None]] = []

    def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        answering.append(asyncio.create_task(answer_http(reader, writer)))

    async with await asyncio.start_server(answer, "127.0.0.1", 0) as server:
        target = Target(kind="http", port=server.sockets[0].getsockname()[1], path="/predict")
        transport = open_transport(target, timeout_seconds=10.0)
        for body, (_, expected) in HTTP.items():
            assert await transport.send(body) is expected
        assert await transport.ask(b"ok") == b"okok"
        assert await transport.send(b"gone") is Answer.FAILED
        assert await transport.send(b"ok") is Answer.OK
        await transport.close()
        await asyncio.gather(*answering)


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        (None, Answer.OK),
        (grpc.StatusCode.RESOURCE_EXHAUSTED, Answer.REFUSED),
        (grpc.StatusCode.INTERNAL, Answer.FAILED),
    ],
)
async def test_grpc_answers_are_told_apart(code: grpc.StatusCode | None, expected: Answer) -> None:
    """A full server is told from a broken one."""

    async def do(request: bytes, context: grpc.aio.ServicerContext[bytes, bytes]) -> bytes:
        if code is not None:
            await context.abort(code, "as asked")
        return request

    server = grpc.aio.server()
    handlers = {"Do": grpc.unary_unary_rpc_method_handler(do)}
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("some.Service", handlers),))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    transport = open_transport(Target(kind="grpc", port=port, path=PATH), timeout_seconds=10.0)
    assert await transport.send(b"request") is expected
    if code is None:
        assert await transport.ask(b"request") == b"request"
    await transport.close()
    await server.stop(None)
