"""A Ray Serve deployment of the ONNX file behind its gRPC proxy, in Ray's environment.

Runs as ``python -m benchmarks.serving.peers.ray_server``: one replica with one core. Requests and answers are
``google.protobuf.BytesValue``.
"""

import argparse
import signal
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import grpc
import ray
from google.protobuf.wrappers_pb2 import BytesValue
from ray import serve
from ray.serve.config import gRPCOptions

from benchmarks.serving.peers.scorer import Scorer

SERVICE, METHOD = "holdfast.benchmarks.Peer", "Score"


def add_servicer(servicer: Any, server: Any) -> None:
    """Register the service, as generated code would."""
    handlers = {
        METHOD: grpc.unary_unary_rpc_method_handler(
            servicer.Score,
            request_deserializer=BytesValue.FromString,
            response_serializer=BytesValue.SerializeToString,
        )
    }
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(SERVICE, handlers),))
    server.add_registered_method_handlers(SERVICE, handlers)


def build(model: Path, *, max_batch_size: int, batch_timeout: float) -> Any:
    """Return the application; a batch size of 1 leaves Serve's batching out."""

    @serve.deployment(num_replicas=1, ray_actor_options={"num_cpus": 1}, max_ongoing_requests=128)
    class Deployment:
        def __init__(self) -> None:
            self._scorer = Scorer(model)

        @serve.batch(max_batch_size=max_batch_size, batch_wait_timeout_s=batch_timeout)  # type: ignore[untyped-decorator]  # Ray has no types here
        async def _score_batch(self, batch: Sequence[bytes]) -> list[bytes]:
            return self._scorer.score_batch(batch)

        async def Score(self, request: BytesValue) -> BytesValue:  # noqa: N802 (gRPC's name)
            if max_batch_size == 1:
                return BytesValue(value=self._scorer.score(request.value))
            return BytesValue(value=await self._score_batch(request.value))

    deployment: Any = Deployment
    return deployment.bind()


def main() -> None:
    """Read the flags and serve until SIGTERM."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--http-port", type=int, required=True)
    parser.add_argument("--max-batch-size", type=int, required=True)
    parser.add_argument("--batch-timeout", type=float, required=True)
    chosen = parser.parse_args()
    stopping = threading.Event()
    ray.init(num_cpus=1, include_dashboard=False, log_to_driver=False)
    signal.signal(signal.SIGTERM, lambda *_: stopping.set())
    servicer = f"{add_servicer.__module__}:{add_servicer.__name__}".replace(
        "__main__", "benchmarks.serving.peers.ray_server"
    )
    serve.start(
        # Serve's proxy is one process for both protocols; nobody calls this port.
        http_options={"host": "127.0.0.1", "port": chosen.http_port},
        grpc_options=gRPCOptions(port=chosen.port, grpc_servicer_functions=[servicer]),
    )
    serve.run(build(chosen.model, max_batch_size=chosen.max_batch_size, batch_timeout=chosen.batch_timeout))
    stopping.wait()
    serve.shutdown()
    ray.shutdown()


if __name__ == "__main__":
    main()
