"""What the blocking and the asyncio client share: the channel, requests of a batch, errors.

It deliberately makes no call itself.
"""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import grpc
import numpy as np
from jaxtyping import Int64
from numpy import ndarray

from holdfast.description import ModelDescription
from holdfast.errors import DataError, ServiceError
from holdfast.schema import Schema
from holdfast.tables import Tabled
from holdfast.v1 import scoring_pb2 as pb
from holdfast.wire import write_request

MAX_CUSTOMERS_PER_REQUEST = 256
"""Small enough that the caller of a large batch does not hold a worker for seconds."""
MAX_EVENTS_PER_REQUEST = 65_536
MAX_ANSWER_BYTES = 64 * 1_024 * 1_024

# Only UNAVAILABLE is tried again: it says that no work was done. gRPC itself waits and retries.
_SERVICE_CONFIG = {
    "methodConfig": [
        {
            "name": [{"service": "holdfast.v1.ScoringService"}],
            "retryPolicy": {
                "maxAttempts": 4,
                "initialBackoff": "0.1s",
                "maxBackoff": "2s",
                "backoffMultiplier": 2,
                "retryableStatusCodes": ["UNAVAILABLE"],
            },
        }
    ],
    "loadBalancingConfig": [{"round_robin": {}}],
}
CHANNEL_OPTIONS = (
    ("grpc.service_config", json.dumps(_SERVICE_CONFIG)),
    ("grpc.max_receive_message_length", MAX_ANSWER_BYTES),
)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True, kw_only=True)
class Ask:
    """What is asked about every customer of a batch.

    Attributes:
        as_of_us: The point in time, UTC microseconds.
        include_survival: Whether to answer with survival curves.
        include_embedding: Whether to answer with embeddings.
    """

    as_of_us: int
    include_survival: bool
    include_embedding: bool

    def requests(
        self, tabled: Tabled, description: ModelDescription
    ) -> Iterator[tuple[pb.ScoreRequest, Sequence[Any]]]:
        """Split a batch into requests that the server takes.

        Args:
            tabled: The customers.
            description: Of the model that they were read for.

        Yields:
            A request, and the caller's ids of its customers.

        Raises:
            DataError: A text is no valid Unicode.
        """
        most = min(MAX_CUSTOMERS_PER_REQUEST, description.limits.max_customers)
        for start, end in split(tabled.histories.offsets, max_customers=most):
            yield from self._sized(tabled, description, start, end)

    def _sized(
        self, tabled: Tabled, description: ModelDescription, start: int, end: int
    ) -> Iterator[tuple[pb.ScoreRequest, Sequence[Any]]]:
        ids = tabled.customer_ids[start:end]
        request = self._request(tabled, description.schema, start, end)
        request.model = description.name
        request.schema_fingerprint = description.schema_fingerprint
        if request.ByteSize() <= description.limits.max_message_bytes or end - start == 1:
            yield request, ids
            return
        middle = (start + end) // 2
        yield from self._sized(tabled, description, start, middle)
        yield from self._sized(tabled, description, middle, end)

    def _request(self, tabled: Tabled, schema: Schema, start: int, end: int) -> pb.ScoreRequest:
        request = write_request(
            tabled.histories.take(np.arange(start, end)),
            [str(customer_id) for customer_id in tabled.customer_ids[start:end]],
            as_of_us=self.as_of_us,
            schema=schema,
        )
        request.include_survival = self.include_survival
        request.include_embedding = self.include_embedding
        return request


def split(
    offsets: Int64[ndarray, " customer_plus_1"], *, max_customers: int = MAX_CUSTOMERS_PER_REQUEST
) -> Iterator[tuple[int, int]]:
    """Yield ranges of customers that fill requests, in order.

    Offline scoring takes the same ranges, so that its numbers are the server's to the last bit.

    Args:
        offsets: Of the customers' events.
        max_customers: Most customers of a range.

    Yields:
        First customer and one past the last one; at least one customer, however many its events.
    """
    start, num = 0, len(offsets) - 1
    while start < num:
        full = int(np.searchsorted(offsets, offsets[start] + MAX_EVENTS_PER_REQUEST, side="right")) - 1
        end = min(max(full, start + 1), start + max(max_customers, 1), num)
        yield start, end
        start = end


def time_us(as_of: object) -> int:
    """Return a point in time in UTC microseconds.

    Raises:
        DataError: It is no datetime, or has no zone.
    """
    if not isinstance(as_of, datetime):
        raise DataError("as_of", as_of, "it must be a datetime with a zone")
    if as_of.utcoffset() is None:
        raise DataError("as_of", as_of, "it has no time zone: give it one")
    return (as_of - _EPOCH) // timedelta(microseconds=1)


def kept(rows: Any) -> Any:
    """Return rows that can be read more than once."""
    return list(rows) if isinstance(rows, Iterator) else rows


def is_other_schema(error: grpc.RpcError) -> bool:
    """Say whether the server's schema has changed since it was asked for."""
    return bool(error.code() is grpc.StatusCode.FAILED_PRECONDITION)


def service_error(error: grpc.RpcError) -> ServiceError:
    """Return gRPC's error as ours, with the violations of ``google.rpc.BadRequest`` where it has any."""
    return ServiceError(error.code().name, error.details() or "no reason given", _violations(error))


def _violations(error: grpc.RpcError) -> tuple[tuple[str, str], ...]:
    try:
        # Generated code without types.
        from google.rpc import error_details_pb2, status_pb2  # type: ignore[import-untyped]
    except ImportError:
        # googleapis-common-protos is the caller's choice; the reason says the same in words.
        return ()
    found: list[tuple[str, str]] = []
    metadata: Any = error.trailing_metadata() or ()
    for key, value in metadata:
        if key == "grpc-status-details-bin":
            for detail in status_pb2.Status.FromString(value).details:
                bad = error_details_pb2.BadRequest()
                if detail.Unpack(bad):
                    found += [(v.field, v.description) for v in bad.field_violations]
    return tuple(found)
