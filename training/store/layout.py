"""Names of a store's files, and its index.

It deliberately does not know how columns are written or mapped.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from holdfast.errors import ArtifactError, ConfigError
from holdfast.plain import from_plain, to_plain
from holdfast.schema import Schema

FORM = 1
"""Raised whenever a store of before could not be read any more."""

INDEX = "index.json"
CUSTOMER_IDS = "customer_ids.parquet"
EVENT_OFFSETS = "event_offsets.npy"
EVENT_TIMES = "occurred_at_us.npy"
EVENT_TYPE = "event_type"
VERSION_OFFSETS = "attribute_offsets.npy"
VERSION_TIMES = "attribute_valid_from_us.npy"
LABEL_CUSTOMERS = "label_customer.npy"
LABEL_CUTOFFS = "label_cutoff_us.npy"


def field_file(name: str) -> str:
    """Return the file of an event field."""
    return f"field_{name}.npy"


def attribute_file(name: str) -> str:
    """Return the file of an attribute."""
    return f"attribute_{name}.npy"


def label_file(name: str) -> str:
    """Return the file of a label column."""
    return f"label_{name}.npy"


def dictionary_file(column_file: str) -> str:
    """Return the file of the strings behind a coded column."""
    return column_file.removesuffix(".npy") + ".dictionary.parquet"


@dataclass(frozen=True, slots=True, kw_only=True)
class FileEntry:
    """What a file of the store must be.

    Attributes:
        num_bytes: Size of the whole file.
        crc32: Checksum of a column's values, or of the whole file where it is no column.
    """

    num_bytes: int
    crc32: int


@dataclass(frozen=True, slots=True, kw_only=True)
class StoreIndex:
    """What a store holds, how it came about and what was left out.

    Attributes:
        form: Version of the layout.
        name: The data set.
        config_fingerprint: Of the configuration and the source files it was made from.
        schema: What the data set declares.
        num_customers: Customers with at least one usable event.
        num_events: Events.
        num_versions: Attribute versions.
        num_labels: Rows of the label table.
        first_event_us: Time of the first event, UTC microseconds.
        last_event_us: Time of the last event.
        observed_from_us: Since when events are complete.
        observed_until_us: Until when events are complete.
        event_types: Number of events by type.
        label_columns: Columns of the label table; empty if there is none.
        source_rows: Rows by source table.
        table_rows: Rows that the query gave, by canonical table.
        excluded: Rows left out, by canonical table and reason.
        examples: The first row that fell under a reason, by ``table: reason``.
        notices: What was seen and does no harm by itself (kept duplicates and the like), counted.
        files: Every other file of the store.
    """

    form: int
    name: str
    config_fingerprint: str
    schema: Schema
    num_customers: int
    num_events: int
    num_versions: int
    num_labels: int
    first_event_us: int
    last_event_us: int
    observed_from_us: int
    observed_until_us: int
    event_types: Mapping[str, int]
    label_columns: tuple[str, ...]
    source_rows: Mapping[str, int]
    table_rows: Mapping[str, int]
    excluded: Mapping[str, Mapping[str, int]]
    examples: Mapping[str, str]
    notices: Mapping[str, int]
    files: Mapping[str, FileEntry]


def write_index(folder: Path, index: StoreIndex) -> None:
    """Write the index beside the columns, with a digest of its own."""
    plain = to_plain(index)
    text = json.dumps({"sha256": _digest(plain), "index": plain}, indent=1, ensure_ascii=True)
    (folder / INDEX).write_text(text + "\n", encoding="ascii")


def read_index(folder: Path) -> StoreIndex:
    """Read and check the index.

    Raises:
        ArtifactError: It is missing, altered or of another form.
    """
    path = folder / INDEX
    try:
        plain = json.loads(path.read_text(encoding="ascii"))
    except FileNotFoundError as error:
        raise ArtifactError(path, "no such file, so that no complete history store lies here") from error
    except (OSError, ValueError) as error:
        raise ArtifactError(path, f"it cannot be read: {error}") from error
    if not isinstance(plain, dict) or not isinstance(plain.get("index"), dict):
        raise ArtifactError(path, "it is not the index of a history store")
    form = plain["index"].get("form")
    if form != FORM:
        raise ArtifactError(
            path, f"the store has form {form}, but this release reads form {FORM}; prepare it again"
        )
    if plain.get("sha256") != _digest(plain["index"]):
        raise ArtifactError(path, "it was altered: its digest does not fit")
    try:
        return from_plain(StoreIndex, plain["index"], where="index")
    except ConfigError as error:
        raise ArtifactError(path, str(error)) from error


def _digest(plain: Any) -> str:
    return hashlib.sha256(json.dumps(plain, sort_keys=True).encode()).hexdigest()
