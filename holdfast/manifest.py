"""An artifact's manifest: what the model is, what it takes and gives, and the hash of every file.

It deliberately does not know what is in the files: the graph is checked by
:mod:`holdfast.graph`, the golden cases by whoever can run it.
"""

import hashlib
import json
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from holdfast.encoding.spec import EncodingSpec
from holdfast.errors import ArtifactError, ConfigError
from holdfast.plain import from_plain, to_plain
from holdfast.reference import Reference
from holdfast.schema import Schema, Target

FORM_VERSION = 3
"""Version of this form; a manifest of another version is refused."""

MANIFEST_NAME = "manifest.json"
MODEL_NAME = "model.onnx"
GOLDEN_NAME = "golden.npz"
REPORT_NAME = "report.html"


@dataclass(frozen=True, slots=True, kw_only=True)
class TensorForm:
    """Name and form of one input or output of the graph.

    Attributes:
        name: Tensor name.
        dtype: NumPy name, ``float32`` or ``int64``.
        shape: Sizes; a text stands for a size that is free (``batch``, ``length``).
    """

    name: str
    dtype: str
    shape: tuple[int | str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class TargetForm:
    """How one target of the schema is answered.

    Attributes:
        name: The target's name.
        grid_days: ``time_to_event``: ends of the survival bins in days, else empty.
        quantile_levels: ``amount``: ascending levels in (0, 1), else empty.
    """

    name: str
    grid_days: tuple[float, ...] = ()
    quantile_levels: tuple[float, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingWindow:
    """The cutoffs that the weights were fitted on, first and last, UTC microseconds."""

    first_cutoff_us: int
    last_cutoff_us: int


@dataclass(frozen=True, slots=True, kw_only=True)
class FileRecord:
    """What a file of the artifact must be, to the byte.

    Attributes:
        sha256: 64 hex digits.
        size: In bytes.
    """

    sha256: str
    size: int

    @classmethod
    def of(cls, data: bytes) -> "FileRecord":
        """Return the record of some bytes."""
        return cls(sha256=hashlib.sha256(data).hexdigest(), size=len(data))


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    """Everything about an artifact that is not weights.

    Attributes:
        form_version: :data:`FORM_VERSION`.
        name: Name of the model, the same over its versions.
        version: Version of the model.
        created_at: ISO 8601 time with zone.
        encoding: The fitted encoding, schema included.
        targets: One per target of the schema, in its order.
        inputs: Inputs of the graph, in order.
        outputs: Outputs of the graph, in order.
        training_window: Cutoffs of the training.
        reference: How inputs and answers were distributed over the test cutoffs, or a sample of them.
        metrics: Plain nested mapping of what was measured.
        library_versions: By library.
        source_revision: Revision of the source tree that trained it.
        opset: Version of the standard ONNX operators in the graph.
        tolerance: Golden outputs must agree within ``tolerance * max(1, |expected|)``.
        files: By file name within the artifact; never the manifest itself.
    """

    form_version: int
    name: str
    version: str
    created_at: str
    encoding: EncodingSpec
    targets: tuple[TargetForm, ...]
    inputs: tuple[TensorForm, ...]
    outputs: tuple[TensorForm, ...]
    training_window: TrainingWindow
    reference: tuple[Reference, ...]
    metrics: Mapping[str, Any]
    library_versions: Mapping[str, str]
    source_revision: str
    opset: int
    tolerance: float
    files: Mapping[str, FileRecord]

    def __post_init__(self) -> None:
        """Refuse a manifest that contradicts itself.

        Raises:
            ConfigError: Naming key, value and limit.
        """
        if self.form_version != FORM_VERSION:
            limit = f"this release reads form {FORM_VERSION}"
            raise ConfigError("manifest.form_version", self.form_version, limit)
        declared = [target.name for target in self.schema.targets]
        if [target.name for target in self.targets] != declared:
            names = [target.name for target in self.targets]
            raise ConfigError("manifest.targets", names, f"the schema declares {declared}")
        if not _has_zone(self.created_at):
            raise ConfigError("manifest.created_at", self.created_at, "it must be an ISO 8601 time with zone")
        if not 0 < self.tolerance < 1:
            raise ConfigError("manifest.tolerance", self.tolerance, "it must lie between 0 and 1")
        self._check_reference()
        for name in self.files:
            if name != Path(name).name or name in {"", ".", "..", MANIFEST_NAME}:
                raise ConfigError("manifest.files", name, "it must be the plain name of another file")

    def _check_reference(self) -> None:
        shapes = {form.name: form.shape for form in (*self.inputs, *self.outputs)}
        for reference in self.reference:
            quantity = reference.quantity
            match shapes.get(quantity.tensor), quantity.column:
                case (_,), None:
                    continue
                case (_, int(num)), int(column) if 0 <= column < num:
                    continue
            limit = "the graph must have that tensor, with that column of numbers"
            raise ConfigError(f"manifest.reference of {quantity.name}", quantity.tensor, limit)

    @property
    def schema(self) -> Schema:
        """What the business declared."""
        return self.encoding.schema

    def answered_targets(self) -> Iterable[tuple[Target, TargetForm]]:
        """Return every target beside the form of its answer, in tensor order."""
        return zip(self.schema.targets, self.targets, strict=True)


def write_manifest(folder: Path, manifest: Manifest) -> None:
    """Write ``manifest.json`` into a folder, floats to the last bit.

    Raises:
        ConfigError: A value is no plain JSON, such as NaN in the metrics.
    """
    try:
        text = json.dumps(to_plain(manifest), indent=1, ensure_ascii=True, allow_nan=False)
    except (TypeError, ValueError) as error:
        raise ConfigError("manifest", str(error), "every value must be plain JSON") from error
    (folder / MANIFEST_NAME).write_text(text + "\n", encoding="ascii")


def read_manifest(folder: Path) -> Manifest:
    """Read and check the manifest of an artifact.

    Args:
        folder: The artifact.

    Returns:
        The manifest; nothing beside it has been opened yet.

    Raises:
        ArtifactError: It is missing, no JSON, of another form, or contradicts itself.
    """
    path = folder / MANIFEST_NAME
    try:
        data = json.loads(read_bytes(path))
    except ValueError as error:
        raise ArtifactError(path, f"it is no JSON ({error})") from error
    # Looked at before the rest, so that another form is not reported as an unknown key.
    form = data.get("form_version") if isinstance(data, dict) else None
    if form != FORM_VERSION:
        raise ArtifactError(path, f"its form_version is {form!r}, but this release reads form {FORM_VERSION}")
    try:
        return from_plain(Manifest, data, where="manifest")
    except ConfigError as error:
        raise ArtifactError(path, str(error)) from error


def file_records(folder: Path, names: Collection[str]) -> Mapping[str, FileRecord]:
    """Return the records of files that were just written, for a manifest."""
    return {name: FileRecord.of((folder / name).read_bytes()) for name in names}


def verify_files(
    folder: Path, files: Mapping[str, FileRecord], *, keep: Collection[str]
) -> Mapping[str, bytes]:
    """Check every file of an artifact against its record.

    Every file is read once, and what was hashed is what is handed back: a file that is
    swapped between the check and the use changes nothing.

    Args:
        folder: The artifact.
        files: The manifest's records.
        keep: Names of the files whose bytes are wanted.

    Returns:
        The bytes of the wanted files, by name.

    Raises:
        ArtifactError: A file is missing or altered, or a wanted one has no record.
    """
    for name in keep:
        if name not in files:
            raise ArtifactError(folder / MANIFEST_NAME, f"it has no record of {name}")
    kept = {}
    for name, record in files.items():
        data = read_bytes(folder / name)
        found = FileRecord.of(data)
        if found.size != record.size:
            raise ArtifactError(
                folder / name, f"it has {found.size} bytes, but the manifest says {record.size}"
            )
        if found.sha256 != record.sha256:
            raise ArtifactError(
                folder / name, f"its sha256 is {found.sha256}, but the manifest says {record.sha256}"
            )
        if name in keep:
            kept[name] = data
    return kept


def read_bytes(path: Path) -> bytes:
    """Return a file's bytes.

    Raises:
        ArtifactError: It cannot be read.
    """
    try:
        return path.read_bytes()
    except OSError as error:
        raise ArtifactError(path, f"it cannot be read ({error.strerror or error})") from error


def _has_zone(text: str) -> bool:
    try:
        return datetime.fromisoformat(text).tzinfo is not None
    except ValueError:
        return False
