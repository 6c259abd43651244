"""How far two answers about the same customers lie apart, target by target.

It deliberately does not say which of them is right: labels will, when the horizon has passed.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64
from numpy import ndarray

from holdfast.schema import Schema
from serving.recording import Number
from serving.scored import Scored

PROBABILITY, RATIO = "probability_difference", "expected_ratio"
BOUNDS: Mapping[str, tuple[float, ...]] = {
    PROBABILITY: (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0),
    RATIO: (0.1, 0.25, 0.5, 0.75, 0.9, 0.95, 0.99, 1.01, 1.05, 1.1, 1.33, 2.0, 4.0, 10.0),
}
"""Of the histograms, by what they are of: what is absolute for probabilities is relative for amounts."""

LARGEST_RATIO = 100.0
"""Beyond it, and where a candidate says no number, ratios are alike: none of them alone is the whole sum."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Answers:
    """One number per target and customer of an answer: of several horizons the longest one's.

    Attributes:
        values: By target; empty where nobody could be scored.
        kinds: What is compared of it, by target: a key of :data:`BOUNDS`.
        is_scored: Which customers have no fault.
    """

    values: Mapping[str, Float64[ndarray, " customer"]]
    kinds: Mapping[str, str]
    is_scored: ndarray

    @classmethod
    def of(cls, scored: Scored, schema: Schema) -> "Answers":
        """Copy them from an answer."""
        outputs = scored.predictions.outputs
        is_scored = np.ones(len(scored.predictions.num_used), dtype=np.bool_)
        is_scored[list(scored.faults)] = False
        values, kinds = {}, {}
        for target in schema.targets if outputs else ():
            if target.kind == "time_to_event":
                found = outputs[f"{target.name}_probability"][:, len(target.horizons_days) - 1]
                kinds[target.name] = PROBABILITY
            else:
                found = outputs[f"{target.name}_expected"]
                kinds[target.name] = RATIO
            values[target.name] = found.astype(np.float64)
        return cls(values=values, kinds=kinds, is_scored=is_scored)


@dataclass(frozen=True, slots=True, kw_only=True)
class Compared:
    """How far answers lie apart, over some customers.

    Attributes:
        target: What was predicted.
        kind: What was compared: a key of :data:`BOUNDS`.
        numbers: A histogram's counts and, behind them, the sum of what was counted.
        served: The sum of what the version that is served predicts.
        candidate: The sum of what the candidate predicts.
    """

    target: str
    kind: str
    numbers: Sequence[Number]
    served: float
    candidate: float


def compared(served: Answers, candidate: Answers) -> Iterator[Compared]:
    """Yield how far a candidate's answers lie from those that were given, over whoever has both."""
    is_both = served.is_scored & candidate.is_scored
    for target in served.values.keys() & candidate.values.keys():
        kind = served.kinds[target]
        before, after = served.values[target][is_both], candidate.values[target][is_both]
        distances = _distances(before, after, kind)
        bounds = BOUNDS[kind]
        counts = np.bincount(np.searchsorted(bounds, distances), minlength=len(bounds) + 1)
        yield Compared(
            target=target,
            kind=kind,
            numbers=[*counts.tolist(), float(distances.sum())],
            served=_sum(before),
            candidate=_sum(after),
        )


def _distances(
    before: Float64[ndarray, " customer"], after: Float64[ndarray, " customer"], kind: str
) -> Float64[ndarray, " customer"]:
    """Return the absolute differences of probabilities, or the ratios of expected values."""
    with np.errstate(divide="ignore", invalid="ignore"):
        if kind == PROBABILITY:
            # What is no probability shows behind every bound.
            distances: Float64[ndarray, " customer"] = np.nan_to_num(
                np.abs(after - before), nan=2.0, posinf=2.0
            )
            return distances
        quotients = np.where((before == 0) & (after == 0), 1.0, after / before)
    ratios: Float64[ndarray, " customer"] = np.nan_to_num(quotients, nan=LARGEST_RATIO, posinf=LARGEST_RATIO)
    return ratios.clip(0.0, LARGEST_RATIO)


def _sum(values: Float64[ndarray, " customer"]) -> float:
    return float(values[np.isfinite(values)].sum())
