"""Survival curves of typical customers: what was foreseen for them on average, and what came.

It deliberately knows no single customer: every curve is a mean over many.
"""

from collections.abc import Iterator
from typing import TypedDict

import numpy as np
from jaxtyping import Bool, Float, Int64
from numpy import ndarray

from holdfast.schema import Target, horizon_grid_days
from training.evaluation.standing import Standing
from training.labels import Labels
from training.outcomes import Predictions

FEWEST_READOUTS = 50
NUM_RISK_GROUPS = 5


class TypicalCurve(TypedDict):
    """The share of some customers to whom the awaited event has not come yet, by day.

    ``kind`` is ``customers`` (by how they stand) or ``risk`` (by what was foreseen). ``predicted`` is
    the mean of their curves, ``observed`` what came of it; None where that is not known for all of them.
    """

    kind: str
    name: str
    meaning: str
    num_readouts: int
    days: list[float]
    predicted: list[float]
    observed: list[float | None]


def typical_curves(
    target: Target, labels: Labels, predictions: Predictions, standing: Standing
) -> list[TypicalCurve]:
    """Return the curves of customers who stand alike, and of fifths by risk at the longest horizon.

    Args:
        target: Of kind ``time_to_event``.
        labels: Of some readouts.
        predictions: Of one model; where it gives no curve, its probabilities at the horizons are points of
            one.
        standing: Of the readouts.
    """
    grid = horizon_grid_days(target)
    survival, bins = predicted_survival(target, predictions)
    observed = observed_survival(labels.lower[target.name], labels.upper[target.name], num_bins=len(grid))
    risk = survival[:, -1] if target.form == "inactivity" else 1.0 - survival[:, -1]
    groups = [("customers", *group) for group in _archetypes(standing)]
    groups += [("risk", *group) for group in _fifths(risk)]
    return [
        TypicalCurve(
            kind=kind,
            name=name,
            meaning=meaning,
            num_readouts=int(rows.sum()),
            days=[0.0, *(float(grid[at]) for at in bins)],
            predicted=[1.0, *(float(v) for v in survival[rows].mean(axis=0, dtype=np.float64))],
            observed=[1.0, *(_share(observed[rows, at]) for at in bins)],
        )
        for kind, name, meaning, rows in groups
        if rows.sum() >= FEWEST_READOUTS
    ]


def predicted_survival(
    target: Target, predictions: Predictions
) -> tuple[Float[ndarray, "readout point"], tuple[int, ...]]:
    """Return a model's survival, and at the ends of which bins (from 0) it is told."""
    grid = horizon_grid_days(target)
    if target.name in predictions.survival:
        return predictions.survival[target.name], tuple(range(len(grid)))
    probability = predictions.probability[target.name]
    survival = probability if target.form == "inactivity" else 1.0 - probability
    return survival, tuple(grid.index(float(days)) for days in target.horizons_days)


def observed_survival(
    lower: Int64[ndarray, " readout"], upper: Int64[ndarray, " readout"], *, num_bins: int
) -> Float[ndarray, "readout bin"]:
    """Return 1 where the event had not come by the end of a bin, 0 where it had, NaN where nobody knows."""
    ends = np.arange(1, num_bins + 1)
    answer = np.full((len(lower), num_bins), np.nan)
    answer[lower[:, None] >= ends] = 1.0
    answer[upper[:, None] <= ends] = 0.0
    return answer


def _share(observed: Float[ndarray, " readout"]) -> float | None:
    return None if np.isnan(observed).any() else float(observed.mean())


def _archetypes(standing: Standing) -> Iterator[tuple[str, str, Bool[ndarray, " readout"]]]:
    """Name customers whom everybody who runs a business would recognise.

    New and established customers are told apart by the first quartile of tenure; what is frequent, by the
    upper quartile of activity; what is recent and what is long ago, by the quartiles of the frequent ones'
    own age of the last activity, because frequent customers are seldom away for long.
    """
    tenure, count, age = standing.tenure_days, standing.num_activity, standing.days_since_activity
    is_new = tenure <= np.quantile(tenure, 0.25)
    often = max(2.0, float(np.quantile(count, 0.75)))
    is_frequent = (count >= often) & ~is_new
    if is_frequent.any():
        recent, away = np.quantile(age[is_frequent], [0.25, 0.75])
        yield (
            "frequent and just here",
            f"{often:.0f} or more activity events, the last one within {_days(recent)}",
            is_frequent & (age <= recent),
        )
        yield (
            "frequent, now away",
            f"{often:.0f} or more activity events, the last one at least {_days(away)} ago",
            is_frequent & (age >= away) & (age > recent),
        )
    newest = float(np.quantile(tenure, 0.25))
    yield "new", f"first event within {_days(newest)}", is_new
    long_ago = float(np.median(age))
    yield (
        "came once, long ago",
        f"one activity event, over {_days(long_ago)} ago",
        (count == 1) & (age > long_ago) & ~is_new,
    )


def _fifths(risk: Float[ndarray, " readout"]) -> Iterator[tuple[str, str, Bool[ndarray, " readout"]]]:
    place = np.empty(len(risk), dtype=np.int64)
    place[np.argsort(-risk, kind="stable")] = np.arange(len(risk)) * NUM_RISK_GROUPS // max(1, len(risk))
    names = ("highest risk", "high", "middle", "low", "lowest risk")
    for at, name in enumerate(names):
        yield name, "a fifth of all, by the predicted probability at the longest horizon", place == at


def _days(days: float) -> str:
    return f"{days:.0f} days" if days >= 2 else f"{24 * days:.0f} hours"
