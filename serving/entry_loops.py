"""A compiled loop that writes the customers of a ScoreResponse (https://protobuf.dev/programming-guides/encoding).

It deliberately knows no target: what is predicted comes as bytes, of the same length for every customer.
"""

import numpy as np
from jaxtyping import Int64, UInt8
from numpy import ndarray

from holdfast.native import inner, native
from holdfast.results import OBSERVED_NAMES
from holdfast.v1 import scoring_pb2 as pb
from serving.wire_loops import VARINT, tag

MOST_BYTES_OF_NUMBER = 10
"""A number of 64 bits takes at most so many bytes, seven bits in each."""

MOST_BYTES_BESIDE = (6 + 2 * len(OBSERVED_NAMES)) * MOST_BYTES_OF_NUMBER
"""Of an entry: what stands in front of its parts, and what was observed; far from ever reached."""


_ENTRY = tag(pb.ScoreResponse, "customers")
_ID = tag(pb.CustomerResult, "customer_id")
_OBSERVED = tag(pb.CustomerResult, "observed")
OBSERVED_TAGS = np.array([tag(pb.Observed, name, VARINT) for name in OBSERVED_NAMES])
"""Of every number that was observed, in their order."""


@inner
def _num_bytes(number: int) -> int:
    """Return how many bytes a number takes."""
    size = 1
    while number > 127:
        number >>= 7
        size += 1
    return size


@inner
def _put(number: int, written: UInt8[ndarray, " byte"], place: int) -> int:
    """Write a number, and return the place behind it."""
    while number > 127:
        written[place] = number & 127 | 128
        number >>= 7
        place += 1
    written[place] = number
    return place + 1


@native("written", "size")
def write_entries(
    ids: UInt8[ndarray, " byte"],
    id_ends: Int64[ndarray, " customer"],
    predicted: UInt8[ndarray, "customer predicted_byte"],
    observed: Int64[ndarray, "number customer"],
    observed_tags: Int64[ndarray, " number"],
    written: UInt8[ndarray, " written_byte"],
    size: Int64[ndarray, "1"],
) -> None:
    """Write every customer's entry, and how many bytes they take together.

    Fields of the value 0 are left out, as protobuf's own libraries do.
    """
    place, id_start = 0, 0
    for customer in range(len(id_ends)):
        id_size, observed_size = id_ends[customer] - id_start, 0
        for number in range(len(observed_tags)):
            value = observed[number, customer]
            if value:
                observed_size += _num_bytes(observed_tags[number]) + _num_bytes(value)
        entry_size = predicted.shape[1]
        entry_size += _num_bytes(_OBSERVED) + _num_bytes(observed_size) + observed_size
        if id_size:
            entry_size += _num_bytes(_ID) + _num_bytes(id_size) + id_size
        place = _put(entry_size, written, _put(_ENTRY, written, place))
        if id_size:
            place = _put(id_size, written, _put(_ID, written, place))
            for byte in range(id_size):
                written[place + byte] = ids[id_start + byte]
            place += id_size
        for byte in range(predicted.shape[1]):
            written[place + byte] = predicted[customer, byte]
        place += predicted.shape[1]
        place = _put(observed_size, written, _put(_OBSERVED, written, place))
        for number in range(len(observed_tags)):
            value = observed[number, customer]
            if value:
                place = _put(value, written, _put(observed_tags[number], written, place))
        id_start = id_ends[customer]
    size[0] = place
