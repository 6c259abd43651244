"""Encoded segments to rectangular tensors, by name.

It deliberately does not know which segments belong together: training and serving choose them.
"""

from collections.abc import Mapping

import numpy as np
from jaxtyping import Float32, Int64
from numpy import ndarray

from holdfast.encoding.encode import Encoded, EncodedReadouts
from holdfast.encoding.spec import CALENDAR_SIZE

EVENT_INPUTS = ("event_ids", "event_values", "event_days")
READOUT_INPUTS = ("readout_ids", "readout_values", "readout_calendar", "readout_days", "readout_visible")
INPUT_NAMES = (*EVENT_INPUTS, *READOUT_INPUTS)
"""Names of the model's inputs, in the order of the exported graph."""

GAP, IS_FIRST = -CALENDAR_SIZE - 2, -CALENDAR_SIZE - 1
"""Columns of ``event_values``."""


def pad(encoded: Encoded, segments: Int64[ndarray, " batch"], *, length: int) -> Mapping[str, ndarray]:
    """Return the inputs of some segments with one cutoff each: the form of the exported graph.

    Args:
        encoded: Model inputs with one readout per segment.
        segments: Which segments, in this order.
        length: Length to pad events to; at least that of the longest segment taken.

    Returns:
        Arrays by input name: events ``[batch, length, ...]``, readouts ``[batch, ...]``.
    """
    events = _pad_events(encoded, segments, length=length)
    return {**events, **{name: getattr(encoded, name).take(segments, axis=0) for name in READOUT_INPUTS}}


def pad_many(
    encoded: Encoded, segments: Int64[ndarray, " batch"], *, length: int, num_readouts: int
) -> Mapping[str, ndarray]:
    """Return the inputs of some segments with several cutoffs each: the form of training.

    Args:
        encoded: Model inputs.
        segments: Which segments, in this order.
        length: Length to pad events to.
        num_readouts: Number to pad readouts to; at least that of the fullest segment taken.

    Returns:
        Arrays by input name: events ``[batch, length, ...]``, readouts ``[batch, readout, ...]``,
        and ``readout_is_real`` (bool), ``readout_row`` (int64: the flat readout, 0 where padded).
    """
    return {
        **_pad_events(encoded, segments, length=length),
        **pad_readouts(encoded, segments, num_readouts=num_readouts),
    }


def pad_readouts(
    encoded: EncodedReadouts, segments: Int64[ndarray, " batch"], *, num_readouts: int
) -> Mapping[str, ndarray]:
    """Return what :func:`pad_many` gives of the readouts alone."""
    inputs: dict[str, ndarray] = {}
    starts = encoded.readout_offsets.take(segments)
    places, is_real = _rectangle(
        starts, encoded.readout_offsets.take(segments + 1) - starts, width=num_readouts
    )
    places = np.where(is_real, places, 0)
    for name in READOUT_INPUTS:
        inputs[name] = _spread(getattr(encoded, name), places, is_real)
    return {**inputs, "readout_is_real": is_real, "readout_row": places}


def _pad_events(encoded: Encoded, segments: ndarray, *, length: int) -> dict[str, ndarray]:
    events, lengths = encoded.events, encoded.lengths.take(segments)
    assert (lengths <= length).all(), "padding must never cut a history"
    rows, is_real = _rectangle(encoded.segment_start.take(segments), lengths, width=length)
    # Padding is the row behind the last event.
    rows = np.where(is_real, rows, len(events.days) - 1)
    values = events.values.take(rows, axis=0)
    mark_first(values.reshape(-1, values.shape[2]), np.flatnonzero(lengths) * length)
    return {
        "event_ids": events.ids.take(rows, axis=0),
        "event_values": values,
        "event_days": events.days.take(rows),
    }


def mark_first(values: Float32[ndarray, "event value_column"], rows: Int64[ndarray, " first"]) -> None:
    """Make events the first ones of their segments, in place.

    What lies before a segment is unknown to serving too: the first gap is missing by definition.
    """
    values[rows, GAP] = 0.0
    values[rows, IS_FIRST] = 1.0


def _rectangle(starts: ndarray, lengths: ndarray, *, width: int) -> tuple[ndarray, ndarray]:
    """Return [segment, width]: which flat row belongs in every place, and if there is one."""
    places = np.arange(width, dtype=np.int64)
    return starts[:, None] + places, places < lengths[:, None]


def _spread(flat: ndarray, places: ndarray, is_real: ndarray) -> ndarray:
    """Return the flat rows in their places, zeros elsewhere."""
    if not len(flat):
        return np.zeros((*places.shape, *flat.shape[1:]), dtype=flat.dtype)
    # A gather of whole rows and zeros on what is padding: a scatter of rows costs more.
    spread = flat.take(places, axis=0)
    spread[~is_real] = 0
    return spread
