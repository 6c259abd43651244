"""An artifact is served only if every byte is as recorded and its golden cases give the same numbers."""

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
from artifact_builder import build_artifact, build_manifest, build_model
from onnx import helper

from builders import histories_of_lengths, small_spec
from holdfast.encoding import EncodingSpec, NumericScale
from holdfast.errors import ArtifactError, SchemaMismatchError
from holdfast.golden import read_golden, write_golden
from holdfast.manifest import read_manifest, write_manifest
from serving.artifact import Artifact


@pytest.fixture
def folder(artifact_folder: Path, tmp_path: Path) -> Path:
    """Return a copy that may be harmed."""
    return Path(shutil.copytree(artifact_folder, tmp_path / "artifact"))


def seal(folder: Path, spec: EncodingSpec | None = None, **changes: object) -> None:
    """Write a manifest that vouches for the files as they are now: a forger's, not an accident's."""
    write_manifest(folder, replace(build_manifest(folder, spec or small_spec()), **changes))


def refused(folder: Path, name: str, reason: str | None) -> None:
    """Check that loading fails and names file and reason."""
    with pytest.raises(ArtifactError, match=reason) as caught:
        Artifact.load(folder)
    assert caught.value.path == folder / name


def test_a_sound_artifact_is_loaded(artifact_folder: Path) -> None:
    """Manifest and predictor are there, and the schema that was asked for is accepted."""
    fingerprint = small_spec().schema.fingerprint()
    artifact = Artifact.load(artifact_folder, schema_fingerprint=fingerprint)
    assert artifact.manifest.name == "small"
    assert artifact.predictor.output_names[0] == "churn_probability"


def test_another_schema_is_refused(artifact_folder: Path) -> None:
    """A sound artifact of another schema is told apart from a broken one."""
    with pytest.raises(SchemaMismatchError, match="0123456789abcdef is needed"):
        Artifact.load(artifact_folder, schema_fingerprint="0123456789abcdef")


@pytest.mark.parametrize("name", ["manifest.json", "model.onnx", "golden.npz", "report.html"])
@pytest.mark.parametrize("harm", ["missing", "truncated", "emptied", "a folder"])
def test_a_harmed_file_is_named(folder: Path, name: str, harm: str) -> None:
    """Whichever file is not what was exported, loading names it."""
    path = folder / name
    data = path.read_bytes()
    path.unlink()
    if harm == "a folder":
        path.mkdir()
    elif harm != "missing":
        path.write_bytes(data[: len(data) // 2] if harm == "truncated" else b"")
    refused(folder, name, None)


@pytest.mark.parametrize("name", ["model.onnx", "golden.npz", "report.html"])
def test_one_flipped_bit_is_found(folder: Path, name: str) -> None:
    """The hash covers every byte of every file."""
    path = folder / name
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    refused(folder, name, "sha256")


def test_a_folder_that_is_not_there_is_named(tmp_path: Path) -> None:
    """The first thing that is missing is the manifest."""
    refused(tmp_path / "nothing", "manifest.json", "cannot be read")


def test_another_form_version_is_refused(folder: Path) -> None:
    """A manifest of a later release is not half read."""
    path = folder / "manifest.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"form_version": 99}))
    refused(folder, "manifest.json", "form_version is 99")


def test_another_opset_is_refused_even_if_vouched_for(folder: Path) -> None:
    """Hashes that fit do not make up for operators of another version."""
    (folder / "model.onnx").write_bytes(build_model(small_spec(), opset=22).SerializeToString())
    seal(folder)
    refused(folder, "model.onnx", "opset: got 22, but the manifest says 23")


def test_a_forbidden_operator_is_refused(folder: Path) -> None:
    """A model that draws random numbers is not served."""
    model = build_model(small_spec())
    model.graph.node.append(helper.make_node("RandomNormal", [], ["noise"], shape=[1], name="noise"))
    (folder / "model.onnx").write_bytes(model.SerializeToString())
    seal(folder)
    refused(folder, "model.onnx", "RandomNormal")


def test_what_onnx_runtime_cannot_open_is_refused(folder: Path) -> None:
    """A graph of known operators that does not fit together is an artifact's fault, not a traceback."""
    model = build_model(small_spec())
    model.graph.node[0].input[0] = "nowhere"
    (folder / "model.onnx").write_bytes(model.SerializeToString())
    seal(folder)
    refused(folder, "model.onnx", "ONNX Runtime cannot open it")


def renamed(model: onnx.ModelProto, old: str, new: str) -> onnx.ModelProto:
    """Rename an input or output throughout."""
    for value in (*model.graph.input, *model.graph.output):
        value.name = new if value.name == old else value.name
    for node in model.graph.node:
        for names in (node.input, node.output):
            for index, name in enumerate(names):
                names[index] = new if name == old else name
    return model


@pytest.mark.parametrize(
    ("old", "reason"), [("event_days", "its inputs are"), ("churn_survival", "its outputs are")]
)
def test_tensors_that_the_manifest_does_not_name_are_refused(folder: Path, old: str, reason: str) -> None:
    """Names must agree before anything runs."""
    (folder / "model.onnx").write_bytes(renamed(build_model(small_spec()), old, "other").SerializeToString())
    seal(folder)
    refused(folder, "model.onnx", reason)


def test_an_input_that_the_encoding_does_not_give_is_refused(folder: Path) -> None:
    """Manifest and graph may agree on something that no request can fill."""
    model = renamed(build_model(small_spec()), "event_days", "weather")
    (folder / "model.onnx").write_bytes(model.SerializeToString())
    forms = build_manifest(folder, small_spec()).inputs
    seal(folder, inputs=tuple(replace(f, name="weather") if f.name == "event_days" else f for f in forms))
    refused(folder, "model.onnx", r"\['weather'\] are none that the encoding gives")


def test_a_missing_output_of_a_target_is_refused(folder: Path) -> None:
    """Every declared target needs its outputs."""
    model = renamed(build_model(small_spec()), "spend_quantiles", "quantiles")
    (folder / "model.onnx").write_bytes(model.SerializeToString())
    forms = build_manifest(folder, small_spec()).outputs
    seal(
        folder,
        outputs=tuple(replace(f, name="quantiles") if f.name == "spend_quantiles" else f for f in forms),
    )
    refused(folder, "model.onnx", r"lacks the outputs \['spend_quantiles'\]")


def test_an_encoding_of_other_width_is_refused(folder: Path) -> None:
    """An encoding that gives other columns than the graph takes is found before a caller finds it."""
    readout = replace(small_spec().readout, num_last_types=3)
    seal(folder, spec=replace(small_spec(), readout=readout))
    refused(folder, "model.onnx", r"its inputs are .* but the manifest says")


def test_a_manifest_of_other_width_than_its_encoding_is_refused(folder: Path) -> None:
    """Graph and manifest may agree on columns that the encoding beside them does not give."""
    readout = replace(small_spec().readout, num_last_types=3)
    forms = build_manifest(folder, small_spec()).inputs
    seal(folder, spec=replace(small_spec(), readout=readout), inputs=forms)
    refused(folder, "model.onnx", "readout_ids has 3 columns, but the encoding gives 4")


def other_gap(spec: EncodingSpec) -> EncodingSpec:
    """Return a spec whose gaps are scaled a little differently."""
    return replace(spec, gap=NumericScale(mean=spec.gap.mean + 0.01, std=spec.gap.std))


def test_an_altered_encoding_is_found_by_the_golden_cases(folder: Path) -> None:
    """One hundredth in one scale, vouched for by a fresh manifest, gives other numbers and is refused."""
    seal(folder, spec=other_gap(small_spec()))
    refused(folder, "golden.npz", r"should be .* but the replay gives")


Alteration = Callable[[dict[str, np.ndarray]], object]


@pytest.mark.parametrize(
    ("alter", "reason"),
    [
        (
            lambda out: out["spend_expected"].__setitem__(2, out["spend_expected"][2] + 1e-3),
            r"spend_expected\[2\]",
        ),
        (lambda out: out["churn_probability"].__setitem__((1, 2), np.nan), r"churn_probability\[1, 2\]"),
        (lambda out: out.pop("embedding"), "it has outputs"),
        (lambda out: out.update(embedding=out["embedding"][:, :2]), "embedding has shape"),
    ],
)
def test_other_golden_outputs_are_refused(folder: Path, alter: Alteration, reason: str) -> None:
    """A number off by more than the tolerance, NaN, a missing output, another shape."""
    golden = read_golden((folder / "golden.npz").read_bytes())
    outputs = {name: values.copy() for name, values in golden.outputs.items()}
    alter(outputs)
    write_golden(folder / "golden.npz", golden.histories, golden.as_of_us, outputs)
    seal(folder)
    refused(folder, "golden.npz", reason)


def test_golden_cases_of_another_kind_are_refused(folder: Path) -> None:
    """No case at all, cases that cannot be encoded, and bytes that are no cases."""
    golden = read_golden((folder / "golden.npz").read_bytes())
    empty = histories_of_lengths(np.random.default_rng(0), np.array([], dtype=np.int64))
    none = {name: values[:0] for name, values in golden.outputs.items()}
    write_golden(folder / "golden.npz", empty, golden.as_of_us[:0], none)
    seal(folder)
    refused(folder, "golden.npz", "holds no case")
    without_fields = replace(golden.histories, numeric={})
    write_golden(folder / "golden.npz", without_fields, golden.as_of_us, golden.outputs)
    seal(folder)
    refused(folder, "golden.npz", "cannot be replayed")
    (folder / "golden.npz").write_bytes(b"PK nothing")
    seal(folder)
    refused(folder, "golden.npz", "must be golden cases")


def test_outputs_that_do_not_fit_the_schema_are_refused(tmp_path: Path) -> None:
    """Three probabilities for two horizons would be read as those of other horizons."""
    spec = small_spec()
    folder = build_artifact(tmp_path / "artifact", spec=spec)
    churn = replace(spec.schema.targets[0], horizons_days=(30, 90))
    schema = replace(spec.schema, targets=(churn, *spec.schema.targets[1:]))
    manifest = replace(read_manifest(folder), encoding=replace(spec, schema=schema))
    write_manifest(folder, manifest)
    refused(folder, "model.onnx", r"churn_probability has shape \(6, 3\), but the schema needs \(2,\)")


def test_the_small_graph_notices_every_input(artifact_folder: Path) -> None:
    """The tests that compare answers would mean little for a graph that ignores an input."""
    artifact = Artifact.load(artifact_folder)
    session = artifact.predictor._session
    rng = np.random.default_rng(0)
    sizes = {"batch": 2, "length": 4}
    inputs = {}
    for form in artifact.manifest.inputs:
        shape = [sizes.get(size, size) for size in form.shape]
        values = rng.integers(2, 4, shape) if form.dtype == "int64" else rng.random(shape)
        inputs[form.name] = values.astype(form.dtype)
    expected = session.run(None, inputs)
    for name, values in inputs.items():
        changed = session.run(None, inputs | {name: values + np.ones(1, dtype=values.dtype)})
        for output, before, after in zip(artifact.predictor.output_names, expected, changed, strict=True):
            assert not np.allclose(before, after, rtol=1e-6, atol=0), (name, output)
