"""What images, manifests and units tell the server is what the server takes."""

import re
import shlex
import subprocess
from pathlib import Path
from shutil import which
from typing import Any

import pytest
import yaml

from holdfast.errors import HoldfastError
from serving.access import check_access
from serving.processes import KILL_AFTER_SECONDS
from serving.settings import Settings, read_settings

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy"
BASE = DEPLOY / "kubernetes/base"
OVERLAYS = sorted(path.parent for path in DEPLOY.glob("kubernetes/overlays/*/kustomization.yaml"))


def variables_of(lines: list[str]) -> dict[str, str]:
    """Return the variables that lines of ``NAME=value`` set."""
    return dict(line.split("=", 1) for line in lines if line.startswith("HOLDFAST_"))


def literals(folder: Path) -> dict[str, str]:
    """Return the settings that a kustomization adds."""
    generators = yaml.safe_load((folder / "kustomization.yaml").read_text("utf-8"))["configMapGenerator"]
    return variables_of([line for one in generators for line in one["literals"]])


def image_variables() -> dict[str, str]:
    """Return what the image of the server sets."""
    text = (DEPLOY / "images/serving.Dockerfile").read_text("utf-8").replace("\\\n", " ")
    found = [line.removeprefix("ENV ") for line in text.splitlines() if line.startswith("ENV ")]
    return variables_of([pair for line in found for pair in shlex.split(line)])


def unit_variables() -> dict[str, str]:
    """Return what the example of the unit's settings sets."""
    return variables_of((DEPLOY / "systemd/server.env").read_text("utf-8").splitlines())


def resource(file: str, kind: str, name: str = "holdfast") -> Any:
    """Return a resource of the base."""
    found = yaml.safe_load_all((BASE / file).read_text("utf-8"))
    return next(one for one in found if (one["kind"], one["metadata"]["name"]) == (kind, name))


WAYS = {
    "image": image_variables(),
    "unit": unit_variables(),
    "base": image_variables() | literals(BASE),
    **{path.name: image_variables() | literals(BASE) | literals(path) for path in OVERLAYS},
}


@pytest.fixture(params=WAYS)
def settings(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Settings:
    """Return what the server makes of the variables of a way to run it."""
    given = WAYS[request.param]
    assert given
    for name in Settings.model_fields:
        monkeypatch.delenv(f"HOLDFAST_{name.upper()}", raising=False)
    for name, value in given.items():
        monkeypatch.setenv(name, value)
    return read_settings([])


def test_every_variable_is_a_setting(settings: Settings) -> None:
    """The server leaves variables that it does not know alone, so a mistyped one would only be missing."""
    for way, given in WAYS.items():
        unknown = {
            name for name in given if name.removeprefix("HOLDFAST_").lower() not in Settings.model_fields
        }
        assert not unknown, way
    assert settings.artifact.name == "current"


def test_what_is_beyond_loopback_has_tls_and_tokens(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where the manifests say nothing of a certificate, there would be one line and no server."""
    if settings.token_file is None:
        # The image alone: whoever runs it says.
        assert settings.tls_certificate is None
        return
    assert settings.tls_certificate is not None
    assert settings.tls_key is not None
    with pytest.raises(HoldfastError, match="HOLDFAST_TLS_CERTIFICATE"):
        # Read, and not found here.
        check_access(settings)


def test_kubernetes_adds_no_setting_of_its_own() -> None:
    """A Service of the server's name would become HOLDFAST_PORT=tcp://..., which is no port."""
    pod = resource("deployment.yaml", "Deployment")["spec"]["template"]["spec"]
    assert pod["enableServiceLinks"] is False


def test_ports_and_mounts_are_those_of_the_settings() -> None:
    """Probes, Services and volumes lead where the server listens and looks."""
    given = literals(BASE)
    pod = resource("deployment.yaml", "Deployment")["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    ports = {one["name"]: one["containerPort"] for one in container["ports"]}
    assert ports == {
        "grpc": int(given["HOLDFAST_PORT"]),
        "metrics": int(given["HOLDFAST_METRICS_PORT"]),
    }
    for kind, path in (("startup", "/livez"), ("liveness", "/livez"), ("readiness", "/readyz")):
        assert container[f"{kind}Probe"]["httpGet"] == {"path": path, "port": "metrics"}
    for name, port in (("holdfast", "grpc"), ("holdfast-metrics", "metrics")):
        service = resource("service.yaml", "Service", name)
        assert service["spec"]["clusterIP"] == "None"
        assert [one["targetPort"] for one in service["spec"]["ports"]] == [port]
    mounts = [Path(one["mountPath"]) for one in container["volumeMounts"]]
    for name in ("ARTIFACT", "TLS_CERTIFICATE", "TLS_KEY", "TOKEN_FILE"):
        assert Path(given[f"HOLDFAST_{name}"]).parent in mounts, name
    assert {one["name"] for one in container["volumeMounts"]} == {one["name"] for one in pod["volumes"]}
    image = (DEPLOY / "images/serving.Dockerfile").read_text("utf-8")
    written = [one["mountPath"] for one in container["volumeMounts"] if not one.get("readOnly")]
    assert [f"NUMBA_CACHE_DIR={path}" in image for path in written] == [True]


def test_calls_in_progress_have_their_time() -> None:
    """Nobody is killed before the grace is over."""
    pod = resource("deployment.yaml", "Deployment")["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    needed = float(literals(BASE)["HOLDFAST_GRACE_SECONDS"]) + KILL_AFTER_SECONDS
    pause = container["lifecycle"]["preStop"]["sleep"]["seconds"]
    assert pod["terminationGracePeriodSeconds"] > pause + needed
    unit = (DEPLOY / "systemd/holdfast.service").read_text("utf-8")
    (stop_seconds,) = re.findall(r"^TimeoutStopSec=(\d+)$", unit, flags=re.MULTILINE)
    assert float(stop_seconds) > float(unit_variables()["HOLDFAST_GRACE_SECONDS"]) + KILL_AFTER_SECONDS


@pytest.mark.parametrize("file", ["images/serving.Dockerfile", "images/training.Dockerfile"])
def test_images_take_what_is_there_and_run_as_nobody(file: str) -> None:
    """What is copied exists and is not ignored, extras are ours, and a stop is a SIGTERM to no shell."""
    text = (DEPLOY / file).read_text("utf-8")
    sent = (ROOT / ".dockerignore").read_text("utf-8").splitlines()
    for line in re.findall(r"^COPY (?!--)(.*)$", text, flags=re.MULTILINE):
        for source in line.split()[:-1]:
            assert (ROOT / source).exists()
            assert f"!{source}" in sent
    project = (ROOT / "pyproject.toml").read_text("utf-8")
    for extra in re.findall(r"(?:'\.\[|EXTRAS=)([\w,]+)", text)[0].split(","):
        assert f"\n{extra} = [" in project
    assert re.search(r"^USER [1-9]\d*:[1-9]\d*$", text, flags=re.MULTILINE)
    assert "\nSTOPSIGNAL SIGTERM\n" in text
    assert re.search(r'^ENTRYPOINT \["/opt/holdfast/venv/bin/python", "-m"', text, flags=re.MULTILINE)


@pytest.mark.parametrize("folder", OVERLAYS, ids=lambda path: path.name)
def test_selectors_are_those_of_whom_they_mean(folder: Path) -> None:
    """Put together: callers and Prometheus keep their own labels, and all else selects the servers."""
    command = next(([*way, str(folder)] for way in WAYS_TO_BUILD if which(way[0])), None)
    if command is None:
        pytest.skip("neither kustomize nor kubectl is here to put the manifests together")
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    built = {(one["kind"], one["metadata"]["name"]): one["spec"] for one in of_spec(done.stdout)}
    servers = {"app.kubernetes.io/name": "holdfast"}
    deployment = built["Deployment", "holdfast"]
    assert deployment["template"]["metadata"]["labels"].items() >= servers.items()
    assert deployment["selector"] == {"matchLabels": servers}
    assert built["Service", "holdfast"]["selector"] == servers
    assert built["PodDisruptionBudget", "holdfast"]["selector"] == {"matchLabels": servers}
    policy = built["NetworkPolicy", "holdfast"]
    assert policy["podSelector"] == {"matchLabels": servers}
    callers = {
        rule["ports"][0]["port"]: rule["from"][0]["podSelector"]["matchLabels"] for rule in policy["ingress"]
    }
    assert callers == {
        "grpc": {"holdfast.caller": "true"},
        "metrics": {"app.kubernetes.io/name": "prometheus"},
    }
    target = built["HorizontalPodAutoscaler", "holdfast"]["scaleTargetRef"]
    assert (target["kind"], target["name"]) == ("Deployment", "holdfast")
    assert "replicas" not in deployment


WAYS_TO_BUILD = (["kustomize", "build"], ["kubectl", "kustomize"])


def of_spec(text: str) -> list[Any]:
    """Return the resources that say what they want; a ConfigMap only holds."""
    return [one for one in yaml.safe_load_all(text) if "spec" in one]
