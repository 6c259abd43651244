"""A bench: our server, a server that does nothing, the bare engine and the client, each on its core.

It deliberately knows no figure: it runs loads and counts what went wrong.
"""

import sys
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from rich.console import Console

from benchmarks.results import ROOT
from benchmarks.serving import noop
from benchmarks.serving.clients import ClosedPlan, OpenPlan, ask_each, run_plan
from benchmarks.serving.engine import Asked
from benchmarks.serving.load import Record, Stream
from benchmarks.serving.models import Model
from benchmarks.serving.processes import Cores, ServerProcess, Worker
from benchmarks.serving.summary import Summary, Sustained, highest_rate, summarise
from benchmarks.serving.transports import Target
from benchmarks.serving.workload import Workload, make_workload
from holdfast.v1 import scoring_pb2 as pb

SCORE = "/holdfast.v1.ScoringService/Score"
START_SECONDS = 120.0
NUM_CUSTOMERS = 1_024
SEED = 1
BATCH = 64


@dataclass(frozen=True, slots=True, kw_only=True)
class Effort:
    """How much is measured.

    Attributes:
        rounds: How often each pair is measured in turn.
        seconds: Of one load, after its warm-up.
        warm_up_seconds: Before it.
        bound_seconds: What the 99th percentile keeps at the highest rate.
        max_trials: Of the search for it.
        batches_in_flight: Concurrent requests of 64 customers.
        singles_in_flight: Concurrent requests of one customer.
    """

    rounds: int
    seconds: float
    warm_up_seconds: float
    bound_seconds: float
    max_trials: int
    batches_in_flight: int
    singles_in_flight: int


class Bench:
    """Everything that is started for one model; a context manager that stops it.

    Attributes:
        model: What is served.
        effort: How much is measured.
        cores: Where.
        folder: For port files and logs.
        workload: Who is asked about.
        asked: The same for the engine's process.
        singles: Requests of one customer.
        batches: Requests of 64.
        client: The process that sends loads.
        engine: The process that runs the graph without a server.
        server: Our server.
        ours: Where it listens.
        nothing_server: The server that does nothing.
        nothing: Where that listens.
        num_wrong: Calls to our server that were refused or failed, those of searches not counted.
    """

    def __init__(self, model: Model, cores: Cores, effort: Effort, *, folder: Path, console: Console) -> None:
        """Start what is measured, and see that our server answers.

        Args:
            model: What is served.
            cores: Where.
            effort: How much is measured.
            folder: For port files and logs.
            console: Where progress is told.
        """
        self.model, self.cores, self.effort, self.folder = model, cores, effort, folder
        self.workload: Workload = make_workload(model, num_customers=NUM_CUSTOMERS, seed=SEED)
        self.asked = Asked(model=model, num_customers=NUM_CUSTOMERS, seed=SEED)
        self.singles, self.batches = self.workload.requests(1), self.workload.requests(BATCH)
        self.num_wrong = 0
        self._console = console
        self._stack = ExitStack()
        try:
            self.client = self._stack.enter_context(Worker(cores.client))
            self.engine = self._stack.enter_context(Worker(cores.server))
            ours = ["serving", "--artifact", str(model.artifact.resolve()), "--port", "0"]
            self.server, self.ours = self._start("ours", [*ours, "--log-level", "WARNING"], SCORE)
            self.nothing_server, self.nothing = self._start("nothing", ["benchmarks.serving.noop"], noop.PATH)
            self._check_answers()
        except BaseException:
            self._stack.close()
            raise

    def __enter__(self) -> Self:
        """Return the bench."""
        return self

    def __exit__(self, *_: object) -> None:
        """Stop everything."""
        self._stack.close()

    def _start(self, name: str, module: Sequence[str], path: str) -> tuple[ServerProcess, Target]:
        port_file = self.folder / f"{name}-{self.model.name}.port"
        port_file.unlink(missing_ok=True)
        server = ServerProcess(
            [sys.executable, "-m", *module, "--port-file", port_file],
            core=self.cores.server,
            folder=ROOT,
            log=self.folder / f"{name}-{self.model.name}.log",
        )
        self._stack.enter_context(server)
        server.wait_for(port_file.exists, seconds=START_SECONDS)
        return server, Target(kind="grpc", port=int(port_file.read_text(encoding="ascii")), path=path)

    def _check_answers(self) -> None:
        for answer in self.client.call(ask_each, self.ours, [self.batches[0], self.singles[0]]):
            customers = pb.ScoreResponse.FromString(answer).customers
            if not customers or not all(customer.HasField("prediction") for customer in customers):
                raise SystemExit("our server did not score the customers of the benchmark")

    def say(self, text: str) -> None:
        """Tell what is measured."""
        self._console.print(f"{self.model.name}: {text} ...", style="dim")

    def closed(self, target: Target, requests: Sequence[bytes], *, concurrency: int) -> Summary:
        """Keep so many calls in flight for as long as the effort says."""
        effort = self.effort
        seconds = effort.warm_up_seconds + effort.seconds
        record = self.run(target, ClosedPlan(requests=requests, concurrency=concurrency, max_seconds=seconds))
        summary = summarise(record, warm_up_seconds=effort.warm_up_seconds)
        self._count(target, summary)
        return summary

    def open(
        self,
        target: Target,
        streams: Sequence[Stream],
        *,
        seed: int,
        factor: float = 1.0,
        is_trial: bool = False,
    ) -> list[Summary]:
        """Send calls at Poisson times.

        Args:
            target: Where to.
            streams: The kinds of requests.
            seed: Of the times.
            factor: How much longer than the effort says.
            is_trial: Whether refusals are what the load is to find out.

        Returns:
            One summary per stream.
        """
        effort = self.effort
        seconds = effort.warm_up_seconds + factor * effort.seconds
        record = self.run(target, OpenPlan(streams=streams, seconds=seconds, seed=seed))
        summaries = [
            summarise(record, warm_up_seconds=effort.warm_up_seconds, stream=stream)
            for stream in range(len(streams))
        ]
        if not is_trial:
            for summary in summaries:
                self._count(target, summary)
        return summaries

    def search(self, target: Target, requests: Sequence[bytes], *, start: float) -> Sustained | None:
        """Search for the highest rate that a server sustains, from a first guess."""
        seeds = iter(range(1_000_000))

        def trial(rate: float) -> Summary:
            stream = Stream(requests=requests, rate=rate)
            return self.open(target, [stream], seed=next(seeds), is_trial=True)[0]

        effort = self.effort
        return highest_rate(
            trial, start=start, bound_seconds=effort.bound_seconds, max_trials=effort.max_trials
        )

    def run(self, target: Target, plan: ClosedPlan | OpenPlan) -> Record:
        """Run a load in the client's process."""
        return self.client.call(run_plan, target, plan)

    def _count(self, target: Target, summary: Summary) -> None:
        if target == self.ours:
            self.num_wrong += summary.num_refused + summary.num_failed
