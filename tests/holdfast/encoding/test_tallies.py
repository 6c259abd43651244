"""Tallies by type say what counting the rows one by one would say."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast.encoding.tallies import tally_types


@given(
    st.lists(st.integers(0, 6), max_size=40),
    st.permutations([2, 3, 5]).flatmap(lambda types: st.sampled_from([types, types[:1], []])),
    st.lists(st.integers(0, 40), max_size=12),
)
def test_tallies_agree_with_counting(types: list[int], counted: list[int], asked: list[int]) -> None:
    """Counts and last rows before every row asked about; types that are not counted leave no trace."""
    rows = np.minimum(np.array(asked, dtype=np.int64), len(types))
    lines = np.full(7, len(counted), dtype=np.int64)
    lines[counted] = np.arange(len(counted))
    tallies = tally_types(np.array(types, dtype=np.int64), lines, len(counted), (rows[:5], rows[5:]))
    num, last = tallies.num_before(rows), tallies.last_before(rows)
    assert num.shape == last.shape == (len(counted), len(rows))
    for line, counted_type in enumerate(counted):
        for place, row in enumerate(rows.tolist()):
            own = [before for before in range(row) if types[before] == counted_type]
            assert num[line, place] == len(own)
            assert last[line, place] == (own[-1] if own else -1)


@pytest.mark.parametrize("shape", [(0, 3), (2, 0), (2, 3)])
def test_rows_may_be_asked_about_in_any_shape(shape: tuple[int, int]) -> None:
    """The shape of the rows follows the type, whatever is empty."""
    rows = np.zeros(shape, dtype=np.int64)
    lines = np.array([1, 1, 0, 1, 1], dtype=np.int64)
    tallies = tally_types(np.array([4, 2], dtype=np.int64), lines, 1, (rows,))
    assert tallies.num_before(rows).shape == tallies.last_before(rows).shape == (1, *shape)
