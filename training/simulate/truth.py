"""The truth about customers at a cutoff: what a perfect model would answer, by Monte Carlo.

It deliberately does not know the businesses: a process brings unbiased estimates along single paths,
and this averages many of them from the state that customers had at the cutoff.
"""

from collections.abc import Callable

import numpy as np
import polars as pl
from jaxtyping import Float64
from numpy import ndarray

from training.simulate.process import Process, StateT

ROWS_PER_CHUNK = 16_384
"""Paths followed together: few enough that their columns stay in the processor's cache."""

TRUTH_COLUMNS = pl.Schema(
    {
        "customer_id": pl.String(),
        "cutoff": pl.Datetime("us", "UTC"),
        "horizon_days": pl.Int64(),
        "churn_probability": pl.Float64(),
        "expected_spend": pl.Float64(),
        "churn_standard_error": pl.Float64(),
        "spend_standard_error": pl.Float64(),
    }
)


def truth_of(
    process: Process[StateT],
    state: StateT,
    *,
    day: int,
    horizons: tuple[int, ...],
    num_rollouts: int,
    rng: np.random.Generator,
    progress: Callable[[int], None],
) -> Float64[ndarray, "measure horizon customer"]:
    """Average many paths per customer.

    Args:
        process: The business.
        state: Its customers at the start of ``day``.
        day: The cutoff as days since the start of the span.
        horizons: Ascending, in days.
        num_rollouts: Paths per customer, at least 2.
        rng: The only source of chance.
        progress: Told the number of customers done, now and then.

    Returns:
        Churn probability, expected spend and the standard errors of both.
    """
    num = len(state)
    measures = np.empty((4, len(horizons), num))
    per_chunk = max(1, ROWS_PER_CHUNK // num_rollouts)
    for first in range(0, num, per_chunk):
        last = min(first + per_chunk, num)
        repeated = state.take(np.repeat(np.arange(first, last), num_rollouts))
        paths = process.roll_out(repeated, day, horizons, rng)
        for at, values in enumerate(paths):
            by_path = values.reshape(len(horizons), last - first, num_rollouts)
            measures[at, :, first:last] = by_path.mean(axis=2)
            measures[at + 2, :, first:last] = by_path.std(axis=2, ddof=1) / np.sqrt(num_rollouts)
        progress(last - first)
    # Hazards beside drawn returns can average to less than nothing, which no expectation of a spend is.
    measures[1] = np.maximum(measures[1], 0.0)
    return measures


def truth_table(
    customer_ids: pl.Series,
    measures: Float64[ndarray, "measure horizon customer"],
    *,
    cutoff_us: int,
    horizons: tuple[int, ...],
) -> pl.DataFrame:
    """Return the truth as a table, by customer and horizon."""
    num, per = len(customer_ids), len(horizons)
    churn, spend, churn_error, spend_error = measures.transpose(0, 2, 1).reshape(4, num * per)
    cutoff = pl.Series(np.full(num * per, cutoff_us), dtype=pl.Datetime("us")).dt.replace_time_zone("UTC")
    return pl.DataFrame(
        {
            "customer_id": customer_ids.gather(np.repeat(np.arange(num), per)),
            "cutoff": cutoff,
            "horizon_days": np.tile(np.array(horizons, np.int64), num),
            "churn_probability": churn,
            "expected_spend": spend,
            "churn_standard_error": churn_error,
            "spend_standard_error": spend_error,
        },
        schema=TRUTH_COLUMNS,
    )
