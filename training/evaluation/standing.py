"""How a customer stands at a cutoff: recency, frequency, tenure, spend, attributes; all from history alone.

It deliberately does not know predictions, labels or what a model is shown.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64, Int64
from numpy import ndarray

from holdfast.histories import CodedColumn, Histories, prefix_sum, search_sorted
from holdfast.schema import MICROSECONDS_PER_DAY, Schema
from training.pages import in_parts


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """Of every readout, what is known at its cutoff; it has at least one event there.

    Attributes:
        days_since_activity: Age of the last activity event.
        tenure_days: Age of the first event.
        num_activity: Activity events so far.
        num_events: Events of any type so far.
        last_type: Type of the last event.
        spent: Sum over the lookback of the field and event types of the first amount target,
            floored at 0; None where there is no such target.
        numeric: Attributes by name; NaN is missing.
        categorical: Attributes by name; None is missing.
    """

    days_since_activity: Float64[ndarray, " readout"]
    tenure_days: Float64[ndarray, " readout"]
    num_activity: Int64[ndarray, " readout"]
    num_events: Int64[ndarray, " readout"]
    last_type: ndarray
    spent: Float64[ndarray, " readout"] | None
    numeric: Mapping[str, ndarray]
    categorical: Mapping[str, ndarray]


def standing_of(
    histories: Histories,
    schema: Schema,
    customer: Int64[ndarray, " readout"],
    cutoff_us: Int64[ndarray, " readout"],
) -> Standing:
    """Describe the customers of some readouts, a bounded number at a time.

    Args:
        histories: The whole store.
        schema: What counts as activity, the lookback, targets and attributes.
        customer: Positions in the histories; each eligible at its cutoff.
        cutoff_us: UTC microseconds.
    """
    parts = [
        _standing(own, schema, cutoffs.customer, cutoffs.time_us)
        for own, cutoffs in in_parts(histories, customer, cutoff_us)
    ]

    def joined(name: str) -> ndarray:
        return np.concatenate([getattr(part, name) for part in parts])

    return Standing(
        days_since_activity=joined("days_since_activity"),
        tenure_days=joined("tenure_days"),
        num_activity=joined("num_activity"),
        num_events=joined("num_events"),
        last_type=joined("last_type"),
        spent=None if parts[0].spent is None else joined("spent"),
        numeric={n: np.concatenate([p.numeric[n] for p in parts]) for n in schema.numeric_attributes},
        categorical={
            n: np.concatenate([p.categorical[n] for p in parts]) for n in schema.categorical_attributes
        },
    )


def _standing(histories: Histories, schema: Schema, customer: ndarray, cutoff_us: ndarray) -> Standing:
    times, first = histories.occurred_at_us, histories.offsets[customer]
    end = search_sorted(times, first, histories.offsets[customer + 1], cutoff_us)
    is_activity = _matches(histories.event_type, schema.activity)
    activity = prefix_sum(is_activity)
    newest = np.maximum.accumulate(np.where(is_activity, np.arange(len(times)), -1))
    version, has_version = _version(histories, customer, cutoff_us)
    return Standing(
        days_since_activity=(cutoff_us - times[newest[end - 1]]) / MICROSECONDS_PER_DAY,
        tenure_days=(cutoff_us - times[first]) / MICROSECONDS_PER_DAY,
        num_activity=activity[end] - activity[first],
        num_events=end - first,
        last_type=_texts(histories.event_type, end - 1),
        spent=_spent(histories, schema, first, end, cutoff_us),
        numeric={
            name: np.append(column, np.nan)[np.where(has_version, version, -1)].astype(np.float64)
            for name, column in histories.attributes.numeric.items()
        },
        categorical={
            name: _texts(column, np.where(has_version, version, -1))
            for name, column in histories.attributes.categorical.items()
        },
    )


def _spent(
    histories: Histories, schema: Schema, first: ndarray, end: ndarray, cutoff_us: ndarray
) -> ndarray | None:
    target = next((target for target in schema.targets if target.kind == "amount"), None)
    if target is None or target.field is None:
        return None
    counts = _matches(
        histories.event_type, target.event_types or tuple(histories.event_type.dictionary.values)
    )
    amounts = np.where(counts, np.nan_to_num(histories.numeric[target.field]), 0.0).astype(np.float64)
    sums = np.concatenate([[0.0], np.cumsum(amounts)])
    oldest_us = cutoff_us - schema.lookback_days * MICROSECONDS_PER_DAY
    start = search_sorted(histories.occurred_at_us, first, end, oldest_us)
    # Sums of others stand before every customer's: what is left of them is rounding.
    return np.maximum(np.round(sums[end] - sums[start], 6), 0.0)


def _version(histories: Histories, customer: ndarray, cutoff_us: ndarray) -> tuple[ndarray, ndarray]:
    versions = histories.attributes
    first, last = versions.offsets[customer], versions.offsets[customer + 1]
    row = search_sorted(versions.valid_from_us, first, last, cutoff_us) - 1
    return row, row >= first


def _matches(column: CodedColumn, values: tuple[str, ...]) -> ndarray:
    wanted = [code for code, value in enumerate(column.dictionary.values) if value in values]
    return np.isin(column.codes, wanted)


def _texts(column: CodedColumn, rows: ndarray) -> ndarray:
    """Return the texts at some rows; None at row -1 and where the value is missing."""
    values = np.array([*column.dictionary.values, None], dtype=object)
    return values[np.append(column.codes, -1)[rows]]
