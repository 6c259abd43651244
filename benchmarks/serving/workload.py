"""Histories of the agreed lengths, as requests of our server and as the tensors that the engine takes.

It deliberately draws real histories: lengths are made to measure, what happened is not.
"""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
from jaxtyping import Int64
from numpy import ndarray

from benchmarks.serving.models import Model
from holdfast.encoding import Cutoffs, EncodingSpec, encode, pad
from holdfast.encoding.encode import Encoded
from holdfast.histories import Histories, ragged_range, search_sorted
from holdfast.manifest import read_manifest
from holdfast.schema import MICROSECONDS_PER_DAY
from holdfast.wire import write_request
from training.store import HistoryStore

MEDIAN_EVENTS = 29.0
SPREAD = 1.0
"""Standard deviation of the logarithm of a length."""
MAX_EVENTS = 256


@dataclass(frozen=True, slots=True, kw_only=True)
class Workload:
    """Customers that are asked about.

    Attributes:
        histories: One per customer; the lengths are lognormal.
        as_of_us: The cutoff of all of them.
        spec: The model's encoding.
    """

    histories: Histories
    as_of_us: int
    spec: EncodingSpec

    @property
    def num_customers(self) -> int:
        """How many there are."""
        return self.histories.num_customers

    def requests(self, size: int) -> list[bytes]:
        """Return requests of so many customers each, together for every customer; serialised."""
        made = []
        for rows in self._parts(size):
            ids = [str(row) for row in rows]
            taken = self.histories.take(rows)
            made.append(write_request(taken, ids, as_of_us=self.as_of_us, schema=self.spec.schema))
        return [request.SerializeToString() for request in made]

    def mixed_requests(self, rng: np.random.Generator) -> list[bytes]:
        """Return requests of random shapes: mostly one customer, one in a hundred of up to 64."""
        made, start = [], 0
        while start < self.num_customers:
            size = int(rng.integers(2, 65)) if rng.random() < 0.01 else 1
            rows = np.arange(start, min(start + size, self.num_customers))
            ids = [str(row) for row in rows]
            taken = self.histories.take(rows)
            made.append(write_request(taken, ids, as_of_us=self.as_of_us, schema=self.spec.schema))
            start += size
        return [request.SerializeToString() for request in made]

    def encoded(self) -> Encoded:
        """Return what the model is told about every customer."""
        cutoffs = Cutoffs.one_each(
            np.arange(self.num_customers), np.full(self.num_customers, self.as_of_us, dtype=np.int64)
        )
        return encode(self.histories, cutoffs, self.spec)

    def tensors(self, size: int) -> Iterator[tuple[list[Mapping[str, ndarray]], list[int]]]:
        """Yield the same requests as tensors: each customer's inputs unpadded, and the lengths."""
        encoded = self.encoded()
        lengths = np.maximum(encoded.lengths, 1).tolist()
        for rows in self._parts(size):
            yield (
                [pad(encoded, np.array([row]), length=lengths[row]) for row in rows.tolist()],
                [lengths[row] for row in rows.tolist()],
            )

    def _parts(self, size: int) -> Iterator[Int64[ndarray, " customer"]]:
        for start in range(0, self.num_customers - size + 1, size):
            yield np.arange(start, start + size)


def make_workload(model: Model, *, num_customers: int, seed: int) -> Workload:
    """Draw histories of a model's data set; the same seed draws the same ones.

    Args:
        model: The model that is asked.
        num_customers: How many.
        seed: Of the draw.
    """
    rng = np.random.default_rng(seed)
    spec = read_manifest(model.artifact).encoding
    histories = HistoryStore.open(model.store, verify=False).histories
    as_of_us = int(histories.occurred_at_us.max())
    lengths = draw_lengths(num_customers, max_events=min(MAX_EVENTS, spec.max_events), rng=rng)
    taken = last_events(histories, lengths, as_of_us=as_of_us, history_days=spec.history_days, rng=rng)
    return Workload(histories=taken, as_of_us=as_of_us, spec=spec)


def draw_lengths(num: int, *, max_events: int, rng: np.random.Generator) -> Int64[ndarray, " customer"]:
    """Draw lognormal lengths between 1 and a maximum."""
    drawn = np.rint(rng.lognormal(math.log(MEDIAN_EVENTS), SPREAD, size=num))
    return np.clip(drawn, 1, max_events).astype(np.int64)


def last_events(
    histories: Histories,
    lengths: Int64[ndarray, " customer"],
    *,
    as_of_us: int,
    history_days: int,
    rng: np.random.Generator,
) -> Histories:
    """Return, for every length, the last so many events of a customer who has them.

    Args:
        histories: Of all customers; the latest event is not after the cutoff.
        lengths: Wanted; one that nobody reaches becomes the longest that there is.
        as_of_us: The cutoff.
        history_days: Older events are not used by the model, and are left out.
        rng: What the choice of customers comes from.

    Returns:
        One history per length; a customer may stand several times.
    """
    starts, ends = histories.offsets[:-1], histories.offsets[1:]
    oldest = np.full(len(starts), as_of_us - history_days * MICROSECONDS_PER_DAY)
    num_used = ends - search_sorted(histories.occurred_at_us, starts, ends, oldest)
    order = np.argsort(num_used, kind="stable")
    lengths = np.minimum(lengths, num_used[order[-1]])
    first = np.searchsorted(num_used[order], lengths)
    customers = order[rng.integers(first, len(order))]
    rows, offsets = ragged_range(ends[customers] - lengths, ends[customers])
    attributes = histories.take(customers).attributes
    return Histories(
        offsets=offsets,
        occurred_at_us=histories.occurred_at_us[rows],
        event_type=histories.event_type.take(rows),
        categorical={name: column.take(rows) for name, column in histories.categorical.items()},
        numeric={name: column[rows] for name, column in histories.numeric.items()},
        attributes=attributes,
    )
