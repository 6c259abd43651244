"""Flat columns are gathered and searched like the lists they stand for."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from builders import random_histories
from holdfast.histories import (
    Block,
    CodedBlock,
    CodedColumn,
    prefix_sum,
    ragged_range,
    search_sorted,
    stacked_codes,
    stacked_values,
)
from holdfast.vocabulary import Dictionary


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


def test_search_sorted_in_a_long_range_beside_short_ones() -> None:
    """A search never leaves its range, be it short or empty, at either end of the column."""
    values = np.concatenate([[7], np.arange(1_000), [5, 5], np.arange(3)]).astype(np.int64)
    offsets = np.array([0, 0, 1, 1_001, 1_003, 1_003, 1_006, 1_006], dtype=np.int64)
    for query in (-1, 0, 5, 7, 998, 2_000):
        queries = np.full(len(offsets) - 1, query, dtype=np.int64)
        expected = [
            start + np.searchsorted(values[start:end], query, side="right")
            for start, end in pairwise(offsets)
        ]
        np.testing.assert_array_equal(search_sorted(values, offsets[:-1], offsets[1:], queries), expected)


def test_search_sorted_takes_several_queries_per_range() -> None:
    """Axes in front of the ranges are answered as one query after the other would be."""
    values, starts, ends = np.array([1, 4, 4, 2, 9]), np.array([0, 3, 5]), np.array([3, 5, 5])
    queries = np.array([[4, 1, 7], [0, 2, 0], [3, 9, 9]])
    found = search_sorted(values, starts, ends, queries)
    expected = [search_sorted(values, starts, ends, query) for query in queries]
    np.testing.assert_array_equal(found, expected)
    assert found.tolist() == [[3, 3, 5], [0, 4, 5], [1, 5, 5]]


def test_search_sorted_leaves_its_arguments_alone() -> None:
    """Ranges that are all empty included, where the answer is the start itself."""
    starts = np.array([2, 2], dtype=np.int64)
    found = search_sorted(np.arange(3, dtype=np.int64), starts, starts.copy(), starts)
    found += 1
    assert starts.tolist() == [2, 2]


def test_prefix_sum_begins_with_nothing_and_ends_with_all() -> None:
    """Booleans count as one, and no rows give a single zero."""
    assert prefix_sum(np.array([3, -1, 4], dtype=np.int64)).tolist() == [0, 3, 2, 6]
    assert prefix_sum(np.array([True, False, True])).tolist() == [0, 1, 1, 2]
    assert prefix_sum(np.empty(0, dtype=np.int64)).tolist() == [0]


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


def test_columns_of_a_block_are_what_they_are_alone_and_are_not_copied() -> None:
    """Asked for in the order that they have; in any other they are brought together as others are."""
    block = Block(("a", "b"), np.arange(6, dtype=np.float32).reshape(2, 3))
    assert {name: values.tolist() for name, values in block.items()} == {"a": [0, 1, 2], "b": [3, 4, 5]}
    assert len(block) == 2
    assert stacked_values(block, ("a", "b"), num=3) is block.rows
    for columns in (block, dict(block)):
        np.testing.assert_array_equal(stacked_values(columns, ("b",), num=3), [[3, 4, 5]])
        np.testing.assert_array_equal(stacked_values(columns, ("b", "a"), num=3), [[3, 4, 5], [0, 1, 2]])
    with pytest.raises(KeyError, match="c"):
        block["c"]


def test_coded_columns_of_a_block_keep_their_dictionaries() -> None:
    """In whatever order they are asked for."""
    words = Dictionary(("x", "y")), Dictionary(("z",))
    block = CodedBlock(Block(("a", "b"), np.array([[0, 1], [0, -1]], dtype=np.int32)), words)
    assert [(name, one.codes.tolist(), one.dictionary) for name, one in block.items()] == [
        ("a", [0, 1], words[0]),
        ("b", [0, -1], words[1]),
    ]
    assert len(block) == 2
    assert stacked_codes(block, ("a", "b"), num=2)[0] is block.codes.rows
    plain = {name: CodedColumn(codes=one.codes, dictionary=one.dictionary) for name, one in block.items()}
    for columns in (block, plain):
        codes, dictionaries = stacked_codes(columns, ("b", "a"), num=2)
        assert (codes.tolist(), dictionaries) == ([[0, -1], [0, 1]], words[::-1])
