"""One block of customers from their arrival to the end of the span: the unit of work.

It deliberately knows neither the other blocks nor files. A block draws from random streams of its own
(seed, block, purpose), so blocks can be made in any order, in any grouping, on any machine of a
cluster, and the truth can be asked for or not without changing an event.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl

from holdfast.schema import MICROSECONDS_PER_DAY
from training.simulate.columns import EventSink, draw_arrival_days
from training.simulate.config import SimulationConfig
from training.simulate.event_log import EventLog, customer_ids_of, customers_of, microseconds_of
from training.simulate.parameters import RetailerParameters
from training.simulate.process import Process, StateT
from training.simulate.retailer import Retailer
from training.simulate.subscription import Subscription
from training.simulate.truth import TRUTH_COLUMNS, truth_of, truth_table

BLOCK_CUSTOMERS = 16_384
"""Customers of a block; changing it changes every simulated data set."""

EVENTS_STREAM, TRUTH_STREAM = 0, 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Block:
    """The tables of one block; rows by customer, then time."""

    events: pl.DataFrame
    customers: pl.DataFrame
    truth: pl.DataFrame


def process_of(config: SimulationConfig) -> Process[Any]:
    """Return the process of the configured business."""
    parameters = config.business()
    if isinstance(parameters, RetailerParameters):
        return Retailer(parameters, start=config.start, num_days=config.num_days)
    return Subscription(parameters, start=config.start, num_days=config.num_days)


def num_blocks(config: SimulationConfig) -> int:
    """Return how many blocks a simulation has."""
    return -(-config.num_customers // BLOCK_CUSTOMERS)


def simulate_block(config: SimulationConfig, index: int, *, progress: Callable[[int], None]) -> Block:
    """Simulate one block.

    Args:
        config: The simulation.
        index: Which block, from 0.
        progress: Told customer-days done, now and then; in all ``work_of`` of them.

    Returns:
        Its tables.
    """
    process = process_of(config)
    first = index * BLOCK_CUSTOMERS
    num = min(BLOCK_CUSTOMERS, config.num_customers - first)
    customer_ids = customer_ids_of(config.kind, first, num)
    rng = _stream(config, index, EVENTS_STREAM)
    state, people = process.draw_customers(rng, num)
    plan = state.plan.copy()
    log = EventLog()
    truths = [pl.DataFrame(schema=TRUTH_COLUMNS)]
    snapshots = live(process, state, config, rng=rng, sink=log, progress=progress)
    events = log.events(rng, names=process, customer_ids=customer_ids, start=config.start)
    for day, snapshot in snapshots.items():
        measures = truth_of(
            process,
            snapshot,
            day=day,
            horizons=config.horizons_days,
            num_rollouts=config.num_rollouts,
            rng=_stream(config, index, TRUTH_STREAM, day),
            progress=lambda num: progress(num * config.num_rollouts * config.horizons_days[-1]),
        )
        cutoff_us = microseconds_of(config.start) + day * MICROSECONDS_PER_DAY
        ids = customer_ids.gather(snapshot.row)
        truths.append(truth_table(ids, measures, cutoff_us=cutoff_us, horizons=config.horizons_days))
        # Who was not eligible needed no paths: the work that was announced counts everybody.
        progress((num - len(snapshot)) * config.num_rollouts * config.horizons_days[-1])
    customers = customers_of(people, plan, events, names=process, customer_ids=customer_ids)
    return Block(events=events, customers=customers, truth=pl.concat(truths))


def work_of(config: SimulationConfig) -> int:
    """Return the customer-days of a simulation, paths of the truth included."""
    paths = len(config.cutoffs) * config.num_rollouts * config.horizons_days[-1]
    return config.num_customers * (config.num_days + paths)


def live(
    process: Process[StateT],
    state: StateT,
    config: SimulationConfig,
    *,
    rng: np.random.Generator,
    sink: EventSink,
    progress: Callable[[int], None],
) -> dict[int, StateT]:
    """Let customers arrive and live to the end of the span.

    Args:
        process: The business.
        state: Customers to whom nothing has happened yet; changed in place.
        config: The simulation.
        rng: The only source of chance.
        sink: Takes the events.
        progress: Told customer-days done, once a day.

    Returns:
        For every cutoff, as days since the start, the state of the eligible customers then.
    """
    p, num = process.parameters, len(state)
    arrivals = draw_arrival_days(
        rng,
        num,
        num_days=config.num_days,
        early_share=p.arrivals_early_share,
        early_days=p.arrivals_early_days,
    )
    # Rows are in order of arrival, so those who have arrived are always a leading view.
    arrived_by = np.searchsorted(arrivals, np.arange(config.num_days), side="right")
    snapshots: dict[int, StateT] = {}
    num_arrived = num_gone = 0
    for day in range(config.num_days):
        here = num_arrived - num_gone
        if day in config.cutoff_days:
            snapshots[day] = _eligible(process, state.head(here), day, config)
        if here:
            process.step(state.head(here), day, rng, sink)
        new = np.arange(here, arrived_by[day] - num_gone)
        if len(new):
            process.arrive(state, new, day, rng, sink)
        num_arrived = int(arrived_by[day])
        staying = process.without_gone(state)
        num_gone += len(state) - len(staying)
        state = staying
        progress(num)
    return snapshots


def _eligible(process: Process[StateT], state: StateT, day: int, config: SimulationConfig) -> StateT:
    return state.take(np.flatnonzero(process.is_eligible(state, day, lookback_days=config.lookback_days)))


def _stream(config: SimulationConfig, *key: int) -> np.random.Generator:
    return np.random.Generator(np.random.SFC64(np.random.SeedSequence(config.seed, spawn_key=key)))
