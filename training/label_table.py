"""A company's own labels, one per customer and cutoff, ready to be looked up.

It deliberately does not know which target a column answers, nor when a row becomes known.
"""

from collections.abc import Mapping
from typing import Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float64, Int64
from numpy import ndarray

from holdfast.errors import ConfigError, DataError
from holdfast.histories import search_sorted


@runtime_checkable
class LabelRows(Protocol):
    """A company's own labels, one row per customer and cutoff; read-only."""

    @property
    def customer(self) -> Int64[ndarray, " row"]:
        """Positions in the histories."""

    @property
    def cutoff_us(self) -> Int64[ndarray, " row"]:
        """UTC microseconds."""

    @property
    def values(self) -> Mapping[str, ndarray]:
        """``churned`` (0, 1, NaN) and ``spend``, by name; either may be absent."""


class IndexedRows:
    """The rows sorted by customer and cutoff.

    Attributes:
        cutoff_us: UTC microseconds, ascending within a customer.
        offsets: Rows of customer ``i`` are ``offsets[i]`` to ``offsets[i + 1]``.
        values: float64 columns in the same order, with a missing value more at the end, so that
            the row -1 of :meth:`find` reads as missing.
    """

    def __init__(self, table: LabelRows, num_customers: int) -> None:
        """Sort the rows.

        Args:
            table: Rows in any order.
            num_customers: Of the histories that ``table.customer`` points into.

        Raises:
            ConfigError: The table answers neither ``churned`` nor ``spend``.
            DataError: A customer and cutoff stand twice, or ``churned`` is neither 0, 1 nor missing.
        """
        if not {"churned", "spend"} & set(table.values):
            raise ConfigError("labels", sorted(table.values), "a column churned or spend is needed")
        order = np.lexsort((table.cutoff_us, table.customer))
        customer = table.customer[order]
        self.cutoff_us: Int64[ndarray, " row"] = table.cutoff_us[order]
        self.values: dict[str, Float64[ndarray, " row_plus_1"]] = {
            name: np.append(np.asarray(column)[order].astype(np.float64), np.nan)
            for name, column in table.values.items()
        }
        self.offsets: Int64[ndarray, " customer_plus_1"] = np.searchsorted(
            customer, np.arange(num_customers + 1)
        ).astype(np.int64)
        num_same = int(((np.diff(customer) == 0) & (np.diff(self.cutoff_us) == 0)).sum())
        if num_same:
            raise DataError("labels", num_same, "no customer and cutoff may stand twice in the table")
        churned = self.values.get("churned", np.full(1, np.nan))
        wrong = churned[~np.isnan(churned) & (churned != 0.0) & (churned != 1.0)]
        if len(wrong):
            raise DataError("labels.churned", float(wrong[0]), "it must be 0, 1 or missing")

    def find(
        self, customer: Int64[ndarray, " readout"], cutoff_us: Int64[ndarray, " readout"]
    ) -> Int64[ndarray, " readout"]:
        """Return the row of every customer and cutoff, -1 where the table has none."""
        start, end = self.offsets[customer], self.offsets[customer + 1]
        row = search_sorted(self.cutoff_us, start, end, cutoff_us) - 1
        is_there = row >= start
        is_there[is_there] = self.cutoff_us[row[is_there]] == cutoff_us[is_there]
        return np.where(is_there, row, -1)
