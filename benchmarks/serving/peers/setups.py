"""How each other server is installed, started and asked.

It deliberately measures nothing; docs/benchmarks.md says why each is set up so.
"""

import base64
import json
import subprocess
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from benchmarks.results import ROOT
from benchmarks.serving.peers.protocol import (
    bytes_value,
    infer_request,
    read_bytes_value,
    read_infer_response,
)
from benchmarks.serving.processes import ServerProcess, free_port
from benchmarks.serving.transports import Target

REQUIREMENTS = ROOT / "benchmarks" / "serving" / "peers"
MODEL = "model"


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """What a server's own batching is told.

    Attributes:
        max_size: Requests of a batch; 1 leaves it off.
        max_wait_seconds: How long the first of them waits for others.
    """

    max_size: int
    max_wait_seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Peer:
    """Another server.

    Attributes:
        name: As people call it.
        key: Of its environment and its file of versions.
        kind: How it is called.
        path: Method or URL.
        wrap: Packed arrays to a request.
        unwrap: An answer to packed arrays.
        command: Its arguments from the file, the ports, the batching and a folder of its own.
        environment: Variables that it is started with.
    """

    name: str
    key: str
    kind: Literal["grpc", "http"]
    path: str
    wrap: Callable[[bytes], bytes]
    unwrap: Callable[[bytes], bytes]
    command: Callable[[Path, int, Batch, Path], list[str | Path]]
    environment: Mapping[str, str]

    def start(
        self, environments: Path, model: Path, batch: Batch, *, core: int, folder: Path
    ) -> tuple[ServerProcess, Target]:
        """Start it on a core.

        Args:
            environments: Where the environments lie.
            model: The ONNX file.
            batch: For its own batching.
            core: Of all its processes.
            folder: For its files and its log.
        """
        own = folder / f"{self.key}-{batch.max_size}"
        own.mkdir(parents=True, exist_ok=True)
        port = free_port()
        programs = environments / self.key / "bin"
        program, *arguments = self.command(model, port, batch, own)
        server = ServerProcess(
            [programs / program, *arguments],
            core=core,
            folder=ROOT,
            log=own / "log",
            environment={"PYTHONPATH": str(ROOT), **self.environment},
        )
        return server, Target(kind=self.kind, port=port, path=self.path)

    def version(self, environments: Path) -> str | None:
        """Return the installed version; None where the environment is absent."""
        python = environments / self.key / "bin" / "python"
        question = f"import importlib.metadata as m; print(m.version({self.key!r}))"
        try:
            asked = subprocess.run([python, "-c", question], capture_output=True, text=True, check=True)
        except (OSError, subprocess.CalledProcessError):
            return None
        return asked.stdout.strip()


def _mlserver(model: Path, port: int, batch: Batch, folder: Path) -> list[str | Path]:
    settings = {
        "host": "127.0.0.1",
        "grpc_port": port,
        "http_port": free_port(),
        "metrics_port": free_port(),
        "debug": False,
        # One core: the pool of worker processes would only pass requests on.
        "parallel_workers": 0,
    }
    own: dict[str, Any] = {
        "name": MODEL,
        "implementation": "benchmarks.serving.peers.mlserver_runtime.OnnxRuntime",
        "parameters": {"uri": str(model)},
    }
    if batch.max_size > 1:
        own |= {"max_batch_size": batch.max_size, "max_batch_time": batch.max_wait_seconds}
    (folder / "settings.json").write_text(json.dumps(settings), encoding="utf-8")
    (folder / "model-settings.json").write_text(json.dumps(own), encoding="utf-8")
    return ["mlserver", "start", folder]


def _litserve(model: Path, port: int, batch: Batch, _: Path) -> list[str | Path]:
    return ["python", "-m", "benchmarks.serving.peers.litserve_server", *_flags(model, port, batch)]


def _ray(model: Path, port: int, batch: Batch, _: Path) -> list[str | Path]:
    flags = [*_flags(model, port, batch), "--http-port", str(free_port())]
    return ["python", "-m", "benchmarks.serving.peers.ray_server", *flags]


def _flags(model: Path, port: int, batch: Batch) -> list[str | Path]:
    batching = ["--max-batch-size", str(batch.max_size), "--batch-timeout", str(batch.max_wait_seconds)]
    return ["--model", model, "--port", str(port), *batching]


PEERS = (
    Peer(
        name="MLServer",
        key="mlserver",
        kind="grpc",
        path="/inference.GRPCInferenceService/ModelInfer",
        wrap=lambda packed: infer_request(MODEL, packed),
        unwrap=read_infer_response,
        command=_mlserver,
        environment={},
    ),
    Peer(
        name="LitServe",
        key="litserve",
        kind="http",
        path="/predict",
        wrap=lambda packed: json.dumps({"arrays": base64.b64encode(packed).decode("ascii")}).encode("ascii"),
        unwrap=bytes,
        command=_litserve,
        environment={},
    ),
    Peer(
        name="Ray Serve",
        key="ray",
        kind="grpc",
        path="/holdfast.benchmarks.Peer/Score",
        wrap=bytes_value,
        unwrap=read_bytes_value,
        command=_ray,
        environment={
            # Its documented settings for throughput, but for direct ingress, which has no gRPC proxy.
            "RAY_SERVE_THROUGHPUT_OPTIMIZED": "1",
            "RAY_SERVE_ENABLE_DIRECT_INGRESS": "0",
            "RAY_USAGE_STATS_ENABLED": "0",
        },
    ),
)
