"""Customers of a ScoreRequest as they were sent, and their columns: compiled loops read them.

It deliberately decides nothing: what is not exactly as protobuf's own libraries write it is not plain, and
:mod:`holdfast.wire` has the last word on it.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from itertools import accumulate

import numpy as np
from jaxtyping import Float32, Int32, Int64, UInt8
from numpy import ndarray

from holdfast.schema import Schema
from serving import wire_loops as loops
from serving.row_loops import read_rows


class NotPlainError(Exception):
    """Something has to be read number by number."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Customers:
    """Customers of one or several requests as they were sent, and where in that their parts lie.

    Attributes:
        data: The bytes of them all.
        bounds: Where each begins and ends: there may be others between them.
        spans: Where id, times, types and times of versions of each lie; (-1, -1) where one is absent.
        counts: How many events each has, how many versions, and how many fields and attributes it sends.
    """

    data: UInt8[ndarray, " byte"]
    bounds: Int64[ndarray, "2 customer"]
    spans: Int64[ndarray, "4 customer 2"]
    counts: Int64[ndarray, "4 customer"]

    @classmethod
    def of(cls, customers: Sequence[bytes]) -> "Customers":
        """Find the parts of some customers.

        Raises:
            NotPlainError: There is anything that no library of protobuf writes for this message.
        """
        num = len(customers)
        data = np.frombuffer(b"".join(customers), dtype=np.uint8)
        ends = [0, *accumulate(map(len, customers))]
        bounds = np.array([ends[:-1], ends[1:]], dtype=np.int64)
        spans, counts = np.empty((4, num, 2), dtype=np.int64), np.empty((4, num), dtype=np.int64)
        flags = np.ones(2, dtype=np.int64)
        loops.outline(data, bounds, loops.PART_OF_TAG, spans, counts, flags)
        is_plain, is_ascii = flags.tolist()
        if not is_plain:
            raise NotPlainError
        found = cls(data=data, bounds=bounds, spans=spans, counts=counts)
        if not is_ascii:
            found._check_ids()
        return found

    def _check_ids(self) -> None:
        try:
            for customer_id in self.customer_ids():
                customer_id.decode()
        except UnicodeDecodeError as error:
            raise NotPlainError from error

    def part(self, start: int, end: int) -> "Customers":
        """Return customers ``start`` to ``end``; their bytes are not copied."""
        return Customers(
            data=self.data,
            bounds=self.bounds[:, start:end].copy(),
            spans=self.spans[:, start:end].copy(),
            counts=self.counts[:, start:end].copy(),
        )

    def __len__(self) -> int:
        """Return how many customers there are."""
        return int(self.bounds.shape[1])

    @property
    def num_events(self) -> Int64[ndarray, " customer"]:
        """How many events each has."""
        num: ndarray = self.counts[0]
        return num

    def customer_ids(self) -> list[bytes]:
        """Return who they are; empty where nothing was sent."""
        data = self.data.data
        return [bytes(data[start:end]) for start, end in self.spans[loops.ID].tolist()]

    def read(self, schema: Schema) -> tuple[Int32[ndarray, " event"], "Rows", "Rows"]:
        """Return the types' codes of their events, the events, and the versions of their attributes.

        Raises:
            NotPlainError: A column has another name than the schema's, stands twice, or has another number of
                rows.
        """
        num_events, num_versions = self.counts[:2].sum(axis=1).tolist()
        events = _blank(
            schema.categorical_fields, schema.numeric_fields, customers=len(self), rows=num_events
        )
        versions = _blank(
            schema.categorical_attributes, schema.numeric_attributes, customers=len(self), rows=num_versions
        )
        types = np.empty(num_events, dtype=np.int32)
        is_plain = np.ones(1, dtype=np.int64)
        read_rows(
            self.data,
            self.bounds,
            loops.PART_OF_TAG,
            self.spans,
            self.counts,
            *_names(schema.categorical_fields, schema.numeric_fields),
            *_names(schema.categorical_attributes, schema.numeric_attributes),
            events.offsets,
            events.times,
            types,
            events.codes,
            events.values,
            versions.offsets,
            versions.times,
            versions.codes,
            versions.values,
            is_plain,
        )
        if not is_plain[0]:
            raise NotPlainError
        return types, events, versions


@dataclass(frozen=True, slots=True, kw_only=True)
class Rows:
    """Events, or versions of attributes, of several customers.

    Attributes:
        offsets: Rows of every customer.
        times: UTC microseconds; of versions without one, :data:`holdfast.histories.ALWAYS_US`.
        codes: Of the categorical columns, in the schema's order.
        values: Of the numeric ones.
    """

    offsets: Int64[ndarray, " customer_plus_1"]
    times: Int64[ndarray, " row"]
    codes: Int32[ndarray, "categorical row"]
    values: Float32[ndarray, "numeric row"]


def _blank(categorical: tuple[str, ...], numeric: tuple[str, ...], *, customers: int, rows: int) -> Rows:
    return Rows(
        offsets=np.empty(customers + 1, dtype=np.int64),
        times=np.empty(rows, dtype=np.int64),
        codes=np.empty((len(categorical), rows), dtype=np.int32),
        values=np.empty((len(numeric), rows), dtype=np.float32),
    )


@cache
def _names(
    categorical: tuple[str, ...], numeric: tuple[str, ...]
) -> tuple[UInt8[ndarray, " byte"], Int64[ndarray, " column"]]:
    """Return the bytes of all names, one behind the other, and where each ends."""
    encoded = [name.encode() for name in categorical + numeric]
    # The type is named, because of no name at all NumPy would make floating point.
    ends = np.array([*accumulate(map(len, encoded))], dtype=np.int64)
    return np.frombuffer(b"".join(encoded), dtype=np.uint8), ends
