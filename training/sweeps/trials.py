"""The trials of a search that have ended, one file each: what a killed search goes on from.

It deliberately knows neither how they were chosen nor what they mean.
"""

import fcntl
import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from holdfast.errors import ArtifactError, RunError
from holdfast.plain import from_plain, to_plain
from training.sweeps.proposals import Trial
from training.sweeps.result import Row
from training.whole_file import write_whole

TRIALS_FOLDER = "trials"


class Trials:
    """The folder of a search."""

    def __init__(self, folder: Path) -> None:
        """Keep where it lies."""
        self._folder = folder / TRIALS_FOLDER

    def add(self, trial: Trial, row: Row) -> None:
        """Write a trial, complete or not at all."""
        path = self._folder / f"{row['number']:04d}.json"
        text = json.dumps({"trial": to_plain(trial), "row": row}, indent=1, allow_nan=False)
        write_whole(path, f"{text}\n".encode())

    def read(self) -> list[tuple[Trial, Row]]:
        """Return all trials in their order.

        Raises:
            ArtifactError: A file is not what :meth:`add` wrote.
        """
        found = []
        for number, path in enumerate(sorted(self._folder.glob("*.json"))):
            try:
                content = json.loads(path.read_text(encoding="utf-8"))
                plain, row = content["trial"], content["row"]
                losses = {int(step): loss for step, loss in plain.pop("losses").items()}
                trial = from_plain(Trial, plain | {"losses": {}})
            except (OSError, ValueError, KeyError, TypeError) as error:
                raise ArtifactError(path, "it must be a trial that an earlier search left") from error
            if row["number"] != number:
                raise ArtifactError(path, f"trial {number} is not there: the search cannot be gone on with")
            found.append(
                (Trial(values=trial.values, state=trial.state, value=trial.value, losses=losses), row)
            )
        return found


@contextmanager
def only_searcher(folder: Path) -> Iterator[Trials]:
    """Hold the right to add trials to a search.

    Args:
        folder: Of the search; it is made.

    Raises:
        RunError: The folder cannot be written, or another process searches there.
    """
    try:
        (folder / TRIALS_FOLDER).mkdir(parents=True, exist_ok=True)
        lock = (folder / ".lock").open("ab")
    except OSError as error:
        raise RunError(f"the folder of the search {folder} cannot be written: {error.strerror}") from error
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise RunError(f"another process searches in {folder}; another seed is another search") from error
        yield Trials(folder)
