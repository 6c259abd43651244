"""How this machine runs this graph best: size of a run, worth of padding, number of threads.

It deliberately knows only how to run a graph over nothing but padding: what it finds holds for any
customers, since the time of a run depends on its shape alone.
"""

import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace

from serving.plan import RunPlan
from serving.predictor import Predictor

BUDGETS = (256, 512, 1_024, 2_048)
"""At the typical length the last one is the largest batch that there is."""

TYPICAL_LENGTH = 32
MAX_MERGE_EVENTS = 512
"""A run that was slow by chance must not pad everybody to the longest."""
ROUNDS = 3
NEAR_BEST = 0.95
"""The smallest of what is nearly as good as the best is taken: small runs mean short waits."""

RUN_SECONDS = 1e-4
"""What a worker does around every run: taking it, noting what it gave, answering who is complete."""

MAX_SECONDS = 1.5
"""About how long all of it may take; what has not been tried by then is not taken."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """How a model is to be run.

    Attributes:
        plan: How customers are put into runs.
        threads: How many workers.
        seconds_per_event: What a padded event costs one of them.
    """

    plan: RunPlan
    threads: int
    seconds_per_event: float

    def for_plan(self, plan: RunPlan) -> "Measured":
        """Return the same for another model, whose plan may have other lengths."""
        found = self.plan
        plan = replace(plan, budget_events=found.budget_events, merge_events=found.merge_events)
        return replace(self, plan=plan)


def measure(
    predictor: Predictor, *, max_threads: int, threads: int | None = None, budget_events: int | None = None
) -> Measured:
    """Measure a model on this machine.

    Args:
        predictor: The model.
        max_threads: Most workers that make sense here.
        threads: Number of workers where it is fixed.
        budget_events: Padded events of a run where they are fixed.

    Returns:
        What was found, with what is fixed as it was given.
    """
    until = time.monotonic() + MAX_SECONDS / 2
    length = predictor.plan.padded_length(TYPICAL_LENGTH)
    costs: dict[int, float] = {}
    budgets = BUDGETS if budget_events is None else (budget_events,)
    # In turn, so that a slow moment of the machine meets all of them and decides nothing.
    for budget in budgets * ROUNDS:
        num = max(1, budget // length)
        cost = (_seconds(predictor, num=num, length=length) + RUN_SECONDS) / (num * length)
        costs[budget] = min(cost, costs.get(budget, cost))
        if time.monotonic() > until:
            break
    best = min(costs.values())
    budget = min(budget for budget, cost in costs.items() if cost * NEAR_BEST <= best)
    per_event = costs[budget]
    shortest = int(predictor.plan.lengths[0])
    fixed = max(_seconds(predictor, num=1, length=shortest) - shortest * per_event, 0.0)
    merge = min(int((fixed + RUN_SECONDS) / per_event), MAX_MERGE_EVENTS)
    plan = replace(predictor.plan, budget_events=budget, merge_events=merge)
    if threads is None:
        threads = _best_threads(predictor, max_threads, num=max(1, budget // length), length=length)
    return Measured(plan=plan, threads=threads, seconds_per_event=per_event)


def _best_threads(predictor: Predictor, max_threads: int, *, num: int, length: int) -> int:
    """Return the smallest number of threads that is nearly as fast as the best."""
    until = time.monotonic() + MAX_SECONDS / 2
    rates: dict[int, float] = {}
    for threads in _candidates(max_threads):
        with ThreadPoolExecutor(threads) as pool:
            started = time.monotonic()
            tasks = [
                pool.submit(_seconds, predictor, num=num, length=length, repeats=5) for _ in range(threads)
            ]
            for task in tasks:
                task.result()
            rates[threads] = threads / (time.monotonic() - started)
        if time.monotonic() > until:
            break
    best = max(rates.values())
    return min(threads for threads, rate in rates.items() if rate >= NEAR_BEST * best)


def _candidates(max_threads: int) -> Sequence[int]:
    """Return the most, and powers of two below: the most first, since it is what is mostly right."""
    powers = [1 << power for power in range(max_threads.bit_length())]
    return [max_threads, *(power for power in reversed(powers) if power < max_threads)]


def _seconds(predictor: Predictor, *, num: int, length: int, repeats: int = 3) -> float:
    """Return what a run takes: the least of some, since other work on the machine only adds to it."""
    taken = []
    for _ in range(repeats + 1):
        started = time.perf_counter()
        predictor.run_blank(num=num, length=length)
        taken.append(time.perf_counter() - started)
    return min(taken[1:])
