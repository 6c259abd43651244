"""The form of a table of runs, as plain values for JSON (docs/training.md explains it).

It deliberately computes nothing.
"""

from typing import Literal, NotRequired, TypedDict

FORM = 1

State = Literal["finished", "failed", "pruned", "unfinished"]
"""``pruned``: ended early, because trials before it stood better at the same point.
``unfinished``: a killed job that said nothing at its end."""


class FigureColumn(TypedDict):
    """One figure that every run has: ``name`` is its key in a row, ``metric`` one of the evaluation's."""

    name: str
    target: str
    horizon_days: int
    metric: str


class Row(TypedDict):
    """One run.

    ``overrides`` are what it was given beside what all runs share, ``figures`` those of its main
    model by column, ``seconds`` its wall time. ``reason`` says why it failed or was pruned. A trial
    of a search has a ``value`` to compare trials by, and the ``losses`` at its validations.
    """

    number: int
    state: State
    overrides: dict[str, str]
    figures: dict[str, float | None]
    seconds: float | None
    folder: str
    reason: str | None
    value: NotRequired[float | None]
    losses: NotRequired[dict[str, float]]


class Mean(TypedDict):
    """Runs that differ in their seed alone: mean and standard deviation of each figure."""

    overrides: dict[str, str]
    numbers: list[int]
    means: dict[str, float]
    spreads: dict[str, float]


class SweepResult(TypedDict):
    """Everything that a table of runs says; ``json.dumps(..., allow_nan=False)`` takes it.

    ``shared`` are overrides that all runs have. A search names its ``objective`` (the column that
    trials are compared by) and the overrides of the ``best`` trial,
    ready for a command line, where one has finished.
    """

    form: int
    data: str
    split: str
    shared: list[str]
    columns: list[FigureColumn]
    rows: list[Row]
    means: list[Mean]
    objective: NotRequired[str]
    best: NotRequired[list[str]]
    revision: NotRequired[str]
