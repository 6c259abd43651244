"""Ragged inputs to rectangular tensors, by name.

It deliberately does not know which segments belong together: training and serving choose them.
"""

from collections.abc import Mapping

import numpy as np
from jaxtyping import Int64
from numpy import ndarray

from holdfast.encoding.encode import Encoded
from holdfast.histories import ragged_rows

EVENT_INPUTS = ("event_ids", "event_values", "event_days")
READOUT_INPUTS = ("readout_ids", "readout_values", "readout_calendar", "readout_days", "readout_visible")
INPUT_NAMES = (*EVENT_INPUTS, *READOUT_INPUTS)
"""Names of the model's inputs, in the order of the exported graph."""


def pad(encoded: Encoded, segments: Int64[ndarray, " batch"], *, length: int) -> Mapping[str, ndarray]:
    """Return the inputs of some segments with one cutoff each: the form of the exported graph.

    Args:
        encoded: Ragged inputs with one readout per segment.
        segments: Which segments, in this order.
        length: Length to pad events to; at least that of the longest segment taken.

    Returns:
        Arrays by input name: events ``[batch, length, ...]``, readouts ``[batch, ...]``.
    """
    inputs = _pad_events(encoded, segments, length=length)
    for name in READOUT_INPUTS:
        inputs[name] = _widened(getattr(encoded, name).take(segments, axis=0))
    return inputs


def pad_many(
    encoded: Encoded, segments: Int64[ndarray, " batch"], *, length: int, num_readouts: int
) -> Mapping[str, ndarray]:
    """Return the inputs of some segments with several cutoffs each: the form of training.

    Args:
        encoded: Ragged inputs.
        segments: Which segments, in this order.
        length: Length to pad events to.
        num_readouts: Number to pad readouts to; at least that of the fullest segment taken.

    Returns:
        Arrays by input name: events ``[batch, length, ...]``, readouts ``[batch, readout, ...]``,
        and ``readout_is_real`` (bool), ``readout_row`` (int64: the flat readout, 0 where padded).
    """
    inputs = _pad_events(encoded, segments, length=length)
    rows, offsets = ragged_rows(encoded.readout_offsets, segments)
    places, is_real = _rectangle(rows, offsets, width=num_readouts)
    for name in READOUT_INPUTS:
        inputs[name] = _widened(_spread(getattr(encoded, name), places, is_real))
    return {**inputs, "readout_is_real": is_real, "readout_row": places}


def _pad_events(encoded: Encoded, segments: ndarray, *, length: int) -> dict[str, ndarray]:
    rows, offsets = ragged_rows(encoded.event_offsets, segments)
    assert length >= np.max(np.diff(offsets), initial=0), "padding must never cut a history"
    places, is_real = _rectangle(rows, offsets, width=length)
    return {name: _widened(_spread(getattr(encoded, name), places, is_real)) for name in EVENT_INPUTS}


def _rectangle(rows: ndarray, offsets: ndarray, *, width: int) -> tuple[ndarray, ndarray]:
    """Return [segment, width]: which flat row stands in every place (0 where padded), and if one does."""
    lengths = np.diff(offsets)
    slots = np.repeat(np.arange(len(lengths)) * width - offsets[:-1], lengths)
    slots += np.arange(len(slots))
    places = np.zeros((len(lengths), width), dtype=np.int64)
    is_real = np.zeros((len(lengths), width), dtype=bool)
    places.reshape(-1)[slots] = rows
    is_real.reshape(-1)[slots] = True
    return places, is_real


def _spread(flat: ndarray, places: ndarray, is_real: ndarray) -> ndarray:
    """Return the flat rows in their places, zeros elsewhere."""
    if not len(flat):
        return np.zeros((*places.shape, *flat.shape[1:]), dtype=flat.dtype)
    # A gather of whole rows and zeros on what is padding: a scatter of rows costs more.
    spread = flat.take(places, axis=0)
    spread[~is_real] = 0
    return spread


def _widened(values: ndarray) -> ndarray:
    """Return ids as int64, which is what embedding lookups take; floats as they are."""
    return values.astype(np.int64) if values.dtype == np.int32 else values
