"""Histories and cutoffs to model inputs, not yet rectangular: the one function both sides call.

Who has encoded the events already asks for what is told of the cutoffs alone.

It deliberately does not know tensors, batches or labels: see :mod:`holdfast.encoding.padding`.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float32, Float64, Int64
from numpy import ndarray

from holdfast.encoding.events import Events, encode_events, numeric_fields
from holdfast.encoding.readouts import feature_names, tell
from holdfast.encoding.spec import EncodingSpec
from holdfast.encoding.windows import Cutoffs, without_unseen
from holdfast.histories import Histories


@dataclass(frozen=True, slots=True, kw_only=True)
class EncodedReadouts:
    """Model inputs of cutoffs before padding, and which events a segment holds.

    Attributes:
        segment_start: The events of segment ``i`` are rows ``segment_start[i]`` ...
        segment_end: ... to ``segment_end[i]`` of the encoded ones, of the histories' where none are; segments
            of one customer may overlap.
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
    """

    events: Events


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
    numeric = numeric_fields(histories, spec.schema.numeric_fields)
    told, _ = tell(histories, numeric, cutoffs, spec)
    seen, starts, ends = without_unseen(histories, told["segment_start"], told["segment_end"])
    if seen is not histories:
        numeric = numeric_fields(seen, spec.schema.numeric_fields)
    return Encoded(
        events=encode_events(seen, numeric, spec),
        **{**told, "segment_start": starts, "segment_end": ends},
    )


def encode_readouts(histories: Histories, cutoffs: Cutoffs, spec: EncodingSpec) -> EncodedReadouts:
    """Return what :func:`encode` gives, to the last bit, without the events themselves.

    Args:
        histories: Flat columns, sorted by time within a customer; categorical fields are not looked at.
        cutoffs: Cutoffs in segments.
        spec: The fitted encoding.
    """
    told, _ = tell(histories, numeric_fields(histories, spec.schema.numeric_fields), cutoffs, spec)
    return EncodedReadouts(**told)


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
    numeric = numeric_fields(histories, spec.schema.numeric_fields)
    # Not fitted yet: nothing is looked at but what they are made of.
    factors = np.repeat([[0.0], [1.0]], len(feature_names(spec)), axis=1)
    _, raw = tell(histories, numeric, cutoffs, spec, factors=factors)
    return raw
