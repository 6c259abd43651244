"""Our server beside others with the same ONNX file, on the same core, with the same client, pairs in turn.

It deliberately does not know how the others work inside: :mod:`benchmarks.serving.peers` does.
"""

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import grpc
import numpy as np

from benchmarks.measuring import interleaved
from benchmarks.results import Figure
from benchmarks.serving import engine
from benchmarks.serving.bench import BATCH, START_SECONDS, Bench
from benchmarks.serving.clients import ask_each
from benchmarks.serving.goals import at_most, shown
from benchmarks.serving.load import Stream
from benchmarks.serving.peers.packed import Request, pack_request, unpack
from benchmarks.serving.peers.setups import PEERS, Batch, Peer
from benchmarks.serving.processes import ServerProcess
from benchmarks.serving.transports import Target
from holdfast.encoding.padding import EVENT_INPUTS
from holdfast.manifest import MODEL_NAME

ALONE = Batch(max_size=1, max_wait_seconds=0.0)
TOGETHER = Batch(max_size=16, max_wait_seconds=0.005)
PADDED = "padded to the longest"
"""What the others document for several inputs: one tensor. One by one is a loop of our own inside theirs."""
TOLERANCE = 1e-4
"""Outputs of the same graph at other paddings, relative to the larger of 1 and the value."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Way:
    """One way to use another server.

    Attributes:
        peer: The server.
        batch: Its own batching.
        words: What is set, for the figure's name.
        size: Customers of a request.
        requests: What it is sent.
    """

    peer: Peer
    batch: Batch
    words: str
    size: int
    requests: Sequence[bytes]


@dataclass(frozen=True, slots=True, kw_only=True)
class Beside:
    """One way to use another server, beside ours in the same minutes.

    Attributes:
        way: The other server.
        rate: Its customers per second, median.
        ratio: Ours over it, median of the pairs.
        num_wrong: Its calls that were refused or failed.
    """

    way: Way
    rate: float
    ratio: float
    num_wrong: int


def peer_figures(bench: Bench, environments: Path) -> tuple[list[Figure], list[str]]:
    """Measure every server that is installed.

    Args:
        bench: With the trained model.
        environments: Where their environments lie.

    Returns:
        The figures, and the names and versions of the servers that they are about.
    """
    installed: list[tuple[Peer, str]] = []
    for peer in PEERS:
        version = peer.version(environments)
        if version is None:
            bench.say(
                f"{peer.name} is left out: it is not installed in {environments / peer.key}; make peers"
            )
        else:
            installed.append((peer, version))
    found: list[Beside] = []
    for peer, _ in installed:
        for batch, words in ((ALONE, "off"), (TOGETHER, "on")):
            bench.say(f"beside {peer.name}, its batching {words}")
            found += _beside(bench, environments, peer, batch)
    figures: list[Figure] = []
    if found:
        singles = [beside for beside in found if beside.way.size == 1]
        batches = [beside for beside in found if beside.way.size > 1]
        name = f"{BATCH} customers a request"
        documented = [beside for beside in batches if beside.way.words == PADDED]
        figures.append(_ratio_figure(f"{name}, {PADDED}", documented, 3.0))
        figures.append(_ratio_figure(f"{name}, however it is run", batches, None))
        figures.append(_ratio_figure("one customer a request", singles, 1.3))
        figures += [
            shown(f"{size_in_words}: {_named(beside)}", beside.rate, "customers/s")
            for size_in_words, group in ((name, batches), ("one customer a request", singles))
            for beside in group
        ]
        best = max(singles, key=lambda beside: beside.rate)
        bench.say(f"latency at the highest rate of {best.way.peer.name}")
        figures += _latency_figures(bench, environments, best)
    return figures, [f"{peer.name} {version}" for peer, version in installed]


def _beside(bench: Bench, environments: Path, peer: Peer, batch: Batch) -> list[Beside]:
    """Measure one server with one setting of its own batching.

    With batching off both kinds of requests are sent, with batching on single customers alone: a request of
    64 is a batch already.
    """
    server, target = _start(bench, environments, peer, batch)
    with server:
        _check_answers(bench, peer, target)
        one = peer_requests(bench, peer, size=1, is_padded=False)
        if batch.max_size > 1:
            words = f"up to {batch.max_size} together, {1e3 * batch.max_wait_seconds:.0f} ms wait"
            return [_pair(bench, target, Way(peer=peer, batch=batch, words=words, size=1, requests=one))]
        ways = [Way(peer=peer, batch=batch, words="one by one", size=1, requests=one)]
        for words, is_padded in ((PADDED, True), ("one by one", False)):
            many = peer_requests(bench, peer, size=BATCH, is_padded=is_padded)
            ways.append(Way(peer=peer, batch=batch, words=words, size=BATCH, requests=many))
        return [_pair(bench, target, way) for way in ways]


def _pair(bench: Bench, target: Target, way: Way) -> Beside:
    effort = bench.effort
    concurrency = effort.singles_in_flight if way.size == 1 else effort.batches_in_flight
    own = bench.singles if way.size == 1 else bench.batches
    wrong: list[int] = []

    def ours() -> float:
        return way.size * bench.closed(bench.ours, own, concurrency=concurrency).rate

    def theirs() -> float:
        summary = bench.closed(target, way.requests, concurrency=concurrency)
        wrong.append(summary.num_refused + summary.num_failed)
        return way.size * summary.rate

    found = interleaved({"ours": ours, "theirs": theirs}, repeats=effort.rounds)
    ratios = [mine / other if other else math.inf for mine, other in zip(*found.values(), strict=True)]
    return Beside(
        way=way,
        rate=statistics.median(found["theirs"]),
        ratio=statistics.median(ratios),
        num_wrong=sum(wrong),
    )


def _ratio_figure(name: str, found: Sequence[Beside], goal: float | None) -> Figure:
    """Return ours over the best of the others."""
    best = max(found, key=lambda beside: beside.rate)
    return Figure(
        name=f"{name}: ours over the best other server, {_named(best)}",
        value=best.ratio,
        unit="",
        goal=goal,
        better="higher",
    )


def _named(beside: Beside) -> str:
    wrong = f", {beside.num_wrong} calls failed" if beside.num_wrong else ""
    return f"{beside.way.peer.name} ({beside.way.words}{wrong})"


def _latency_figures(bench: Bench, environments: Path, best: Beside) -> list[Figure]:
    """Compare the 99th percentiles at the highest rate that the best other server sustains."""
    way = best.way
    name = f"one customer a request at the highest rate of {way.peer.name}"
    server, target = _start(bench, environments, way.peer, way.batch)
    with server:
        sustained = bench.search(target, way.requests, start=0.8 * best.rate)
        if sustained is None:
            return [at_most(f"{name}: our p99 over its", math.nan, 0.5)]
        seeds = iter(range(1_000, 1_000_000))

        def p99_of(where: Target, requests: Sequence[bytes]) -> float:
            streams = [Stream(requests=requests, rate=sustained.rate)]
            return bench.open(where, streams, seed=next(seeds), factor=2.0)[0].p99_seconds

        found = interleaved(
            {
                "ours": lambda: p99_of(bench.ours, bench.singles),
                "theirs": lambda: p99_of(target, way.requests),
            },
            repeats=bench.effort.rounds,
        )
    ratios = [mine / other for mine, other in zip(*found.values(), strict=True)]
    return [
        at_most(f"{name}: our p99 over its", statistics.median(ratios), 0.5),
        shown(f"{name}: rate offered", sustained.rate, "calls/s"),
        shown(f"{name}: its p99", 1e3 * statistics.median(found["theirs"]), "ms", better="lower"),
        shown(f"{name}: our p99", 1e3 * statistics.median(found["ours"]), "ms", better="lower"),
    ]


def peer_requests(bench: Bench, peer: Peer, *, size: int, is_padded: bool) -> list[bytes]:
    """Return the bench's customers as another server takes them: encoded already, events end to end."""
    made = []
    for customers, lengths in bench.workload.tensors(size):
        events = {name: np.concatenate([inputs[name][0] for inputs in customers]) for name in EVENT_INPUTS}
        rest = {
            name: np.concatenate([inputs[name] for inputs in customers])
            for name in customers[0]
            if name not in EVENT_INPUTS
        }
        request = Request(is_padded=is_padded, lengths=lengths, events=events, customers=rest)
        made.append(peer.wrap(pack_request(request)))
    return made


def _start(bench: Bench, environments: Path, peer: Peer, batch: Batch) -> tuple[ServerProcess, Target]:
    server, target = peer.start(
        environments,
        bench.model.artifact.resolve() / MODEL_NAME,
        batch,
        core=bench.cores.server,
        folder=bench.folder,
    )
    first = peer_requests(bench, peer, size=1, is_padded=False)[0]

    def is_ready() -> bool:
        try:
            bench.client.call(ask_each, target, [first])
        except (OSError, grpc.aio.AioRpcError):
            return False
        return True

    try:
        server.wait_for(is_ready, seconds=START_SECONDS)
    except BaseException:
        server.stop()
        raise
    return server, target


def _check_answers(bench: Bench, peer: Peer, target: Target) -> None:
    """Refuse to time a server that does not give what the graph gives."""
    expected = bench.engine.call(engine.expected_outputs, bench.asked, BATCH)
    for size, is_padded in ((1, False), (BATCH, True), (BATCH, False)):
        request = peer_requests(bench, peer, size=size, is_padded=is_padded)[0]
        (answer,) = bench.client.call(ask_each, target, [request])
        found, _ = unpack(peer.unwrap(answer))
        for name, values in expected.items():
            wanted = values[:size]
            worst = np.max(np.abs(found[name] - wanted) / np.maximum(1.0, np.abs(wanted)))
            if not worst <= TOLERANCE:
                raise SystemExit(f"{peer.name}: output {name} is {worst:.1e} off the graph's")
