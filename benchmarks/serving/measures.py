"""The figures of our own server beside the bare engine and a call that does nothing, pairs in turn.

It deliberately knows no other server.
"""

import math
import statistics

from benchmarks.measuring import interleaved
from benchmarks.results import Figure
from benchmarks.serving import engine
from benchmarks.serving.bench import BATCH, Bench
from benchmarks.serving.clients import ClosedPlan
from benchmarks.serving.engine import Batching
from benchmarks.serving.footprint import padding_figures
from benchmarks.serving.goals import at_least, at_most, shown
from benchmarks.serving.load import Stream
from benchmarks.serving.summary import Sustained, summarise

LARGE_BATCH = 256
LOAD_SHARE = 0.7
MIX_SHARES = 0.2, 0.4
"""Of what the server can do: single customers, and large batches beside them."""


def own_figures(bench: Bench) -> list[Figure]:
    """Measure everything about our server that needs no other one."""
    bench.say("looking for the engine's best batch")
    best = bench.engine.call(engine.find_best, bench.asked)
    bench.say(f"64 customers a request beside the bare engine ({best})")
    figures = batch_figures(bench, best)
    bench.say("one customer a request beside what the two costs allow")
    figures += single_figures(bench, best)
    bench.say("latency without load")
    figures += unloaded_figures(bench)
    bench.say("searching for the highest rate")
    start = next(figure.value for figure in figures if figure.name.endswith(SINGLE_RATE))
    capacity = bench.search(bench.ours, bench.singles, start=0.9 * start)
    bench.say("latency under load")
    figures += loaded_figures(bench, capacity)
    bench.say("single customers beside large batches")
    figures += mix_figures(bench, best, capacity)
    return figures + padding_figures(bench)


def batch_figures(bench: Bench, best: Batching) -> list[Figure]:
    """Compare 64-customer requests with the bare engine on the same core."""
    effort = bench.effort

    def ours() -> float:
        found = bench.closed(bench.ours, bench.batches, concurrency=effort.batches_in_flight)
        return BATCH * found.rate

    def bare() -> float:
        return bench.engine.call(engine.throughput, bench.asked, best, effort.seconds)

    rates = interleaved({"ours": ours, "bare": bare}, repeats=effort.rounds)
    name = f"{bench.model.name}, {BATCH} customers a request"
    return [
        at_least(
            f"{name}: share of the bare engine's rate", _median_ratio(rates["ours"], rates["bare"]), 0.9
        ),
        shown(f"{name}: {effort.batches_in_flight} in flight", _median(rates["ours"]), "customers/s"),
        shown(
            f"{bench.model.name}, bare engine at its best batch ({best})",
            _median(rates["bare"]),
            "customers/s",
        ),
    ]


SINGLE_RATE = "calls answered"

PAUSE_SECONDS = 0.5e-3
"""How long a server without load waits for the next request of one client, about."""


def single_figures(bench: Bench, best: Batching) -> list[Figure]:
    """Compare requests of one customer with what engine and network cost together."""
    effort = bench.effort
    in_flight = effort.singles_in_flight

    def ours() -> float:
        return bench.closed(bench.ours, bench.singles, concurrency=in_flight).rate

    def bare() -> float:
        return 1 / bench.engine.call(engine.throughput, bench.asked, best, effort.seconds / 2)

    nothing_rates: list[float] = []

    def nothing() -> float:
        before = bench.nothing_server.processor_seconds()
        plan = ClosedPlan(requests=bench.singles, concurrency=in_flight, max_seconds=effort.seconds)
        record = bench.run(bench.nothing, plan)
        taken = bench.nothing_server.processor_seconds() - before
        nothing_rates.append(summarise(record, warm_up_seconds=effort.warm_up_seconds).rate)
        return taken / len(record.answer)

    found = interleaved({"ours": ours, "bare": bare, "nothing": nothing}, repeats=effort.rounds)
    shares = [
        rate * (engine_seconds + call_seconds)
        for rate, engine_seconds, call_seconds in zip(
            found["ours"], found["bare"], found["nothing"], strict=True
        )
    ]
    name = f"{bench.model.name}, one customer a request, {in_flight} in flight"
    return [
        at_least(f"{name}: share of what engine and empty call allow", _median(shares), 0.85),
        shown(f"{name}: {SINGLE_RATE}", _median(found["ours"]), "calls/s"),
        shown(f"empty call, {in_flight} in flight: calls answered", _median(nothing_rates), "calls/s"),
        shown(
            "empty call: the server's processor time",
            1e3 * _median(found["nothing"]),
            "ms",
            better="lower",
        ),
        shown(
            f"{bench.model.name}, bare engine: time of a customer at the best batch",
            1e3 * _median(found["bare"]),
            "ms",
            better="lower",
        ),
    ]


def unloaded_figures(bench: Bench) -> list[Figure]:
    """Compare one call at a time with the engine alone."""
    effort = bench.effort

    def ours() -> float:
        return bench.closed(bench.ours, bench.singles, concurrency=1).p50_seconds

    def bare() -> float:
        return bench.engine.call(engine.run_alone, bench.asked, effort.seconds).p50_seconds

    def nothing() -> float:
        return bench.closed(bench.nothing, bench.singles, concurrency=1).p50_seconds

    def rested() -> float:
        return bench.engine.call(engine.run_alone, bench.asked, effort.seconds, PAUSE_SECONDS).p50_seconds

    found = interleaved(
        {"ours": ours, "bare": bare, "rested": rested, "nothing": nothing}, repeats=effort.rounds
    )
    added = [1e3 * (ours - bare) for ours, bare in zip(found["ours"], found["bare"], strict=True)]
    name = f"{bench.model.name}, one customer, no load"
    return [
        at_most(f"{name}: median over the bare engine's", _median(added), 1.0, "ms"),
        shown(f"{name}: median", 1e3 * _median(found["ours"]), "ms", better="lower"),
        shown(
            f"{bench.model.name}, bare engine, one customer a run: median",
            1e3 * _median(found["bare"]),
            "ms",
            better="lower",
        ),
        shown(
            f"{bench.model.name}, bare engine, one customer a run after a pause: median",
            1e3 * _median(found["rested"]),
            "ms",
            better="lower",
        ),
        shown("empty call, no load: median", 1e3 * _median(found["nothing"]), "ms", better="lower"),
    ]


def loaded_figures(bench: Bench, capacity: Sustained | None) -> list[Figure]:
    """Compare the 99th percentile at a share of capacity with the one without load."""
    name = f"{bench.model.name}, one customer"
    bound = f"{1e3 * bench.effort.bound_seconds:.0f} ms"
    highest = f"{name}: highest Poisson rate with p99 within {bound}"
    goal_name = f"{name}: p99 at {100 * LOAD_SHARE:.0f} % of it over p99 without load"
    if capacity is None:
        return [shown(highest, math.nan, "calls/s"), at_most(goal_name, math.nan, 4.0)]
    streams = [Stream(requests=bench.singles, rate=LOAD_SHARE * capacity.rate)]
    seeds = iter(range(1_000, 1_000_000))
    late: list[float] = []
    offered: list[float] = []

    def loaded() -> float:
        found = bench.open(bench.ours, streams, seed=next(seeds), factor=2.0)[0]
        late.append(found.late_p99_seconds)
        offered.append(found.offered_rate)
        return found.p99_seconds

    def unloaded() -> float:
        return bench.closed(bench.ours, bench.singles, concurrency=1).p99_seconds

    found = interleaved({"loaded": loaded, "unloaded": unloaded}, repeats=bench.effort.rounds)
    return [
        shown(highest, capacity.rate, "calls/s"),
        at_most(goal_name, _median_ratio(found["loaded"], found["unloaded"]), 4.0),
        shown(f"{name}: rate offered then", _median(offered), "calls/s"),
        shown(f"{name}: p99 then", 1e3 * _median(found["loaded"]), "ms", better="lower"),
        shown(f"{name}: p99 without load", 1e3 * _median(found["unloaded"]), "ms", better="lower"),
        shown(f"{name}: the client's own delay then, p99", 1e3 * _median(late), "ms", better="lower"),
    ]


def mix_figures(bench: Bench, best: Batching, capacity: Sustained | None) -> list[Figure]:
    """Compare single customers beside large batches with the same ones alone."""
    name = f"{bench.model.name}, single customers beside requests of {LARGE_BATCH}"
    goal_name = f"{name}: p99 over p99 without the large ones"
    if capacity is None:
        return [at_most(goal_name, math.nan, 3.0)]
    engine_rate = bench.engine.call(engine.throughput, bench.asked, best, bench.effort.seconds)
    singles = Stream(requests=bench.singles, rate=MIX_SHARES[0] * capacity.rate)
    large_rate = MIX_SHARES[1] * engine_rate / LARGE_BATCH
    large = Stream(requests=bench.workload.requests(LARGE_BATCH), rate=large_rate)
    seeds = iter(range(1_000, 1_000_000))

    def p99_of(streams: list[Stream]) -> float:
        return bench.open(bench.ours, streams, seed=next(seeds), factor=2.0)[0].p99_seconds

    found = interleaved(
        {"alone": lambda: p99_of([singles]), "mixed": lambda: p99_of([singles, large])},
        repeats=bench.effort.rounds,
    )
    return [
        at_most(goal_name, _median_ratio(found["mixed"], found["alone"]), 3.0),
        shown(f"{name}: p99", 1e3 * _median(found["mixed"]), "ms", better="lower"),
        shown(f"{name}: p99 without them", 1e3 * _median(found["alone"]), "ms", better="lower"),
        shown(f"{name}: single customers offered", singles.rate, "calls/s"),
        shown(f"{name}: customers offered in large requests", LARGE_BATCH * large_rate, "customers/s"),
    ]


def _median(values: list[float]) -> float:
    return statistics.median(values)


def _median_ratio(values: list[float], others: list[float]) -> float:
    return statistics.median(value / other for value, other in zip(values, others, strict=True))
