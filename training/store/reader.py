"""An opened history store: verified, memory-mapped, read-only.

It deliberately does not know how a store is made or what is learnt from it.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import polars as pl
from jaxtyping import Float64, Int64
from numpy import ndarray

from holdfast.errors import ArtifactError
from holdfast.histories import AttributeVersions, CodedColumn, Histories
from holdfast.schema import Schema
from holdfast.vocabulary import Dictionary
from training.store import layout
from training.store.columns import check_content, map_column
from training.store.layout import FileEntry, StoreIndex, read_index


@dataclass(frozen=True, slots=True, kw_only=True)
class LabelTable:
    """The company's own labels, sorted by customer, then cutoff; every pair stands once.

    Attributes:
        customer: Position of the customer in the histories.
        cutoff_us: UTC microseconds.
        values: ``churned`` (0, 1 or NaN), ``spend`` (NaN where not known), by name; those that
            the table has.
    """

    customer: Int64[ndarray, " label"]
    cutoff_us: Int64[ndarray, " label"]
    values: Mapping[str, Float64[ndarray, " label"]]


class HistoryStore:
    """A store on disk.

    Attributes:
        path: Its folder.
        index: What it holds and how it came about.
        histories: All events and attributes, memory-mapped.
        labels: The label table, or None.
    """

    def __init__(
        self, *, path: Path, index: StoreIndex, histories: Histories, labels: LabelTable | None
    ) -> None:
        """Keep the parts; :meth:`open` makes them."""
        self.path = path
        self.index = index
        self.histories = histories
        self.labels = labels

    @classmethod
    def open(cls, path: Path, *, verify: bool = True) -> "HistoryStore":
        """Open a store.

        Args:
            path: Its folder.
            verify: Whether every value is read once and compared with its checksum (some gigabytes
                a second); lengths, types and sizes are checked always.

        Raises:
            ArtifactError: A file is missing, truncated or altered; the message names it.
        """
        path = Path(path)
        index = read_index(path)
        files = _Files(path, index.files, verify=verify)
        histories = _histories(files, index)
        files.check(layout.CUSTOMER_IDS)
        return cls(path=path, index=index, histories=histories, labels=_labels(files, index))

    def __reduce__(self) -> tuple[object, ...]:
        """Travel to another process as a path: pages are shared, columns are not copied."""
        return _reopen, (self.path,)

    @property
    def schema(self) -> Schema:
        """What the data set declares."""
        return self.index.schema

    @property
    def config_fingerprint(self) -> str:
        """Changes whenever the configuration or a source file would give another store."""
        return self.index.config_fingerprint

    @cached_property
    def customer_ids(self) -> pl.Series:
        """The ids of the customers as text, in the order of the histories; read on first use."""
        ids = pl.read_parquet(self.path / layout.CUSTOMER_IDS)["customer_id"]
        if len(ids) != self.index.num_customers:
            limit = f"it must hold {self.index.num_customers} ids, but holds {len(ids)}"
            raise ArtifactError(self.path / layout.CUSTOMER_IDS, limit)
        return ids


def _reopen(path: Path) -> HistoryStore:
    return HistoryStore.open(path, verify=False)


class _Files:
    """Opens the files of a store, each against its entry in the index."""

    def __init__(self, folder: Path, entries: Mapping[str, FileEntry], *, verify: bool) -> None:
        self._folder = folder
        self._entries = entries
        self._verify = verify

    def column(self, file: str, dtype: type[np.generic], length: int) -> ndarray:
        path = self._folder / file
        return map_column(path, dtype, length=length, entry=self._entry(file), verify=self._verify)

    def check(self, file: str) -> None:
        check_content(self._folder / file, self._entry(file), verify=self._verify)

    def offsets(self, file: str, *, num_customers: int, num_rows: int) -> ndarray:
        offsets = self.column(file, np.int64, num_customers + 1)
        if offsets[0] != 0 or offsets[-1] != num_rows:
            raise ArtifactError(self._folder / file, f"its offsets must run from 0 to {num_rows}")
        return offsets

    def coded(self, file: str, length: int) -> CodedColumn:
        codes = self.column(file, np.int32, length)
        dictionary = layout.dictionary_file(file)
        self.check(dictionary)
        values = pl.read_parquet(self._folder / dictionary)["value"]
        return CodedColumn(codes=codes, dictionary=Dictionary(values.to_list()))

    def _entry(self, file: str) -> FileEntry:
        if file not in self._entries:
            raise ArtifactError(self._folder / layout.INDEX, f"it does not know {file}")
        return self._entries[file]


def _histories(files: _Files, index: StoreIndex) -> Histories:
    schema, num_events, num_versions = index.schema, index.num_events, index.num_versions
    num_customers = index.num_customers
    attributes = AttributeVersions(
        offsets=files.offsets(layout.VERSION_OFFSETS, num_customers=num_customers, num_rows=num_versions),
        valid_from_us=files.column(layout.VERSION_TIMES, np.int64, num_versions),
        categorical={
            name: files.coded(layout.attribute_file(name), num_versions)
            for name in schema.categorical_attributes
        },
        numeric={
            name: files.column(layout.attribute_file(name), np.float32, num_versions)
            for name in schema.numeric_attributes
        },
    )
    return Histories(
        offsets=files.offsets(layout.EVENT_OFFSETS, num_customers=num_customers, num_rows=num_events),
        occurred_at_us=files.column(layout.EVENT_TIMES, np.int64, num_events),
        event_type=files.coded(layout.field_file(layout.EVENT_TYPE), num_events),
        categorical={
            name: files.coded(layout.field_file(name), num_events) for name in schema.categorical_fields
        },
        numeric={
            name: files.column(layout.field_file(name), np.float32, num_events)
            for name in schema.numeric_fields
        },
        attributes=attributes,
    )


def _labels(files: _Files, index: StoreIndex) -> LabelTable | None:
    if not index.label_columns:
        return None
    num = index.num_labels
    return LabelTable(
        customer=files.column(layout.LABEL_CUSTOMERS, np.int64, num),
        cutoff_us=files.column(layout.LABEL_CUTOFFS, np.int64, num),
        values={name: files.column(layout.label_file(name), np.float64, num) for name in index.label_columns},
    )
