"""Histories and cutoffs to ragged model inputs: the one function both sides call.

It deliberately does not know tensors, batches or labels: see :mod:`holdfast.encoding.padding`.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float32, Int32, Int64
from numpy import ndarray

from holdfast.encoding.events import days_since_origin, event_ids, event_values, is_unknown
from holdfast.encoding.readouts import readout_ids, readout_values
from holdfast.encoding.scaling import calendar
from holdfast.encoding.spec import EncodingSpec
from holdfast.encoding.windows import Cutoffs, Windows, windows_of
from holdfast.histories import Histories, prefix_sum, ragged_range


@dataclass(frozen=True, slots=True, kw_only=True)
class Encoded:
    """Ragged model inputs: events flat per segment, readouts flat per segment.

    Attributes:
        event_offsets: Events of segment ``i`` are rows ``event_offsets[i]`` to ``event_offsets[i + 1]``.
        event_ids: Event type and categorical ids.
        event_values: Scaled values, gap and calendar.
        event_days: Days since the spec's origin.
        readout_offsets: Readouts of segment ``i`` likewise.
        readout_ids: Last event types and attributes.
        readout_values: Scaled features.
        readout_calendar: Calendar of the cutoff.
        readout_days: The cutoff in days since the origin.
        readout_visible: How many of its segment's events the cutoff sees.
        num_used: Events of the cutoff's history.
        num_truncated: Events before it that are older or more than the encoding takes.
        num_after: Events of the customer after the cutoff.
        num_unknown: Events of the segment with a value that training never saw.
    """

    event_offsets: Int64[ndarray, " segment_plus_1"]
    event_ids: Int32[ndarray, "event id_column"]
    event_values: Float32[ndarray, "event value_column"]
    event_days: Float32[ndarray, " event"]
    readout_offsets: Int64[ndarray, " segment_plus_1"]
    readout_ids: Int32[ndarray, "readout readout_id_column"]
    readout_values: Float32[ndarray, "readout feature"]
    readout_calendar: Float32[ndarray, "readout calendar_column"]
    readout_days: Float32[ndarray, " readout"]
    readout_visible: Int64[ndarray, " readout"]
    num_used: Int64[ndarray, " readout"]
    num_truncated: Int64[ndarray, " readout"]
    num_after: Int64[ndarray, " readout"]
    num_unknown: Int64[ndarray, " segment"]

    @property
    def lengths(self) -> Int64[ndarray, " segment"]:
        """Number of events of every segment."""
        return np.diff(self.event_offsets)


def encode(histories: Histories, cutoffs: Cutoffs, spec: EncodingSpec) -> Encoded:
    """Turn histories and cutoffs into model inputs.

    Of every customer only the last ``max_events`` events of ``(t - history_days, t]`` have any
    influence on what a cutoff ``t`` gets, to the last bit; nor have other customers any.

    Args:
        histories: Flat columns, sorted by time within a customer.
        cutoffs: Cutoffs in segments. The events of a segment are the history of its last cutoff;
            an earlier one sees those of them that are not after it, which is its whole history
            unless a limit cut that off earlier.
        spec: The fitted encoding.

    Returns:
        Ragged inputs, segment after segment.
    """
    windows = windows_of(histories, cutoffs, max_events=spec.max_events, history_days=spec.history_days)
    per_segment = np.diff(cutoffs.offsets)
    customer = np.repeat(cutoffs.customer, per_segment)
    ids = event_ids(histories, spec)
    rows, offsets = ragged_range(windows.segment_start, windows.segment_end)
    values = event_values(histories, rows, offsets[:-1][np.diff(offsets) > 0], spec)
    readout = (histories, ids, customer, cutoffs.time_us, windows, spec)
    return Encoded(
        event_offsets=offsets,
        event_ids=ids.take(rows, axis=0),
        event_values=values,
        event_days=days_since_origin(histories.occurred_at_us.take(rows), spec),
        readout_offsets=cutoffs.offsets,
        readout_ids=readout_ids(*readout),
        readout_values=readout_values(*readout),
        readout_calendar=calendar(cutoffs.time_us),
        readout_days=days_since_origin(cutoffs.time_us, spec),
        readout_visible=np.maximum(windows.end - np.repeat(windows.segment_start, per_segment), 0),
        num_used=windows.end - windows.start,
        num_truncated=windows.start - windows.first,
        num_after=windows.last - windows.end,
        num_unknown=_unknown_per_segment(histories, ids, windows, spec),
    )


def _unknown_per_segment(histories: Histories, ids: ndarray, windows: Windows, spec: EncodingSpec) -> ndarray:
    running = prefix_sum(is_unknown(histories, ids, spec))
    unknown: ndarray = running[windows.segment_end] - running[windows.segment_start]
    return unknown
