"""One small model, fitted and exported once for every test that asks a real artifact.

An export takes ten seconds, so pytest-xdist's workers share one through a folder: whoever comes
first makes it, the others wait for the lock and read.
"""

import fcntl
import os
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


def trained_once(tmp_path_factory: pytest.TempPathFactory) -> Trained:
    """Return the model of this test run; the first caller makes it."""
    base = tmp_path_factory.getbasetemp()
    # A worker of pytest-xdist has a folder of its own within that of the run.
    return _trained((base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "trained")


@cache
def _trained(root: Path) -> Trained:
    root.mkdir(exist_ok=True)
    task, folder = small_task(), root / "artifact"
    with (root / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not folder.exists():
            _make(task, root, folder)
    assert (root / FILE_NAME).exists()
    fitted, predictor = FittedModel.load(root), Artifact.load(folder).predictor
    return Trained(task=task, fitted=fitted, folder=folder, predictor=predictor)


def _make(task: Task, root: Path, folder: Path) -> None:
    fitted = fit(task, tiny_config(num_steps=4), trainer=quiet_trainer(root), folder=root)
    fitted.save(root)
    write_artifact(
        fitted,
        task,
        train=task.readouts(task.splits.train),
        golden=task.readouts(task.splits.test),
        folder=folder,
        name=ArtifactName(
            name="small", version="1", created_at=datetime(2026, 1, 2, tzinfo=UTC), source_revision="0" * 12
        ),
        metrics={},
    )
