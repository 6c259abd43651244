"""From an artifact to answers: verify, batch, score, serve over gRPC or into a file.

It deliberately does not know how the model was trained, nor any training library.
"""

import os

# ONNX Runtime's wheels report to their maker, over the network, unless this is set before they are imported.
os.environ["ORT_DISABLE_TELEMETRY"] = "1"
