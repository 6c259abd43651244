"""What one table hides: groups of customers, cutoffs one by one, curves of typical customers.

It deliberately claims no weakness that chance explains: a group falls behind only where the interval
of its difference to all customers says so, allowing for how many groups were looked at.
"""

from collections.abc import Mapping, Sequence
from typing import TypedDict

import numpy as np
from jaxtyping import Int64
from numpy import ndarray

from holdfast.histories import Histories
from holdfast.schema import Schema
from training.evaluation.groups import Grouping, groupings
from training.evaluation.questions import Interval
from training.evaluation.standing import standing_of
from training.evaluation.subsets import METRICS, Known, intervals
from training.evaluation.typical import TypicalCurve, typical_curves
from training.evaluation.weakness import Compared, Weakness, weakest
from training.labels import Labels
from training.metrics.bootstrap import Bootstrap, Sample, num_replicates_for
from training.outcomes import Outcomes, Predictions
from training.splits import iso


class GroupResult(TypedDict):
    """The main model on one group; ``metrics`` is empty where there are too few cases.

    ``mean`` is the mean label, ``predicted`` the mean prediction.
    """

    name: str
    num_readouts: int
    num_customers: int
    mean: float
    predicted: float
    metrics: dict[str, Interval]


class GroupingResult(TypedDict):
    """One division of all customers."""

    title: str
    groups: list[GroupResult]


class CutoffResult(TypedDict):
    """One cutoff: the main model's metrics with intervals, those of the others without."""

    at: str
    num_readouts: int
    mean: float
    predicted: float
    models: dict[str, dict[str, Interval]]


class TargetLook(TypedDict):
    """One target at its longest horizon.

    ``whole`` holds the metrics over all readouts, ``num_compared`` how many groups were compared with
    it, ``weakest`` at most one group per metric. ``cutoffs`` is empty where there is one alone.
    """

    name: str
    horizon_days: int
    whole: dict[str, Interval]
    groupings: list[GroupingResult]
    num_compared: int
    weakest: list[Weakness]
    cutoffs: list[CutoffResult]
    typical: list[TypicalCurve]


def look_closer(
    histories: Histories,
    schema: Schema,
    *,
    customer: Int64[ndarray, " readout"],
    cutoff_us: Int64[ndarray, " readout"],
    labels: Labels,
    outcomes: Outcomes,
    predictions: Mapping[str, Predictions],
    main: str,
    num_replicates: int,
    seed: int = 0,
) -> list[TargetLook]:
    """Look at groups, cutoffs and typical customers of the main model.

    Args:
        histories: Of all customers; nothing after a cutoff is looked at.
        schema: Targets and attributes.
        customer: Of every readout.
        cutoff_us: Of every readout.
        labels: What came, by bin.
        outcomes: What came, by horizon.
        predictions: Of every model.
        main: The model that is looked at; where it did not answer a target, that target is left out.
        num_replicates: Resamples of an interval.
        seed: Of the resamples.
    """
    standing = standing_of(histories, schema, customer, cutoff_us)
    num_replicates = num_replicates_for(len(customer), most=num_replicates)
    divisions = groupings(standing, schema)
    looks = []
    for target in schema.targets:
        if target.kind not in METRICS:
            continue
        question = Known.of(target, outcomes, predictions, customer)
        if main not in question.predicted or not len(question.labels):
            continue
        look = _look(question, divisions, cutoff_us, main=main, num_replicates=num_replicates, seed=seed)
        if target.kind == "time_to_event":
            look["typical"] = typical_curves(target, labels, predictions[main], standing)
        looks.append(look)
    return looks


def _look(
    question: Known,
    divisions: Sequence[Grouping],
    cutoff_us: ndarray,
    *,
    main: str,
    num_replicates: int,
    seed: int,
) -> TargetLook:
    bootstrap = Bootstrap(question.customer, num_replicates=num_replicates, seed=seed)
    everybody = np.ones(len(question.labels), dtype=bool)
    whole = question.samples(main, everybody, bootstrap)
    results: list[GroupingResult] = []
    compared: list[Compared] = []
    for division in divisions:
        groups = []
        for at, name in enumerate(division.names):
            rows = division.member[question.is_known] == at
            if not rows.any():
                continue
            samples = question.samples(main, rows, bootstrap) if question.is_enough(rows) else {}
            groups.append(_group(question, name, rows, main, samples))
            if samples:
                error = abs(float((question.predicted[main] - question.labels)[rows].sum()))
                compared.append(Compared(grouping=division.title, group=name, samples=samples, error=error))
        results.append(GroupingResult(title=division.title, groups=groups))
    return TargetLook(
        name=question.target.name,
        horizon_days=question.target.max_horizon_days,
        whole=intervals(whole),
        groupings=results,
        num_compared=len(compared),
        weakest=weakest(whole, compared),
        cutoffs=_cutoffs(question, cutoff_us[question.is_known], bootstrap, main=main),
        typical=[],
    )


def _group(
    question: Known, name: str, rows: ndarray, main: str, samples: Mapping[str, Sample]
) -> GroupResult:
    return GroupResult(
        name=name,
        num_readouts=int(rows.sum()),
        num_customers=len(np.unique(question.customer[rows])),
        mean=float(question.labels[rows].mean()),
        predicted=float(question.predicted[main][rows].mean()),
        metrics=intervals(samples),
    )


def _cutoffs(question: Known, cutoff_us: ndarray, bootstrap: Bootstrap, *, main: str) -> list[CutoffResult]:
    times = np.unique(cutoff_us)
    if len(times) < 2:
        return []
    alone = Bootstrap(question.customer, num_replicates=0, seed=0)
    found = []
    for time in times:
        rows = cutoff_us == time
        models = {
            name: intervals(question.samples(name, rows, bootstrap if name == main else alone))
            for name in question.predicted
        }
        found.append(
            CutoffResult(
                at=iso(int(time)),
                num_readouts=int(rows.sum()),
                mean=float(question.labels[rows].mean()),
                predicted=float(question.predicted[main][rows].mean()),
                models=models,
            )
        )
    return found
