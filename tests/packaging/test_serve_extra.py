"""The `serve` extra alone, in a fresh environment: enough to serve and to score, and torch is not there."""

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest
from artifact_builder import AS_OF_US, build_artifact

from holdfast.tables import read_tables
from serving.artifact import Artifact

ROOT = Path(__file__).parents[2]
CONSTRAINTS = ROOT / "constraints.txt"
TIMEOUT_SECONDS = 300
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

pytestmark = [pytest.mark.packaging, pytest.mark.long]

SCORE = """
import importlib.util, json, sys
from datetime import datetime
from holdfast.client import ScoringClient

unwanted = ("torch", "pytorch_lightning", "hydra", "onnx")
absent = [name for name in unwanted if not importlib.util.find_spec(name)]
asked = json.load(sys.stdin)
for event in asked["events"]:
    event["occurred_at"] = datetime.fromisoformat(event["occurred_at"])
with ScoringClient(asked["target"]) as client:
    results = client.score(
        asked["events"], customers=asked["customers"], as_of=datetime.fromisoformat(asked["as_of"])
    )
import holdfast
print(json.dumps({"absent": absent, "from": holdfast.__file__, "results": [r.to_dict() for r in results]}))
"""


def run(command: list[str], *, folder: Path, given: str = "") -> str:
    """Run a command to its end, in an environment that knows nothing of this checkout."""
    done = subprocess.run(
        command,
        cwd=folder,
        env=clean_environment(),
        input=given,
        capture_output=True,
        text=True,
        timeout=TIMEOUT_SECONDS,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def clean_environment() -> dict[str, str]:
    """Return the environment without what would point Python or the server at something else."""
    return {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "HOLDFAST"))}


@pytest.fixture(scope="module")
def python(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the interpreter of a fresh environment that holds the wheel with its `serve` extra."""
    folder = tmp_path_factory.mktemp("serve")
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check"]
    probe = [*pip, "download", "-q", "--no-deps", "--no-cache-dir", "--retries", "0", "--timeout", "15"]
    answer = subprocess.run(
        [*probe, "-c", str(CONSTRAINTS), "-d", str(folder / "probe"), "jaxtyping"],
        capture_output=True,
        timeout=TIMEOUT_SECONDS,
        check=False,
    )
    if answer.returncode != 0:
        pytest.skip("no package index is reachable, so nothing can be installed into a fresh environment")
    run([sys.executable, "-m", "venv", "--without-pip", str(folder / "venv")], folder=folder)
    interpreter = folder / "venv" / "bin" / "python"
    install = [*pip, "--python", str(interpreter), "install", "-qq", "--no-compile", "-c", str(CONSTRAINTS)]
    run([*install, f"holdfast[serve] @ {wheel.as_uri()}"], folder=folder)
    return interpreter


@pytest.fixture(scope="module")
def application(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with `serving` alone, as an image would have it: `holdfast` comes from the wheel."""
    folder = tmp_path_factory.mktemp("application")
    shutil.copytree(ROOT / "serving", folder / "serving", ignore=shutil.ignore_patterns("__pycache__"))
    return folder


@pytest.fixture(scope="module")
def artifact(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a small artifact."""
    return build_artifact(tmp_path_factory.mktemp("artifact") / "small")


@pytest.fixture
def target(python: Path, application: Path, artifact: Path) -> Iterator[str]:
    """Serve the artifact with the fresh environment; give the address, and stop as an operator would."""
    command = [str(python), "-m", "serving", "--artifact", str(artifact), "--port", "0"]
    with subprocess.Popen(
        command, cwd=application, env=clean_environment(), stderr=subprocess.PIPE, text=True
    ) as server:
        try:
            assert server.stderr is not None
            lines = []
            # The log says when it serves and where; a server that cannot start closes it instead.
            for line in server.stderr:
                lines.append(line)
                logged = json.loads(line) if line.startswith("{") else {}
                if logged.get("event") == "serving":
                    break
            else:
                pytest.fail("the server ended before it served:\n" + "".join(lines))
            yield f"127.0.0.1:{logged['port']}"
            server.send_signal(signal.SIGTERM)
            server.stderr.read()
            assert server.wait(TIMEOUT_SECONDS) == 0
        finally:
            server.kill()


def events_of(customer: str, *, days_ago: list[int]) -> list[dict]:
    """Return purchases so many days before the artifact's cutoff."""
    as_of = EPOCH + timedelta(microseconds=AS_OF_US)
    return [
        {
            "customer_id": customer,
            "occurred_at": (as_of - timedelta(days=days)).isoformat(),
            "event_type": "purchase",
            "amount": 20.0 + days,
            "quantity": 2.0,
            "channel": "web",
        }
        for days in sorted(days_ago, reverse=True)
    ]


def test_the_serve_extra_serves_and_scores_without_torch(
    python: Path, application: Path, artifact: Path, target: str
) -> None:
    """A server and a client in an image of their own give the numbers that the artifact gives here.

    One test for all of it: the environment is dear, and every test of its own could make another one.
    """
    assert "--artifact" in run([str(python), "-m", "serving.offline", "--help"], folder=application)
    events = events_of("anna", days_ago=[1, 8, 30]) + events_of("berta", days_ago=[200])
    customers = [{"customer_id": name, "region": "north", "age": 40.0} for name in ("anna", "berta")]
    as_of = EPOCH + timedelta(microseconds=AS_OF_US)
    asked = {"target": target, "events": events, "customers": customers, "as_of": as_of.isoformat()}
    found = json.loads(run([str(python), "-c", SCORE], folder=application, given=json.dumps(asked)))

    assert found["absent"] == ["torch", "pytorch_lightning", "hydra", "onnx"]
    assert "site-packages" in found["from"]
    assert [result["customer_id"] for result in found["results"]] == ["anna", "berta"]
    assert [result["num_used"] for result in found["results"]] == [3, 1]
    assert [result["fault"] for result in found["results"]] == [None, None]

    here = Artifact.load(artifact)
    for event in events:
        event["occurred_at"] = datetime.fromisoformat(event["occurred_at"])
    histories = read_tables(events, here.manifest.schema, customers=customers).histories
    expected = here.predictor.predict(histories, np.full(2, AS_OF_US, dtype=np.int64)).outputs
    for column, horizon in enumerate((30, 60, 90)):
        there = [result[f"churn_probability_{horizon}d"] for result in found["results"]]
        np.testing.assert_allclose(there, expected["churn_probability"][:, column], atol=1e-5)
    there = [result["spend_expected"] for result in found["results"]]
    np.testing.assert_allclose(there, expected["spend_expected"], rtol=1e-5)
