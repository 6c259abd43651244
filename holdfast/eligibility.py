"""Which customers are such as a model learned from: active lately, and not gone for good.

It deliberately does not know who asks. Training draws its cutoffs by the same rule.
"""

import numpy as np
from jaxtyping import Bool, Int64
from numpy import ndarray

from holdfast.histories import Histories, prefix_sum, search_sorted
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
    starts, ends = histories.offsets[:-1], histories.offsets[1:]
    asked = np.stack([as_of_us, as_of_us - schema.lookback_days * MICROSECONDS_PER_DAY])
    until, since = search_sorted(histories.occurred_at_us, starts, ends, asked)
    active = _running(histories, schema.activity)
    is_eligible: ndarray = active[until] > active[since]
    if schema.ended_by:
        ended = _running(histories, schema.ended_by)
        is_eligible &= ended[until] == ended[starts]
    return is_eligible


def _running(histories: Histories, event_types: tuple[str, ...]) -> Int64[ndarray, " event_plus_1"]:
    """Return how many events of these types lie before every row."""
    known = histories.event_type.dictionary.values
    # One row more, so that even an empty dictionary can be taken from.
    is_wanted = np.array([*(value in event_types for value in known), False], dtype=bool)
    return prefix_sum(is_wanted.take(histories.event_type.codes, mode="clip"))
