"""Canonical tables to a history store: written, described in the index, put into its place.

It deliberately does not know SQL, where rows come from, or how rows become columns.
"""

import shutil
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path

from holdfast.errors import DataError
from training.data_config import DataConfig
from training.store.layout import FORM, StoreIndex, write_index
from training.store.making import SPILL, Making, Progress, Tables, Written
from training.store.place import replaced_when_complete
from training.store.stream import OutOfOrderError
from training.store.tally import Tally

FEWEST_FINAL = 30
FINAL_SHARE = 0.99
"""A type with so many events, of which this share is their customer's last one, is told."""


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
        making = Making(tables, config, source_rows, folder, progress)
        try:
            written, tally = making.streamed() or making.by_parts()
        except OutOfOrderError:
            # What was written so far is of no use: its customers have more events to come.
            shutil.rmtree(folder)
            folder.mkdir()
            written, tally = making.by_parts()
        index = _index(written, config, tally=tally, source_rows=source_rows, fingerprint=fingerprint)
        shutil.rmtree(folder / SPILL)
        write_index(folder, index)
        progress("writing", 1.0)


def _index(
    written: Written,
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
        since = datetime.fromtimestamp(observed_from // 1_000_000, UTC).isoformat()
        limit = f"it must not lie before observed_from or the first event ({since})"
        raise DataError("data.observed_until", config.observed_until, limit)
    stray = events.days.notices(
        is_start_given=config.observed_from_us is not None, is_end_given=config.observed_until_us is not None
    )
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
        notices={
            **written.notices,
            **_unmatched(written, config, tally),
            **_unseen_types(config, events.event_types),
            **_final_types(config, events.event_types, events.last_types),
            **stray,
        },
        files=written.files,
    )


def _unmatched(written: Written, config: DataConfig, tally: Tally) -> dict[str, int]:
    """Return a notice where no row of ``customers`` belongs to anybody: every attribute is missing."""
    if config.customers is None or written.num_versions or not tally.table_rows["customers"]:
        return {}
    advice = "are ids written alike in both tables? A CSV file's 007 is read as 7 unless its type is given"
    text = f"customers: not one row has the id of a customer with events; attributes are missing ({advice})"
    return {text: tally.table_rows["customers"]}


def _asked_types(config: DataConfig) -> set[str]:
    """Return every event type that a target asks about."""
    return {name for target in config.targets.values() for name in target.event_types}


def _unseen_types(config: DataConfig, found: Mapping[str, int]) -> dict[str, int]:
    """Return a notice for every declared event type that no event has."""
    named = {*config.activity, *config.ended_by, *_asked_types(config)}
    return {f"declared event type {name!r} that no event has": 1 for name in sorted(named - set(found))}


def _final_types(config: DataConfig, found: Mapping[str, int], last: Mapping[str, int]) -> dict[str, int]:
    """Return a notice for every event type after which hardly anything ever happens, though nobody says why.

    A type that is written in hindsight gives away what is to be predicted.

    Args:
        config: Names the types that end something.
        found: Events by type.
        last: Customers by the type of their last event.
    """
    named = {*config.ended_by, *_asked_types(config)}
    total = sum(found.values())
    final = {
        name: count
        for name, count in found.items()
        if name not in named
        and FEWEST_FINAL <= count <= total / 2
        and last.get(name, 0) >= FINAL_SHARE * count
    }
    advice = "name it in ended_by if it closes the account, leave it out if it is written in hindsight"
    shares = {name: last[name] / count for name, count in final.items()}
    return {
        f"events of type {name!r}, {share:.1%} of them their customer's last one ({advice})": final[name]
        for name, share in shares.items()
    }
