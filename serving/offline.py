"""Entry: ``python -m serving.offline``: scores a Parquet file into a Parquet file.

It deliberately computes nothing itself: tables, ranges of customers, checks and predictor are
those of client and server, so the numbers are the same to the last bit.
"""

import argparse
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from numpy import ndarray
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from holdfast.calls import split, time_us
from holdfast.eligibility import find_eligible
from holdfast.errors import DataError, HistoryError, HoldfastError, RunError
from holdfast.faults import find_faults, without
from holdfast.manifest import Manifest
from holdfast.results import COUNT_NAMES, expected_name, probability_name, quantile_name
from holdfast.tables import Tabled, read_tables
from serving.artifact import Artifact
from serving.predictor import Predictions

EVENTS_PER_PART = 2_000_000
"""Events in memory at a time, at about 100 bytes each while they are grouped."""


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
    events_per_part: int = EVENTS_PER_PART,
) -> int:
    """Score every customer of two Parquet files into a third, which appears whole or not at all.

    A file of more than ``events_per_part`` events is read in several passes, each of which
    takes the customers with one remainder of a hash, so that memory stays bounded.

    Args:
        artifact: The model.
        events: Canonical events; see :func:`holdfast.tables.read_tables`.
        as_of: The point in time, with a zone.
        out: What is written: one row per customer, ``fault`` where it could not be scored.
        customers: Attributes of customers.
        time_zone: Zone of datetimes that have none.
        events_per_part: Events in memory at a time, about.

    Returns:
        The number of customers written.

    Raises:
        DataError: A file or a column cannot be used.
        RunError: The result cannot be written.
    """
    as_of_us = time_us(as_of)
    tables = {"events": _scan(events)}
    if customers is not None:
        tables["customers"] = _scan(customers)
    _check_ids(tables)
    num_parts = max(1, -(-_height(tables["events"], events) // events_per_part))
    bar = Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        console=Console(stderr=True),
    )
    num_written = 0
    try:
        with tempfile.TemporaryDirectory(dir=out.parent, prefix=f".{out.name}.") as folder, bar:
            written: list[Path] = []
            for part in range(num_parts):
                tabled = _read_part(tables, artifact.manifest, part, num_parts, time_zone)
                task = bar.add_task(f"part {part + 1} of {num_parts}", total=len(tabled.customer_ids))
                for frame in _score_chunks(artifact, tabled, as_of_us):
                    written.append(Path(folder) / f"{len(written):06d}.parquet")
                    frame.write_parquet(written[-1])
                    num_written += frame.height
                    bar.advance(task, frame.height)
            whole = Path(folder) / "whole.parquet"
            pl.scan_parquet(written).sink_parquet(whole)
            whole.replace(out)
    except OSError as error:
        raise RunError(f"cannot write {out}: {error.strerror or error}") from error
    return num_written


def _read_part(
    tables: Mapping[str, pl.LazyFrame], manifest: Manifest, part: int, num_parts: int, zone: str | None
) -> Tabled:
    # As text, since the same number hashes differently in columns of different widths.
    is_mine = pl.col("customer_id").cast(pl.String).hash(0) % num_parts == part
    found = {}
    for name, table in tables.items():
        # A missing id falls into no part, but must be refused: it goes to the first.
        wanted = table if num_parts == 1 else table.filter(is_mine.fill_null(part == 0))
        try:
            found[name] = wanted.collect(engine="streaming")
        except (pl.exceptions.PolarsError, OSError) as error:
            raise DataError(name, str(error).splitlines()[0], "it must be a whole Parquet file") from error
    return read_tables(found["events"], manifest.schema, customers=found.get("customers"), time_zone=zone)


def _check_ids(tables: Mapping[str, pl.LazyFrame]) -> None:
    kinds = {}
    for name, table in tables.items():
        schema = table.collect_schema()
        if "customer_id" not in schema:
            raise DataError(f"{name}.customer_id", schema.names(), "this column is needed")
        kinds[name] = schema["customer_id"]
    if len({kind.is_integer() for kind in kinds.values()}) > 1:
        shown = {name: str(kind) for name, kind in kinds.items()}
        raise DataError("customer_id", shown, "it must be of one type in both files")


def _score_chunks(artifact: Artifact, tabled: Tabled, as_of_us: int) -> Iterator[pl.DataFrame]:
    # An empty file has one empty range, so that it gives an empty file with all columns.
    for start, end in list(split(tabled.histories.offsets)) or [(0, 0)]:
        histories = tabled.histories.take(np.arange(start, end))
        faults = find_faults(histories)
        sound, kept = without(histories, faults)
        cutoffs_us = np.full(len(kept), as_of_us, dtype=np.int64)
        predictions = artifact.predictor.predict(sound, cutoffs_us)
        columns = dict(_named(artifact.manifest, predictions))
        columns["is_eligible"] = find_eligible(sound, cutoffs_us, artifact.manifest.schema)
        yield _frame(tabled.customer_ids[start:end], kept, columns, faults)


def _frame(
    ids: Sequence[Any],
    kept: ndarray,
    scored: Mapping[str, ndarray],
    faults: Mapping[int, HistoryError],
) -> pl.DataFrame:
    """Return one row per customer, under the names that the client uses."""
    columns = {"customer_id": pl.Series(ids, strict=True)}
    for name, values in scored.items():
        spread = np.zeros(len(ids), dtype=values.dtype)
        spread[kept] = values
        columns[name] = pl.Series(spread)
    fault = [str(faults[row]) if row in faults else None for row in range(len(ids))]
    frame = pl.DataFrame(columns | {"fault": pl.Series(fault, dtype=pl.String)})
    is_scored = pl.col("fault").is_null()
    return frame.with_columns(
        pl.when(is_scored).then(pl.col(name))
        for name in frame.columns
        if name not in {"customer_id", "fault"}
    )


def _named(manifest: Manifest, predictions: Predictions) -> Mapping[str, ndarray]:
    outputs, named = predictions.outputs, {}
    for target, form in manifest.answered_targets():
        if target.kind == "time_to_event":
            for column, horizon_days in enumerate(target.horizons_days):
                values = outputs[f"{target.name}_probability"][:, column]
                named[probability_name(target.name, horizon_days)] = values
        else:
            named[expected_name(target.name)] = outputs[f"{target.name}_expected"]
        for column, level in enumerate(form.quantile_levels):
            named[quantile_name(target.name, level)] = outputs[f"{target.name}_quantiles"][:, column]
    return named | {name: getattr(predictions, name) for name in COUNT_NAMES}


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
    return as_of.astimezone(UTC)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m serving.offline", description="Score a Parquet file.")
    parser.add_argument("--artifact", type=Path, required=True, help="folder of the artifact")
    parser.add_argument("--events", type=Path, required=True, help="Parquet file of canonical events")
    parser.add_argument("--customers", type=Path, help="Parquet file of attributes")
    parser.add_argument("--as-of", required=True, help="point in time, such as 2025-06-01T00:00:00Z")
    parser.add_argument("--out", type=Path, required=True, help="Parquet file to write")
    parser.add_argument("--time-zone", help="IANA name of the zone of datetimes that have none")
    return parser


if __name__ == "__main__":
    sys.exit(main())
