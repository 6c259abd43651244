"""Every figure of the training benchmark, from rates to goals.

It deliberately does not know the command line.
"""

import statistics
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from rich.console import Console

from benchmarks.measuring import interleaved, run_in_child
from benchmarks.prepare import prepare_anew, simulate_anew, simulated_config
from benchmarks.results import Figure
from benchmarks.training.arithmetic import best_matrix_rate, step_operations, step_operators
from benchmarks.training.beside import Lifestream
from benchmarks.training.loops import Loop, Rate
from benchmarks.training.workload import MOST_EVENTS, Workload
from holdfast.encoding.packing import ACTIVE_ROWS
from training.batches import MicroBatch, PoolDataset
from training.model.packing import Packing
from training.module import PoolSizes

MODELS = ("gru", "transformer")
WIDTHS = (64, 128)
ARITHMETIC_WIDTH = 128
LARGE_POOL = 2_048
"""Customers of a step that a large data set would be given, for the padding of compiled steps."""

EVENTS_GOAL, LABELS_GOAL = 3.0, 10.0
ARITHMETIC_GOAL, LOADER_GOAL = 0.4, 20.0
PADDING_GOAL_PERCENT = 10.0
PREPARE_GOAL = 10.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Effort:
    """How long is measured.

    Attributes:
        rounds: How often each of a pair is measured in turn.
        seconds: Of one measurement, after its warm-up.
        models: Which configurations of ``conf/model``.
        widths: How wide.
        warm_up_steps: Optimiser steps before it.
        prepared_events: Events of the comparison of preparing.
    """

    rounds: int
    seconds: float
    models: tuple[str, ...]
    widths: tuple[int, ...]
    warm_up_steps: int
    prepared_events: int


def step_figures(
    workload: Workload, peer: Lifestream | None, effort: Effort, *, folder: Path, console: Console
) -> list[Figure]:
    """Measure the training loops of every model and width, and what belongs to them."""
    figures: list[Figure] = []
    loops: dict[str, Loop] = {}
    for model in effort.models:
        for width in effort.widths:
            console.print(f"training {model}, {width} wide ...", style="dim")
            loop = loops[model] = Loop(workload, model, width, folder / f"{model}-{width}")
            rates = _rates(loop, peer, effort, model=model, width=width)
            figures += _compared(f"{model}, d={width}", rates)
            if width == ARITHMETIC_WIDTH:
                figures += _arithmetic(f"{model}, d={width}", loop, rates["ours"], effort)
    console.print("counting padding and shapes ...", style="dim")
    num_customers = len(workload.customers)
    for model, loop in loops.items():
        figures += batch_figures(model, loop.pools, num_customers=num_customers, has_goals=True)
    if "transformer" in loops:
        # The recurrent layer is not compiled, and its loop over positions is a CPU's: one call of a GPU.
        loop = loops["transformer"]
        figures.append(_operators(loop))
        size = loop.pools.pool_customers
        for num, has_goals in ((size, True), (min(LARGE_POOL, num_customers), False)):
            rows = loop.pools_of(num, compiled=True)
            figures += batch_figures("compiled", rows, num_customers=num_customers, has_goals=has_goals)
    return figures


def _rates(
    loop: Loop, peer: Lifestream | None, effort: Effort, *, model: str, width: int
) -> dict[str, list[Rate]]:
    budget, pool = loop.config.batching.event_budget, loop.config.batching.pool_customers
    steps, seconds = effort.warm_up_steps, effort.seconds
    trained = {
        "ours": partial(loop.train, warm_up_steps=steps, seconds=seconds),
        "naive": partial(loop.train_naively, warm_up_steps=steps, seconds=seconds),
    }
    if peer is not None:
        train = partial(peer.train, model, width, warm_up_steps=steps, seconds=seconds)
        trained["budget"] = partial(train, customers=budget // MOST_EVENTS)
        trained["pool"] = partial(train, customers=pool)
    rates: dict[str, list[Rate]] = {name: [] for name in trained}

    def once(name: str) -> float:
        rates[name].append(trained[name]())
        return rates[name][-1].seconds

    interleaved({name: partial(once, name) for name in trained}, repeats=effort.rounds)
    return rates


def _compared(name: str, rates: Mapping[str, Sequence[Rate]]) -> list[Figure]:
    ours = rates["ours"]
    figures = [
        _shown(f"{name}: events", statistics.median(r.events_per_second for r in ours), "events/s"),
        _shown(f"{name}: labels", statistics.median(r.labels_per_second for r in ours), "labels/s"),
    ]
    others = {
        "budget": ("pytorch-lifestream, same budget", EVENTS_GOAL, LABELS_GOAL),
        "pool": ("pytorch-lifestream, same customers a step", None, None),
        "naive": ("our model the naive way", None, None),
    }
    for key, (words, events_goal, labels_goal) in others.items():
        other = rates.get(key)
        if other is None and events_goal is None:
            continue
        events = labels = float("nan")
        if other is not None:
            pairs = list(zip(ours, other, strict=True))
            events = statistics.median(a.events_per_second / b.events_per_second for a, b in pairs)
            labels = statistics.median(a.labels_per_second / b.labels_per_second for a, b in pairs)
        figures += [
            Figure(
                name=f"{name}: events/s over {words}",
                value=events,
                unit="times",
                goal=events_goal,
                better="higher",
            ),
            Figure(
                name=f"{name}: labels/s over {words}",
                value=labels,
                unit="times",
                goal=labels_goal,
                better="higher",
            ),
        ]
    return figures


def _arithmetic(name: str, loop: Loop, ours: Sequence[Rate], effort: Effort) -> list[Figure]:
    pools = [loop.pools[step] for step in range(4)]
    operations = statistics.mean(step_operations(loop.module, pool) for pool in pools)
    events = statistics.mean(PoolSizes.of(pool).num_events for pool in pools)
    matrix_rate = best_matrix_rate(repeats=10 * effort.rounds)
    step = statistics.median(rate.step_seconds / rate.num_steps for rate in ours)
    # A step's operations follow its events: those of the pools counted are carried over to those timed.
    timed = statistics.median(rate.events / rate.num_steps for rate in ours)
    achieved = operations * timed / events / step
    loading = [_loading_seconds(loop.pools, step) for step in range(4, 8 + 4 * effort.rounds)]
    return [
        _shown(f"{name}: operations of an event", operations / events / 1e6, "MFLOP", better="lower"),
        _shown(f"{name}: best matrix product", matrix_rate / 1e9, "GFLOP/s"),
        Figure(
            name=f"{name}: arithmetic of a step over the best matrix product",
            value=achieved / matrix_rate,
            unit="",
            goal=ARITHMETIC_GOAL,
            better="higher",
        ),
        Figure(
            name=f"{name}: a step's time over that of loading its pool",
            value=step / statistics.median(loading),
            unit="times",
            goal=LOADER_GOAL,
            better="higher",
        ),
    ]


def _operators(loop: Loop) -> Figure:
    padded = loop.pools_of(loop.pools.pool_customers, compiled=True)
    packed, rows = (
        sum(step_operators(loop.module, pools[step]) for step in range(4)) for pools in (loop.pools, padded)
    )
    return _shown("transformer: operators of a step, packed over rows", packed / rows, "", better="lower")


def _loading_seconds(pools: PoolDataset, step: int) -> float:
    began = time.perf_counter()
    _ = pools[step]
    return time.perf_counter() - began


def batch_figures(
    whose: str, pools: PoolDataset, *, num_customers: int, has_goals: bool, epochs: int = 2
) -> list[Figure]:
    """Count padding and lengths over some passes over all customers.

    Padding is that of the events that are computed: packed ones have none, and no lengths either.
    """
    size = pools.pool_customers
    per_epoch = max(1, num_customers // size)
    seen: list[set[int]] = []
    num_events = num_padded = num_batches = 0
    num_places = 0
    for epoch in range(epochs):
        lengths: set[int] = set()
        for step in range(epoch * per_epoch, (epoch + 1) * per_epoch):
            pool = pools[step]
            sizes = PoolSizes.of(pool)
            num_events, num_padded = num_events + sizes.num_events, num_padded + sizes.num_padded
            num_batches += len(pool)
            lengths |= {batch.shape[1] for batch in pool}
            num_places += sum(_places_of_rows(batch) for batch in pool)
        seen.append(lengths)
    name = f"{whose}, {size:,} customers a step"
    padding = [
        Figure(
            name=f"{name}: padding of micro-batches",
            value=100 * (1 - num_events / num_padded),
            unit="%",
            goal=PADDING_GOAL_PERCENT if has_goals else None,
            better="lower",
        ),
        _shown(f"{name}: micro-batches", num_batches / (epochs * per_epoch), "", better="lower"),
    ]
    if num_places:
        by_row = f"{name}: places of rows that attention and time bins get, over events"
        return [*padding, _shown(by_row, num_places / num_events, "", better="lower")]
    return [
        *padding,
        _shown(f"{name}: different lengths in the first epoch", len(seen[0]), "", better="lower"),
        Figure(
            name=f"{name}: lengths that only later epochs had",
            value=len(set().union(*seen[1:]) - seen[0]),
            unit="",
            goal=0 if has_goals else None,
            better="lower",
        ),
    ]


def _places_of_rows(batch: MicroBatch) -> int:
    """Return how many places packed events take where they are laid out by row; 0 where none are packed."""
    active = batch.inputs.get(ACTIVE_ROWS)
    return 0 if active is None else len(Packing.of(active).layout(len(batch.weights)).places)


def prepare_figures(
    peer: Lifestream | None, effort: Effort, *, folder: Path, console: Console
) -> list[Figure]:
    """Prepare the same simulated events with both, each from Parquet files."""
    console.print(f"preparing about {effort.prepared_events:,} simulated events ...", style="dim")
    plain = simulated_config(effort.prepared_events, folder / "raw")
    run_in_child(simulate_anew, plain)
    events = Path(plain["sources"]["events"]["path"]).parent

    def ours() -> float:
        run = run_in_child(prepare_anew, plain, folder / "prepared")
        return run.value[0] / run.seconds

    def theirs() -> float:
        assert peer is not None
        num_events, seconds = peer.prepare(events)
        return num_events / seconds

    measured = {"ours": ours} | ({} if peer is None else {"theirs": theirs})
    rates = interleaved(measured, repeats=effort.rounds)
    ratio = float("nan")
    if peer is not None:
        ratio = statistics.median(a / b for a, b in zip(rates["ours"], rates["theirs"], strict=True))
    return [
        _shown("preparing: events", statistics.median(rates["ours"]), "events/s"),
        Figure(
            name="preparing: events/s over pytorch-lifestream's preprocessor",
            value=ratio,
            unit="times",
            goal=PREPARE_GOAL,
            better="higher",
        ),
    ]


def _shown(name: str, value: float, unit: str, *, better: str = "higher") -> Figure:
    return Figure(
        name=name, value=value, unit=unit, goal=None, better="lower" if better == "lower" else "higher"
    )
