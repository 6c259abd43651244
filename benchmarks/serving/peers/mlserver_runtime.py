"""A custom runtime of MLServer; runs in MLServer's environment.

It deliberately takes and gives one tensor of bytes: MLServer turns numbers into Python lists on the way,
which would cost it more.
"""

from pathlib import Path

from mlserver import MLModel
from mlserver.types import InferenceRequest, InferenceResponse, Parameters, ResponseOutput, TensorData

from benchmarks.serving.peers.scorer import Scorer


class OnnxRuntime(MLModel):  # type: ignore[misc] # MLServer is not installed where types are checked
    """The ONNX file behind the Open Inference Protocol."""

    async def load(self) -> bool:
        """Open the file that the model's settings name."""
        self._scorer = Scorer(Path(self.settings.parameters.uri))
        return True

    async def predict(self, payload: InferenceRequest) -> InferenceResponse:
        """Answer one request, or several that MLServer's adaptive batching has joined."""
        requests = getattr(payload.inputs[0].data, "root", payload.inputs[0].data)
        answers = self._scorer.score_batch(list(requests))
        output = ResponseOutput(
            name="arrays",
            shape=[len(answers)],
            datatype="BYTES",
            data=TensorData(root=answers),
            parameters=Parameters(),
        )
        return InferenceResponse(model_name=self.name, outputs=[output])
