"""The losses of a micro-batch as compiled graphs, all of them made before the first step.

It deliberately does not know what is computed. Random pools have ever new shapes, and each might be
compiled anew; so a micro-batch is padded to one of a fixed set of shapes, and every one of them is run
once before training. A graph leaves open how many segments there are, so that it serves many shapes.
"""

import logging
from bisect import bisect_left
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from time import perf_counter
from typing import Any

import torch
from torch import Tensor
from torch._dynamo import lookup_backend, maybe_mark_dynamic

from holdfast.errors import RunError
from training.batches import BatchingConfig, MicroBatch
from training.losses import LabelTensors
from training.splitting import LENGTH_GRID

COMPILE_BACKENDS = ("inductor", "aot_eager", "eager")
"""What makes code of a graph; the last two only run it, for tests and for finding faults."""

SEGMENT_GRID = (2, 3, 4, *(step * 2**power for power in range(16) for step in (5, 6, 7, 8)))
"""Numbers of segments are padded up to one of these. Not to 1, which PyTorch takes for a constant."""

MOST_GRAPHS = 256
"""What PyTorch makes of one function, at most; a length takes a few."""

_log = logging.getLogger(__name__)

Losses = Callable[..., dict[str, Tensor]]
"""Sums by name, from inputs, labels, weights of readouts, and settings that are the same throughout."""


class CompiledLosses:
    """A loss function that is compiled for a set of shapes, and says so where that did not suffice.

    Attributes:
        shapes: Numbers of segments and lengths that it is compiled for.
        num_graphs: Graphs that were made.
        seconds_preparing: What the making took, all before a step.
    """

    def __init__(self, losses: Losses, *, backend: str, longest: int, batching: BatchingConfig) -> None:
        """Compile nothing yet.

        Args:
            losses: What is compiled; a break in its graph is an error.
            backend: Makes code of graphs.
            longest: Events of the longest segment.
            batching: How much a micro-batch may hold.
        """
        self.shapes = shapes_of(longest=longest, event_budget=batching.event_budget)
        self.num_graphs = 0
        self.seconds_preparing = 0.0
        self._backend, self._batching = backend, batching
        # By name in a dictionary, because the overloads of torch 2.13 leave these two out.
        limits: dict[str, Any] = {"recompile_limit": MOST_GRAPHS, "isolate_recompiles": True}
        self._compiled = torch.compile(
            losses,
            fullgraph=True,
            dynamic=False,
            backend=self._counted(lookup_backend(backend)),
            **limits,
        )
        self._prepared: set[tuple[Any, ...]] = set()

    def __call__(self, batch: MicroBatch, **settings: Any) -> dict[str, Tensor]:
        """Return what the losses give for a micro-batch, within rounding.

        The first call with settings makes the graphs of all shapes: it takes as long as that takes.

        Args:
            batch: On the device that the model is on.
            settings: Passed on.

        Raises:
            RunError: PyTorch cannot compile here.
        """
        key = tuple(settings.items())
        if key not in self._prepared:
            self._prepare(batch, settings)
            self._prepared.add(key)
        known = self.num_graphs
        sums = self._run(batch, settings)
        if self.num_graphs > known:
            shape = "%d segments of %d events and %d cutoffs"
            _log.warning(f"compile: a step waited for a new graph, for {shape}", *batch.shape)
        return sums

    def _prepare(self, batch: MicroBatch, settings: Mapping[str, Any]) -> None:
        began = perf_counter()
        _log.info("compile: %s makes graphs for %d shapes of a batch", self._backend, len(self.shapes))
        try:
            for num_segments, length in self.shapes:
                # Backward as well: its code is made when it is first asked for. Of padding alone no loss is
                # anything but 0, and so is what it adds to gradients.
                sums = self._run(padding_like(batch, num_segments=num_segments, length=length), settings)
                torch.stack(list(sums.values())).sum().backward()
        except RuntimeError as error:
            # Whatever the compiler raises, forward or backward, is one: it has no base of its own.
            found = getattr(error, "inner_exception", None) or error.__cause__ or error
            reason = (str(found).strip() or type(found).__name__).splitlines()[0]
            raise RunError(
                f"compile={self._backend}: PyTorch cannot compile the step here: {reason}; "
                "compile=null does without"
            ) from error
        seconds = perf_counter() - began
        self.seconds_preparing += seconds
        _log.info("compile: %d graphs took %.0f s", self.num_graphs, seconds)

    def _run(self, batch: MicroBatch, settings: Mapping[str, Any]) -> dict[str, Tensor]:
        num, length, _ = batch.shape
        sizes = segment_sizes(self._batching.event_budget // length)
        num_readouts = self._batching.readouts_per_customer
        wide = widened(batch, num_segments=sizes[bisect_left(sizes, num)], num_readouts=num_readouts)
        labels = LabelTensors.of(wide.labels, like=wide.weights)
        for tensor in (*wide.inputs.values(), *_tensors(labels), wide.weights):
            maybe_mark_dynamic(tensor, 0)
        return self._compiled(wide.inputs, labels, wide.weights, **settings)

    def _counted(self, backend: Callable[..., Any]) -> Callable[..., Any]:
        def compile_counted(graph: torch.fx.GraphModule, inputs: list[Any]) -> Any:
            self.num_graphs += 1
            return backend(graph, inputs)

        return compile_counted


def shapes_of(*, longest: int, event_budget: int) -> Sequence[tuple[int, int]]:
    """Return every number of segments and length that micro-batches are padded to, the largest first.

    Args:
        longest: Events of the longest segment.
        event_budget: Padded events of a micro-batch; one segment alone may exceed it.
    """
    bounds = zip(LENGTH_GRID, (-1, *LENGTH_GRID), strict=False)
    lengths = [length for length, before in bounds if before < longest]
    return [
        (num_segments, length)
        for length in reversed(lengths)
        for num_segments in reversed(segment_sizes(event_budget // length))
    ]


def segment_sizes(most: int) -> Sequence[int]:
    """Return the numbers of segments that up to ``most`` of them are padded to, ascending."""
    most = max(SEGMENT_GRID[0], most)
    return [*(size for size in SEGMENT_GRID if size < most), most]


def widened(batch: MicroBatch, *, num_segments: int, num_readouts: int) -> MicroBatch:
    """Return a micro-batch with so many segments, and room for so many readouts in each.

    What is added is padding: it counts nothing and is seen by nothing.
    """
    num, _, most = batch.shape
    wanted = (num_segments, num_readouts)
    if wanted == (num, most):
        return batch
    assert most <= num_readouts, "a segment has no more cutoffs than a step may take of a customer"
    inputs = {
        name: _grown(tensor, wanted if name.startswith("readout") else (wanted[0], tensor.shape[1]))
        for name, tensor in batch.inputs.items()
    }
    # What stands in labels of padding is never read.
    rows = _grown(torch.arange(num * most).view(num, most), wanted)
    return replace(
        batch,
        inputs=inputs,
        labels=batch.labels.take(rows.view(-1).numpy()),
        weights=_grown(batch.weights, wanted),
    )


def padding_like(batch: MicroBatch, *, num_segments: int, length: int) -> MicroBatch:
    """Return a micro-batch of padding alone, with another number of segments and another length."""
    inputs = {
        name: tensor.new_zeros(
            num_segments, tensor.shape[1] if name.startswith("readout") else length, *tensor.shape[2:]
        )
        for name, tensor in batch.inputs.items()
    }
    weights = batch.weights.new_zeros(num_segments, batch.shape[2])
    labels = batch.labels.take(torch.zeros(weights.numel(), dtype=torch.int64).numpy())
    return replace(
        batch, inputs=inputs, labels=labels, weights=weights, num_readouts=0, num_events=0, num_padded=0
    )


def _grown(tensor: Tensor, shape: tuple[int, int]) -> Tensor:
    grown = tensor.new_zeros(*shape, *tensor.shape[2:])
    grown[: tensor.shape[0], : tensor.shape[1]] = tensor
    return grown


def _tensors(labels: LabelTensors) -> list[Tensor]:
    return [tensor for part in (labels.lower, labels.upper, labels.values) for tensor in part.values()]
