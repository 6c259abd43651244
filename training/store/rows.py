"""The rows of one part to flat columns: coded, sorted by customer and time, duplicates settled.

It deliberately does not know how a part came about. Customers stand in the order of their ids
within a part, part after part.
"""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl
from jaxtyping import Float32, Float64, Int32, Int64
from numpy import ndarray

from holdfast.histories import ALWAYS_US
from holdfast.schema import Schema
from training.store import layout
from training.store.coding import Coding
from training.store.columns import ColumnWriters
from training.store.order import count, customers_of, last_of_each, sorted_order
from training.store.parts import Parts
from training.store.stray import EventDays


@dataclass(frozen=True, slots=True, kw_only=True)
class CustomerRows:
    """Usable events of some customers, all of each.

    Attributes:
        ids: The customers' ids, ascending.
        customer: Whose a row is, as a position among them.
        frame: The other canonical columns.
    """

    ids: pl.Series
    customer: Int32[ndarray, " row"]
    frame: pl.DataFrame

    @classmethod
    def of(cls, frame: pl.DataFrame) -> "CustomerRows":
        """Return rows in any order with their customers."""
        ids, customer = customers_of(frame["customer_id"])
        return cls(ids=ids, customer=customer, frame=frame.drop("customer_id"))


class EventRows:
    """Writes the events.

    Attributes:
        num_customers: Customers so far.
        first_us: Time of the first event so far.
        last_us: Time of the last event so far.
        days: How many events every day has so far.
        notices: What was seen and counted.
    """

    def __init__(self, schema: Schema, writers: ColumnWriters, *, drop_duplicates: bool) -> None:
        """Begin every column."""
        self._writers = writers
        self._drop_duplicates = drop_duplicates
        names = (layout.EVENT_TYPE, *schema.categorical_fields)
        self._coding = Coding({name: layout.field_file(name) for name in names})
        self._numbers = schema.numeric_fields
        self._type_counts = self._last_counts = np.zeros(0, dtype=np.int64)
        self.num_customers = 0
        self.first_us, self.last_us = np.iinfo(np.int64).max, np.iinfo(np.int64).min
        self.days = EventDays()
        self.notices: dict[str, int] = {}
        writers.create(layout.EVENT_OFFSETS, np.int64)
        writers.append(layout.EVENT_OFFSETS, np.zeros(1, dtype=np.int64))
        writers.create(layout.EVENT_TIMES, np.int64)
        for name in names:
            writers.create(layout.field_file(name), np.int32)
        for name in self._numbers:
            writers.create(layout.field_file(name), np.float32)

    @property
    def num_rows(self) -> int:
        """The number of events so far."""
        return self._writers.length(layout.EVENT_TIMES)

    @property
    def event_types(self) -> dict[str, int]:
        """The number of events so far by type, most frequent first."""
        names = self._coding.met(layout.EVENT_TYPE).to_list()
        counted = zip(names, self._type_counts.tolist(), strict=True)
        return dict(sorted(counted, key=lambda pair: (-pair[1], pair[0])))

    @property
    def last_types(self) -> dict[str, int]:
        """The number of customers so far by the type of their last event."""
        names = self._coding.met(layout.EVENT_TYPE).to_list()
        return dict(zip(names, self._last_counts.tolist(), strict=False))

    def write(self, rows: CustomerRows) -> None:
        """Write the events of some customers, who follow those written before."""
        frame, customer = rows.frame, rows.customer
        time_us = frame["occurred_at"].to_numpy()
        order = sorted_order(customer, time_us)
        order = self._settle_duplicates(frame, customer, time_us, order)
        taken = customer if order is None else customer[order]
        counts = np.bincount(taken, minlength=len(rows.ids))
        self._writers.append(layout.EVENT_OFFSETS, self.num_rows + np.cumsum(counts, dtype=np.int64))
        self._write_columns(frame, time_us, order, np.cumsum(counts)[counts > 0] - 1)
        self.num_customers += len(rows.ids)

    def _write_columns(
        self, frame: pl.DataFrame, time_us: ndarray, order: ndarray | None, last_rows: ndarray
    ) -> None:
        if len(time_us):
            self.first_us = min(self.first_us, int(time_us.min()))
            self.last_us = max(self.last_us, int(time_us.max()))

        def write_times() -> None:
            self._writers.append(layout.EVENT_TIMES, _taken(time_us, order))

        def write_text(name: str) -> None:
            codes = _taken(self._coding.codes(name, frame[name]), order)
            self._writers.append(self._coding.files[name], codes)
            if name == layout.EVENT_TYPE:
                self._type_counts = _counted(codes, self._type_counts)
                self._last_counts = _counted(codes[last_rows], self._last_counts)

        def write_number(name: str) -> None:
            self._writers.append(layout.field_file(name), _taken(_float32(frame[name]), order))

        # Gathering, checksums and writing leave the interpreter's lock, and every column has its file.
        with ThreadPoolExecutor(max_workers=pl.thread_pool_size()) as pool:
            jobs = [pool.submit(write_times), pool.submit(self.days.add, time_us)]
            jobs += [pool.submit(write_text, name) for name in self._coding.files]
            jobs += [pool.submit(write_number, name) for name in self._numbers]
            for job in jobs:
                job.result()

    def _settle_duplicates(
        self, frame: pl.DataFrame, customer: ndarray, time_us: ndarray, order: ndarray | None
    ) -> ndarray | None:
        """Count events that are equal in every column, and leave them out where that is wished."""
        by_customer, by_time = _taken(customer, order), _taken(time_us, order)
        is_tied = (np.diff(by_customer) == 0) & (np.diff(by_time) == 0)
        if not is_tied.any():
            return order
        tied = np.flatnonzero(np.append(is_tied, False) | np.append(False, is_tied))
        rows = tied if order is None else order[tied]
        same = frame[rows].with_columns(pl.Series("_customer", by_customer[tied]))
        repeated = tied[~same.select(pl.struct(pl.all()).is_first_distinct()).to_series().to_numpy()]
        kind = "dropped" if self._drop_duplicates else "kept"
        count(self.notices, f"events: exact duplicates, {kind}", len(repeated))
        if not self._drop_duplicates or not len(repeated):
            return order
        kept = np.ones(len(by_time), dtype=bool)
        kept[repeated] = False
        return np.flatnonzero(kept) if order is None else order[kept]

    def write_dictionaries(self, folder: Path) -> list[str]:
        """Settle the codes, write the strings behind them and return the files."""
        return self._coding.write(folder, self._writers)


def _counted(codes: Int32[ndarray, " row"], before: Int64[ndarray, " known"]) -> Int64[ndarray, " code"]:
    """Return how often every code came, with those counted before."""
    counts = np.bincount(codes, minlength=len(before))
    counts[: len(before)] += before
    return counts


class VersionRows:
    """Writes the attribute versions; where the data set has none, customers without versions."""

    def __init__(self, schema: Schema, writers: ColumnWriters, parts: Parts | None) -> None:
        """Collect the strings of every text column and begin every column."""
        self._parts = parts
        self._writers = writers
        text = schema.categorical_attributes
        self._coding = Coding({name: layout.attribute_file(name) for name in text})
        self._numbers = schema.numeric_attributes
        self.notices: dict[str, int] = {}
        writers.create(layout.VERSION_OFFSETS, np.int64)
        writers.append(layout.VERSION_OFFSETS, np.zeros(1, dtype=np.int64))
        writers.create(layout.VERSION_TIMES, np.int64)
        for name in text:
            writers.create(layout.attribute_file(name), np.int32)
        for name in self._numbers:
            writers.create(layout.attribute_file(name), np.float32)

    @property
    def num_rows(self) -> int:
        """The number of versions so far."""
        return self._writers.length(layout.VERSION_TIMES)

    def write(self, number: int, ids: pl.Series) -> None:
        """Write the versions of one part's customers."""
        counts = np.zeros(len(ids), dtype=np.int64)
        if self._parts is not None:
            frame = self._parts.take(number)
            time = self._parts.table.time
            valid_from = None if time is None else frame[time].fill_null(ALWAYS_US).to_numpy()
            rows, customer, valid_from = last_of_each(
                frame["customer_id"], ids, valid_from, self.notices, "customers: versions"
            )
            counts = np.bincount(customer, minlength=len(ids))
            self._writers.append(layout.VERSION_TIMES, valid_from)
            for name, file in self._coding.files.items():
                self._writers.append(file, self._coding.codes(name, frame[name])[rows])
            for name in self._numbers:
                self._writers.append(layout.attribute_file(name), _float32(frame[name])[rows])
        start = self.num_rows - int(counts.sum())
        self._writers.append(layout.VERSION_OFFSETS, start + np.cumsum(counts, dtype=np.int64))

    def write_dictionaries(self, folder: Path) -> list[str]:
        """Settle the codes, write the strings behind them and return the files."""
        return self._coding.write(folder, self._writers)


class LabelRows:
    """Writes the label table; nothing where the data set has none."""

    def __init__(self, columns: tuple[str, ...], writers: ColumnWriters, parts: Parts | None) -> None:
        """Begin every column."""
        self._parts = parts
        self._columns = columns
        self._writers = writers
        self._first_customer = 0
        self.notices: dict[str, int] = {}
        writers.create(layout.LABEL_CUSTOMERS, np.int64)
        writers.create(layout.LABEL_CUTOFFS, np.int64)
        for name in columns:
            writers.create(layout.label_file(name), np.float64)

    @property
    def num_rows(self) -> int:
        """The number of labels so far."""
        return self._writers.length(layout.LABEL_CUTOFFS)

    def write(self, number: int, ids: pl.Series) -> None:
        """Write the labels of one part's customers."""
        if self._parts is not None:
            frame = self._parts.take(number)
            rows, customer, cutoff_us = last_of_each(
                frame["customer_id"], ids, frame["cutoff"].to_numpy(), self.notices, "labels: rows"
            )
            self._writers.append(layout.LABEL_CUSTOMERS, self._first_customer + customer)
            self._writers.append(layout.LABEL_CUTOFFS, cutoff_us)
            for name in self._columns:
                self._writers.append(layout.label_file(name), _float64(frame[name])[rows])
        self._first_customer += len(ids)


def _taken(values: ndarray, order: ndarray | None) -> ndarray:
    return values if order is None else values[order]


def _float32(column: pl.Series) -> Float32[ndarray, " row"]:
    return column.cast(pl.Float32).fill_null(float("nan")).to_numpy()


def _float64(column: pl.Series) -> Float64[ndarray, " row"]:
    return column.fill_null(float("nan")).to_numpy()
