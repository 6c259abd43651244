"""The form of a comparison's result, as plain values for JSON (docs/comparison.md explains it).

It deliberately computes nothing.
"""

from typing import Literal, NotRequired, TypedDict

FORM = 1

Verdict = Literal["ahead", "behind", "level", "open"]
"""``ahead`` and ``behind``: the whole interval lies on one side. ``level``: it does not, and what may
be lost is less than the margin. ``open``: the data does not tell."""


class Figure(TypedDict):
    """A metric: mean over seeds, their standard deviation, and the interval of the mean over customers."""

    value: float | None
    spread: float | None
    low: float | None
    high: float | None


class Difference(TypedDict):
    """A model's metric minus another's, on the same resamples; ``verdict`` says for whom it speaks."""

    value: float | None
    low: float | None
    high: float | None
    verdict: Verdict


class Block(TypedDict):
    """One question on one set of readouts.

    ``mean`` is the mean label. ``models`` holds figures by model and metric, ``differences`` by
    judged model, other model and metric. ``left_out`` names models that did not answer every
    readout, with the number of unanswered ones over all seeds.
    """

    num_readouts: int
    num_unknown: int
    mean: float | None
    models: dict[str, dict[str, Figure]]
    differences: dict[str, dict[str, dict[str, Difference]]]
    left_out: dict[str, int]


class CutoffBlock(Block):
    """The same at one cutoff of one origin (its position among the origins)."""

    origin: int
    cutoff: str


class HorizonComparison(TypedDict):
    """A target within a horizon: over everything, and cutoff by cutoff.

    ``overall`` is the mean over origins; within an origin its cutoffs are judged together.
    """

    horizon_days: int
    overall: Block
    cutoffs: list[CutoffBlock]


class TargetComparison(TypedDict):
    """One target; ``unit`` is a currency, a field's unit or empty."""

    name: str
    kind: Literal["time_to_event", "amount", "count"]
    form: str | None
    unit: str
    horizons: list[HorizonComparison]


class OriginFacts(TypedDict):
    """One temporal split: its cutoffs, and how many readouts and customers are judged."""

    validation: list[str]
    test: list[str]
    num_readouts: int
    num_customers: int


class ComparisonResult(TypedDict):
    """Everything that a comparison says; ``json.dumps(..., allow_nan=False)`` takes it."""

    form: int
    data: str
    split: str
    judged: list[str]
    models: list[str]
    unanswered: list[str]
    seeds: list[int]
    origins: list[OriginFacts]
    num_replicates: int
    confidence: float
    margin: float
    targets: list[TargetComparison]
    summary: list[str]
    seconds: dict[str, float]
    overrides: NotRequired[dict[str, list[str]]]
    revision: NotRequired[str]
