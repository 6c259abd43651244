"""Other people's clients work unmodified: tritonclient gets the numbers of holdfast.v1 from the same port."""

import os
import subprocess
from pathlib import Path

import grpc
import numpy as np
import pytest
from artifact_builder import AS_OF_US, build_artifact, running_server
from open_inference_requests import tensors_of

from builders import random_histories, small_schema
from holdfast.v1.scoring_pb2_grpc import ScoringServiceStub
from holdfast.wire import write_request

SCRIPT = Path(__file__).with_name("ask_with_tritonclient.py")


@pytest.mark.peers
def test_an_unmodified_tritonclient_gets_the_same_numbers(tmp_path: Path) -> None:
    """Live, ready, metadata, all outputs and some, a refusal; predictions to 1e-6 of holdfast.v1's."""
    python = Path(os.environ["HOLDFAST_PEERS"]) / "tritonclient" / "bin" / "python"
    histories = random_histories(np.random.default_rng(0), 40)
    arrays = {
        name: np.array(values, dtype=np.bytes_) if datatype == "BYTES" else values
        for name, (datatype, values) in tensors_of(histories).items()
    }
    np.savez(tmp_path / "inputs.npz", **arrays)
    with running_server(build_artifact(tmp_path / "artifact")) as server:
        address = f"127.0.0.1:{server.port}"
        paths = [str(tmp_path / name) for name in ("inputs.npz", "outputs.npz")]
        run = subprocess.run(
            [python, SCRIPT, address, *paths],
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
        )
        assert run.returncode == 0, run.stderr
        request = write_request(histories, [""] * 40, as_of_us=AS_OF_US, schema=small_schema())
        request.include_embedding = True
        with grpc.insecure_channel(address) as channel:
            entries = ScoringServiceStub(channel).Score(request, timeout=30).customers
    with np.load(tmp_path / "outputs.npz") as found:
        assert found["error"].tolist() == [b""] * 40
        for name, expected in {
            "churn_probability": [e.prediction.targets[0].time_to_event.probability for e in entries],
            "spend_expected": [e.prediction.targets[1].amount.expected for e in entries],
            "spend_quantiles": [e.prediction.targets[1].amount.quantiles for e in entries],
            "orders_expected": [e.prediction.targets[2].count.expected for e in entries],
            "embedding": [e.prediction.embedding for e in entries],
        }.items():
            np.testing.assert_allclose(found[name], np.array(expected), rtol=1e-6, atol=1e-6, err_msg=name)
        assert found["num_used"].tolist() == [entry.observed.num_used for entry in entries]
        assert found["is_eligible"].tolist() == [entry.observed.is_eligible for entry in entries]
