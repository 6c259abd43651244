"""What a long scoring run has finished so far, kept on disk beside its result until that is whole.

It deliberately does not know how anything is scored. A chunk is there whole or not at all, belongs
to exactly one job, and is never asked for again; so a run that was killed goes on where it stood.
"""

import fcntl
import json
import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import polars as pl

from holdfast.errors import RunError

JOB_NAME = "job.json"
LOCK_NAME = "lock"


class Finished:
    """The finished chunks of one job: part by part, each part in one file once all of it is there."""

    def __init__(self, folder: Path) -> None:
        """Keep the folder; :meth:`open` makes it ready."""
        self._folder = folder

    @classmethod
    @contextmanager
    def open(cls, out: Path, job: Mapping[str, Any]) -> "Iterator[Finished]":
        """Open what a job has finished, for this process alone.

        What another job left is removed. When the block ends with an error, what was finished stays
        for the next run of the same job; a folder in which nothing was finished goes.

        Args:
            out: The result that the job writes.
            job: Plain JSON that says what is scored; another value is another job.

        Raises:
            RunError: Another process is at the same result.
        """
        folder = out.with_name(f".{out.name}.finished")
        folder.mkdir(exist_ok=True)
        with (folder / LOCK_NAME).open("w") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                raise RunError(f"another run is writing {out}: wait for it, or name another file") from error
            finished = cls(folder)
            if _read_job(folder) != job:
                finished._clear()
                _write_whole(folder / JOB_NAME, json.dumps(job).encode())
            try:
                yield finished
            finally:
                if not any(folder.glob("*.parquet")):
                    shutil.rmtree(folder, ignore_errors=True)

    def has_part(self, part: int) -> bool:
        """Say whether all of a part is there."""
        return self._part(part).exists()

    def num_customers(self) -> int:
        """Return how many customers are there."""
        files = sorted(self._folder.glob("*.parquet"))
        return int(pl.scan_parquet(files, glob=False).select(pl.len()).collect().item()) if files else 0

    def has_chunk(self, part: int, chunk: int, customer_ids: Sequence[Any]) -> bool:
        """Say whether a chunk is there, with these very customers in this order."""
        path = self._chunk(part, chunk)
        if not path.exists():
            return False
        try:
            kept = pl.read_parquet(path, columns=["customer_id"], glob=False)
        except pl.exceptions.PolarsError:
            # Damaged since: it is scored again.
            path.unlink()
            return False
        return kept.to_series().to_list() == list(customer_ids)

    def write_chunk(self, part: int, chunk: int, frame: pl.DataFrame) -> None:
        """Keep the scores of a chunk; safe to call from several threads for different chunks."""
        path = self._chunk(part, chunk)
        partial = path.with_suffix(".partial")
        frame.write_parquet(partial)
        _rename(partial, path)

    def end_part(self, part: int, num_chunks: int) -> None:
        """Join the chunks of a part: few files for many customers, and no second reading of the part."""
        chunks = [self._chunk(part, chunk) for chunk in range(num_chunks)]
        self._join(chunks, self._part(part))
        for path in chunks:
            path.unlink()

    def end(self, out: Path, num_parts: int) -> int:
        """Put the result into place and forget how it came about.

        Args:
            out: Where it goes.
            num_parts: How many parts there are.

        Returns:
            The number of customers in it.
        """
        num = self.num_customers()
        whole = self._folder / "whole"
        self._join([self._part(part) for part in range(num_parts)], whole)
        whole.replace(out)
        self._clear()
        return num

    def _join(self, sources: Sequence[Path], path: Path) -> None:
        partial = path.with_suffix(".partial")
        pl.scan_parquet(list(sources), glob=False).sink_parquet(partial)
        _rename(partial, path)

    def _part(self, part: int) -> Path:
        return self._folder / f"part-{part:06d}.parquet"

    def _chunk(self, part: int, chunk: int) -> Path:
        return self._folder / f"chunk-{part:06d}-{chunk:06d}.parquet"

    def _clear(self) -> None:
        for path in self._folder.iterdir():
            if path.name != LOCK_NAME:
                path.unlink()


def _read_job(folder: Path) -> Any:
    try:
        return json.loads((folder / JOB_NAME).read_bytes())
    except (OSError, ValueError):
        return None


def _write_whole(path: Path, data: bytes) -> None:
    partial = path.with_suffix(".partial")
    partial.write_bytes(data)
    _rename(partial, path)


def _rename(partial: Path, path: Path) -> None:
    """Put a file into place whose bytes are on the disk: a name never stands for half of them."""
    with partial.open("rb") as file:
        os.fsync(file.fileno())
    partial.replace(path)
