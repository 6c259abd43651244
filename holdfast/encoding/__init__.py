"""Histories and cutoffs to model inputs: one encoding for training and for serving.

It deliberately does not know who calls it: training with a million rows and the server with
one request take the same path, and no other code turns events into model inputs.

    windows     which events a cutoff sees
    events      what the model is told about one event
    readouts    what it is told about a cutoff: its history, attributes, the calendar
    aggregates  a history in numbers: recency, tenure, windowed sums, returns
    encode      events and cutoffs together, every event once; or what cutoffs are told alone
    padding     segments to rectangular tensors, by name
    runs        events and cutoffs to such tensors at once, which is what serving does
    spec        everything fitted on training history, as plain JSON
"""

from holdfast.encoding.encode import encode, encode_readouts
from holdfast.encoding.padding import pad
from holdfast.encoding.runs import encode_runs
from holdfast.encoding.spec import EncodingSpec, NumericScale, ReadoutSpec
from holdfast.encoding.windows import Cutoffs

__all__ = [
    "Cutoffs",
    "EncodingSpec",
    "NumericScale",
    "ReadoutSpec",
    "encode",
    "encode_readouts",
    "encode_runs",
    "pad",
]
