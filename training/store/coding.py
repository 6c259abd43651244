"""Text columns as codes: numbered as strings are first met, renumbered by their order at the end.

It deliberately does not know rows: a column is coded piece by piece, whatever the pieces are.
"""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import polars as pl
from jaxtyping import Int32
from numpy import ndarray

from holdfast.vocabulary import MISSING_CODE
from training.store import layout
from training.store.columns import ColumnWriters
from training.store.order import physical_codes


class Coding:
    """Codes the text columns of a table; what the codes mean is settled when all rows are written."""

    def __init__(self, files: Mapping[str, str]) -> None:
        """Know no string yet.

        Args:
            files: File of the codes by column.
        """
        self.files = files
        self._met = {name: pl.Categories.random() for name in files}
        # Polars forgets what was met when the last column of it goes, so one column stays, an empty one.
        self._kept = [pl.Series([], dtype=pl.Categorical(met)) for met in self._met.values()]

    def codes(self, name: str, column: pl.Series) -> Int32[ndarray, " row"]:
        """Return codes in the order in which strings were met; -1 where the value is missing."""
        return physical_codes(column.cast(pl.Categorical(self._met[name])))

    def met(self, name: str) -> pl.Series:
        """Return the strings of a column in the order in which they were met."""
        return self._met[name].to_series().cast(pl.String)

    def write(self, folder: Path, writers: ColumnWriters) -> list[str]:
        """Number the strings of every column in their own order, and write them.

        The numbers then depend on the strings alone, not on who came first.

        Args:
            folder: Where the files of strings go.
            writers: All codes of the table as they were met; they are renumbered.

        Returns:
            The files of strings.
        """
        written = []
        for name, file in self.files.items():
            met = self.met(name)
            order = met.arg_sort().to_numpy()
            number = np.empty(len(met) + 1, dtype=np.int32)
            number[order] = np.arange(len(met), dtype=np.int32)
            # The last entry answers the code of a missing value, which is -1.
            number[-1] = MISSING_CODE
            writers.renumber(file, number)
            written.append(layout.dictionary_file(file))
            met.gather(order).alias("value").to_frame().write_parquet(folder / written[-1])
        return written
