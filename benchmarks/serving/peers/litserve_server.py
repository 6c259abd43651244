"""A LitServe server of the ONNX file (``python -m benchmarks.serving.peers.litserve_server``).

It runs in LitServe's environment. Bytes travel in JSON as base64, which is how LitServe's examples send them.
"""

import argparse
import base64
from collections.abc import Sequence
from pathlib import Path

import litserve as ls
from fastapi import Response

from benchmarks.serving.peers.scorer import Scorer


class OnnxApi(ls.LitAPI):  # type: ignore[misc] # LitServe is not installed where types are checked
    """The ONNX file; with batching, requests that wait are padded to the longest."""

    def __init__(self, model: Path, *, max_batch_size: int, batch_timeout: float) -> None:
        """Keep where the file is."""
        super().__init__(max_batch_size=max_batch_size, batch_timeout=batch_timeout)
        self._model = model

    def setup(self, device: str) -> None:
        """Open the file, in the worker's process."""
        del device
        self._scorer = Scorer(self._model)

    def decode_request(self, request: dict[str, str]) -> bytes:
        """Return the bytes that were sent."""
        return base64.b64decode(request["arrays"])

    def batch(self, inputs: Sequence[bytes]) -> Sequence[bytes]:
        """Leave joining to the prediction, which knows the arrays."""
        return inputs

    def predict(self, x: bytes | Sequence[bytes]) -> bytes | list[bytes]:
        """Answer one request, or a batch."""
        return self._scorer.score(x) if isinstance(x, bytes) else self._scorer.score_batch(x)

    def unbatch(self, output: Sequence[bytes]) -> Sequence[bytes]:
        """Return the answers one by one."""
        return output

    def encode_response(self, output: bytes) -> Response:
        """Return the answer as plain bytes."""
        return Response(content=output, media_type="application/octet-stream")


def main() -> None:
    """Read the flags and serve."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--max-batch-size", type=int, required=True)
    parser.add_argument("--batch-timeout", type=float, required=True)
    chosen = parser.parse_args()
    api = OnnxApi(chosen.model, max_batch_size=chosen.max_batch_size, batch_timeout=chosen.batch_timeout)
    server = ls.LitServer(api, accelerator="cpu", devices=1, workers_per_device=1, fast_queue=True)
    server.run(
        host="127.0.0.1",
        port=chosen.port,
        num_api_servers=1,
        log_level="error",
        generate_client_file=False,
        access_log=False,
    )


if __name__ == "__main__":
    main()
