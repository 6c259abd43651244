"""What is known of a request before it is read: how much it asks, whatever its bytes are."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from builders import small_schema
from holdfast.errors import RequestError
from holdfast.v1 import scoring_pb2 as pb
from holdfast.wire import Limits
from serving import wire_loops
from serving.answers import Wanted
from serving.asking import CUSTOMERS_TAG, AskedBytes


def test_a_request_is_counted_before_it_is_parsed() -> None:
    """Two bytes a customer or a column: neither becomes millions of objects."""
    tag = bytes([pb.ScoreRequest.DESCRIPTOR.fields_by_name["customers"].number << 3 | 2])
    empty = pb.Customer.DESCRIPTOR.fields_by_name["fields"].number << 3 | 2
    columns = bytes([empty, 0]) * 100_000
    one = pb.ScoreRequest(customers=[pb.Customer()]).SerializeToString()
    wide = one[:-1] + encoded_size(len(columns)) + columns
    for data, reason in (
        ((tag + bytes(1)) * 200_000, "customers: got 200000"),
        (wide, "customers.fields: got 100000"),
        (
            pb.ScoreRequest(event_types=[""] * 1_100_000).SerializeToString(),
            "event_types: got '1100000 words'",
        ),
        (
            pb.ScoreRequest(horizons_days=[30] * 2_000).SerializeToString(),
            "horizons_days: got '2000 of them'",
        ),
    ):
        with pytest.raises(RequestError, match=reason):
            Wanted.of(AskedBytes.parse(data, limits=Limits()).view, small_schema().targets)


@given(st.binary(max_size=300))
def test_counting_ends_whatever_the_bytes_are(noise: bytes) -> None:
    """Never more customers than there are bytes, and no place beyond them."""
    counts = np.zeros(2, dtype=np.int64)
    data = np.frombuffer(noise, dtype=np.uint8)
    wire_loops.count_parts(data, CUSTOMERS_TAG, wire_loops.PART_OF_TAG, counts)
    assert 0 <= counts[0] <= len(noise)
    assert 0 <= counts[1] <= len(noise)


def encoded_size(size: int) -> bytes:
    """Return a length as protobuf writes it."""
    groups = []
    while size > 127:
        groups.append(size & 127 | 128)
        size >>= 7
    return bytes([*groups, size])
