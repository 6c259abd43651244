"""Which customers are such as a model learned from: active lately, and not gone for good.

It deliberately does not know who asks. Training draws its cutoffs by the same rule.
"""

from weakref import WeakKeyDictionary

import numpy as np
from jaxtyping import Bool, Int32, Int64
from numpy import ndarray

from holdfast.histories import Histories
from holdfast.native import native
from holdfast.schema import MICROSECONDS_PER_DAY, Schema
from holdfast.vocabulary import Dictionary


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
    kinds = _kinds_of(histories.event_type.dictionary, schema)
    is_eligible = np.empty(histories.num_customers, dtype=bool)
    _look_back(
        histories.offsets,
        np.ascontiguousarray(histories.occurred_at_us),
        np.ascontiguousarray(histories.event_type.codes),
        as_of_us,
        kinds,
        schema.lookback_days * MICROSECONDS_PER_DAY,
        is_eligible,
    )
    return is_eligible


_known: "WeakKeyDictionary[Dictionary, tuple[Schema, ndarray]]" = WeakKeyDictionary()
"""What :func:`_kinds_of` said last of a dictionary; a store and most callers ask with the same one again."""


def _kinds_of(dictionary: Dictionary, schema: Schema) -> Bool[ndarray, "2 code_plus_1"]:
    """Return by code whether it is activity, and whether it ends a customer; codes of no word are neither."""
    asked, kinds = _known.get(dictionary, (None, None))
    if asked is not schema or kinds is None:
        kinds = np.zeros((2, len(dictionary) + 1), dtype=bool)
        for row, meant in zip(kinds, (schema.activity, schema.ended_by), strict=True):
            row[:-1] = [value in meant for value in dictionary.values]
        _known[dictionary] = schema, kinds
    return kinds


@native("is_eligible")
def _look_back(
    offsets: Int64[ndarray, " customer_plus_1"],
    event_us: Int64[ndarray, " event"],
    event_type: Int32[ndarray, " event"],
    as_of_us: Int64[ndarray, " customer"],
    kinds: Bool[ndarray, "2 type"],
    lookback_us: int,
    is_eligible: Bool[ndarray, " customer"],
) -> None:
    is_activity, is_end = kinds[0], kinds[1]
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
