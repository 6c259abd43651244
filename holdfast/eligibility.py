"""Which customers are such as a model learned from: active lately, and not gone for good.

It deliberately does not know who asks. Training draws its cutoffs by the same rule.
"""

import numpy as np
from jaxtyping import Bool, Int64
from numpy import ndarray

from holdfast.histories import Histories, prefix_sum
from holdfast.schema import MICROSECONDS_PER_DAY, Schema


def find_eligible(
    histories: Histories, as_of_us: Int64[ndarray, " customer"], schema: Schema
) -> Bool[ndarray, " customer"]:
    """Return who was active in ``(t - lookback, t]`` and has not left for good by ``t``.

    Args:
        histories: Whatever they hold up to ``t`` counts, used by the model or not. A customer at fault
            gets an answer without a meaning, and changes nobody else's.
        as_of_us: One ``t`` per customer, UTC microseconds.
        schema: Says what activity is, how far to look back, and what ends a customer.

    Returns:
        True where training would have asked about the customer.
    """
    offsets = histories.offsets
    age_us = as_of_us.repeat(offsets[1:] - offsets[:-1])
    age_us -= histories.occurred_at_us
    lookback_us = np.uint64(schema.lookback_days * MICROSECONDS_PER_DAY)
    # As unsigned numbers, ages below 0 lie beyond every lookback: one comparison for both bounds.
    is_active = _is_one_of(histories, schema.activity) & (age_us.view(np.uint64) < lookback_us)
    is_eligible: ndarray = _count(is_active, offsets) > 0
    if schema.ended_by:
        is_eligible &= _count(_is_one_of(histories, schema.ended_by) & (age_us >= 0), offsets) == 0
    return is_eligible


def _is_one_of(histories: Histories, event_types: tuple[str, ...]) -> Bool[ndarray, " event"]:
    """Return which events are of these types."""
    known = histories.event_type.dictionary.values
    # One row more, so that even an empty dictionary can be taken from.
    is_wanted = np.array([*(value in event_types for value in known), False], dtype=bool)
    found: ndarray = is_wanted.take(histories.event_type.codes, mode="clip")
    return found


def _count(is_wanted: Bool[ndarray, " event"], offsets: Int64[ndarray, " customer_plus_1"]) -> ndarray:
    """Return how many wanted events every customer has."""
    before = prefix_sum(is_wanted).take(offsets)
    counts: ndarray = before[1:] - before[:-1]
    return counts
