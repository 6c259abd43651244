"""The store as the loader: random pools of customers, split into micro-batches by length.

It deliberately does not know the model. What step ``k`` trains on depends on the seed and ``k``
alone, so a run that was killed goes on with exactly the batches it would have had.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace

import numpy as np
import torch
from jaxtyping import Float, Float32, Int64
from numpy import ndarray
from torch import Tensor
from torch.autograd.profiler import record_function
from torch.utils.data import Dataset

from holdfast.encoding import EncodingSpec, encode
from holdfast.encoding.encode import Encoded, EncodedReadouts
from holdfast.encoding.packing import ACTIVE_ROWS, pack_many
from holdfast.encoding.padding import pad_many
from holdfast.errors import ConfigError
from holdfast.histories import Histories
from training.labels import Labels
from training.pages import release_pages
from training.resident import SEGMENT_ROW, Residence, ResidentEvents, SeenEvents, pad_places
from training.segments import share_segments
from training.splitting import split_by_length, split_evenly

STEPS_PER_RELEASE = 4
"""Steps after which what was read of the store is given back: the system maps 64 KiB around every read."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchingConfig:
    """How one optimiser step is filled.

    Attributes:
        pool_customers: Customers drawn at random for one step.
        readouts_per_customer: Most cutoffs of one customer in a step, drawn anew each time.
        weigh_undrawn: Whether a cutoff that was drawn also counts for those of its customer that were
            not, so that every cutoff counts alike. Without it customers count alike, however long
            they stayed, while a calendar asks about those who stayed long more often.
        event_budget: Events of a micro-batch, at most (one history may exceed it), with their padding where
            there is any.
        min_share: See :func:`training.segments.share_segments`.
        resident: Whether the device holds all events, so that micro-batches need not bring theirs.
    """

    pool_customers: int = 256
    readouts_per_customer: int = 8
    weigh_undrawn: bool = True
    event_budget: int = 8_192
    min_share: float = 0.5
    resident: Residence = "auto"

    def __post_init__(self) -> None:
        """Refuse sizes that hold nothing.

        Raises:
            ConfigError: Naming the setting.
        """
        for name in ("pool_customers", "readouts_per_customer", "event_budget"):
            if getattr(self, name) < 1:
                raise ConfigError(f"batching.{name}", getattr(self, name), "it must be at least 1")
        if not 0 <= self.min_share <= 1:
            raise ConfigError("batching.min_share", self.min_share, "it must lie in [0, 1]")


@dataclass(frozen=True, slots=True, kw_only=True)
class MicroBatch:
    """Inputs and labels of some segments of like length.

    Attributes:
        inputs: Tensors of :func:`holdfast.encoding.padding.pad_many` by name, or of
            :func:`holdfast.encoding.packing.pack_many`. Where the device holds the events, only their
            first rows and numbers until :meth:`to` has gathered them.
        labels: Labels of every readout slot, ``[batch * readout]`` in row-major order; slots that
            ``readout_is_real`` does not mark repeat the first readout and must be masked.
        weights: How much every slot counts in the loss; 0 for those that are not real.
        num_readouts: How many slots are real.
        num_events: How many events are real.
        num_padded: How many there are with padding; as many, where they are packed.
        gathered_length: What events are padded to that are yet to be gathered; None packs them.
    """

    inputs: Mapping[str, Tensor]
    labels: Labels
    weights: Float[Tensor, "batch readout"]
    num_readouts: int
    num_events: int
    num_padded: int
    gathered_length: int | None = None

    @property
    def shape(self) -> tuple[int, int, int]:
        """Segments, length of the longest and readouts of a segment, padding included."""
        packed = self.inputs.get(ACTIVE_ROWS)
        length = self.inputs["event_days"].shape[1] if packed is None else len(packed)
        return len(self.weights), length, self.weights.shape[1]

    def to(self, device: torch.device, resident: ResidentEvents | None = None) -> "MicroBatch":
        """Return the micro-batch with its inputs on a device, its events from those that lie there."""
        moved = {
            # How events are packed is read where the model is told what to do.
            name: tensor if name == ACTIVE_ROWS else tensor.to(device, non_blocking=True)
            for name, tensor in self.inputs.items()
        }
        if SEGMENT_ROW in moved:
            assert resident is not None, "whoever leaves events out gives those on the device"
            moved = resident.gathered(moved, length=self.gathered_length)
        weights = self.weights.to(device, non_blocking=True)
        return replace(self, inputs=moved, weights=weights, gathered_length=None)

    def pinned(self) -> "MicroBatch":
        """Return the micro-batch in memory that a GPU copies from while it computes."""
        moved = {
            name: tensor if name == ACTIVE_ROWS else tensor.pin_memory()
            for name, tensor in self.inputs.items()
        }
        return replace(self, inputs=moved, weights=self.weights.pin_memory())


DrawReadouts = Callable[
    [Int64[ndarray, " customer"], np.random.Generator],
    tuple[Int64[ndarray, " readout"], Int64[ndarray, " readout"]],
]
"""Eligible cutoffs of some customers: (position among them, cutoff in microseconds)."""

LabelReadouts = Callable[[Int64[ndarray, " readout"], Int64[ndarray, " readout"]], Labels]
"""Labels of cutoffs: (customer in the store, cutoff in microseconds)."""

WeighReadouts = Callable[[Int64[ndarray, " readout"]], Float32[ndarray, " readout"]]
"""How much cutoffs count in the loss."""


class PoolDataset(Dataset[list[MicroBatch]]):
    """Optimiser steps as items: item ``k`` holds the micro-batches of step ``k``."""

    def __init__(
        self,
        histories: Histories,
        spec: EncodingSpec,
        *,
        customers: Int64[ndarray, " customer"],
        draw: DrawReadouts,
        label: LabelReadouts,
        weigh: WeighReadouts,
        config: BatchingConfig,
        num_steps: int,
        seed: int,
        rank: int = 0,
        num_ranks: int = 1,
        is_packed: bool = False,
        seen: SeenEvents | None = None,
    ) -> None:
        """Keep the store's columns and how to draw from them.

        Args:
            histories: The whole store, memory-mapped.
            spec: The fitted encoding.
            customers: Customers with at least one eligible training cutoff.
            draw: Draws cutoffs for a pool.
            label: Labels them.
            weigh: Weighs them.
            config: Sizes.
            num_steps: Number of optimiser steps.
            seed: Of everything drawn.
            rank: Which of several training processes this is.
            num_ranks: How many there are.
            is_packed: Whether events are packed; if not, they are padded to rows.
            seen: The events that the device holds; None where micro-batches bring theirs.

        Raises:
            ConfigError: There is no customer to draw.
        """
        if not len(customers):
            raise ConfigError(
                "cutoffs.train", 0, "at least one customer must be eligible at a training cutoff"
            )
        self._histories, self._spec, self._config, self._seed = histories, spec, config, seed
        self._customers, self._draw, self._label, self._weigh = customers, draw, label, weigh
        self._num_steps = num_steps
        self._rank, self._num_ranks = rank, num_ranks
        self._is_packed, self._seen = is_packed, seen
        if seen is not None:
            # What is told of cutoffs has no categorical fields in it: they are not read again.
            self._histories = replace(histories, categorical={})
        self._pools_per_epoch = max(1, len(customers) // config.pool_customers)

    @property
    def pool_customers(self) -> int:
        """Customers of a step, over all processes."""
        return self._config.pool_customers

    def __len__(self) -> int:
        """Return the number of optimiser steps."""
        return self._num_steps

    @record_function("draw")
    def __getitem__(self, step: int) -> list[MicroBatch]:
        """Draw, encode, label and split the pool of one step.

        Raises:
            IndexError: ``step`` lies past the last one.
        """
        if not 0 <= step < self._num_steps:
            raise IndexError(step)
        if step % STEPS_PER_RELEASE == 0:
            release_pages(self._histories)
        rng = np.random.default_rng([self._seed, 1, step])
        people = self._pool(step)
        position, cutoff_us = self._draw(people, rng)
        num_offered = np.bincount(position)
        position, cutoff_us = draw_some(position, cutoff_us, self._config.readouts_per_customer, rng)
        # Whoever was offered a cutoff has one drawn: nobody is divided by 0 who is looked up.
        stands_for = num_offered[position] / np.bincount(position)[position]
        # Every process draws the whole pool alike and encodes its own share of it; one without a share
        # encodes somebody who does not count, so that it takes part in the step.
        is_own = position % self._num_ranks == self._rank
        has_share = bool(is_own.any())
        kept = is_own if has_share else slice(1)
        position, cutoff_us, stands_for = position[kept], cutoff_us[kept], stands_for[kept]
        own = self._histories.take(people)
        cutoffs = share_segments(own, position, cutoff_us, self._spec, min_share=self._config.min_share)
        labels = self._label(people[position], cutoff_us)
        with record_function("encode"):
            encoded: EncodedReadouts = (
                encode(own, cutoffs, self._spec)
                if self._seen is None
                else self._seen.encode(own, cutoffs, self._spec, customers=people)
            )
            weights = self._weigh(cutoff_us)
            if self._config.weigh_undrawn:
                weights = weights * stands_for.astype(np.float32)
        budget, is_packed = self._config.event_budget, self._is_packed
        pool = micro_batches(encoded, labels, budget, weights=weights, is_packed=is_packed, rng=rng)
        return pool if has_share else [weightless(batch) for batch in pool]

    def _pool(self, step: int) -> Int64[ndarray, " pool"]:
        """Return the customers of a step: every epoch visits them in a new random order."""
        epoch, position = divmod(step, self._pools_per_epoch)
        order = np.random.default_rng([self._seed, 0, epoch]).permutation(len(self._customers))
        size = self._config.pool_customers
        return np.sort(self._customers[order[position * size : (position + 1) * size]])


@record_function("split")
def micro_batches(
    encoded: EncodedReadouts,
    labels: Labels,
    event_budget: int,
    *,
    weights: Float32[ndarray, " readout"],
    is_packed: bool = False,
    rng: np.random.Generator | None = None,
) -> list[MicroBatch]:
    """Split encoded segments and their labels into micro-batches.

    Args:
        encoded: Ragged inputs; without events where the device holds them.
        labels: One per readout, in the same order.
        event_budget: Events of a micro-batch, with their padding where they are padded.
        weights: One per readout, in the same order.
        is_packed: Whether events are packed; if not, they are padded to rows.
        rng: Breaks ties between equal lengths at random; None keeps their order.

    Returns:
        Micro-batches that hold every segment once.
    """
    num_readouts = np.diff(encoded.readout_offsets)
    parts: Iterable[tuple[ndarray, int | None]] = (
        ((segments, None) for segments in split_evenly(encoded.lengths, event_budget, rng))
        if is_packed
        else split_by_length(encoded.lengths, event_budget, rng)
    )
    batches = []
    for segments, length in parts:
        most = int(num_readouts[segments].max())
        if not isinstance(encoded, Encoded):
            arrays = pad_places(encoded, segments, num_readouts=most, is_packed=is_packed)
        elif length is None:
            arrays = pack_many(encoded, segments, num_readouts=most)
        else:
            arrays = pad_many(encoded, segments, length=length, num_readouts=most)
        batches.append(
            MicroBatch(
                inputs={name: torch.from_numpy(array) for name, array in arrays.items()},
                labels=labels.take(arrays["readout_row"].reshape(-1)),
                weights=torch.from_numpy(weights[arrays["readout_row"]] * arrays["readout_is_real"]),
                num_readouts=int(num_readouts[segments].sum()),
                num_events=int(encoded.lengths[segments].sum()),
                num_padded=len(segments) * length if length is not None else int(arrays[ACTIVE_ROWS].sum()),
                gathered_length=None if isinstance(encoded, Encoded) else length,
            )
        )
    return batches


def weightless(batch: MicroBatch) -> MicroBatch:
    """Return a micro-batch of the same shape that adds nothing to any loss: padding alone."""
    return replace(
        batch,
        inputs={
            name: tensor if name == ACTIVE_ROWS else torch.zeros_like(tensor)
            for name, tensor in batch.inputs.items()
        },
        weights=torch.zeros_like(batch.weights),
        num_readouts=0,
        num_events=0,
        num_padded=0,
    )


def draw_some(
    position: Int64[ndarray, " readout"],
    cutoff_us: Int64[ndarray, " readout"],
    most: int,
    rng: np.random.Generator,
) -> tuple[Int64[ndarray, " drawn"], Int64[ndarray, " drawn"]]:
    """Keep at most ``most`` random cutoffs of every customer, sorted by customer and time."""
    # Positions are whole numbers: what is added keeps them apart, and one key sorts faster than two.
    order = np.argsort(position + rng.random(len(position)))
    ranked = position[order]
    rank = np.arange(len(ranked)) - np.searchsorted(ranked, ranked, side="left")
    kept = order[rank < most]
    kept = kept[np.lexsort((cutoff_us[kept], position[kept]))]
    return position[kept], cutoff_us[kept]
