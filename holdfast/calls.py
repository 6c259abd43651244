"""What the blocking and the asyncio client share: what is asked, and the requests of a batch.

It deliberately makes no call itself.
"""

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import grpc
import numpy as np
from google.protobuf.message import Message
from jaxtyping import Int64
from numpy import ndarray

from holdfast.arguments import check_choice, check_seconds, check_seconds_left, check_text, check_whole
from holdfast.bearer import Token, metadata_of
from holdfast.description import ModelDescription
from holdfast.errors import DataError, ServiceError
from holdfast.retries import Tries
from holdfast.schema import Schema
from holdfast.tables import Tabled
from holdfast.v1 import scoring_pb2 as pb
from holdfast.wire import write_request

DEFAULT_TIMEOUT_SECONDS = 30.0
"""Deadline of a request whose client was given none."""

MAX_CUSTOMERS_PER_REQUEST = 256
"""Small enough that the caller of a large batch does not hold a worker for seconds."""
MAX_EVENTS_PER_REQUEST = 65_536
LONGEST_SECONDS = 366 * 86_400.0
"""gRPC counts a deadline in nanoseconds: one that is centuries ahead, or infinite, would have passed."""
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True, kw_only=True)
class Ask:
    """What is asked about every customer of a batch.

    Attributes:
        as_of_us: The point in time, UTC microseconds.
        include_survival: Whether to answer with survival curves.
        include_embedding: Whether to answer with embeddings.
        include_quantiles: Whether to answer with quantiles of amounts.
        horizons_days: Which horizons to answer; empty for all.
    """

    as_of_us: int
    include_survival: bool = False
    include_embedding: bool = False
    include_quantiles: bool = True
    horizons_days: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        """Refuse what has no meaning.

        Raises:
            DataError: Naming the argument.
        """
        for name in ("include_survival", "include_embedding", "include_quantiles"):
            check_choice(name, getattr(self, name))

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
        limits = description.limits
        ranges = split(
            tabled.histories.offsets,
            max_customers=min(MAX_CUSTOMERS_PER_REQUEST, limits.max_customers),
            max_events=min(MAX_EVENTS_PER_REQUEST, limits.max_events),
        )
        for start, end in ranges:
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
        request.omit_quantiles = not self.include_quantiles
        request.horizons_days.extend(self.horizons_days)
        return request


def split(
    offsets: Int64[ndarray, " customer_plus_1"],
    *,
    max_customers: int = MAX_CUSTOMERS_PER_REQUEST,
    max_events: int = MAX_EVENTS_PER_REQUEST,
) -> Iterator[tuple[int, int]]:
    """Yield ranges of customers that fill requests, in order.

    Args:
        offsets: Of the customers' events.
        max_customers: Most customers of a range.
        max_events: Most events of a range with several customers.

    Yields:
        First customer and one past the last one; at least one customer, however many its events.
    """
    start, num = 0, len(offsets) - 1
    while start < num:
        full = int(np.searchsorted(offsets, offsets[start] + max_events, side="right")) - 1
        end = min(max(full, start + 1), start + max(max_customers, 1), num)
        yield start, end
        start = end


def time_us(as_of: object) -> int:
    """Return a point in time in UTC microseconds.

    Raises:
        DataError: It is no datetime, or has no zone.
    """
    # The NaT of pandas is a datetime to Python.
    if not isinstance(as_of, datetime) or as_of != as_of:  # noqa: PLR0124 (only NaT differs from itself)
        raise DataError("as_of", as_of, "it must be a datetime with a zone")
    if as_of.utcoffset() is None:
        raise DataError("as_of", as_of, "it has no time zone: give it one")
    return (as_of - _EPOCH) // timedelta(microseconds=1)


def kept(rows: Any) -> Any:
    """Return rows that can be read more than once."""
    return list(rows) if isinstance(rows, Iterator) else rows


def is_other_model(error: ServiceError) -> bool:
    """Say whether the server's model, its schema or its name, has changed since it was asked for."""
    return error.code in {grpc.StatusCode.FAILED_PRECONDITION.name, grpc.StatusCode.NOT_FOUND.name}


def may_exceed_limits(error: ServiceError) -> bool:
    """Say whether the server may take less than it did when it was asked for its limits.

    Whether it does is found out by asking again. gRPC itself refuses what has too many bytes, with the
    status of a full server; its words alone tell the two apart.
    """
    is_too_large = error.code == grpc.StatusCode.RESOURCE_EXHAUSTED.name and "larger than" in error.reason
    return is_too_large or error.code == grpc.StatusCode.INVALID_ARGUMENT.name


@dataclass(frozen=True, slots=True, kw_only=True)
class Manners:
    """How a client calls, whichever way it waits.

    Attributes:
        model: Name of the model that is wanted; empty for the one that the server has.
        timeout_seconds: Deadline of every request, further tries included.
        compress_above_bytes: Requests larger than this are compressed; None for none.
        token: What every call carries, or what gives it; None for nothing.
    """

    model: str
    timeout_seconds: float
    compress_above_bytes: int | None
    token: Token | None = field(repr=False)

    def __post_init__(self) -> None:
        """Refuse what has no meaning.

        Raises:
            ConfigError: Naming the argument.
        """
        check_text("model", self.model, limit="it must be the name of a model, or empty for any")
        check_seconds("timeout_seconds", self.timeout_seconds)
        if self.compress_above_bytes is not None:
            check_whole("compress_above_bytes", self.compress_above_bytes, least=0)

    def until(self, timeout_seconds: float | None) -> float | None:
        """Return when the whole of a batch must have been answered, on the clock of :meth:`tries`.

        Raises:
            DataError: It is no number.
        """
        if timeout_seconds is None:
            return None
        check_seconds_left("timeout_seconds", timeout_seconds)
        return time.monotonic() + min(timeout_seconds, LONGEST_SECONDS)

    def tries(self, until: float | None) -> Tries:
        """Begin a request that ends by its own deadline and by that of its batch."""
        seconds = min(self.timeout_seconds, LONGEST_SECONDS)
        return Tries(seconds if until is None else min(seconds, until - time.monotonic()))

    def options(self, request: Message, tries: Tries) -> dict[str, Any]:
        """Return how a request is called: what it carries, how it is compressed, and how long it may take.

        Raises:
            ConfigError: What was asked for a token gave none.
            ServiceError: The deadline has passed.
        """
        limit = self.compress_above_bytes
        is_large = limit is not None and request.ByteSize() > limit
        return {
            "metadata": metadata_of(self.token),
            "compression": grpc.Compression.Gzip if is_large else None,
            # Last: to find a token takes of that time too.
            "timeout": tries.seconds_left(),
        }
