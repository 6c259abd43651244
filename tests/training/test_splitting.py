"""Segments of like length share micro-batches, none is lost, and budgets are kept."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from training.splitting import padded_lengths, split_by_length, split_evenly


@given(st.lists(st.integers(0, 4096), max_size=60), st.integers(1, 5000))
def test_every_segment_stands_in_exactly_one_batch_within_the_budget(lengths: list[int], budget: int) -> None:
    """No segment is lost or repeated; a batch over the budget holds one segment."""
    seen: list[int] = []
    for segments, length in split_by_length(np.array(lengths, dtype=np.int64), budget):
        assert length * len(segments) <= budget or len(segments) == 1
        assert max(lengths[i] for i in segments) <= length
        seen += segments.tolist()
    assert sorted(seen) == list(range(len(lengths)))


def test_lengths_are_padded_to_the_next_of_the_grid() -> None:
    """Zero included; the grid reaches as far as the encoding's own limit."""
    assert padded_lengths(np.array([0, 4, 5, 129, 4096])).tolist() == [4, 4, 8, 160, 4096]


def test_lengths_share_a_batch_only_where_that_is_cheaper() -> None:
    """Many long and many short histories are kept apart; a few are not worth a batch of their own."""
    many = np.array([256] * 40 + [4] * 400)
    assert sorted(length for _, length in split_by_length(many, 100_000)) == [4, 256]
    few = np.array([32] * 4 + [24] * 3)
    assert [length for _, length in split_by_length(few, 100_000)] == [32]


def test_padding_stays_a_small_share_of_a_large_pool() -> None:
    """Lognormal lengths of median 29: what is padded is under a fifth of what is computed."""
    drawn = np.random.default_rng(1).lognormal(np.log(29), 1.0, 2_000)
    lengths = np.clip(drawn, 1, 256).astype(np.int64)
    computed = sum(len(rows) * length for rows, length in split_by_length(lengths, 8_192))
    assert lengths.sum() / computed > 0.8


@given(st.lists(st.integers(0, 300), min_size=1, max_size=60), st.integers(1, 5000))
def test_packed_segments_stand_in_exactly_one_batch_within_the_budget(
    lengths: list[int], budget: int
) -> None:
    """Longest first; a batch over the budget holds one segment, and no segment counts as less than 4."""
    batches = list(split_evenly(np.array(lengths, dtype=np.int64), budget))
    order = [int(row) for rows in batches for row in rows]
    assert sorted(order) == list(range(len(lengths)))
    assert [lengths[row] for row in order] == sorted(lengths, reverse=True)
    for rows in batches:
        assert len(rows) == 1 or sum(max(4, lengths[row]) for row in rows) <= budget


def test_packed_segments_are_shared_out_evenly() -> None:
    """What exceeds the budget a little makes two halves, not a whole and a rest."""
    batches = list(split_evenly(np.full(30, 10), 290))
    assert [len(rows) for rows in batches] == [15, 15]
