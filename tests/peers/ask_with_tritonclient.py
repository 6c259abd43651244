"""What a user of Triton writes, with tritonclient as it comes; run in an environment of its own.

Usage: ask_with_tritonclient.py ADDRESS INPUTS.npz OUTPUTS.npz
"""

import sys

import numpy as np
import tritonclient.grpc as triton
from tritonclient.utils import InferenceServerException, np_to_triton_dtype


def main(address: str, inputs_path: str, outputs_path: str) -> None:
    """Ask everything that the protocol has, score, and keep the answer."""
    client = triton.InferenceServerClient(url=address)
    assert client.is_server_live()
    assert client.is_server_ready()
    assert client.is_model_ready("small")
    assert not client.is_model_ready("large")
    assert client.get_server_metadata().name == "holdfast"
    metadata = client.get_model_metadata("small", as_json=True)
    datatypes = {tensor["name"]: tensor["datatype"] for tensor in metadata["inputs"]}
    tensors = []
    with np.load(inputs_path) as arrays:
        for name, values in arrays.items():
            given = values.astype(np.object_) if values.dtype.kind == "S" else values
            assert np_to_triton_dtype(given.dtype) == datatypes[name], name
            tensor = triton.InferInput(name, given.shape, datatypes[name])
            tensor.set_data_from_numpy(given)
            tensors.append(tensor)
    result = client.infer("small", tensors, request_id="5", client_timeout=30)
    assert result.get_response().id == "5"
    outputs = {tensor["name"]: result.as_numpy(tensor["name"]) for tensor in metadata["outputs"]}
    wanted = [triton.InferRequestedOutput("spend_expected")]
    some = client.infer("small", tensors, outputs=wanted)
    np.testing.assert_array_equal(some.as_numpy("spend_expected"), outputs["spend_expected"])
    assert some.as_numpy("churn_probability") is None
    refused = None
    try:
        client.infer("small", tensors[1:])
    except InferenceServerException as error:
        refused = error
    assert refused is not None, "a request without its first tensor was answered"
    assert refused.status() == "StatusCode.INVALID_ARGUMENT", refused
    assert tensors[0].name() in refused.message(), refused
    client.close()
    # np.savez would pickle objects, which the other side does not read.
    plain = {name: v.astype(np.bytes_) if v.dtype == np.object_ else v for name, v in outputs.items()}
    np.savez(outputs_path, **plain)


if __name__ == "__main__":
    main(*sys.argv[1:])
