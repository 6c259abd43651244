"""Histories and points in time to predictions: encode, pad, run, put back in order.

It deliberately does not know who asks: the servicer and offline scoring call the same method,
so their numbers are the same.
"""

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import onnxruntime as ort
from jaxtyping import Int64, Shaped
from numpy import ndarray

from holdfast.encoding import Cutoffs, EncodingSpec, encode, pad
from holdfast.histories import Histories

LENGTH_STEP = 8
LENGTH_GROWTH = 1.25
"""Padded lengths are multiples of 8, about a quarter apart: few shapes for the allocator, little padding."""

PADDED_EVENTS_PER_RUN = 2_048
"""Larger runs fall out of a core's cache, smaller ones pay each call's overhead more often."""

_DTYPES = {"tensor(int64)": np.int64}


@dataclass(frozen=True, slots=True, kw_only=True)
class Predictions:
    """What the graph says about some customers, and what was noticed about their events.

    Attributes:
        outputs: By output name; the first axis is the customer.
        num_used: Events that the prediction rests on.
        num_truncated: Events before the cutoff that are older, or more, than the encoding takes.
        num_after: Events after the cutoff.
        num_unknown: Used events with a value that training never saw.
    """

    outputs: Mapping[str, Shaped[ndarray, "customer ..."]]
    num_used: Int64[ndarray, " customer"]
    num_truncated: Int64[ndarray, " customer"]
    num_after: Int64[ndarray, " customer"]
    num_unknown: Int64[ndarray, " customer"]


class Predictor:
    """One ONNX Runtime session with the encoding that feeds it; safe to share between threads."""

    def __init__(self, session: ort.InferenceSession, spec: EncodingSpec) -> None:
        """Keep the session and fix the lengths that histories are padded to.

        Args:
            session: As :func:`open_session` gives it.
            spec: The encoding that the graph was trained with.
        """
        self._session = session
        self._spec = spec
        self._lengths = length_grid(spec.max_events)
        self.input_names = tuple(tensor.name for tensor in session.get_inputs())
        self.output_names = tuple(tensor.name for tensor in session.get_outputs())

    def predict(
        self,
        histories: Histories,
        as_of_us: Int64[ndarray, " customer"],
        *,
        output_names: Collection[str] | None = None,
        before_run: Callable[[], None] | None = None,
    ) -> Predictions:
        """Predict for every customer at its own point in time.

        A customer is padded to a length of its own, whoever else is asked about, and only
        customers of the same padded length share a run: no work is spent on
        the difference of mixed lengths, and the
        padding that a customer sees never depends on its company.

        Args:
            histories: Checked histories (:func:`holdfast.faults.find_faults`).
            as_of_us: One cutoff per customer, UTC microseconds.
            output_names: Which outputs are wanted; None for all.
            before_run: Called before every run; may raise to give up, for instance when the
                caller has gone.

        Returns:
            Outputs in the order of the customers.
        """
        names = self.output_names if output_names is None else tuple(output_names)
        cutoffs = Cutoffs.one_each(np.arange(histories.num_customers, dtype=np.int64), as_of_us)
        encoded = encode(histories, cutoffs, self._spec)
        outputs: dict[str, ndarray] = {}
        for segments, length in self._runs(encoded.lengths):
            if before_run is not None:
                before_run()
            inputs = pad(encoded, segments, length=length)
            found = self._session.run(names, {name: inputs[name] for name in self.input_names})
            for name, values in zip(names, found, strict=True):
                if name not in outputs:
                    shape = (histories.num_customers, *values.shape[1:])
                    outputs[name] = np.empty(shape, dtype=values.dtype)
                outputs[name][segments] = values
        if not outputs:
            found = self._session.run(names, self._blank(LENGTH_STEP))
            outputs = {name: values[:0] for name, values in zip(names, found, strict=True)}
        return Predictions(
            outputs=outputs,
            num_used=encoded.num_used,
            num_truncated=encoded.num_truncated,
            num_after=encoded.num_after,
            num_unknown=encoded.num_unknown,
        )

    def _runs(self, lengths: Int64[ndarray, " segment"]) -> Iterator[tuple[Int64[ndarray, " batch"], int]]:
        """Yield the segments of every run with their padded length, shortest first."""
        padded = self._lengths[np.searchsorted(self._lengths, lengths)]
        order = np.argsort(padded, kind="stable")
        ends = np.flatnonzero(np.diff(padded[order], append=-1)) + 1
        start = 0
        for end in ends.tolist():
            length = int(padded[order[start]])
            batch = max(1, PADDED_EVENTS_PER_RUN // length)
            for first in range(start, end, batch):
                yield order[first : min(first + batch, end)], length
            start = end

    def warm_up(self) -> None:
        """Run once with every padded length, so that no caller pays for the first allocation."""
        for length in self._lengths.tolist():
            self._session.run(self.output_names, self._blank(length))

    def _blank(self, length: int) -> Mapping[str, ndarray]:
        """Return the inputs of one customer of nothing but padding."""
        return {
            tensor.name: np.zeros(
                _sizes(tensor.shape, length=length), dtype=_DTYPES.get(tensor.type, np.float32)
            )
            for tensor in self._session.get_inputs()
        }


def _sizes(shape: Sequence[int | str], *, length: int) -> list[int]:
    """Return the sizes of one customer's tensor: the first axis is the batch, another free one the length."""
    return [size if isinstance(size, int) else length if axis else 1 for axis, size in enumerate(shape)]


def length_grid(max_events: int) -> Int64[ndarray, " length"]:
    """Return the ascending lengths that histories are padded to; the last one holds them all."""
    lengths = [LENGTH_STEP]
    while lengths[-1] < max_events:
        grown = -(-int(lengths[-1] * LENGTH_GROWTH) // LENGTH_STEP) * LENGTH_STEP
        lengths.append(max(grown, lengths[-1] + LENGTH_STEP))
    return np.array(lengths, dtype=np.int64)


def open_session(model: bytes) -> ort.InferenceSession:
    """Open a graph for many threads that run it at the same time, one core each.

    Args:
        model: The bytes of the ONNX file.

    Returns:
        A session that runs in the calling thread alone: a second thread within one run, and
        threads that spin while they wait, cost up to half the throughput on shared cores.
    """
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    options.execution_mode = ort.ExecutionMode.ORT_SEQUENTIAL
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.use_deterministic_compute = True
    # 3: errors. Its warnings are about the graph's form, and they go to stderr past our logging.
    options.log_severity_level = 3
    return ort.InferenceSession(model, options, providers=["CPUExecutionProvider"])
