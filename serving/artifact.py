"""An artifact that may be served: every byte verified, and its golden cases replayed.

It deliberately trusts nothing: whatever is wrong is refused with the file and the reason.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnxruntime as ort
from numpy import ndarray

from holdfast.encoding.padding import INPUT_NAMES
from holdfast.errors import ArtifactError, ConfigError, SchemaMismatchError
from holdfast.golden import Golden, read_golden
from holdfast.graph import check_graph
from holdfast.manifest import (
    GOLDEN_NAME,
    MANIFEST_NAME,
    MODEL_NAME,
    Manifest,
    TensorForm,
    read_manifest,
    verify_files,
)
from serving.predictor import Predictor, open_session

_ORT_DTYPES = {"tensor(float)": "float32", "tensor(int64)": "int64"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Artifact:
    """A verified model.

    Attributes:
        manifest: What it is.
        predictor: What runs it.
    """

    manifest: Manifest
    predictor: Predictor

    @classmethod
    def load(cls, folder: Path, *, schema_fingerprint: str = "", provider: str = "cpu") -> "Artifact":
        """Open, verify and replay an artifact.

        Args:
            folder: The directory of one version.
            schema_fingerprint: The schema that is needed; empty for any.
            provider: What runs the graph: a key of :data:`serving.predictor.PROVIDERS`.

        Returns:
            The artifact, not warmed up.

        Raises:
            ArtifactError: A file is missing, altered, of another form, or gives other numbers
                than when it was exported; the message names the file and the reason.
            ConfigError: The provider is missing on this machine.
        """
        manifest = read_manifest(folder)
        found = manifest.schema.fingerprint()
        if schema_fingerprint and found != schema_fingerprint:
            reason = f"its schema has fingerprint {found}, but {schema_fingerprint} is needed"
            raise SchemaMismatchError(folder / MANIFEST_NAME, reason)
        files = verify_files(folder, manifest.files, keep=(MODEL_NAME, GOLDEN_NAME))
        predictor = _open_predictor(folder / MODEL_NAME, files[MODEL_NAME], manifest, provider)
        try:
            golden = read_golden(files[GOLDEN_NAME])
        except ConfigError as error:
            raise ArtifactError(folder / GOLDEN_NAME, str(error)) from error
        _replay(folder / GOLDEN_NAME, golden, predictor, manifest)
        return cls(manifest=manifest, predictor=predictor)


def _open_predictor(path: Path, model: bytes, manifest: Manifest, provider: str) -> Predictor:
    try:
        check_graph(model, opset=manifest.opset)
    except ConfigError as error:
        raise ArtifactError(path, str(error)) from error
    try:
        session = open_session(model, provider=provider)
    except ConfigError:
        raise
    # ONNX Runtime's errors have no base class of their own.
    except Exception as error:
        raise ArtifactError(path, f"ONNX Runtime cannot open it ({error})") from error
    _check_tensors(path, "inputs", session.get_inputs(), manifest.inputs)
    _check_tensors(path, "outputs", session.get_outputs(), manifest.outputs)
    foreign = sorted({form.name for form in manifest.inputs} - set(INPUT_NAMES))
    if foreign:
        raise ArtifactError(path, f"its inputs {foreign} are none that the encoding gives")
    absent = sorted({*_output_sizes(manifest), "embedding"} - {form.name for form in manifest.outputs})
    if absent:
        raise ArtifactError(path, f"it lacks the outputs {absent} that the schema's targets need")
    _check_sizes(path, manifest)
    return Predictor(session, manifest.encoding)


def _check_tensors(
    path: Path, what: str, tensors: Sequence[ort.NodeArg], forms: Sequence[TensorForm]
) -> None:
    """Compare names, types and sizes; a size that is free, on either side, fits any other."""
    given = {t.name: (_ORT_DTYPES.get(t.type, t.type), tuple(t.shape)) for t in tensors}
    declared = {form.name: (form.dtype, form.shape) for form in forms}
    is_same = given.keys() == declared.keys() and all(
        dtype == declared[name][0] and _fits(shape, declared[name][1])
        for name, (dtype, shape) in given.items()
    )
    if not is_same:
        raise ArtifactError(path, f"its {what} are {given}, but the manifest says {declared}")


def _fits(left: Sequence[object], right: Sequence[object]) -> bool:
    sizes = zip(left, right, strict=False)
    return len(left) == len(right) and all(
        one == other or not (isinstance(one, int) and isinstance(other, int)) for one, other in sizes
    )


def _output_sizes(manifest: Manifest) -> Mapping[str, tuple[int, ...]]:
    """Return the outputs that the schema's targets need, with their sizes per customer."""
    sizes: dict[str, tuple[int, ...]] = {}
    for target, form in manifest.answered_targets():
        if target.kind == "time_to_event":
            sizes[f"{target.name}_probability"] = (len(target.horizons_days),)
            sizes[f"{target.name}_survival"] = (len(form.grid_days),)
        else:
            sizes[f"{target.name}_expected"] = ()
        if target.kind == "amount":
            sizes[f"{target.name}_quantiles"] = (len(form.quantile_levels),)
    return sizes


def _check_sizes(path: Path, manifest: Manifest) -> None:
    """Check that the graph takes as many columns as the encoding gives: ORT would say so only in a call."""
    spec = manifest.encoding
    sizes = {
        "event_ids": len(spec.event_id_sizes),
        "event_values": spec.event_value_size,
        "readout_ids": len(spec.readout_id_sizes),
        "readout_values": spec.readout_value_size,
    }
    for form in manifest.inputs:
        if form.name in sizes and form.shape[-1] != sizes[form.name]:
            reason = f"{form.name} has {form.shape[-1]} columns, but the encoding gives {sizes[form.name]}"
            raise ArtifactError(path, reason)


def _replay(path: Path, golden: Golden, predictor: Predictor, manifest: Manifest) -> None:
    if not len(golden.as_of_us):
        raise ArtifactError(path, "it holds no case")
    if set(golden.outputs) != set(predictor.output_names):
        reason = (
            f"it has outputs {sorted(golden.outputs)}, but the graph gives {sorted(predictor.output_names)}"
        )
        raise ArtifactError(path, reason)
    try:
        found = predictor.predict(golden.histories, golden.as_of_us).outputs
    # Whatever a hand-made file makes the encoding or ONNX Runtime raise, the file is at fault.
    except Exception as error:
        raise ArtifactError(
            path, f"its cases cannot be replayed ({type(error).__name__}: {error})"
        ) from error
    for name, expected in golden.outputs.items():
        _compare(path, name, found[name], expected, tolerance=manifest.tolerance)
    for name, size in _output_sizes(manifest).items():
        if found[name].shape != (len(golden.as_of_us), *size):
            reason = f"{name} has shape {found[name].shape}, but the schema needs {size} per customer"
            raise ArtifactError(path.with_name(MODEL_NAME), reason)


def _compare(path: Path, name: str, found: ndarray, expected: ndarray, *, tolerance: float) -> None:
    if found.shape != expected.shape:
        raise ArtifactError(path, f"{name} has shape {expected.shape}, but the replay gives {found.shape}")
    error = np.abs(found - expected) / np.maximum(1.0, np.abs(expected))
    # Written so that NaN, which is within no tolerance, fails too.
    is_off = ~(error <= tolerance)
    if is_off.any():
        case = np.argwhere(is_off)[0]
        at = tuple(int(index) for index in case)
        shown = f"{name}{list(at)} should be {expected[at]}, but the replay gives {found[at]}"
        raise ArtifactError(path, f"{shown} (tolerance {tolerance})")
