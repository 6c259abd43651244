"""Encoded segments to tensors without padding, by name: position after position, as in a PackedSequence.

It deliberately does not know which segments belong together, nor which model reads events so.
"""

from collections.abc import Mapping

import numpy as np
from jaxtyping import Int64
from numpy import ndarray

from holdfast.encoding.encode import Encoded
from holdfast.encoding.padding import mark_first, pad_readouts
from holdfast.histories import prefix_sum

ACTIVE_ROWS = "active_rows"
"""Name of the input that packed events have beside them: how many segments have one at a position."""


def pack_many(
    encoded: Encoded, segments: Int64[ndarray, " batch"], *, num_readouts: int
) -> Mapping[str, ndarray]:
    """Return the inputs of some segments with several cutoffs each, their events packed.

    The first events of all segments come first, then the second ones of those that have one, and so
    on: what stands at a position is one run of rows, in the order of the segments.

    Args:
        encoded: Model inputs.
        segments: Which segments, the longest first.
        num_readouts: Number to pad readouts to; at least that of the fullest segment taken.

    Returns:
        Arrays by input name: events ``[event, ...]``, readouts as of
        :func:`holdfast.encoding.padding.pad_many`, and ``active_rows`` (int64, descending). Segments
        without any event together have one event that is padding: no axis is ever empty.
    """
    lengths = encoded.lengths.take(segments)
    starts, events = encoded.segment_start.take(segments), encoded.events
    active = active_rows(lengths)
    position = np.repeat(np.arange(len(active)), active)
    rows = starts[np.arange(len(position)) - prefix_sum(active)[position]] + position
    if not lengths[0]:
        # Padding is the row behind the last event.
        rows = np.array([len(events.days) - 1])
    values = events.values.take(rows, axis=0)
    mark_first(values, np.arange(np.count_nonzero(lengths)))
    return {
        "event_ids": events.ids.take(rows, axis=0),
        "event_values": values,
        "event_days": events.days.take(rows),
        ACTIVE_ROWS: active,
        **pad_readouts(encoded, segments, num_readouts=num_readouts),
    }


def active_rows(lengths: Int64[ndarray, " batch"]) -> Int64[ndarray, " length"]:
    """Return how many segments have an event at each position; one at one position where none has any.

    Args:
        lengths: Events of every segment, the longest first.
    """
    assert (np.diff(lengths) <= 0).all(), "the longest segments come first"
    if not lengths[0]:
        return np.ones(1, dtype=np.int64)
    return np.searchsorted(-lengths, -np.arange(lengths[0]), side="left")
