"""Other people's clients work unmodified: tritonclient gets the numbers of holdfast.v1 from the same port."""

import os
import re
import subprocess
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import grpc
import numpy as np
import pytest
from artifact_builder import AS_OF_US, build_artifact, running_server
from open_inference_requests import tensors_of

from builders import random_histories, small_schema, small_spec
from holdfast.client import ScoringClient
from holdfast.v1.scoring_pb2_grpc import ScoringServiceStub
from holdfast.vocabulary import Vocabulary
from holdfast.wire import write_request

DOCS = Path(__file__).parents[2] / "docs" / "open-inference.md"
SCRIPT = Path(__file__).with_name("ask_with_tritonclient.py")


def run_with_tritonclient(*arguments: str) -> str:
    """Run Python where tritonclient is, and return what it printed."""
    python = Path(os.environ["HOLDFAST_PEERS"]) / "tritonclient" / "bin" / "python"
    run = subprocess.run([python, *arguments], capture_output=True, text=True, check=False, timeout=120)
    assert run.returncode == 0, run.stderr
    return run.stdout


def build_streaming(folder: Path) -> Path:
    """Return an artifact that has the names of the example: model, field and event types."""
    spec, histories = small_spec(), random_histories(np.random.default_rng(5), 6)
    schema = spec.schema
    fields = tuple(replace(one, name="paid") if one.name == "amount" else one for one in schema.fields)
    targets = tuple(replace(one, field="paid") if one.field else one for one in schema.targets)
    spec = replace(
        spec,
        schema=replace(schema, fields=fields, targets=targets, activity=("payment",)),
        event_type=Vocabulary(values=("payment", "complaint", "purchase")),
        numeric={"paid": spec.numeric["amount"], "quantity": spec.numeric["quantity"]},
        quanta={"paid": spec.quanta["amount"], "quantity": spec.quanta["quantity"]},
    )
    numeric = {"paid": histories.numeric["amount"], "quantity": histories.numeric["quantity"]}
    golden = replace(histories, numeric=numeric)
    return build_artifact(folder, spec=spec, golden=golden, name="streaming")


@pytest.mark.peers
def test_the_documented_example_runs_as_printed(tmp_path: Path) -> None:
    """Only the address is another; the customers of the example get what holdfast.v1 says about them."""
    page = DOCS.read_text(encoding="utf-8")
    [example] = re.findall(r"^```python\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)
    with running_server(build_streaming(tmp_path / "artifact")) as server:
        address = f"localhost:{server.port}"
        script = tmp_path / "example.py"
        keep = f"np.save({str(tmp_path / 'said.npy')!r}, result.as_numpy('churn_probability'))\n"
        assert example.count("localhost:50051") == 1
        script.write_text(example.replace("localhost:50051", address) + keep, encoding="utf-8")
        shown = run_with_tritonclient(str(script))
        as_of = datetime(2025, 6, 1, tzinfo=UTC)
        rows = [("a", 90, "payment", 12.0), ("a", 60, "payment", 12.0), ("a", 30, "complaint", None)]
        events = [
            {
                "customer_id": name,
                "occurred_at": as_of - timedelta(days=age),
                "event_type": kind,
                "paid": paid,
            }
            for name, age, kind, paid in [*rows, ("b", 5, "payment", 9.0)]
        ]
        with ScoringClient(address) as client:
            results = client.score(events, as_of=as_of)
    assert shown.rstrip().endswith("[ True  True] [b'' b'']")
    expected = [list(result.predictions["churn"].probability.values()) for result in results]
    np.testing.assert_allclose(np.load(tmp_path / "said.npy"), expected, rtol=1e-6)


@pytest.mark.peers
def test_an_unmodified_tritonclient_gets_the_same_numbers(tmp_path: Path) -> None:
    """Live, ready, metadata, all outputs and some, a refusal; predictions to 1e-6 of holdfast.v1's."""
    histories = random_histories(np.random.default_rng(0), 40)
    arrays = {
        name: np.array(values, dtype=np.bytes_) if datatype == "BYTES" else values
        for name, (datatype, values) in tensors_of(histories).items()
    }
    np.savez(tmp_path / "inputs.npz", **arrays)
    with running_server(build_artifact(tmp_path / "artifact")) as server:
        address = f"127.0.0.1:{server.port}"
        paths = [str(tmp_path / name) for name in ("inputs.npz", "outputs.npz")]
        run_with_tritonclient(str(SCRIPT), address, *paths)
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
