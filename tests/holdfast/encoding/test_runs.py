"""What serving encodes has the bits of what training does: all events once, then gathered."""

from collections.abc import Sequence
from dataclasses import replace
from itertools import product

import numpy as np
import pytest

from builders import CHANNELS, DAY, EVENT_TYPES, START_US, histories_of_lengths, small_spec
from holdfast.encoding import Cutoffs, encode, encode_runs, pad
from holdfast.encoding.padding import INPUT_NAMES
from holdfast.encoding.windows import count_seen
from holdfast.histories import CodedColumn
from holdfast.vocabulary import Dictionary


def in_order(cutoffs: Cutoffs, segments: np.ndarray) -> Cutoffs:
    """Return cutoffs of some segments of one cutoff each."""
    return Cutoffs.one_each(cutoffs.customer[segments], cutoffs.time_us[segments])


@pytest.mark.parametrize("length", [0, 30, 3_000])
def test_events_encoded_where_they_are_needed_have_the_same_bits(length: int) -> None:
    """Several runs, in another order than the customers', each padded to its own length."""
    rng = np.random.default_rng(8)
    histories, spec = histories_of_lengths(rng, np.array([length, 0, 20, 3])), small_spec(max_events=24)
    cutoffs = Cutoffs.one_each(np.arange(4), START_US + np.array([310, 320, 600, 315]) * DAY)
    whole, segments = encode(histories, cutoffs, spec), np.array([3, 1, 0, 2])
    widths, shapes = np.array([8, 8, 24, 24]), [(2, 8), (2, 24)]
    padded, _ = encode_runs(histories, in_order(cutoffs, segments), spec, widths=widths, shapes=shapes)
    for run, inputs, width in zip([segments[:2], segments[2:]], padded, [8, 24], strict=True):
        assert list(inputs) == list(INPUT_NAMES)
        for name, expected in pad(whole, run, length=width).items():
            np.testing.assert_array_equal(inputs[name], expected, err_msg=name)


def test_padding_never_cuts_a_history() -> None:
    """Whoever says less than a history has, is told so, with whatever else is asked."""
    histories = histories_of_lengths(np.random.default_rng(8), np.array([20, 30]))
    cutoffs = Cutoffs.of_all(np.full(2, START_US + 600 * DAY))
    spec = small_spec(history_days=3650, max_events=50)
    with pytest.raises(AssertionError, match="never cut a history"):
        encode_runs(histories, cutoffs, spec, widths=np.array([20, 29]), shapes=[(1, 20), (1, 29)])


def test_what_is_counted_first_is_what_encoding_sees() -> None:
    """Runs are formed by these counts, and callers are told them."""
    histories = histories_of_lengths(np.random.default_rng(9), np.array([60, 0, 20, 3]))
    cutoffs = Cutoffs.of_all(START_US + np.array([310, 320, 600, 315]) * DAY)
    spec = small_spec(max_events=24)
    whole = encode(histories, cutoffs, spec)
    seen = count_seen(histories, cutoffs, max_events=24, spans_days=spec.spans_days[-1:])
    for name in ("num_used", "num_truncated", "num_after"):
        np.testing.assert_array_equal(getattr(seen, name), getattr(whole, name), err_msg=name)
    np.testing.assert_array_equal(seen.num_used, whole.lengths)


def num_unknown(types: CodedColumn, channels: CodedColumn, *, widths: Sequence[int]) -> np.ndarray:
    """Return how many events of a customer of 5 and of one of 40 are told to have an unknown value."""
    histories = histories_of_lengths(np.random.default_rng(7), np.array([5, 40]))
    histories = replace(histories, event_type=types, categorical={"channel": channels})
    cutoffs = Cutoffs.of_all(np.full(2, START_US + 600 * DAY))
    spec = small_spec(history_days=3650, max_events=50)
    shapes = [(1, width) for width in widths]
    return encode_runs(histories, cutoffs, spec, widths=np.array(widths), shapes=shapes)[1]


@pytest.mark.parametrize("widths", [[5, 40], [16, 48]])
@pytest.mark.parametrize(("num_types", "num_channels"), [*product([3, 4], [2, 3])])
def test_events_with_a_value_that_training_never_saw_are_counted_once(
    num_types: int, num_channels: int, widths: list[int]
) -> None:
    """Whichever column it is in, in both, or in none; a missing value is not unknown."""
    rng = np.random.default_rng(7)
    types = rng.integers(0, num_types, 45).astype(np.int32)
    channels = rng.integers(-1, num_channels, 45).astype(np.int32)
    found = num_unknown(
        CodedColumn(codes=types, dictionary=Dictionary(EVENT_TYPES[:num_types])),
        CodedColumn(codes=channels, dictionary=Dictionary(CHANNELS[:num_channels])),
        widths=widths,
    )
    is_unknown = (types == 3) | (channels == 2)
    np.testing.assert_array_equal(found, [is_unknown[:5].sum(), is_unknown[5:].sum()])
