"""Histories and points in time to predictions: encode, pad, run, put back in order.

It deliberately does not know who asks: the batcher and offline scoring take the same steps, so
their numbers are the same.
"""

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import onnxruntime as ort
from jaxtyping import Bool, Int64, Shaped
from numpy import ndarray

from holdfast.eligibility import find_eligible
from holdfast.encoding import Cutoffs, EncodingSpec, encode_runs
from holdfast.encoding.windows import Seen, count_seen
from holdfast.errors import ConfigError
from holdfast.histories import Histories
from holdfast.results import ELIGIBLE_NAME, OBSERVED_NAMES
from serving.outputs import RowsOf
from serving.plan import RunPlan

PROVIDERS = {"cpu": "CPUExecutionProvider", "cuda": "CUDAExecutionProvider"}

# TF32 keeps ten bits of what is multiplied: too few where logs are subtracted from each other.
PROVIDER_OPTIONS = {PROVIDERS["cuda"]: {"use_tf32": "0"}}
"""ONNX Runtime's names of what can run a graph."""

MAX_PADDED_TOGETHER = 16_384
"""Padded events that are encoded in one go: a megabyte or two."""

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
        is_eligible: Whether training would have asked about the customer.
    """

    outputs: Mapping[str, Shaped[ndarray, "customer ..."]]
    num_used: Int64[ndarray, " customer"]
    num_truncated: Int64[ndarray, " customer"]
    num_after: Int64[ndarray, " customer"]
    num_unknown: Int64[ndarray, " customer"]
    is_eligible: Bool[ndarray, " customer"]

    def rows(self, rows: slice) -> "Predictions":
        """Return some customers' part, without copying."""
        return Predictions(
            outputs={name: values[rows] for name, values in self.outputs.items()},
            **{name: getattr(self, name)[rows] for name in OBSERVED_NAMES},
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class PaddedRun:
    """Customers that go through the graph together, and what the graph is given about them.

    Attributes:
        segments: Their segments of the encoding.
        inputs: By input name; the first axis is the customer.
        length: What their events are padded to.
        num_unknown: How many of their events have a value that training never saw.
    """

    segments: Int64[ndarray, " batch"]
    inputs: Mapping[str, Shaped[ndarray, "batch ..."]]
    length: int
    num_unknown: Int64[ndarray, " batch"]

    @property
    def padded_events(self) -> int:
        """What the run computes."""
        return len(self.segments) * self.length

    def only(self, places: Sequence[int]) -> "PaddedRun":
        """Return the run without those who are not at these places."""
        return PaddedRun(
            segments=self.segments.take(places),
            inputs={name: values.take(places, axis=0) for name, values in self.inputs.items()},
            length=self.length,
            num_unknown=self.num_unknown.take(places),
        )


class Predictor:
    """One ONNX Runtime session with the encoding that feeds it; safe to share between threads.

    Attributes:
        plan: How customers are put into runs.
        output_names: Everything that the graph gives.
    """

    def __init__(
        self, session: ort.InferenceSession, spec: EncodingSpec, *, plan: RunPlan | None = None
    ) -> None:
        """Keep the session and say how runs are formed.

        Args:
            session: As :func:`open_session` gives it.
            spec: The encoding that the graph was trained with.
            plan: How customers are put into runs; None for what fits most models.
        """
        self._session = session
        self._spec = spec
        self._inputs = tuple(session.get_inputs())
        self._input_names = tuple(tensor.name for tensor in self._inputs)
        self.plan = RunPlan(max_events=spec.max_events) if plan is None else plan
        self.output_names = tuple(tensor.name for tensor in session.get_outputs())

    def with_plan(self, plan: RunPlan) -> "Predictor":
        """Return a predictor with the same session that forms runs in another way."""
        return Predictor(self._session, self._spec, plan=plan)

    def predict(
        self,
        histories: Histories,
        as_of_us: Int64[ndarray, " customer"],
        *,
        output_names: Collection[str] | None = None,
        before_run: Callable[[], None] | None = None,
    ) -> Predictions:
        """Predict for every customer at its own point in time.

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
        seen = self.see(histories, as_of_us)
        unknown: list[tuple[ndarray, ndarray]] = []
        found: list[Mapping[str, ndarray]] = []
        for run in self.padded_runs(histories, as_of_us, seen):
            if before_run is not None:
                before_run()
            unknown.append((run.segments, run.num_unknown))
            found.append(self.run(run, names))
        if found:
            places = np.empty(histories.num_customers, dtype=np.int64)
            places[np.concatenate([segments for segments, _ in unknown])] = np.arange(len(places))
            outputs = dict(RowsOf(found, places))
        else:
            blank = self.run_blank(num=1, length=int(self.plan.lengths[0]))
            outputs = {name: blank[name][:0] for name in names}
        return Predictions(outputs=outputs, **self.observe(histories, as_of_us, seen, unknown))

    def see(self, histories: Histories, as_of_us: Int64[ndarray, " customer"]) -> Seen:
        """Return how many events every customer's cutoff sees."""
        return count_seen(
            histories,
            Cutoffs.of_all(as_of_us),
            max_events=self._spec.max_events,
            spans_days=self._spec.spans_days[-1:],
        )

    def observe(
        self,
        histories: Histories,
        as_of_us: Int64[ndarray, " customer"],
        seen: Seen,
        unknown: Iterable[tuple[Int64[ndarray, " _"], Int64[ndarray, " _"]]],
    ) -> Mapping[str, Shaped[ndarray, " customer"]]:
        """Return what was noticed about the customers' events.

        Args:
            histories: What :meth:`see` was given.
            as_of_us: Likewise.
            seen: What it returned.
            unknown: ``segments`` and ``num_unknown`` of all their runs.
        """
        num_unknown = np.empty(len(as_of_us), dtype=np.int64)
        for segments, counts in unknown:
            num_unknown[segments] = counts
        return {
            "num_used": seen.num_used,
            "num_truncated": seen.num_truncated,
            "num_after": seen.num_after,
            "num_unknown": num_unknown,
            ELIGIBLE_NAME: find_eligible(histories, as_of_us, self._spec.schema),
        }

    def padded_runs(
        self, histories: Histories, as_of_us: Int64[ndarray, " customer"], seen: Seen
    ) -> Iterator[PaddedRun]:
        """Yield the runs of everybody, several of them encoded in one go.

        Args:
            histories: What :meth:`see` was given.
            as_of_us: Likewise.
            seen: What it returned.
        """
        for runs in self.plan.runs(seen.num_used).parts(most_padded=MAX_PADDED_TOGETHER):
            segments = runs.segments
            numbers = np.arange(len(segments) + 1, dtype=np.int64)
            cutoffs = Cutoffs(customer=segments, offsets=numbers, time_us=as_of_us.take(segments))
            padded, num_unknown = encode_runs(
                histories, cutoffs, self._spec, widths=runs.widths, shapes=runs.shapes
            )
            start = 0
            for (num, length), inputs in zip(runs.shapes, padded, strict=True):
                rows = slice(start, start + num)
                yield PaddedRun(
                    segments=segments[rows], inputs=inputs, length=length, num_unknown=num_unknown[rows]
                )
                start = rows.stop

    def run(self, run: PaddedRun, names: Sequence[str]) -> Mapping[str, Shaped[ndarray, "batch ..."]]:
        """Send some customers through the graph.

        Args:
            run: Who, and what is known of them.
            names: Wanted outputs.

        Returns:
            Outputs by name, one row per customer of the run.
        """
        inputs = {name: run.inputs[name] for name in self._input_names}
        return dict(zip(names, self._session.run(names, inputs), strict=True))

    def run_blank(self, *, num: int, length: int) -> Mapping[str, Shaped[ndarray, "batch ..."]]:
        """Return what the graph says about customers of as many events as fit, which say nothing."""
        inputs = {
            tensor.name: np.zeros(
                _sizes(tensor.shape, num=num, length=length), dtype=_DTYPES.get(tensor.type, np.float32)
            )
            for tensor in self._inputs
        }
        # Histories that are shorter than their padding may cost less.
        inputs["readout_visible"][:] = length
        return dict(zip(self.output_names, self._session.run(self.output_names, inputs), strict=True))

    def warm_up(self) -> None:
        """Run the smallest and the largest batch of every padded length.

        No caller pays for the first allocation then, and what memory the engine needs is taken
        before anybody is served.
        """
        for length in self.plan.lengths.tolist()[::-1]:
            for num in {self.plan.capacity(length), 1}:
                self.run_blank(num=num, length=length)


def spread(
    values: Shaped[ndarray, "known ..."], rows: Int64[ndarray, " known"], *, num: int
) -> Shaped[ndarray, "customer ..."]:
    """Return the same for ``num`` customers, of whom these stand at ``rows``; zeros for the others."""
    spread_out = np.zeros((num, *values.shape[1:]), dtype=values.dtype)
    spread_out[rows] = values
    return spread_out


def _sizes(shape: Sequence[int | str], *, num: int, length: int) -> list[int]:
    """Return the sizes of a tensor: the first axis is the batch, another free one the length."""
    return [num if not axis else size if isinstance(size, int) else length for axis, size in enumerate(shape)]


def open_session(model: bytes, *, provider: str = "cpu") -> ort.InferenceSession:
    """Open a graph for many threads that run it at the same time, one core each.

    Args:
        model: The bytes of the ONNX file.
        provider: What runs it: a key of :data:`PROVIDERS`.

    Returns:
        A session that runs in the calling thread alone: a second thread within one run, and
        threads that spin while they wait, cost up to half the throughput on shared cores.

    Raises:
        ConfigError: This machine's ONNX Runtime lacks the provider.
    """
    wanted, available = PROVIDERS[provider], ort.get_available_providers()
    if wanted not in available:
        limit = f"ONNX Runtime offers only {available} here: install onnxruntime-gpu, or take cpu"
        raise ConfigError("--provider (HOLDFAST_PROVIDER)", provider, limit)
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    options.execution_mode = ort.ExecutionMode.ORT_SEQUENTIAL
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.use_deterministic_compute = True
    # 3: errors. Its warnings are about the graph's form, and they go to stderr past our logging.
    options.log_severity_level = 3
    # What a provider has no kernel for falls to the CPU.
    chosen = dict.fromkeys([wanted, PROVIDERS["cpu"]])
    providers = [(name, PROVIDER_OPTIONS.get(name, {})) for name in chosen]
    return ort.InferenceSession(model, options, providers=providers)
