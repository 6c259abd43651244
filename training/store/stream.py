"""Events that come customer by customer: read once, whole customers at a time, without a detour by disk.

It deliberately does not know how rows are stored. What is in memory is a chunk of rows, however many
there are in all, as long as the query gives a customer's rows together and customers in ascending order.
"""

from collections.abc import Iterator

import numpy as np
import polars as pl

from training.canonical import REASON, CanonicalTable
from training.sources import polars_reasons
from training.store.order import runs_of
from training.store.rows import CustomerRows


class OutOfOrderError(Exception):
    """A customer comes after a later one, so that its rows may lie anywhere."""


class EventStream:
    """The rows of one canonical table, read once in the order of the query.

    Attributes:
        table: The table.
        num_rows: Rows read so far, those that cannot be used too.
    """

    def __init__(self, table: CanonicalTable, *, chunk_rows: int) -> None:
        """Begin to read.

        Args:
            table: The table.
            chunk_rows: Rows to read at a time.

        Raises:
            DataError: The query fails while it runs.
            RunError: A file cannot be read.
        """
        self.table = table
        self.num_rows = 0
        self._counts: dict[int, int] = {}
        self._last: str | None = None
        batches = table.frame.collect_batches(chunk_size=chunk_rows, maintain_order=True, engine="streaming")
        self._batches = iter(batches)
        self._read: list[pl.DataFrame] = []
        self._advance()

    def begins_in_order(self) -> bool:
        """Return whether the first rows are in order, so that the others may be."""
        return not self._read or runs_of(_usable(self._read[0])["customer_id"])[0].is_sorted()

    def everything(self) -> pl.DataFrame:
        """Return all rows as they come, those that cannot be used too."""
        frames = []
        while self._read:
            frames.append(self._read.pop())
            self._advance()
        return pl.concat(frames, rechunk=True) if frames else self.table.frame.collect_schema().to_frame()

    def customers(self) -> Iterator[CustomerRows]:
        """Yield the usable rows of some customers after those of others, each customer's at once.

        Raises:
            OutOfOrderError: A customer comes after a later one.
            DataError: The query fails while it runs.
        """
        waiting: list[pl.DataFrame] = []
        while self._read:
            rows = self._count(self._read.pop())
            self._advance()
            if rows.is_empty():
                continue
            begin = _last_run(rows["customer_id"])
            # What began before this batch may have gone on into it, up to its last customer.
            if begin or (waiting and waiting[0]["customer_id"][0] != rows["customer_id"][0]):
                ready = pl.concat([*waiting, rows.head(begin)])
                waiting = []
                yield self._in_order(ready)
            waiting.append(rows.slice(begin))
        if waiting:
            yield self._in_order(pl.concat(waiting))

    def count_reasons(self) -> tuple[int, dict[str, int]]:
        """Return the number of rows, and how many of them cannot be used by reason."""
        reasons = enumerate(self.table.reasons, start=1)
        counts = {text: self._counts[number] for number, text in reasons if number in self._counts}
        return self.num_rows, counts

    def _advance(self) -> None:
        where = f"data.{self.table.name}.sql"
        with polars_reasons(where, self.table.name, what="the query fails while it runs"):
            batch = next(self._batches, None)
        if batch is not None:
            self._read.append(batch)

    def _count(self, batch: pl.DataFrame) -> pl.DataFrame:
        self.num_rows += batch.height
        for number, count in batch[REASON].value_counts().iter_rows():
            self._counts[number] = self._counts.get(number, 0) + count
        return _usable(batch)

    def _in_order(self, rows: pl.DataFrame) -> CustomerRows:
        ids, lengths = runs_of(rows["customer_id"])
        # Neighbours differ, so that no id of an ascending column comes twice.
        if not ids.is_sorted() or (self._last is not None and ids[0] <= self._last):
            raise OutOfOrderError
        self._last = ids[-1]
        return CustomerRows(
            ids=ids,
            customer=np.repeat(np.arange(len(ids), dtype=np.int32), lengths),
            frame=rows.drop("customer_id"),
        )


def _usable(batch: pl.DataFrame) -> pl.DataFrame:
    return (batch.filter(pl.col(REASON) == 0) if batch[REASON].max() else batch).drop(REASON)


def _last_run(customer_id: pl.Series) -> int:
    """Return the row with which the last customer begins."""
    differs = customer_id != customer_id[-1]
    found = differs.reverse().arg_max()
    return len(customer_id) - int(found) if found is not None and differs.any() else 0
