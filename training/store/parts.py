"""A canonical table split by customer, of which one part is in memory at a time.

It deliberately does not know what becomes of the rows. Rows keep the order that the query gave
them, whatever the number of parts.
"""

from pathlib import Path

import polars as pl

from training.canonical import REASON, CanonicalTable
from training.sources import polars_reasons


class Parts:
    """The rows of one canonical table, read once.

    Attributes:
        table: The table.
        num_parts: How many parts there are; every customer's rows lie in one of them.
    """

    def __init__(
        self, table: CanonicalTable, *, num_parts: int, folder: Path, frame: pl.DataFrame | None = None
    ) -> None:
        """Read the table: into memory if it is one part, else into one file per part.

        Args:
            table: The table.
            num_parts: How many parts.
            folder: An empty folder for the parts; must not exist yet.
            frame: All rows, where they have been read already and there is one part.

        Raises:
            DataError: The query fails while it runs.
            RunError: The disk is full.
        """
        self.table = table
        self.num_parts = num_parts
        self._folder = folder
        self._frame = frame
        self._is_all_usable = False
        if frame is not None:
            assert num_parts == 1, "what is in memory need not be split"
            return
        with polars_reasons(f"data.{table.name}.sql", table.name, what="the query fails while it runs"):
            if num_parts == 1:
                self._frame = table.frame.collect(engine="streaming")
            else:
                self._spill()

    def count_reasons(self) -> tuple[int, dict[str, int]]:
        """Return the number of rows, and how many of them cannot be used by reason."""
        counted = self._scan().group_by(REASON).len().collect(engine="streaming")
        counts = dict(zip(counted[REASON].to_list(), counted["len"].to_list(), strict=True))
        self._is_all_usable = set(counts) <= {0}
        reasons = enumerate(self.table.reasons, start=1)
        return sum(counts.values()), {text: counts[number] for number, text in reasons if number in counts}

    def take(self, number: int) -> pl.DataFrame:
        """Return the usable rows of one part and forget them: each part can be taken once."""
        frame = self._frame
        if frame is None:
            files = sorted((self._folder / f"part={number}").glob("*.parquet"))
            frame = (
                pl.read_parquet(files, hive_partitioning=False)
                if files
                else self.table.frame.collect_schema().to_frame()
            )
            for file in files:
                file.unlink()
        self._frame = None
        return (frame if self._is_all_usable else frame.filter(pl.col(REASON) == 0)).drop(REASON)

    def _scan(self) -> pl.LazyFrame:
        if self._frame is not None:
            return self._frame.lazy()
        files = sorted(self._folder.rglob("*.parquet"))
        if not files:
            return self.table.frame.collect_schema().to_frame().lazy()
        return pl.scan_parquet(files, hive_partitioning=False)

    def _spill(self) -> None:
        # Rows without a customer have to lie somewhere to be counted.
        part = pl.col("customer_id").fill_null("").hash(seed=0) % self.num_parts
        target = pl.PartitionBy(
            self._folder, key={"part": part}, include_key=False, approximate_bytes_per_file=None
        )
        self.table.frame.sink_parquet(target, compression="lz4", maintain_order=True, mkdir=True)
