"""One small model, fitted once and exported once for every test that asks it or its artifact.

An export takes ten seconds and more, so pytest-xdist's workers share one through a folder: whoever
comes first makes it, the others wait for the lock and read.
"""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from pathlib import Path

import pytest
from tasks import quiet_trainer, small_task, tiny_config

from serving.artifact import Artifact
from serving.predictor import Predictor
from training.export import ArtifactName, write_artifact
from training.fitted import FILE_NAME, FittedModel
from training.fitting import fit
from training.task import Task


@dataclass(frozen=True, slots=True, kw_only=True)
class Trained:
    """A fitted model and what serves it.

    Attributes:
        task: What it was fitted on.
        fitted: The model, as training left it.
        folder: Of the artifact.
        predictor: Of the artifact, as the server runs it.
    """

    task: Task
    fitted: FittedModel
    folder: Path
    predictor: Predictor


def fitted_once(tmp_path_factory: pytest.TempPathFactory) -> FittedModel:
    """Return the model of this test run, fitted on :func:`small_task`; the first caller fits it."""
    return _fitted(_root(tmp_path_factory))


def trained_once(tmp_path_factory: pytest.TempPathFactory) -> Trained:
    """Return the model of this test run with its artifact; the first caller makes it."""
    return _trained(_root(tmp_path_factory))


def _root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    base = tmp_path_factory.getbasetemp()
    # A worker of pytest-xdist has a folder of its own within that of the run.
    root = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "trained"
    root.mkdir(exist_ok=True)
    return root


@contextmanager
def _alone(lock: Path) -> Iterator[None]:
    """Wait until no other worker is within."""
    with lock.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


@cache
def _fitted(root: Path) -> FittedModel:
    with _alone(root / "fit.lock"):
        if not (root / FILE_NAME).exists():
            fit(small_task(), tiny_config(num_steps=4), trainer=quiet_trainer(root), folder=root).save(root)
    return FittedModel.load(root)


@cache
def _trained(root: Path) -> Trained:
    task, fitted, folder = small_task(), _fitted(root), root / "artifact"
    with _alone(root / "export.lock"):
        if not folder.exists():
            _export(task, fitted, folder)
    return Trained(task=task, fitted=fitted, folder=folder, predictor=Artifact.load(folder).predictor)


def _export(task: Task, fitted: FittedModel, folder: Path) -> None:
    write_artifact(
        fitted,
        task,
        train=task.readouts(task.splits.train),
        judged=task.readouts(task.splits.test),
        folder=folder,
        name=ArtifactName(
            name="small", version="1", created_at=datetime(2026, 1, 2, tzinfo=UTC), source_revision="0" * 12
        ),
        metrics={},
    )
