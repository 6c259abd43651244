"""Where a part's rows belong: codes of customers, the order by customer and time.

It deliberately does not know what the other columns hold.
"""

import numpy as np
import polars as pl
from jaxtyping import Bool, Int32, Int64
from numpy import ndarray

from holdfast.histories import ALWAYS_US
from holdfast.vocabulary import MISSING_CODE


def sorted_order(
    customer: Int32[ndarray, " row"], time_us: Int64[ndarray, " row"]
) -> Int64[ndarray, " row"] | None:
    """Return the order by (customer, time) in which ties stay as given; None if it is that already."""
    step = np.diff(customer)
    # Compared, not subtracted: from "always" to any time is too far for an int64.
    if ((step > 0) | ((step == 0) & (time_us[1:] >= time_us[:-1]))).all():
        return None
    # Two stable sorts, each nearly free where its column is in order already (NumPy's timsort).
    by_time = np.argsort(time_us, kind="stable")
    return by_time[np.argsort(customer[by_time], kind="stable")]


def runs_of(customer_id: pl.Series) -> tuple[pl.Series, Int64[ndarray, " run"]]:
    """Return the id of every run of equal ids, and its length."""
    is_start = customer_id.ne_missing(customer_id.shift(1)).to_numpy().copy()
    is_start[:1] = True
    starts = np.flatnonzero(is_start)
    heads = customer_id if len(starts) == len(customer_id) else customer_id.gather(starts)
    return heads, np.diff(starts, append=len(customer_id))


def customers_of(customer_id: pl.Series) -> tuple[pl.Series, Int32[ndarray, " row"]]:
    """Return the distinct ids, sorted, and the position of every row's id among them."""
    # Most tables come customer by customer, and one look-up per run of rows is then enough.
    heads, lengths = runs_of(customer_id)
    ids = heads.unique().sort()
    return ids, np.repeat(physical_codes(heads.cast(pl.Enum(ids))), lengths)


def last_of_each(
    customer_id: pl.Series,
    ids: pl.Series,
    time_us: Int64[ndarray, " row"] | None,
    notices: dict[str, int],
    what: str,
) -> tuple[Int64[ndarray, " kept"], Int32[ndarray, " kept"], Int64[ndarray, " kept"]]:
    """Return rows, customers and times sorted by both, of each pair the one given last."""
    customer = physical_codes(customer_id.cast(pl.Enum(ids), strict=False))
    time_us = np.full(len(customer), ALWAYS_US) if time_us is None else time_us
    rows = np.flatnonzero(customer != MISSING_CODE)
    count(notices, f"{what} of customers without events, dropped", len(customer) - len(rows))
    order = sorted_order(customer[rows], time_us[rows])
    rows = rows if order is None else rows[order]
    customer, time_us = customer[rows], time_us[rows]
    is_last: Bool[ndarray, " row"] = np.ones(len(rows), dtype=bool)
    is_last[:-1] = (customer[1:] != customer[:-1]) | (time_us[1:] != time_us[:-1])
    count(notices, f"{what} that a later one for the same customer and time replaces", int((~is_last).sum()))
    return rows[is_last], customer[is_last], time_us[is_last]


def physical_codes(column: pl.Series) -> Int32[ndarray, " row"]:
    """Return the codes behind an Enum column; -1 where it is missing."""
    return column.to_physical().cast(pl.Int32).fill_null(MISSING_CODE).to_numpy()


def count(notices: dict[str, int], text: str, number: int) -> None:
    """Add to what was seen; nothing seen leaves no trace."""
    if number:
        notices[text] = notices.get(text, 0) + number
