"""Which group of customers falls behind, if chance does not explain it.

It deliberately names one group per metric at most: the one where it does most harm.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TypedDict

import numpy as np

from training.metrics.bootstrap import Sample

SURE = 0.05
"""Chance of naming any group at all where none is different (Bonferroni)."""


class Weakness(TypedDict):
    """A group that surely falls behind all customers in a metric, and by how much."""

    metric: str
    grouping: str
    group: str
    value: float
    whole: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Compared:
    """A group with enough cases.

    Attributes:
        grouping: By what customers were divided.
        group: Which of them.
        samples: The main model's metrics there.
        error: How far the sum of its predictions is from the sum of labels there.
    """

    grouping: str
    group: str
    samples: Mapping[str, Sample]
    error: float


def weakest(whole: Mapping[str, Sample], compared: Sequence[Compared]) -> list[Weakness]:
    """Return per metric the group that does most harm among those surely worse than the whole.

    For an order that is the lowest value, for a level the largest error in sum: a ratio of three
    among customers who hardly spend matters less than one of 1.2 among those who spend most.

    Args:
        whole: The metrics of all readouts.
        compared: All groups that were looked at; their number is allowed for.
    """
    found = []
    for metric, everybody in whole.items():
        worse = [
            one
            for one in compared
            if _distance(metric, one.samples[metric].value) > _distance(metric, everybody.value)
            and chance(one.samples[metric].minus(everybody)) * len(compared) < SURE
        ]
        if worse:
            is_level = metric in {"gap", "total_ratio"}
            first = max(worse, key=lambda one: one.error if is_level else -one.samples[metric].value)
            value = first.samples[metric].value
            found.append(
                Weakness(
                    metric=metric,
                    grouping=first.grouping,
                    group=first.group,
                    value=value,
                    whole=everybody.value,
                )
            )
    return found


def chance(difference: Sample) -> float:
    """Return how likely so large a difference is by chance: two-sided, normal, spread of the replicates."""
    replicates = difference.replicates[~np.isnan(difference.replicates)]
    if len(replicates) < 2 or np.isnan(difference.value):
        return 1.0
    spread = float(replicates.std(ddof=1))
    return math.erfc(abs(difference.value) / spread / math.sqrt(2.0)) if spread > 0 else 1.0


def _distance(metric: str, value: float) -> float:
    """Return how far from good a value is: the order of all is best, a level is right or wrong."""
    if metric == "gap":
        return abs(value)
    if metric == "total_ratio":
        return abs(math.log(value)) if value > 0 else math.inf
    return -value
