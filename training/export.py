"""A fitted model to an artifact: graph, manifest and golden cases, complete or not at all.

It deliberately does not know how the model was fitted or judged: metrics are handed in.
"""

import shutil
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from importlib.metadata import version as library_version
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import onnxruntime as ort
import torch
from jaxtyping import Float32, Int64
from numpy import ndarray

from holdfast.encoding import Cutoffs, encode, pad
from holdfast.errors import ArtifactError, RunError
from holdfast.golden import write_golden
from holdfast.histories import Histories
from holdfast.manifest import (
    FORM_VERSION,
    GOLDEN_NAME,
    MANIFEST_NAME,
    MODEL_NAME,
    REPORT_NAME,
    FileRecord,
    Manifest,
    TargetForm,
    TensorForm,
    TrainingWindow,
    file_records,
    write_manifest,
)
from holdfast.reference import Reference
from holdfast.schema import horizon_grid_days
from training.fitted import FittedModel
from training.model.graph import ScoringGraph
from training.onnx_export import OPSET_VERSION, export_onnx
from training.reference import reference_of
from training.task import Readouts, Task

NUM_GOLDEN = 32
TOLERANCE = 1e-4
"""Torch and ONNX Runtime, and any two machines, agree within ``TOLERANCE * max(1, |value|)``."""

QUANTILES = "_quantiles"

LIBRARIES = ("torch", "onnx", "onnxscript", "onnxruntime", "numpy", "polars", "pytorch-lightning", "lightgbm")


@dataclass(frozen=True, slots=True, kw_only=True)
class ArtifactName:
    """What an artifact is called.

    Attributes:
        name: Of the model, the same over its versions.
        version: Of this one.
        created_at: When, with zone.
        source_revision: Revision of the source tree.
    """

    name: str
    version: str
    created_at: datetime
    source_revision: str


def write_artifact(
    fitted: FittedModel,
    task: Task,
    *,
    train: Readouts,
    judged: Readouts,
    folder: Path,
    name: ArtifactName,
    metrics: Mapping[str, Any],
    report: Path | None = None,
) -> Path:
    """Write an artifact beside its place and move it there when it is complete and checked.

    Args:
        fitted: The model with its calibration.
        task: Store and schema.
        train: The cutoffs that the weights were fitted on.
        judged: The cutoffs that it was judged at: up to :data:`NUM_GOLDEN` of them become golden cases, and
            what it is given and says there is the reference.
        folder: Where the artifact shall lie; one that lies there is replaced.
        name: What it is called.
        metrics: What was measured, as plain JSON.
        report: An HTML report to take along.

    Returns:
        ``folder``.

    Raises:
        ArtifactError: The exported graph does not give what the model gives.
        RunError: The disk is full, the folder cannot be written, or it holds something else.
    """
    partial = _beside(folder, "partial")
    try:
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir(parents=True)
        graph = ScoringGraph(fitted.model, fitted.calibration, fitted.blend)
        export_onnx(graph, spec=fitted.spec, path=partial / MODEL_NAME)
        session = ort.InferenceSession(partial / MODEL_NAME, providers=["CPUExecutionProvider"])
        cases = _golden_rows(judged)
        histories = task.histories.take(judged.customer[cases])
        outputs, kept = _checked_outputs(
            graph, fitted, histories, judged.cutoff_us[cases], session, path=partial / MODEL_NAME
        )
        write_golden(partial / GOLDEN_NAME, histories.take(kept), judged.cutoff_us[cases[kept]], outputs)
        reference = reference_of(session, fitted.spec, task.histories, judged)
        names = [MODEL_NAME, GOLDEN_NAME]
        if report is not None:
            shutil.copyfile(report, partial / REPORT_NAME)
            names.append(REPORT_NAME)
        manifest = _manifest(fitted, train, name, session, reference, metrics, file_records(partial, names))
        write_manifest(partial, manifest)
        _move_into_place(partial, folder)
    except OSError as error:
        raise RunError(f"the artifact {folder} cannot be written: {error.strerror or error}") from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return folder


def check_place(folder: Path) -> None:
    """Refuse a place where no artifact could be written, before a model has been fitted for hours.

    Raises:
        RunError: The folder cannot be written, or something other than an artifact lies there.
    """
    try:
        _check_ours(folder)
        folder.parent.mkdir(parents=True, exist_ok=True)
        with TemporaryDirectory(prefix=f".{folder.name}-", dir=folder.parent):
            pass
    except OSError as error:
        raise RunError(f"the artifact {folder} cannot be written: {error.strerror or error}") from error


def source_revision(root: Path) -> str:
    """Return the commit of a source tree, ``+`` where it was changed since, or ``unknown``."""
    try:
        command = ["git", "-C", str(root), "describe", "--always", "--dirty=+", "--abbrev=12", "--match="]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return "unknown"


def _golden_rows(judged: Readouts) -> ndarray:
    """Return rows spread evenly over the readouts."""
    return np.unique(np.linspace(0, len(judged) - 1, min(NUM_GOLDEN, len(judged))).astype(np.int64))


def _checked_outputs(
    graph: ScoringGraph,
    fitted: FittedModel,
    histories: Histories,
    cutoff_us: ndarray,
    session: ort.InferenceSession,
    *,
    path: Path,
) -> tuple[dict[str, Float32[ndarray, "kept ..."]], Int64[ndarray, " kept"]]:
    """Return what ONNX Runtime gives for golden cases that are worth keeping, and which these are.

    Raises:
        ArtifactError: It is not what the model gives.
    """
    cutoffs = Cutoffs.one_each(np.arange(len(cutoff_us)), cutoff_us)
    encoded = encode(histories, cutoffs, fitted.spec)
    length = max(1, int(encoded.lengths.max()))
    inputs = pad(encoded, np.arange(len(cutoff_us)), length=length)
    found = dict(zip(graph.output_names, session.run(list(graph.output_names), dict(inputs)), strict=True))
    with torch.no_grad():
        answers = graph(*(torch.from_numpy(array) for array in inputs.values()))
    expected = {name: tensor.numpy() for name, tensor in zip(graph.output_names, answers, strict=True)}
    kept = checked_cases(found, expected, fitted.model.config.quantile_levels, path)
    return {name: output[kept] for name, output in found.items()}, kept


def checked_cases(
    found: Mapping[str, Float32[ndarray, "case ..."]],
    expected: Mapping[str, Float32[ndarray, "case ..."]],
    levels: tuple[float, ...],
    path: Path,
) -> Int64[ndarray, " kept"]:
    """Compare the graph's outputs with the model's, and return the cases that any machine can replay.

    A quantile whose level lies a hair above the probability of no amount at all turns the last bit
    of that probability into a thousandth of itself, or more. That says nothing against the graph: quantiles
    are compared as shares of probability, which such a bit moves by no more than itself. But another
    processor's rounding would fail these cases, and they are left out.

    Args:
        found: The graph's outputs.
        expected: The model's.
        levels: Of the quantiles, ascending.
        path: Of the graph, for the message.

    Raises:
        ArtifactError: They differ by more than :data:`TOLERANCE`.
    """
    fragility = np.zeros(len(next(iter(expected.values()))))
    for name, wanted in expected.items():
        errors = _errors(found[name], wanted)
        if name.endswith(QUANTILES):
            fragility = np.maximum(fragility, errors)
            errors = np.minimum(errors, _share_errors(found[name], wanted, levels))
        worst = float(np.max(errors, initial=0.0))
        if not worst <= TOLERANCE:
            raise ArtifactError(
                path, f"output {name} is {worst:.1e} off the model, the limit is {TOLERANCE:.0e}"
            )
    kept = np.flatnonzero(fragility <= TOLERANCE / 10)
    # One at least, or nothing would be replayed at all.
    return kept if len(kept) else np.array([np.argmin(fragility)])


def _errors(found: Float32[ndarray, "case ..."], wanted: Float32[ndarray, "case ..."]) -> ndarray:
    """Return every case's largest error, relative where the wanted value is above 1."""
    errors = np.abs(found - wanted) / np.maximum(1.0, np.abs(wanted))
    worst: ndarray = errors.reshape(len(errors), -1).max(axis=1)
    return worst


def _share_errors(
    found: Float32[ndarray, "case level"],
    wanted: Float32[ndarray, "case level"],
    levels: tuple[float, ...],
) -> ndarray:
    """Return every case's largest error as a share of probability.

    It is measured by what lies between a quantile and the next one, or the one before where none is
    larger; infinite where all are the same.
    """
    with np.errstate(divide="ignore"):
        density = np.diff(np.array(levels)) / np.diff(wanted.astype(np.float64), axis=1)
    edge = np.full((len(wanted), 1), np.inf)
    above, below = np.concatenate([density, edge], axis=1), np.concatenate([edge, density], axis=1)
    with np.errstate(invalid="ignore"):
        shares = np.abs(found - wanted) * np.where(np.isfinite(above), above, below)
    worst: ndarray = np.where(found == wanted, 0.0, shares).max(axis=1)
    return worst


def _manifest(
    fitted: FittedModel,
    train: Readouts,
    name: ArtifactName,
    session: ort.InferenceSession,
    reference: tuple[Reference, ...],
    metrics: Mapping[str, Any],
    files: Mapping[str, FileRecord],
) -> Manifest:
    schema, config = fitted.spec.schema, fitted.model.config
    return Manifest(
        form_version=FORM_VERSION,
        name=name.name,
        version=name.version,
        created_at=name.created_at.isoformat(timespec="seconds"),
        encoding=fitted.spec,
        targets=tuple(
            TargetForm(
                name=target.name,
                grid_days=horizon_grid_days(target) if target.kind == "time_to_event" else (),
                quantile_levels=config.quantile_levels if target.kind == "amount" else (),
            )
            for target in schema.targets
        ),
        inputs=tuple(_form(node) for node in session.get_inputs()),
        outputs=tuple(_form(node) for node in session.get_outputs()),
        training_window=TrainingWindow(
            first_cutoff_us=int(train.cutoff_us.min()), last_cutoff_us=int(train.cutoff_us.max())
        ),
        reference=reference,
        metrics=metrics,
        library_versions={library: library_version(library) for library in LIBRARIES},
        source_revision=name.source_revision,
        opset=OPSET_VERSION,
        tolerance=TOLERANCE,
        files=files,
    )


def _form(node: ort.NodeArg) -> TensorForm:
    """Return an input or output; the exporter numbers free sizes, we name them."""
    dtype = {"tensor(float)": "float32", "tensor(int64)": "int64"}[node.type]
    free = iter(("batch", "length"))
    shape = tuple(size if isinstance(size, int) else next(free) for size in node.shape)
    return TensorForm(name=node.name, dtype=dtype, shape=shape)


def _check_ours(folder: Path) -> None:
    """Refuse to replace what is no artifact: a mistaken ``artifact_dir`` never costs anybody's files.

    Raises:
        RunError: Naming the folder.
    """
    is_free = not folder.exists() or (folder.is_dir() and not any(folder.iterdir()))
    if not is_free and not (folder / MANIFEST_NAME).is_file():
        reason = "something other than an artifact lies there, and it is left alone"
        raise RunError(f"{folder}: {reason}; remove it or name another folder")


def _beside(folder: Path, role: str) -> Path:
    """Return a hidden name of our own: a neighbour without the dot could be somebody's."""
    folder = folder.absolute()
    return folder.with_name(f".{folder.name}-{role}")


def _move_into_place(partial: Path, folder: Path) -> None:
    """Replace a folder by a complete one; the old one is out of the way before, not deleted first.

    Raises:
        RunError: Something other than an artifact has come to lie there.
    """
    _check_ours(folder)
    old = _beside(folder, "previous")
    shutil.rmtree(old, ignore_errors=True)
    if folder.exists():
        folder.replace(old)
    partial.replace(folder)
    shutil.rmtree(old, ignore_errors=True)
