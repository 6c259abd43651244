"""The folder of one training run: whose it is, and whether another one can be gone on with.

It deliberately does not know what is trained.
"""

import fcntl
import hashlib
import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from holdfast.errors import ArtifactError, ConfigError, RunError
from holdfast.manifest import REPORT_NAME
from training.checkpoints import CHECKPOINT_FOLDER, check_checkpoint, checkpoint_of
from training.fitted import FILE_NAME, FORM, FittedModel
from training.fitting import WEIGHED_FOLDER
from training.publishing import CSV_FOLDER, RESULT_NAME
from training.whole_file import write_whole

FINGERPRINT_NAME = "fingerprint.txt"
SETTINGS_NAME = "settings.json"
FINISHED_NAME = "finished.txt"
LOCK_NAME = "run.lock"
EARLIER_FOLDER = "earlier"
"""Where a run that starts anew sets aside what another one left in its folder."""

_LEFT_LIMIT = "it must be what a run of training.train left there"
_WHERE = ("run_dir", "artifact_dir", "resume", "show_progress", "logger")
"""Keys that say where and how to look, not what is computed."""

_LEFT = (
    # First, so that what lies there is nobody's from then on, whenever this is interrupted.
    FINGERPRINT_NAME,
    *(SETTINGS_NAME, FINISHED_NAME, FILE_NAME, CHECKPOINT_FOLDER, WEIGHED_FOLDER, RESULT_NAME, REPORT_NAME),
    *(CSV_FOLDER, f"{CSV_FOLDER}.*", "tensorboard", "profile", "process_*.log"),
)
"""Patterns of what a run leaves in its folder, but for the artifact: that may be served from there."""

_LIMITS = {
    "configuration": "that run must be of this very configuration",
    "form": f"that run must be of a release whose {FILE_NAME} is of form {FORM}, as this one's is",
    "data": "that run must be of these very data: they, or how they are prepared, have changed since",
}
"""What a fingerprint consists of, and what is said where a named run has another one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RunFolder:
    """Where a run writes, and whether it goes on with what lies there.

    Attributes:
        path: The folder; it exists.
        is_resumed: Whether a checkpoint or a model of the same run lies in it.
    """

    path: Path
    is_resumed: bool

    def finish(self) -> None:
        """Note that everything is there, so that ``auto`` does not go on with this run.

        Raises:
            RunError: The folder cannot be written.
        """
        write_whole(self.path / FINISHED_NAME, b"figures, report and artifact are complete\n")


def check_run(config: dict[str, Any], *, run_dir: Path, resume: object) -> None:
    """Refuse what :func:`open_run` could not open, as far as that is known before data are prepared.

    Raises:
        ConfigError: The named run is not there or is of another configuration.
        RunError: The folder cannot be made.
    """
    if isinstance(resume, bool):
        raise ConfigError("resume", resume, "it must be auto, null or the folder of an earlier run")
    if _is_named(resume):
        _check_named(Path(str(resume)), _fingerprint(config))
        return
    try:
        run_dir.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise _cannot_write(run_dir, error) from error


@contextmanager
def open_run(config: dict[str, Any], *, data: str, run_dir: Path, resume: object) -> Iterator[RunFolder]:
    """Find or make the folder of a run, and hold it while the block lasts.

    Args:
        config: The resolved configuration; it decides which earlier run is the same one.
        data: Fingerprint of the prepared data; a run on other data is another one.
        run_dir: The folder of a new run. What another one left there is set aside.
        resume: None: start anew; ``auto``: go on with the newest unfinished run of this
            configuration in ``run_dir`` or beside it that no other process is at work on, or start
            anew where there is none; else the folder of the run to go on with.

    Yields:
        The folder.

    Raises:
        ArtifactError: The named run's checkpoint or model is damaged.
        ConfigError: The named run is not there, is another one, or another process is at work on it.
        RunError: The folder cannot be written, or another process is at work there.
    """
    check_run(config, run_dir=run_dir, resume=resume)
    fingerprint = _fingerprint(config, data)
    run, lock = _chosen(run_dir, resume, fingerprint)
    with lock:
        if _is_named(resume):
            _check_whole(run.path)
        elif not run.is_resumed:
            _make_ready(run.path, config, fingerprint)
        yield run


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


def store_dir_of(run: Path, settings: dict[str, Any]) -> Path:
    """Return where the store of a finished run lies.

    Raises:
        ArtifactError: Its settings do not say.
    """
    store_dir = settings.get("store_dir")
    if not isinstance(store_dir, str):
        reason = f"its store_dir must be the folder of a store; it is {store_dir!r}"
        raise ArtifactError(run / SETTINGS_NAME, reason)
    return Path(store_dir)


def fingerprint_of(config: dict[str, Any]) -> str:
    """Return 64 hex digits that change with anything in a configuration that shapes the result."""
    shaping = {key: value for key, value in config.items() if key not in _WHERE}
    text = json.dumps(shaping, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()


def _fingerprint(config: dict[str, Any], data: str | None = None) -> dict[str, str]:
    """Return what makes a run this one, by part; without data as long as nobody knows them."""
    known = {"configuration": fingerprint_of(config), "form": str(FORM)}
    return known if data is None else known | {"data": data}


def _read_fingerprint(run: Path) -> dict[str, str]:
    """Return the fingerprint of an earlier run; nothing where something else lies there."""
    try:
        text = (run / FINGERPRINT_NAME).read_text(encoding="ascii", errors="replace")
    except OSError:
        return {}
    parts = (line.partition(" ") for line in text.splitlines())
    return {name: value for name, _, value in parts}


def _is_named(resume: object) -> bool:
    return resume is not None and resume != "auto"


def _check_named(path: Path, fingerprint: dict[str, str]) -> None:
    """Refuse a run that is not there, or is another one in a part that is known."""
    if not (path / FINGERPRINT_NAME).is_file():
        raise ConfigError("resume", str(path), "it must be auto or the folder of an earlier run")
    found = _read_fingerprint(path)
    for part, value in fingerprint.items():
        if found.get(part) != value:
            raise ConfigError("resume", str(path), _LIMITS[part])


def _chosen(run_dir: Path, resume: object, fingerprint: dict[str, str]) -> tuple[RunFolder, IO[bytes]]:
    """Return the folder to work in, and the lock by which it is held."""
    if _is_named(resume):
        path = Path(str(resume))
        _check_named(path, fingerprint)
        lock = _locked(path)
        if lock is None:
            raise ConfigError("resume", str(path), "another process must not be at work on that run")
        return RunFolder(path=path, is_resumed=True), lock
    for path in _unfinished(run_dir, fingerprint) if resume == "auto" else ():
        lock = _locked(path)
        # Another process may have finished it before it let go.
        if lock is not None and not (path / FINISHED_NAME).exists():
            return RunFolder(path=path, is_resumed=True), lock
        if lock is not None:
            lock.close()
    lock = _locked(run_dir)
    if lock is None:
        raise RunError(
            f"another process is at work on the run in {run_dir}: wait for it, or give another run_dir"
        )
    return RunFolder(path=run_dir, is_resumed=False), lock


def _locked(folder: Path) -> IO[bytes] | None:
    """Hold a folder until the file is closed or this process ends, however; None where another one does."""
    try:
        # Left behind on purpose: who deletes a lock file may delete it under the next one's feet.
        lock = (folder / LOCK_NAME).open("ab")
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            lock.close()
            return None
    except OSError as error:
        raise _cannot_write(folder, error) from error
    return lock


def _unfinished(run_dir: Path, fingerprint: dict[str, str]) -> list[Path]:
    """Return runs of this fingerprint, begun and not finished: ``run_dir`` itself, then the newest."""
    found = [
        (path == run_dir, max(kept.stat().st_mtime_ns for kept in begun), path)
        for path in (marker.parent for marker in run_dir.parent.glob(f"*/{FINGERPRINT_NAME}"))
        if _read_fingerprint(path) == fingerprint
        and not (path / FINISHED_NAME).exists()
        and (begun := _begun(path))
    ]
    return [path for _, _, path in sorted(found, reverse=True)]


def _begun(run: Path) -> list[Path]:
    """Return what can be gone on with: models and checkpoints of a run's one fit, or of either of two."""
    places = (run, run / WEIGHED_FOLDER)
    kept = (path for place in places for path in (place / FILE_NAME, checkpoint_of(place)))
    return [path for path in kept if path.is_file()]


def _check_whole(run: Path) -> None:
    """Read what will be gone on with: where somebody named a run, it is not begun anew without a word.

    Raises:
        ArtifactError: A file is damaged.
    """
    for place in (run, run / WEIGHED_FOLDER):
        if (place / FILE_NAME).is_file():
            FittedModel.load(place)
            return
        if checkpoint_of(place).is_file():
            check_checkpoint(checkpoint_of(place))


def _make_ready(run_dir: Path, config: dict[str, Any], fingerprint: dict[str, str]) -> None:
    """Make a folder that of a new run, in which no file of another one is taken for its own."""
    text = "".join(f"{part} {value}\n" for part, value in fingerprint.items())
    try:
        _set_aside(run_dir)
        (run_dir / SETTINGS_NAME).write_text(json.dumps(config, indent=1, default=str) + "\n")
        (run_dir / FINGERPRINT_NAME).write_text(text, encoding="ascii")
    except OSError as error:
        raise _cannot_write(run_dir, error) from error


def _set_aside(run_dir: Path) -> None:
    """Move what a run left to a folder beside it, in the place of what lay there; what had not begun goes."""
    left = [path for pattern in _LEFT for path in sorted(run_dir.glob(pattern))]
    earlier = run_dir / EARLIER_FOLDER
    is_kept = bool(_begun(run_dir))
    if is_kept:
        # Without a fingerprint a start before this one was killed right here: what it moved stays.
        if (run_dir / FINGERPRINT_NAME).is_file():
            shutil.rmtree(earlier, ignore_errors=True)
        earlier.mkdir(exist_ok=True)
    for path in left:
        if is_kept:
            path.replace(earlier / path.name)
        elif path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink()


def _cannot_write(folder: Path, error: OSError) -> RunError:
    return RunError(f"the run folder {folder} cannot be written: {error.strerror}")
