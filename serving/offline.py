"""Entry: ``python -m serving.offline``: scores a Parquet file into a Parquet file.

It deliberately computes nothing itself: tables, checks and predictor are those of client and
server, so the numbers are the same. A run that was killed goes on where it stood.
"""

import argparse
import hashlib
import json
import os
import sys
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

import holdfast
from holdfast.calls import split, time_us
from holdfast.errors import ConfigError, DataError, HoldfastError, RunError
from holdfast.faults import EARLIEST_US, LATEST_US
from holdfast.manifest import Manifest
from holdfast.plain import to_plain
from holdfast.tables import Tabled, read_tables
from serving.artifact import Artifact
from serving.cores import num_cores
from serving.finished import Finished
from serving.frames import score_frame

EVENTS_PER_PART = 2_000_000
"""Events in memory at a time, at about 100 bytes each while they are grouped."""

CUSTOMERS_PER_CHUNK = 1_024
"""What is scored by one worker and kept at once: a second or so of work, at most, is lost to a kill."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Score a file.

    Args:
        arguments: Flags; None for those of the process.

    Returns:
        The exit code: 0, or 2 with one line that says what is wrong.
    """
    options = _parser().parse_args(arguments)
    try:
        as_of = _parse_as_of(options.as_of)
        score_file(
            Artifact.load(options.artifact),
            events=options.events,
            customers=options.customers,
            as_of=as_of,
            out=options.out,
            time_zone=options.time_zone,
            workers=options.workers,
        )
    except HoldfastError as error:
        print(f"cannot score: {error}", file=sys.stderr)  # noqa: T201 (the one line that a person reads)
        return 2
    return 0


def score_file(
    artifact: Artifact,
    *,
    events: Path,
    as_of: datetime,
    out: Path,
    customers: Path | None = None,
    time_zone: str | None = None,
    workers: int | None = None,
    events_per_part: int = EVENTS_PER_PART,
    customers_per_chunk: int = CUSTOMERS_PER_CHUNK,
) -> int:
    """Score every customer of two Parquet files into a third, which appears whole or not at all.

    A file of more than ``events_per_part`` events is read in several passes, each of which
    takes the customers with one remainder of a hash, so that memory stays bounded. What a run has
    finished is kept beside ``out`` until all of it is there; the same call goes on from it.

    Args:
        artifact: The model.
        events: Canonical events; see :func:`holdfast.tables.read_tables`.
        as_of: The point in time, with a zone; from 1971 up to 2200, as at the server.
        out: What is written: one row per customer, ``fault`` where it could not be scored.
        customers: Attributes of customers.
        time_zone: Zone of datetimes that have none.
        workers: Threads that score; None for one per core.
        events_per_part: Events in memory at a time, about.
        customers_per_chunk: Most customers that are scored and kept at once.

    Returns:
        The number of customers written.

    Raises:
        ConfigError: There are to be no workers, or the result would replace what is read.
        DataError: A file, a column or the point in time cannot be used.
        RunError: The result cannot be written, or another run is writing it.
    """
    as_of_us = time_us(as_of)
    if not EARLIEST_US <= as_of_us < LATEST_US:
        raise DataError("as_of", as_of.isoformat(), "it must lie between 1971 and 2200")
    workers = num_cores() if workers is None else workers
    if workers < 1:
        raise ConfigError("workers", workers, "it must be at least 1")
    tables = {"events": _scan(events)}
    if customers is not None:
        tables["customers"] = _scan(customers)
    _check_place(out, read=[path for path in (events, customers) if path is not None])
    id_type = _id_type(tables)
    num_parts = max(1, -(-_height(tables["events"], events) // events_per_part))
    job = {
        "libraries": [holdfast.__version__, pl.__version__],
        "model": hashlib.sha256(json.dumps(to_plain(artifact.manifest)).encode()).hexdigest(),
        "events": _identity(events),
        "customers": None if customers is None else _identity(customers),
        "as_of_us": as_of_us,
        "time_zone": time_zone,
        "split": [num_parts, customers_per_chunk],
    }
    pool = ThreadPoolExecutor(workers, thread_name_prefix="score")
    try:
        with Finished.open(out, job) as finished, _progress() as bar:
            if num_before := finished.num_customers():
                bar.console.print(f"{num_before} customers were scored by an earlier run")
            for part in range(num_parts):
                if finished.has_part(part):
                    continue
                tabled = _read_part(tables, artifact.manifest, part, num_parts, time_zone)
                score = partial(_score_chunk, artifact, finished, tabled, id_type, as_of_us, part)
                # An empty part has one empty chunk, so that an empty file gives all columns.
                chunks = list(split(tabled.histories.offsets, max_customers=customers_per_chunk)) or [(0, 0)]
                task = bar.add_task(f"part {part + 1} of {num_parts}", total=len(tabled.customer_ids))
                for num_scored in _in_order(pool, score, chunks, most=2 * workers):
                    bar.advance(task, num_scored)
                finished.end_part(part, len(chunks))
            return finished.end(out, num_parts)
    except OSError as error:
        raise RunError(f"cannot write {out}: {error.strerror or error}") from error
    except pl.exceptions.PolarsError as error:
        # Tables that are read have errors of their own by now: a full disk is Polars' error too.
        raise RunError(f"cannot write {out}: {str(error).splitlines()[0]}") from error
    finally:
        pool.shutdown(cancel_futures=True)


def _score_chunk(
    artifact: Artifact,
    finished: Finished,
    tabled: Tabled,
    id_type: pl.DataType,
    as_of_us: int,
    part: int,
    chunk: int,
    bounds: tuple[int, int],
) -> int:
    """Score and keep a chunk, unless an earlier run has; runs on a worker."""
    start, end = bounds
    ids = tabled.customer_ids[start:end]
    if not finished.has_chunk(part, chunk, ids):
        histories = tabled.histories.take(np.arange(start, end))
        id_column = _typed(ids, id_type)
        finished.write_chunk(part, chunk, score_frame(artifact, histories, id_column, as_of_us=as_of_us))
    return end - start


def _check_place(out: Path, *, read: Sequence[Path]) -> None:
    """Refuse a result that could not be put into place, or in the place of what it is made of.

    Raises:
        ConfigError: Naming the place.
    """
    # Not resolve(), which raises where links lead round in a circle.
    if os.path.realpath(out) in {os.path.realpath(path) for path in read}:
        raise ConfigError("out", str(out), "it must be another file than those that are read")
    if out.is_dir():
        raise ConfigError("out", str(out), "it must be a file, and a folder lies there")
    if out.exists() and not out.is_file():
        raise ConfigError("out", str(out), "it must be a file, and a device lies there")


def _typed(ids: Sequence[Any], id_type: pl.DataType) -> pl.Series:
    """Return ids as a column of the result's type: a part may be empty, and all parts are joined.

    Raises:
        DataError: One of them is none of that type.
    """
    try:
        return pl.Series(ids, dtype=id_type, strict=True)
    except (TypeError, OverflowError, pl.exceptions.PolarsError) as error:
        reason = str(error).splitlines()[0]
        limit = f"all ids of the result must fit into {id_type}"
        raise DataError("customer_id", reason, limit) from error


def _in_order(
    pool: ThreadPoolExecutor,
    score: Callable[[int, tuple[int, int]], int],
    chunks: Sequence[tuple[int, int]],
    *,
    most: int,
) -> Iterator[int]:
    """Yield what scoring gives for every chunk; no more wait at a time than keep all workers busy."""
    waiting: deque[Future[int]] = deque()
    for chunk, bounds in enumerate(chunks):
        waiting.append(pool.submit(score, chunk, bounds))
        if len(waiting) > most:
            yield waiting.popleft().result()
    while waiting:
        yield waiting.popleft().result()


def _identity(path: Path) -> Sequence[Any]:
    """Return what tells a file from another one without reading it."""
    status = path.stat()
    return [str(path.resolve()), status.st_size, status.st_mtime_ns]


def _progress() -> Progress:
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        console=Console(stderr=True),
    )


def _read_part(
    tables: Mapping[str, pl.LazyFrame], manifest: Manifest, part: int, num_parts: int, zone: str | None
) -> Tabled:
    # As text, since the same number hashes differently in columns of different widths.
    ids = pl.col("customer_id").cast(pl.String)
    # A missing or empty id is refused: in the first part, before anybody is scored.
    is_mine = pl.when(ids.is_null() | (ids == "")).then(part == 0).otherwise(ids.hash(0) % num_parts == part)
    found = {}
    for name, table in tables.items():
        wanted = table if num_parts == 1 else table.filter(is_mine)
        try:
            found[name] = wanted.collect(engine="streaming")
        except (pl.exceptions.PolarsError, OSError) as error:
            raise DataError(name, str(error).splitlines()[0], "it must be a whole Parquet file") from error
    return read_tables(found["events"], manifest.schema, customers=found.get("customers"), time_zone=zone)


def _id_type(tables: Mapping[str, pl.LazyFrame]) -> pl.DataType:
    """Return the type of the result's ids, which must be of one kind in all files."""
    kinds: dict[str, pl.DataType] = {}
    for name, table in tables.items():
        schema = table.collect_schema()
        if "customer_id" not in schema:
            raise DataError(f"{name}.customer_id", schema.names(), "this column is needed")
        kinds[name] = schema["customer_id"]
    if len({kind.is_integer() for kind in kinds.values()}) > 1:
        shown = {name: str(kind) for name, kind in kinds.items()}
        raise DataError("customer_id", shown, "it must be of one type in both files")
    if kinds["events"].is_integer():
        return pl.UInt64() if pl.UInt64 in kinds.values() else pl.Int64()
    is_text = isinstance(kinds["events"], pl.String | pl.Categorical | pl.Enum)
    return pl.String() if is_text else kinds["events"]


def _scan(path: Path) -> pl.LazyFrame:
    if not path.is_file():
        raise DataError(str(path), None, "there must be a Parquet file")
    table = pl.scan_parquet(path, glob=False)
    try:
        table.collect_schema()
    except (pl.exceptions.PolarsError, OSError) as error:
        raise DataError(str(path), str(error).splitlines()[0], "it must be a Parquet file") from error
    return table


def _height(table: pl.LazyFrame, path: Path) -> int:
    try:
        height: int = table.select(pl.len()).collect().item()
    except (pl.exceptions.PolarsError, OSError) as error:
        raise DataError(str(path), str(error).splitlines()[0], "it must be a whole Parquet file") from error
    return height


def _parse_as_of(text: str) -> datetime:
    try:
        as_of = datetime.fromisoformat(text)
    except ValueError as error:
        raise DataError(
            "--as-of", text, "it must be an ISO 8601 time such as 2025-06-01T00:00:00Z"
        ) from error
    if as_of.tzinfo is None:
        raise DataError("--as-of", text, "it has no time zone: end it with Z for UTC")
    try:
        return as_of.astimezone(UTC)
    except OverflowError as error:
        raise DataError("--as-of", text, "it must lie between 1971 and 2200") from error


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m serving.offline", description="Score a Parquet file.")
    parser.add_argument("--artifact", type=Path, required=True, help="folder of the artifact")
    parser.add_argument("--events", type=Path, required=True, help="Parquet file of canonical events")
    parser.add_argument("--customers", type=Path, help="Parquet file of attributes")
    parser.add_argument("--as-of", required=True, help="point in time, such as 2025-06-01T00:00:00Z")
    parser.add_argument("--out", type=Path, required=True, help="Parquet file to write")
    parser.add_argument("--time-zone", help="IANA name of the zone of datetimes that have none")
    parser.add_argument("--workers", type=int, help="threads that score; one per core by default")
    return parser


if __name__ == "__main__":
    sys.exit(main())
