"""What is asked about customers, before it has been read: as bytes of a request, or as histories.

It deliberately reads no column: it tells how much there is to do, and cuts that into parts.

On the wire a packed column is one run of bytes, and a field of type ``bytes`` looks the same. So a
request is parsed with a description in which customers' columns are ``bytes``: the lengths are known
then, and :mod:`serving.reading` reads the columns of many customers in one go.
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
from serving.joining import stretch


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
        view: The request parsed, customers' columns as bytes.
        customers: Those who are asked about.
        start: Where in the request the first of them stands.
        is_plain: Whether the view holds all that was sent.
        num_events: How many events of every customer were sent, where it is plain.
    """

    data: bytes
    view: Any
    customers: Sequence[Any]
    start: int
    is_plain: bool
    num_events: Sequence[int]

    @classmethod
    def parse(cls, data: bytes) -> "AskedBytes":
        """Parse a request.

        Raises:
            RequestError: The bytes are no request.
        """
        view = _parsed(_view_class(), data)
        view.DiscardUnknownFields()
        customers = list(view.customers)
        return cls(
            data=data,
            view=view,
            customers=customers,
            start=0,
            # A number that is not packed is unknown to the view, and would be missing from it silently.
            is_plain=view.ByteSize() == len(data),
            num_events=[sum(map(len, customer.occurred_at_us)) >> 3 for customer in customers],
        )

    def part(self, start: int, end: int) -> "AskedBytes":
        """Return customers ``start`` to ``end``."""
        return AskedBytes(
            data=self.data,
            view=self.view,
            customers=self.customers[start:end],
            start=self.start + start,
            is_plain=self.is_plain,
            num_events=self.num_events[start:end],
        )

    def check(self, limits: Limits) -> None:
        """Hold the request against the limits, before anything is read.

        Raises:
            RequestError: There are too many customers, or too many events of all of them together.
        """
        if len(self.customers) > limits.max_customers:
            limit = f"a request may have at most {limits.max_customers}"
            raise RequestError("customers", len(self.customers), limit)
        if (num := sum(self.num_events)) > limits.max_events:
            limit = f"all customers of a request together may have at most {limits.max_events}"
            raise RequestError("customers", f"{num} events", limit)

    def read(self, schema: Schema, *, limits: Limits) -> Received:
        """Return the histories as :func:`holdfast.wire.read_customers` reads them, number by number.

        Raises:
            RequestError: The request as a whole is malformed.
        """
        request = _parsed(pb.ScoreRequest, self.data)
        del request.customers[self.start + len(self.customers) :]
        del request.customers[: self.start]
        return read_customers(request, schema, limits=limits)


Asked: TypeAlias = AskedHistories | AskedBytes


def _parsed(kind: Any, data: bytes) -> Any:
    try:
        return kind.FromString(data)
    except DecodeError as error:
        raise RequestError("request", f"{len(data)} bytes", "it must be a ScoreRequest") from error


@cache
def _view_class() -> Any:
    """Return the class of ScoreRequest in which every column of a customer is bytes."""
    file = descriptor_pb2.FileDescriptorProto()
    pb.DESCRIPTOR.CopyToProto(file)
    del file.service[:]
    kinds = descriptor_pb2.FieldDescriptorProto
    for message in file.message_type:
        for column in message.field:
            if message.name == "Customer" and column.label == kinds.LABEL_REPEATED:
                column.type = kinds.TYPE_BYTES
                column.ClearField("type_name")
    pool = descriptor_pool.DescriptorPool()
    pool.AddSerializedFile(timestamp_pb2.DESCRIPTOR.serialized_pb)
    pool.AddSerializedFile(file.SerializeToString())
    return message_factory.GetMessageClass(pool.FindMessageTypeByName(pb.ScoreRequest.DESCRIPTOR.full_name))
