"""The ONNX file as other servers run it: customer by customer, or padded to the longest of a batch.

It deliberately holds no batching by length: that is what is compared.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnxruntime as ort

from benchmarks.serving.peers.packed import Array, Request, pack, unpack_request

ON_REQUEST = ("_survival", "embedding")
"""Outputs that nobody asks for here, neither of us nor of them."""


class Scorer:
    """One session with one thread that does not spin: the options that our server runs with."""

    def __init__(self, path: Path) -> None:
        """Open the file."""
        options = ort.SessionOptions()
        options.intra_op_num_threads = 1
        options.inter_op_num_threads = 1
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        options.log_severity_level = 3
        self._session = ort.InferenceSession(path.read_bytes(), options, providers=["CPUExecutionProvider"])
        names = [tensor.name for tensor in self._session.get_outputs()]
        self._outputs = [name for name in names if not name.endswith(ON_REQUEST)]

    def score(self, data: bytes) -> bytes:
        """Answer one request."""
        request = unpack_request(data)
        found = self._padded(request) if request.is_padded else self._one_by_one(request)
        return pack(dict(zip(self._outputs, found, strict=True)))

    def score_batch(self, batch: Sequence[bytes]) -> list[bytes]:
        """Answer several requests of one run, padded to the longest customer of all."""
        if len(batch) == 1:
            return [self.score(batch[0])]
        requests = [unpack_request(data) for data in batch]
        first = requests[0]
        together = Request(
            is_padded=True,
            lengths=[length for request in requests for length in request.lengths],
            events={name: np.concatenate([r.events[name] for r in requests]) for name in first.events},
            customers={
                name: np.concatenate([r.customers[name] for r in requests]) for name in first.customers
            },
        )
        found = self._padded(together)
        ends = np.cumsum([len(request.lengths) for request in requests])[:-1]
        parts = zip(*(np.split(values, ends) for values in found), strict=True)
        return [pack(dict(zip(self._outputs, part, strict=True))) for part in parts]

    def _padded(self, request: Request) -> list[Array]:
        longest, inputs = max(request.lengths), dict(request.customers)
        starts = np.cumsum([0, *request.lengths])
        for name, flat in request.events.items():
            inputs[name] = np.zeros((len(request.lengths), longest, *flat.shape[1:]), dtype=flat.dtype)
            for row, length in enumerate(request.lengths):
                inputs[name][row, :length] = flat[starts[row] : starts[row + 1]]
        return self._run(inputs)

    def _one_by_one(self, request: Request) -> list[Array]:
        found, start = [], 0
        for row, length in enumerate(request.lengths):
            inputs = {name: flat[None, start : start + length] for name, flat in request.events.items()}
            inputs |= {name: values[row : row + 1] for name, values in request.customers.items()}
            found.append(self._run(inputs))
            start += length
        return [np.concatenate(values) for values in zip(*found, strict=True)]

    def _run(self, inputs: dict[str, Array]) -> list[Array]:
        outputs: list[Array] = self._session.run(self._outputs, inputs)
        return outputs
