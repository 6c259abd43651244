"""Canonical tables to columns: in one pass over events that come in order, or part by part.

It deliberately does not know SQL, nor how a store is described and takes its place.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from holdfast.errors import DataError
from training.canonical import CanonicalTable
from training.data_config import DataConfig
from training.store.columns import ColumnWriters, entry_of
from training.store.layout import CUSTOMER_IDS, FileEntry
from training.store.parts import Parts
from training.store.rows import CustomerRows, EventRows, LabelRows, VersionRows
from training.store.stream import EventStream
from training.store.tally import Tally, count_excluded

SPILL = "spill"
MAX_PARTS = 512
"""Every part is an open file while rows are split; systems allow 1,024 of them by default."""

CHUNK_ROWS = 500_000
"""Rows at a time: their columns fit into a processor's cache one by one, and Python is called seldom."""

Progress = Callable[[str, float], None]
"""Told the step at work and the share of it that is done, from 0 to 1."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Tables:
    """The canonical tables of a data set, not yet read; those that it has not are None."""

    events: CanonicalTable
    customers: CanonicalTable | None
    labels: CanonicalTable | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Written:
    """What the columns hold once they are written; see :class:`StoreIndex`."""

    events: EventRows
    num_versions: int
    num_labels: int
    label_columns: tuple[str, ...]
    notices: Mapping[str, int]
    files: Mapping[str, FileEntry]


class Making:
    """A store in the making: by one pass over events that come in order, or part by part."""

    def __init__(
        self,
        tables: Tables,
        config: DataConfig,
        source_rows: Mapping[str, int],
        folder: Path,
        progress: Progress,
    ) -> None:
        """Read nothing yet.

        Args:
            tables: What to read.
            config: The data set.
            source_rows: Rows by source table; they decide the number of parts.
            folder: Where columns are written.
            progress: Told how far it is.
        """
        self._tables, self._config, self._folder, self._progress = tables, config, folder, progress
        self._num_rows = sum(source_rows.values())
        self._num_other_rows = self._num_rows - max(source_rows.values(), default=0)
        self._read: pl.DataFrame | None = None

    def streamed(self) -> tuple[Written, Tally] | None:
        """Write events as they are read; None if they do not come customer by customer.

        Raises:
            OutOfOrderError: They did so only in the beginning.
        """
        limit = self._config.limits.rows_per_part
        self._progress("reading", 0.0)
        stream = EventStream(self._tables.events, chunk_rows=CHUNK_ROWS)
        # The other tables must fit into memory whole: their order is another one.
        if not stream.begins_in_order() or self._num_other_rows > limit:
            self._read = stream.everything() if self._num_rows <= limit else None
            return None
        others = self._others(num_parts=1)
        most = self._config.limits.max_excluded_share
        of_others = count_excluded(list(others.values()), max_share=most)

        def told() -> Iterator[CustomerRows]:
            for rows in stream.customers():
                yield rows
                self._progress("reading", min(stream.num_rows / max(self._num_rows, 1), 1.0))

        with ColumnWriters(self._folder) as writers:
            rows = Rows(self._config, self._folder, writers, others)
            ids = rows.write_events(told())
            tally = count_excluded([stream], max_share=most) | of_others
            rows.write_others(0, ids)
            return rows.finish(), tally

    def by_parts(self) -> tuple[Written, Tally]:
        """Split every table by customer, and write part after part."""
        num_parts = min(max(-(-self._num_rows // self._config.limits.rows_per_part), 1), MAX_PARTS)
        self._progress("reading", 0.0)
        events = self._parts(self._tables.events, num_parts, frame=self._read)
        self._read = None
        others = self._others(num_parts=num_parts)
        tally = count_excluded([events, *others.values()], max_share=self._config.limits.max_excluded_share)
        with ColumnWriters(self._folder) as writers:
            rows = Rows(self._config, self._folder, writers, others)
            for number in range(num_parts):
                self._progress("sorting and writing", number / num_parts)
                rows.write_others(number, rows.write_events([CustomerRows.of(events.take(number))]))
            return rows.finish(), tally

    def _others(self, *, num_parts: int) -> dict[str, Parts]:
        tables = [table for table in (self._tables.customers, self._tables.labels) if table is not None]
        return {table.name: self._parts(table, num_parts) for table in tables}

    def _parts(self, table: CanonicalTable, num_parts: int, frame: pl.DataFrame | None = None) -> Parts:
        spill = self._folder / SPILL
        spill.mkdir(exist_ok=True)
        return Parts(table, num_parts=num_parts, folder=spill / table.name, frame=frame)


class Rows:
    """All columns of a store, written by groups of customers."""

    def __init__(
        self, config: DataConfig, folder: Path, writers: ColumnWriters, others: Mapping[str, Parts]
    ) -> None:
        """Begin every column.

        Args:
            config: The data set.
            folder: The store's folder.
            writers: Of that folder.
            others: The tables beside the events.
        """
        self._config, self._folder, self._writers = config, folder, writers
        labels = others.get("labels")
        self._label_columns = labels.table.numbers if labels is not None else ()
        self._events = EventRows(config.schema, writers, drop_duplicates=config.limits.drop_duplicates)
        self._versions = VersionRows(config.schema, writers, others.get("customers"))
        self._labels = LabelRows(self._label_columns, writers, labels)
        self._id_files: list[Path] = []
        (folder / SPILL).mkdir(exist_ok=True)

    def write_events(self, groups: Iterable[CustomerRows]) -> list[Path]:
        """Write the events of some customers after those of others.

        Returns:
            Files of the customers' ids; on disk, because there may be many.
        """
        begin = len(self._id_files)
        for group in groups:
            self._events.write(group)
            self._id_files.append(self._folder / SPILL / f"customer_ids-{len(self._id_files):08d}.parquet")
            group.ids.alias("customer_id").to_frame().write_parquet(self._id_files[-1])
        return self._id_files[begin:]

    def write_others(self, number: int, id_files: list[Path]) -> None:
        """Write attributes and labels of the same customers, which are those of a part."""
        ids = pl.read_parquet(id_files)["customer_id"]
        self._versions.write(number, ids)
        self._labels.write(number, ids)

    def finish(self) -> Written:
        """Complete every column.

        Raises:
            DataError: No event is an activity.
        """
        _check_event_types(self._config, list(self._events.event_types))
        folder = self._folder
        dictionaries = [*self._events.write_dictionaries(folder), *self._versions.write_dictionaries(folder)]
        num_versions, num_labels = self._versions.num_rows, self._labels.num_rows
        files = self._writers.finish()
        pl.scan_parquet(self._id_files).sink_parquet(folder / CUSTOMER_IDS, maintain_order=True)
        files |= {file: entry_of(folder / file) for file in [CUSTOMER_IDS, *dictionaries]}
        return Written(
            events=self._events,
            num_versions=num_versions,
            num_labels=num_labels,
            label_columns=self._label_columns,
            notices=self._events.notices | self._versions.notices | self._labels.notices,
            files=files,
        )


def _check_event_types(config: DataConfig, found: Sequence[str]) -> None:
    """Refuse an activity that no event is: every customer would look dead."""
    if not set(config.activity) & set(found):
        limit = f"no event has such a type; there are {list(found)}"
        raise DataError("data.activity", list(config.activity), limit)
