"""Cutoffs share a pass where that costs little of their past."""

from dataclasses import replace

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from builders import DAY, START_US, histories_of_lengths, small_spec
from holdfast.encoding import encode
from holdfast.encoding.windows import Cutoffs, windows_of
from training.segments import segment_begins, share_segments


def oracle(customer: np.ndarray, start: np.ndarray, end: np.ndarray, min_share: float) -> np.ndarray:
    """Walk every customer's cutoffs from the newest, one by one."""
    begins = np.zeros(len(customer), dtype=bool)
    for who in np.unique(customer):
        rows = np.flatnonzero(customer == who)[::-1]
        anchor = start[rows[0]]
        for row in rows[1:]:
            if end[row] - anchor < min_share * (end[row] - start[row]):
                begins[row + 1] = True
                anchor = start[row]
        begins[rows[-1]] = True
    return begins


@settings(deadline=None)
@given(seed=st.integers(0, 2**32 - 1), share=st.sampled_from([0.0, 0.3, 0.5, 1.0]))
def test_all_customers_at_once_agree_with_one_by_one(seed: int, share: float) -> None:
    """The vectorised walk groups as the plain one does."""
    rng = np.random.default_rng(seed)
    customer = np.sort(rng.integers(0, 6, rng.integers(1, 30)))
    end = np.zeros(len(customer), dtype=np.int64)
    for who in np.unique(customer):
        end[customer == who] = np.sort(rng.integers(0, 100, (customer == who).sum()))
    start = np.maximum(end - rng.integers(0, 40), 0)
    np.testing.assert_array_equal(
        segment_begins(customer, start, end, min_share=share), oracle(customer, start, end, share)
    )


def test_short_histories_share_one_segment() -> None:
    """Nothing is cut off, so one pass serves all cutoffs of a customer."""
    histories = histories_of_lengths(np.random.default_rng(0), np.array([10, 0, 20]))
    customer = np.repeat(np.arange(3), 5)
    time_us = np.tile(START_US + np.arange(5) * 100 * DAY, 3)
    shared = share_segments(histories, customer, time_us, small_spec(history_days=3650))
    assert shared.customer.tolist() == [0, 1, 2]
    assert shared.offsets.tolist() == [0, 5, 10, 15]


def test_no_cutoff_loses_more_than_its_share() -> None:
    """With long histories an early cutoff gets a segment of its own rather than half its past."""
    histories = histories_of_lengths(np.random.default_rng(1), np.array([200, 150]))
    spec = replace(small_spec(history_days=3650), max_events=40)
    customer = np.repeat(np.arange(2), 12)
    time_us = np.tile(START_US + np.arange(1, 13) * 40 * DAY, 2)
    shared = share_segments(histories, customer, time_us, spec, min_share=0.5)
    visible = encode(histories, shared, spec).readout_visible
    windows = windows_of(histories, Cutoffs.one_each(customer, time_us), max_events=40, history_days=3650)
    own = windows.end - windows.start
    assert 2 < shared.num_segments < 24
    assert (visible >= 0.5 * own).all()
