"""Histories and cutoffs to model inputs, not yet rectangular: the one function both sides call.

Who has encoded the events already asks for what is told of the cutoffs alone.

It deliberately does not know tensors, batches or labels: see :mod:`holdfast.encoding.padding`.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float32, Float64, Int64
from numpy import ndarray

from holdfast.encoding.events import Events, days_since_origin, encode_events, numeric_fields, type_ids
from holdfast.encoding.readouts import Asked, raw_readouts, readout_values
from holdfast.encoding.scaling import calendar
from holdfast.encoding.spec import EncodingSpec
from holdfast.encoding.windows import Cutoffs, Windows, windows_of, without_unseen
from holdfast.histories import Histories
from holdfast.native import native


@dataclass(frozen=True, slots=True, kw_only=True)
class EncodedReadouts:
    """Model inputs of cutoffs before padding, and which events a segment holds.

    Attributes:
        segment_start: The events of segment ``i`` are rows ``segment_start[i]`` ...
        segment_end: ... to ``segment_end[i]`` of the encoded ones; segments of one customer may overlap.
        readout_offsets: Readouts of segment ``i`` are rows ``readout_offsets[i]`` to
            ``readout_offsets[i + 1]`` of what follows.
        readout_ids: Last event types and attributes.
        readout_values: Scaled features.
        readout_calendar: Calendar of the cutoff.
        readout_days: The cutoff in days since the origin.
        readout_visible: How many of its segment's events the cutoff sees.
        num_used: Events of the cutoff's history.
        num_truncated: Events before it that are older or more than the encoding takes.
        num_after: Events of the customer after the cutoff.
    """

    segment_start: Int64[ndarray, " segment"]
    segment_end: Int64[ndarray, " segment"]
    readout_offsets: Int64[ndarray, " segment_plus_1"]
    readout_ids: Int64[ndarray, "readout readout_id_column"]
    readout_values: Float32[ndarray, "readout feature"]
    readout_calendar: Float32[ndarray, "readout calendar_column"]
    readout_days: Float32[ndarray, " readout"]
    readout_visible: Int64[ndarray, " readout"]
    num_used: Int64[ndarray, " readout"]
    num_truncated: Int64[ndarray, " readout"]
    num_after: Int64[ndarray, " readout"]

    @property
    def lengths(self) -> Int64[ndarray, " segment"]:
        """Number of events of every segment."""
        lengths: ndarray = self.segment_end - self.segment_start
        return lengths


@dataclass(frozen=True, slots=True, kw_only=True)
class Encoded(EncodedReadouts):
    """The same with the events: every event once.

    Attributes:
        events: The events of all histories, encoded.
        num_unknown: Events of the segment with a value that training never saw.
    """

    events: Events
    num_unknown: Int64[ndarray, " segment"]


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
        Model inputs, segment after segment.
    """
    seen = _look(histories, cutoffs, spec)
    events = encode_events(seen.histories, seen.numeric, spec)
    told, num_unknown = _told(seen, events.ids, events.num_unknown, cutoffs, spec)
    return Encoded(events=events, num_unknown=num_unknown, **told)


def encode_readouts(histories: Histories, cutoffs: Cutoffs, spec: EncodingSpec) -> EncodedReadouts:
    """Return what :func:`encode` gives, to the last bit, without the events themselves.

    Args:
        histories: Flat columns, sorted by time within a customer; categorical fields are not looked at.
        cutoffs: Cutoffs in segments.
        spec: The fitted encoding.
    """
    seen = _look(histories, cutoffs, spec)
    told, _ = _told(seen, *type_ids(seen.histories, spec), cutoffs, spec)
    return EncodedReadouts(**told)


def _told(
    seen: "_Seen",
    event_ids: Int64[ndarray, "event_plus_1 id_column"],
    unknown_before: Int64[ndarray, " event_plus_1"],
    cutoffs: Cutoffs,
    spec: EncodingSpec,
) -> tuple[dict[str, ndarray], Int64[ndarray, " segment"]]:
    """Return the attributes of :class:`EncodedReadouts`, and how many events of a segment are unknown."""
    windows = seen.windows
    noticed = np.empty((4, len(cutoffs.time_us)), dtype=np.int64)
    num_unknown = np.empty(len(cutoffs.customer), dtype=np.int64)
    _notice(
        cutoffs.offsets,
        windows.begins,
        windows.end,
        windows.first,
        windows.last,
        windows.segment_start,
        windows.segment_end,
        unknown_before,
        noticed,
        num_unknown,
    )
    visible, num_used, num_truncated, num_after = noticed
    raw, readout_ids = seen.raw_readouts(event_ids, cutoffs, spec)
    told = {
        "segment_start": windows.segment_start,
        "segment_end": windows.segment_end,
        "readout_offsets": cutoffs.offsets,
        "readout_ids": readout_ids,
        "readout_values": readout_values(raw, spec),
        "readout_calendar": calendar(cutoffs.time_us),
        "readout_days": days_since_origin(cutoffs.time_us, spec),
        "readout_visible": visible,
        "num_used": num_used,
        "num_truncated": num_truncated,
        "num_after": num_after,
    }
    return told, num_unknown


@native("noticed", "num_unknown")
def _notice(
    segment_offsets: Int64[ndarray, " segment_plus_1"],
    begins: Int64[ndarray, "window readout"],
    ends: Int64[ndarray, " readout"],
    firsts: Int64[ndarray, " readout"],
    lasts: Int64[ndarray, " readout"],
    segment_starts: Int64[ndarray, " segment"],
    segment_ends: Int64[ndarray, " segment"],
    unknown_before: Int64[ndarray, " event_plus_1"],
    noticed: Int64[ndarray, "4 readout"],
    num_unknown: Int64[ndarray, " segment"],
) -> None:
    """Write how many events of its segment a cutoff sees; how many it uses, are too old, and come after."""
    history = begins.shape[0] - 1
    for segment in range(len(segment_starts)):
        start, end = segment_starts[segment], segment_ends[segment]
        num_unknown[segment] = unknown_before[end] - unknown_before[start]
        for readout in range(segment_offsets[segment], segment_offsets[segment + 1]):
            noticed[0, readout] = max(ends[readout] - start, 0)
            noticed[1, readout] = ends[readout] - begins[history, readout]
            noticed[2, readout] = begins[history, readout] - firsts[readout]
            noticed[3, readout] = lasts[readout] - ends[readout]


def raw_features(
    histories: Histories, cutoffs: Cutoffs, spec: EncodingSpec
) -> Float64[ndarray, "readout feature"]:
    """Return what :func:`encode` gives as ``readout_values`` in its own units: what scales are fitted on.

    Args:
        histories: Flat columns, sorted by time within a customer.
        cutoffs: Cutoffs in segments.
        spec: The encoding; its readout scales are not looked at.

    Returns:
        One column per :func:`holdfast.encoding.readouts.feature_names`, NaN where a value is missing.
    """
    seen = _look(histories, cutoffs, spec)
    event_ids, _ = type_ids(seen.histories, spec)
    raw, _ = seen.raw_readouts(event_ids, cutoffs, spec)
    return raw


@dataclass(frozen=True, slots=True, kw_only=True)
class _Seen:
    """What cutoffs see, before it is encoded."""

    histories: Histories
    numeric: Float32[ndarray, "field event"]
    windows: Windows

    def raw_readouts(
        self, event_ids: Int64[ndarray, "event_plus_1 id_column"], cutoffs: Cutoffs, spec: EncodingSpec
    ) -> tuple[Float64[ndarray, "readout feature"], Int64[ndarray, "readout readout_id_column"]]:
        """Return what the cutoffs are told, in its own units."""
        asked = Asked.of(self.histories, cutoffs.time_us, self.windows)
        return raw_readouts(self.histories, self.numeric, event_ids, asked, spec)


def _look(histories: Histories, cutoffs: Cutoffs, spec: EncodingSpec) -> _Seen:
    windows = windows_of(
        histories,
        cutoffs,
        max_events=spec.max_events,
        history_days=spec.history_days,
        trailing_days=spec.readout.windows_days,
    )
    histories, windows = without_unseen(histories, cutoffs, windows)
    numeric = numeric_fields(histories, spec.schema.numeric_fields)
    return _Seen(histories=histories, numeric=numeric, windows=windows)
