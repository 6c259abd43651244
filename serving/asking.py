"""What is asked about customers, before it has been read: as bytes of a request, or as histories.

It deliberately reads no column: it tells how much there is to do, and cuts that into parts.

On the wire a message within another is one run of bytes, and a field of type ``bytes`` looks the same. So a
request is parsed with a description in which customers are ``bytes``; compiled loops (:mod:`serving.columns`)
see how many events each has, and :mod:`serving.reading` reads those of many requests in one go.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, TypeAlias

import numpy as np
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory, timestamp_pb2
from google.protobuf.message import DecodeError

from holdfast.errors import RequestError
from holdfast.histories import Histories
from holdfast.schema import Schema
from holdfast.v1 import scoring_pb2 as pb
from holdfast.wire import Limits, Received, read_customers
from serving import wire_loops as loops
from serving.columns import Customers, NotPlainError
from serving.joining import stretch

UNCOUNTED_BYTES = 65_536
"""A request of no more than this cannot hold more parts than are parsed in some milliseconds."""

MOST_COLUMNS = 4_096
"""Of a customer: more than any schema has."""

MOST_WORDS = 1_048_576
"""Of a dictionary."""

CUSTOMERS_TAG = loops.tag(pb.ScoreRequest, "customers")


@dataclass(frozen=True, slots=True, kw_only=True)
class AskedHistories:
    """Customers whose histories are there already.

    Attributes:
        histories: Columns whose lengths fit.
    """

    histories: Histories

    @property
    def num_events(self) -> Sequence[int]:
        """How many events every customer has."""
        counts: list[int] = np.diff(self.histories.offsets).tolist()
        return counts

    def part(self, start: int, end: int) -> "AskedHistories":
        """Return customers ``start`` to ``end``."""
        return AskedHistories(histories=stretch(self.histories, start, end))

    def read(self, schema: Schema, *, limits: Limits) -> Received:
        """Return the histories of them all."""
        del schema, limits
        positions = np.arange(self.histories.num_customers, dtype=np.int64)
        return Received(histories=self.histories, positions=positions, errors={})


@dataclass(frozen=True, slots=True, kw_only=True)
class AskedBytes:
    """Customers of a ScoreRequest.

    Attributes:
        data: The request as it came.
        view: The request parsed, every customer as bytes.
        start: Where in the request the first customer stands.
        customer_ids: Who is asked about, in UTF-8.
        num_events: How many events of every customer were sent.
        plain: The customers as they were sent; None where they have to be read number by number.
    """

    data: bytes
    view: Any
    start: int
    customer_ids: Sequence[bytes]
    num_events: Sequence[int]
    plain: Customers | None

    @classmethod
    def parse(cls, data: bytes, *, limits: Limits) -> "AskedBytes":
        """Parse a request.

        Raises:
            RequestError: The bytes are no request, or hold more parts than are taken.
        """
        if len(data) > UNCOUNTED_BYTES:
            _count(data, limits)
        view = parsed(_view_class(), data)
        _check_customers(len(view.customers), limits)
        if len(data) > UNCOUNTED_BYTES:
            _check_words(view)
        view.DiscardUnknownFields()
        try:
            plain = _plain(view, data)
        except NotPlainError:
            customers = parsed(pb.ScoreRequest, data).customers
            return cls(
                data=data,
                view=view,
                start=0,
                customer_ids=[customer.customer_id.encode() for customer in customers],
                num_events=[len(customer.occurred_at_us) for customer in customers],
                plain=None,
            )
        return cls(
            data=data,
            view=view,
            start=0,
            customer_ids=plain.customer_ids(),
            num_events=plain.num_events.tolist(),
            plain=plain,
        )

    def part(self, start: int, end: int) -> "AskedBytes":
        """Return customers ``start`` to ``end``."""
        return AskedBytes(
            data=self.data,
            view=self.view,
            start=self.start + start,
            customer_ids=self.customer_ids[start:end],
            num_events=self.num_events[start:end],
            plain=None if self.plain is None else self.plain.part(start, end),
        )

    def sent(self) -> Sequence[bytes]:
        """Return every customer as it was sent."""
        sent: Sequence[bytes] = self.view.customers[self.start : self.start + len(self.customer_ids)]
        return sent

    def check(self, limits: Limits) -> None:
        """Hold the request against the limits, before anything is read.

        Raises:
            RequestError: There are too many events of all customers together.
        """
        if (num := sum(self.num_events)) > limits.max_events:
            limit = f"all customers of a request together may have at most {limits.max_events}"
            raise RequestError("customers", f"{num} events", limit)

    def read(self, schema: Schema, *, limits: Limits) -> Received:
        """Return the histories as :func:`holdfast.wire.read_customers` reads them, number by number.

        Raises:
            RequestError: The request as a whole is malformed.
        """
        request = parsed(pb.ScoreRequest, self.data)
        del request.customers[self.start + len(self.customer_ids) :]
        del request.customers[: self.start]
        return read_customers(request, schema, limits=limits)


Asked: TypeAlias = AskedHistories | AskedBytes


def parsed(kind: Any, data: bytes) -> Any:
    """Return a message of a kind.

    Raises:
        RequestError: The bytes are none.
    """
    try:
        return kind.FromString(data)
    except DecodeError as error:
        limit = f"it must be a {kind.DESCRIPTOR.name}"
        raise RequestError("request", f"{len(data)} bytes", limit) from error


def _count(data: bytes, limits: Limits) -> None:
    """Hold a large request against the limits before any of it becomes a message or an object.

    Two bytes are a customer without anything, an object of its own for each is a thousand times that.

    Raises:
        RequestError: There are too many customers, or columns of one customer.
    """
    counts = np.zeros(2, dtype=np.int64)
    loops.count_parts(np.frombuffer(data, dtype=np.uint8), CUSTOMERS_TAG, loops.PART_OF_TAG, counts)
    num_customers, num_columns = counts.tolist()
    _check_customers(num_customers, limits)
    if num_columns > MOST_COLUMNS:
        limit = f"a customer may have at most {MOST_COLUMNS} fields and attributes"
        raise RequestError("customers.fields", num_columns, limit)


def _check_customers(num: int, limits: Limits) -> None:
    if num > limits.max_customers:
        raise RequestError("customers", num, f"a request may have at most {limits.max_customers}")


def _check_words(view: Any) -> None:
    """Refuse dictionaries that nobody needs.

    Raises:
        RequestError: Naming the dictionary.
    """
    words = {"event_types": len(view.event_types)}
    for field in ("field_dictionaries", "attribute_dictionaries"):
        words |= {
            f"{field}[{name[:80]!r}]": len(given.values) for name, given in getattr(view, field).items()
        }
    for field, num in words.items():
        if num > MOST_WORDS:
            raise RequestError(field, f"{num} words", f"a dictionary may have at most {MOST_WORDS}")


def _plain(view: Any, data: bytes) -> Customers:
    # What the view does not know would be missing from it silently.
    if view.ByteSize() != len(data):
        raise NotPlainError
    return Customers.of(list(view.customers))


@cache
def _view_class() -> Any:
    """Return the class of ScoreRequest in which every customer is bytes."""
    file = descriptor_pb2.FileDescriptorProto()
    pb.DESCRIPTOR.CopyToProto(file)
    del file.service[:]
    kinds = descriptor_pb2.FieldDescriptorProto
    for message in file.message_type:
        for column in message.field:
            if (message.name, column.name) == ("ScoreRequest", "customers"):
                column.type = kinds.TYPE_BYTES
                column.ClearField("type_name")
    pool = descriptor_pool.DescriptorPool()
    pool.AddSerializedFile(timestamp_pb2.DESCRIPTOR.serialized_pb)
    pool.AddSerializedFile(file.SerializeToString())
    return message_factory.GetMessageClass(pool.FindMessageTypeByName(pb.ScoreRequest.DESCRIPTOR.full_name))
