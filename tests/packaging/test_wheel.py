"""What `pip install .` brings: `holdfast` alone, light requirements, and pins for everything."""

import importlib.metadata
import re
import tomllib
import zipfile
from email.parser import Parser
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

import holdfast

ROOT = Path(__file__).parents[2]
LIGHT = {"grpcio", "jaxtyping", "numpy", "protobuf"}
TRAINING_ONLY = {"hydra-core", "lightgbm", "omegaconf", "onnx", "onnxscript", "pytorch-lightning", "torch"}


@pytest.fixture(scope="module")
def project() -> dict:
    """Return the `project` table of pyproject.toml."""
    return tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]


@pytest.fixture(scope="module")
def pins() -> dict[str, Version]:
    """Return the pinned version of every package in constraints.txt."""
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    pinned = {}
    for line in lines:
        if line and not line.startswith("#"):
            name, _, version = line.partition("==")
            pinned[canonicalize_name(name)] = Version(version)
    return pinned


def requirements_of(name: str) -> list[str]:
    """Return what a package requires; nothing is known of one that only `make check` installs."""
    try:
        return importlib.metadata.requires(name) or []
    except importlib.metadata.PackageNotFoundError:
        return []


def needed_by(requirements: list[str]) -> set[str]:
    """Return the names of all packages that some requirements need on this machine, transitively."""
    waiting, found = [Requirement(text) for text in requirements], set()
    seen: set[tuple[str, str]] = set()
    while waiting:
        requirement = waiting.pop()
        name = canonicalize_name(requirement.name)
        found.add(name)
        for extra in {"", *requirement.extras}:
            if (name, extra) in seen:
                continue
            seen.add((name, extra))
            for text in requirements_of(name):
                further = Requirement(text)
                if further.marker is None or further.marker.evaluate({"extra": extra}):
                    waiting.append(further)
    return found


def test_the_wheel_holds_holdfast_alone(wheel: Path) -> None:
    """`training`, `serving`, tests and configuration stay out of other people's site-packages."""
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
    tops = {name.split("/")[0] for name in names}
    assert tops == {"holdfast", f"holdfast-{holdfast.__version__}.dist-info"}


def test_the_wheel_holds_every_source_file_types_and_licence(wheel: Path) -> None:
    """Nothing of the package is forgotten: modules, generated stubs, the typing marker, the licence."""
    sources = {
        str(path.relative_to(ROOT))
        for path in (ROOT / "holdfast").rglob("*")
        if path.suffix in {".py", ".pyi"} or path.name == "py.typed"
    }
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
    assert "holdfast/py.typed" in sources
    assert sources <= names
    assert any(name.endswith("/licenses/LICENSE") for name in names)


def test_the_wheel_requires_light_packages_only(wheel: Path) -> None:
    """A service that installs the client gets four packages, and protobuf above its security floor."""
    with zipfile.ZipFile(wheel) as archive:
        (metadata,) = (name for name in archive.namelist() if name.endswith(".dist-info/METADATA"))
        message = Parser().parsestr(archive.read(metadata).decode())
    requirements = [Requirement(text) for text in message.get_all("Requires-Dist", [])]
    always = {r.name: r for r in requirements if r.marker is None or r.marker.evaluate({"extra": ""})}
    assert set(always) == LIGHT
    assert not always["protobuf"].specifier.contains("6.33.4")


def test_the_client_needs_nothing_heavy(project: dict) -> None:
    """No requirement of a requirement brings a heavy package in by the back door."""
    light_and_theirs = LIGHT | {"typing-extensions", "wadler-lindig"}
    assert needed_by(project["dependencies"]) <= light_and_theirs


def test_serving_needs_nothing_of_training(project: dict) -> None:
    """An image that serves is small: no torch, no Lightning, no Hydra, however indirectly."""
    needed = needed_by(project["dependencies"] + project["optional-dependencies"]["serve"])
    assert needed.isdisjoint(TRAINING_ONLY)


def test_everything_that_is_installed_is_pinned(project: dict, pins: dict[str, Version]) -> None:
    """One file fixes every version, transitive ones too, so that two installations are the same."""
    extras = project["optional-dependencies"].values()
    needed = needed_by([*project["dependencies"], *(text for extra in extras for text in extra)])
    # The CUDA build of torch pins its own parts, and the CPU build has none of them.
    ours = {name for name in needed if not name.startswith(("nvidia-", "cuda-", "triton"))}
    assert sorted(ours - set(pins)) == []


def test_every_pin_lies_above_its_floor(project: dict, pins: dict[str, Version]) -> None:
    """What is tested is what pyproject.toml promises to support."""
    extras = project["optional-dependencies"].values()
    texts = [*project["dependencies"], *(text for extra in extras for text in extra)]
    below = [
        text
        for text in texts
        if not Requirement(text).specifier.contains(pins[canonicalize_name(Requirement(text).name)])
    ]
    assert below == []


def test_pins_are_exact_and_bound_to_no_machine(pins: dict[str, Version]) -> None:
    """A pin names a version alone: no local build, no path, no address of an index."""
    text = (ROOT / "constraints.txt").read_text(encoding="utf-8")
    lines = [line for line in text.splitlines() if line and not line.startswith("#")]
    assert [line for line in lines if not re.fullmatch(r"[A-Za-z0-9._-]+==[0-9A-Za-z.]+", line)] == []
    assert len(lines) == len(pins)


def test_the_floors_cover_the_generated_stubs(project: dict) -> None:
    """Protobuf and gRPC refuse generated code newer than themselves, so the floors must not be older."""
    floors = {
        r.name: Version(next(iter(r.specifier)).version) for r in map(Requirement, project["dependencies"])
    }
    stubs = {path: path.read_text(encoding="utf-8") for path in (ROOT / "holdfast").rglob("*_pb2*.py")}
    grpc = [Version(v) for t in stubs.values() for v in re.findall(r"GRPC_GENERATED_VERSION = '([^']+)'", t)]
    protobuf = [
        Version(v) for t in stubs.values() for v in re.findall(r"# Protobuf Python Version: (\S+)", t)
    ]
    assert grpc
    assert protobuf
    assert max(grpc) <= floors["grpcio"]
    assert max(protobuf) <= floors["protobuf"]
