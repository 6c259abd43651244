"""Which customers are such as a model learned from: active lately, and not gone for good.

It deliberately does not know who asks. Training draws its cutoffs by the same rule.
"""

import numpy as np
from jaxtyping import Bool, Int32, Int64
from numpy import ndarray

from holdfast.histories import Histories
from holdfast.native import native
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
    known = histories.event_type.dictionary.values
    # One row more, for codes that are in no dictionary.
    is_activity = np.array([*(value in schema.activity for value in known), False], dtype=bool)
    is_end = np.array([*(value in schema.ended_by for value in known), False], dtype=bool)
    is_eligible = np.empty(histories.num_customers, dtype=bool)
    _look_back(
        histories.offsets,
        np.ascontiguousarray(histories.occurred_at_us),
        np.ascontiguousarray(histories.event_type.codes),
        as_of_us,
        is_activity,
        is_end,
        schema.lookback_days * MICROSECONDS_PER_DAY,
        is_eligible,
    )
    return is_eligible


@native("is_eligible")
def _look_back(
    offsets: Int64[ndarray, " customer_plus_1"],
    event_us: Int64[ndarray, " event"],
    event_type: Int32[ndarray, " event"],
    as_of_us: Int64[ndarray, " customer"],
    is_activity: Bool[ndarray, " type"],
    is_end: Bool[ndarray, " type"],
    lookback_us: int,
    is_eligible: Bool[ndarray, " customer"],
) -> None:
    num_types = len(is_end) - 1
    may_end = is_end.any()
    for customer in range(len(as_of_us)):
        is_active, has_ended = False, False
        # From the newest on: where nothing ends a customer, the first activity in time says it all.
        for row in range(offsets[customer + 1] - 1, offsets[customer] - 1, -1):
            code = event_type[row]
            code = code if 0 <= code < num_types else num_types
            age_us = as_of_us[customer] - event_us[row]
            is_active |= is_activity[code] and 0 <= age_us < lookback_us
            has_ended |= is_end[code] and age_us >= 0
            if is_active and not may_end:
                break
        is_eligible[customer] = is_active and not has_ended
