"""A gRPC server whose one call does nothing: what the network and gRPC cost.

Runs as ``python -m benchmarks.serving.noop``; it deliberately reads no request and writes no answer.
"""

import argparse
import asyncio
import signal
from pathlib import Path

import grpc

SERVICE, METHOD = "holdfast.benchmarks.Nothing", "Do"
PATH = f"/{SERVICE}/{METHOD}"


async def _do_nothing(_request: bytes, _context: object) -> bytes:
    return b""


async def serve(port_file: Path) -> None:
    """Serve until SIGTERM.

    Args:
        port_file: Where the port is written.
    """
    stopping = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stopping.set)
    server = grpc.aio.server(options=(("grpc.so_reuseport", 0),))
    handlers: dict[str, grpc.RpcMethodHandler[bytes, bytes]] = {
        METHOD: grpc.unary_unary_rpc_method_handler(_do_nothing)
    }
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(SERVICE, handlers),))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    partial = port_file.with_suffix(".partial")
    partial.write_text(f"{port}\n", encoding="ascii")
    partial.replace(port_file)
    await stopping.wait()
    await server.stop(1.0)


def main() -> None:
    """Read the flags and serve."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port-file", type=Path, required=True)
    asyncio.run(serve(parser.parse_args().port_file))


if __name__ == "__main__":
    main()
