"""The folder of one training run: where it lies, and whether another one can be gone on with.

It deliberately does not know what is trained.
"""

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from holdfast.errors import ArtifactError, ConfigError, RunError
from training.checkpoints import CHECKPOINT_NAME
from training.fitting import WEIGHED_FOLDER
from training.whole_file import write_whole

FINGERPRINT_NAME = "fingerprint.txt"
SETTINGS_NAME = "settings.json"
FINISHED_NAME = "finished.txt"
_LEFT_LIMIT = "it must be what a run of training.train left there"
_WHERE = ("run_dir", "artifact_dir", "resume", "show_progress", "logger")
"""Keys that say where and how to look, not what is computed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RunFolder:
    """Where a run writes, and whether it goes on with what lies there.

    Attributes:
        path: The folder; it exists.
        is_resumed: Whether a checkpoint of the same configuration lies in it.
    """

    path: Path
    is_resumed: bool

    def finish(self) -> None:
        """Note that everything is there, so that ``auto`` does not go on with this run.

        Raises:
            RunError: The folder cannot be written.
        """
        write_whole(self.path / FINISHED_NAME, b"figures, report and artifact are complete\n")


def open_run(config: dict[str, Any], *, run_dir: Path, resume: object) -> RunFolder:
    """Find or make the folder of a run.

    Args:
        config: The resolved configuration; it decides which earlier run is the same one.
        run_dir: The folder of a new run.
        resume: None: start anew; ``auto``: go on with the newest unfinished run of this
            configuration beside ``run_dir``, or start anew where there is none; else the folder
            of the run to go on with.

    Returns:
        The folder.

    Raises:
        ConfigError: The named run is not there or is of another configuration.
        RunError: The folder cannot be written.
    """
    fingerprint = fingerprint_of(config)
    if isinstance(resume, bool):
        raise ConfigError("resume", resume, "it must be auto, null or the folder of an earlier run")
    if resume is not None and resume != "auto":
        return _named(Path(str(resume)), fingerprint)
    if resume == "auto":
        found = [path for path in _unfinished(run_dir.parent, fingerprint) if path != run_dir]
        if found:
            return RunFolder(path=found[-1], is_resumed=True)
    try:
        run_dir.mkdir(parents=True, exist_ok=True)
        (run_dir / FINGERPRINT_NAME).write_text(fingerprint + "\n", encoding="ascii")
        (run_dir / SETTINGS_NAME).write_text(json.dumps(config, indent=1, default=str) + "\n")
    except OSError as error:
        raise RunError(f"the run folder {run_dir} cannot be written: {error.strerror}") from error
    return RunFolder(path=run_dir, is_resumed=False)


def read_settings(run: Path) -> dict[str, Any]:
    """Return the resolved configuration of an earlier run.

    Raises:
        ArtifactError: The folder holds none.
    """
    path = run / SETTINGS_NAME
    try:
        settings = json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise ArtifactError(path, _LEFT_LIMIT) from error
    if not isinstance(settings, dict):
        raise ArtifactError(path, _LEFT_LIMIT)
    return settings


def fingerprint_of(config: dict[str, Any]) -> str:
    """Return 64 hex digits that change with anything that shapes the result."""
    shaping = {key: value for key, value in config.items() if key not in _WHERE}
    text = json.dumps(shaping, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()


def _named(path: Path, fingerprint: str) -> RunFolder:
    if not (path / FINGERPRINT_NAME).is_file():
        raise ConfigError("resume", str(path), "it must be auto or the folder of an earlier run")
    if (path / FINGERPRINT_NAME).read_text(encoding="ascii").strip() != fingerprint:
        raise ConfigError("resume", str(path), "that run must be of this very configuration")
    return RunFolder(path=path, is_resumed=True)


def _unfinished(parent: Path, fingerprint: str) -> list[Path]:
    """Return runs of this configuration with a checkpoint and without everything, oldest first."""
    found = [
        (max(path.stat().st_mtime_ns for path in checkpoints), marker.parent)
        for marker in parent.glob(f"*/{FINGERPRINT_NAME}")
        if marker.read_text(encoding="ascii").strip() == fingerprint
        and not (marker.parent / FINISHED_NAME).exists()
        and (checkpoints := _checkpoints(marker.parent))
    ]
    return [path for _, path in sorted(found)]


def _checkpoints(run: Path) -> list[Path]:
    """Return the checkpoints of a run: of its one fit, or of either of two."""
    places = (run, run / WEIGHED_FOLDER)
    return [path for place in places if (path := place / "checkpoints" / CHECKPOINT_NAME).is_file()]
