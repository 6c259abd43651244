"""Flat columns are gathered and searched like the lists they stand for."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from builders import random_histories
from holdfast.histories import ragged_range, search_sorted


@given(st.lists(st.tuples(st.integers(0, 50), st.integers(0, 9)), max_size=20))
def test_ragged_range_is_a_concatenation_of_ranges(parts: list[tuple[int, int]]) -> None:
    """Empty parts included."""
    starts = np.array([start for start, _ in parts], dtype=np.int64)
    ends = starts + np.array([length for _, length in parts], dtype=np.int64)
    rows, offsets = ragged_range(starts, ends)
    expected = [np.arange(start, end) for start, end in zip(starts, ends, strict=True)]
    np.testing.assert_array_equal(rows, np.concatenate([*expected, np.empty(0, dtype=np.int64)]))
    np.testing.assert_array_equal(np.diff(offsets), [len(part) for part in expected])


@given(st.lists(st.lists(st.integers(-5, 5), max_size=12), min_size=1, max_size=6), st.integers(-6, 6))
def test_search_sorted_agrees_with_numpy_per_customer(lists: list[list[int]], query: int) -> None:
    """Each range is searched on its own, to the right of equal values."""
    values = [np.sort(np.array(values, dtype=np.int64)) for values in lists]
    offsets = np.concatenate([[0], np.cumsum([len(v) for v in values])]).astype(np.int64)
    found = search_sorted(
        np.concatenate(values), offsets[:-1], offsets[1:], np.full(len(values), query, dtype=np.int64)
    )
    expected = [
        start + np.searchsorted(v, query, side="right") for start, v in zip(offsets, values, strict=False)
    ]
    np.testing.assert_array_equal(found, expected)


def test_take_gathers_customers_in_any_order_and_repeatedly() -> None:
    """Every column and the attributes follow the customers."""
    histories = random_histories(np.random.default_rng(0), 8)
    order = np.array([5, 1, 5, 0])
    taken = histories.take(order)
    for position, customer in enumerate(order):
        own = slice(histories.offsets[customer], histories.offsets[customer + 1])
        new = slice(taken.offsets[position], taken.offsets[position + 1])
        np.testing.assert_array_equal(taken.occurred_at_us[new], histories.occurred_at_us[own])
        np.testing.assert_array_equal(taken.numeric["amount"][new], histories.numeric["amount"][own])
        versions, fresh = histories.attributes, taken.attributes
        np.testing.assert_array_equal(
            fresh.numeric["age"][fresh.offsets[position] : fresh.offsets[position + 1]],
            versions.numeric["age"][versions.offsets[customer] : versions.offsets[customer + 1]],
        )
