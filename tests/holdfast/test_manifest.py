"""The manifest comes back to the last bit, and what is not as recorded is refused with file and reason."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from artifact_builder import build_artifact, build_manifest

from builders import small_spec
from holdfast.encoding import NumericScale
from holdfast.errors import ArtifactError, ConfigError
from holdfast.manifest import FileRecord, read_manifest, verify_files, write_manifest
from holdfast.vocabulary import Vocabulary


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Return a sound artifact of the test's own."""
    return build_artifact(tmp_path / "artifact")


def edit(folder: Path, **changes: object) -> None:
    """Change top keys of the manifest as somebody with an editor would."""
    path = folder / "manifest.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def test_a_manifest_comes_back_equal_and_its_floats_to_the_last_bit(tmp_path: Path) -> None:
    """What is read is what was written: floats without a short decimal form, and every kind of text."""
    folder = build_artifact(tmp_path / "artifact")
    awkward = NumericScale(mean=0.1 + 0.2, std=5e-324, edges=(-1.7976931348623157e308, 1 / 3, 2**-40))
    spec = replace(
        small_spec(),
        event_type=Vocabulary(values=("", "a\x00", "\U0001f6d2", "e\u0301", "\u202egnp", "\ud800")),
        gap=awkward,
        numeric={"amount": awkward, "quantity": awkward},
    )
    manifest = build_manifest(folder, spec)
    write_manifest(folder, manifest)
    read = read_manifest(folder)
    assert read == manifest
    assert read.encoding.gap.mean.hex() == awkward.mean.hex()
    assert [edge.hex() for edge in read.encoding.gap.edges] == [edge.hex() for edge in awkward.edges]
    assert read.schema.fingerprint() == spec.schema.fingerprint()


def reference_of(tensor: str, column: int | None, *, edges: tuple[float, ...] = (1.0, 2.0)) -> dict[str, Any]:
    """Return a manifest's key that compares one quantity."""
    quantity = {"name": "some", "tensor": tensor, "column": column}
    return {"reference": [{"quantity": quantity, "edges": edges, "shares": [0.25, 0.25, 0.5]}]}


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"form_version": 1}, "form_version is 1"),
        ({"form_version": None, "surprise": 1}, "form_version is None"),
        ({"surprise": 1}, "manifest.surprise"),
        ({"opset": "23"}, "manifest.opset"),
        ({"opset": True}, "manifest.opset"),
        ({"tolerance": 0.0}, "manifest.tolerance"),
        ({"created_at": "2025-06-01T12:00:00"}, "manifest.created_at"),
        ({"created_at": "yesterday"}, "manifest.created_at"),
        ({"targets": []}, "manifest.targets"),
        (reference_of("spend_expected", 0), "manifest.reference of some"),
        (reference_of("churn_probability", None), "manifest.reference of some"),
        (reference_of("churn_probability", 3), "manifest.reference of some"),
        (reference_of("churn_probability", -1), "manifest.reference of some"),
        (reference_of("event_days", 0), "manifest.reference of some"),
        (reference_of("nothing", None), "manifest.reference of some"),
        (reference_of("spend_expected", None, edges=(2.0, 1.0)), "reference of some: edges"),
        ({"files": {"../model.onnx": {"sha256": "0", "size": 1}}}, "manifest.files"),
        ({"files": {"manifest.json": {"sha256": "0", "size": 1}}}, "manifest.files"),
    ],
)
def test_an_altered_manifest_is_refused_by_key(folder: Path, changes: dict[str, object], reason: str) -> None:
    """Unknown, mistyped and contradicting keys are refused, and the message names file and key."""
    edit(folder, **changes)
    with pytest.raises(ArtifactError, match=reason) as caught:
        read_manifest(folder)
    assert caught.value.path.name == "manifest.json"


def test_a_missing_key_is_named(folder: Path) -> None:
    """A manifest without a key is not read with a guess in its place."""
    path = folder / "manifest.json"
    data = json.loads(path.read_text())
    del data["encoding"]["origin_us"]
    path.write_text(json.dumps(data))
    with pytest.raises(ArtifactError, match=r"manifest\.encoding\.origin_us"):
        read_manifest(folder)


@pytest.mark.parametrize("text", ["", "{", "[]", "null", '{"form_version": 1', "\x00\xff"])
def test_what_is_no_manifest_is_refused(folder: Path, text: str) -> None:
    """Empty, cut off or other JSON is refused with a reason, not with a library's traceback."""
    (folder / "manifest.json").write_text(text, encoding="latin-1")
    with pytest.raises(ArtifactError, match=r"manifest\.json"):
        read_manifest(folder)


def test_a_value_that_json_cannot_hold_is_refused_on_writing(folder: Path) -> None:
    """NaN among the metrics would make a file that other readers refuse."""
    manifest = replace(read_manifest(folder), metrics={"auroc": float("nan")})
    with pytest.raises(ConfigError, match="plain JSON"):
        write_manifest(folder, manifest)


def test_a_manifest_of_another_form_cannot_be_made(folder: Path) -> None:
    """Whoever exports for a later release has that release's form to fill in."""
    with pytest.raises(ConfigError, match=r"manifest\.form_version: got 1"):
        replace(read_manifest(folder), form_version=1)


def test_verified_bytes_are_handed_back_and_the_rest_is_not_kept(folder: Path) -> None:
    """The caller gets the very bytes that were hashed, so that nothing can be swapped in between."""
    manifest = read_manifest(folder)
    kept = verify_files(folder, manifest.files, keep=("model.onnx",))
    assert set(kept) == {"model.onnx"}
    assert FileRecord.of(kept["model.onnx"]) == manifest.files["model.onnx"]


@pytest.mark.parametrize("name", ["model.onnx", "golden.npz", "report.html"])
@pytest.mark.parametrize("harm", ["flipped", "truncated", "extended", "emptied", "missing"])
def test_every_altered_file_is_named(folder: Path, name: str, harm: str) -> None:
    """One flipped bit, a byte more or less, or no file at all: each is refused by name."""
    path = folder / name
    data = path.read_bytes()
    harmed = {
        "flipped": data[:-1] + bytes([data[-1] ^ 1]),
        "truncated": data[:-1],
        "extended": data + b"\x00",
        "emptied": b"",
    }
    path.unlink()
    if harm != "missing":
        path.write_bytes(harmed[harm])
    reason = {"flipped": "sha256", "missing": "cannot be read"}.get(harm, "bytes")
    with pytest.raises(ArtifactError, match=reason) as caught:
        verify_files(folder, read_manifest(folder).files, keep=())
    assert caught.value.path == path


def test_a_wanted_file_without_a_record_is_refused(folder: Path) -> None:
    """A file that the manifest does not vouch for is never opened."""
    files = {n: record for n, record in read_manifest(folder).files.items() if n != "golden.npz"}
    with pytest.raises(ArtifactError, match=r"no record of golden\.npz"):
        verify_files(folder, files, keep=("golden.npz",))
