"""Canonical tables to a history store: read, counted, written part by part, described in the index.

It deliberately does not know SQL, where rows come from, or how a store takes its place.
"""

import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from holdfast.errors import DataError
from training.canonical import CanonicalTable
from training.data_config import DataConfig
from training.store.columns import ColumnWriters, entry_of
from training.store.layout import CUSTOMER_IDS, FORM, FileEntry, StoreIndex, write_index
from training.store.parts import Parts
from training.store.place import replaced_when_complete
from training.store.rows import EventRows, LabelRows, VersionRows

SPILL = "spill"
MAX_PARTS = 512
"""Every part is an open file while rows are split; systems allow 1,024 of them by default."""

Progress = Callable[[str, float], None]
"""Told the step at work and the share of it that is done, from 0 to 1."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Tables:
    """The canonical tables of a data set, not yet read; those that it has not are None."""

    events: CanonicalTable
    customers: CanonicalTable | None
    labels: CanonicalTable | None

    def present(self) -> list[CanonicalTable]:
        """Return the tables that the data set has."""
        return [table for table in (self.events, self.customers, self.labels) if table is not None]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Written:
    """What the columns hold once they are written; see :class:`StoreIndex`."""

    events: EventRows
    num_versions: int
    num_labels: int
    label_columns: tuple[str, ...]
    notices: Mapping[str, int]
    files: Mapping[str, FileEntry]


@dataclass(frozen=True, slots=True, kw_only=True)
class Tally:
    """How many rows were read, and left out by reason; see :class:`StoreIndex`."""

    table_rows: Mapping[str, int]
    excluded: Mapping[str, Mapping[str, int]]
    examples: Mapping[str, str]


def write_store(
    tables: Tables,
    config: DataConfig,
    *,
    store_dir: Path,
    source_rows: Mapping[str, int],
    fingerprint: str,
    progress: Progress,
) -> None:
    """Read the tables and write a store.

    Args:
        tables: What to read.
        config: The data set.
        store_dir: The store's folder; a store that lies there is replaced at the very end.
        source_rows: Rows by source table; they decide the number of parts.
        fingerprint: Of the configuration and the source files.
        progress: Told how far it is.

    Raises:
        DataError: Too many rows cannot be used, or none can.
        RunError: The folder is not ours to replace, or the disk is full.
    """
    with replaced_when_complete(store_dir) as folder:
        spill = folder / SPILL
        spill.mkdir()
        num_parts = -(-sum(source_rows.values()) // config.limits.rows_per_part)
        num_parts = min(max(num_parts, 1), MAX_PARTS)
        parts = {}
        for number, table in enumerate(tables.present()):
            progress("reading", number / len(tables.present()))
            parts[table.name] = Parts(table, num_parts=num_parts, folder=spill / table.name)
        tally = count_excluded(list(parts.values()), max_share=config.limits.max_excluded_share)
        written = _write_parts(parts, config, folder, progress)
        index = _index(written, config, tally=tally, source_rows=source_rows, fingerprint=fingerprint)
        shutil.rmtree(spill)
        write_index(folder, index)
        progress("writing", 1.0)


def count_excluded(parts: list[Parts], *, max_share: float) -> Tally:
    """Count the rows that cannot be used.

    Raises:
        DataError: They are more than ``max_share`` of their table, or all of it; the message names
            every reason with its share.
    """
    rows: dict[str, int] = {}
    excluded: dict[str, dict[str, int]] = {}
    examples: dict[str, str] = {}
    for part in parts:
        name = part.table.name
        rows[name], counts = part.count_reasons()
        excluded[name] = counts
        if rows[name] == 0 and name == "events":
            raise DataError(f"data.{name}.sql", 0, "the query must give at least one row")
        # "no customer" and the like have no value that would tell anything.
        told = [reason for reason in counts if not reason.split(": ")[-1].startswith("no ")]
        examples.update({f"{name}: {reason}": part.table.example(reason) for reason in told})
        num_excluded = sum(counts.values())
        if num_excluded > max_share * rows[name] or 0 < num_excluded == rows[name]:
            reasons = "; ".join(
                _reason(name, reason, counts[reason], rows[name], examples) for reason in counts
            )
            share = f"{num_excluded / rows[name]:.2%} of {rows[name]:,} rows unusable"
            limit = f"limits.max_excluded_share allows {max_share:.2%}, and one row at least must be usable"
            raise DataError(f"data.{name}", share, f"{limit}: {reasons}")
    return Tally(table_rows=rows, excluded=excluded, examples=examples)


def _reason(table: str, reason: str, count: int, num_rows: int, examples: Mapping[str, str]) -> str:
    example = examples.get(f"{table}: {reason}")
    return f"{reason} {count / num_rows:.2%}" + (f" (first: {example})" if example else "")


def _write_parts(
    parts: Mapping[str, Parts], config: DataConfig, folder: Path, progress: Progress
) -> _Written:
    """Write every column, the dictionaries and the customers' ids."""
    schema, events = config.schema, parts["events"]
    label_columns = parts["labels"].table.numbers if "labels" in parts else ()
    with ColumnWriters(folder) as writers:
        event_rows = EventRows(schema, writers, events, drop_duplicates=config.limits.drop_duplicates)
        _check_event_types(config, list(event_rows.event_types))
        version_rows = VersionRows(schema, writers, parts.get("customers"))
        label_rows = LabelRows(label_columns, writers, parts.get("labels"))
        id_files = []
        for number in range(events.num_parts):
            progress("sorting and writing", number / events.num_parts)
            ids = event_rows.write(number)
            id_files.append(folder / SPILL / f"customer_ids-{number:08d}.parquet")
            ids.to_frame().write_parquet(id_files[-1])
            version_rows.write(number, ids)
            label_rows.write(number, ids)
        num_versions, num_labels = version_rows.num_rows, label_rows.num_rows
        files = writers.finish()
    pl.scan_parquet(id_files).sink_parquet(folder / CUSTOMER_IDS, maintain_order=True)
    dictionaries = [*event_rows.write_dictionaries(folder), *version_rows.write_dictionaries(folder)]
    files |= {file: entry_of(folder / file) for file in [CUSTOMER_IDS, *dictionaries]}
    return _Written(
        events=event_rows,
        num_versions=num_versions,
        num_labels=num_labels,
        label_columns=label_columns,
        notices=event_rows.notices | version_rows.notices | label_rows.notices,
        files=files,
    )


def _index(
    written: _Written,
    config: DataConfig,
    *,
    tally: Tally,
    source_rows: Mapping[str, int],
    fingerprint: str,
) -> StoreIndex:
    events = written.events
    observed_from = events.first_us if config.observed_from_us is None else config.observed_from_us
    observed_until = events.last_us if config.observed_until_us is None else config.observed_until_us
    if observed_until < observed_from:
        limit = f"it must not lie before observed_from or the first event ({observed_from} µs)"
        raise DataError("data.observed_until", config.observed_until, limit)
    return StoreIndex(
        form=FORM,
        name=config.name,
        config_fingerprint=fingerprint,
        schema=config.schema,
        num_customers=events.num_customers,
        num_events=events.num_rows,
        num_versions=written.num_versions,
        num_labels=written.num_labels,
        first_event_us=events.first_us,
        last_event_us=events.last_us,
        observed_from_us=observed_from,
        observed_until_us=observed_until,
        event_types=events.event_types,
        label_columns=written.label_columns,
        source_rows=source_rows,
        table_rows=tally.table_rows,
        excluded=tally.excluded,
        examples=tally.examples,
        notices={**written.notices, **_unseen_types(config, events.event_types)},
        files=written.files,
    )


def _check_event_types(config: DataConfig, found: Sequence[str]) -> None:
    """Refuse an activity that no event is: every customer would look dead."""
    if not set(config.activity) & set(found):
        limit = f"no event has such a type; there are {list(found)}"
        raise DataError("data.activity", list(config.activity), limit)


def _unseen_types(config: DataConfig, found: Mapping[str, int]) -> dict[str, int]:
    """Return a notice for every declared event type that no event has."""
    named = {*config.activity, *config.ended_by}
    for target in config.targets.values():
        named.update(target.event_types)
    return {f"declared event type {name!r} that no event has": 1 for name in sorted(named - set(found))}
