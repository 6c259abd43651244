"""What experts are asked, as columns: a survival logit per horizon, a log expectation per amount.

It deliberately does not know who answers. Every expert's answers are a matrix
``[readout, question]`` in this order, so that all of them can be weighed alike.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float32
from numpy import ndarray

from holdfast.schema import Schema, Target, horizon_grid_days
from training.outcomes import Predictions

MAX_LOGIT = 15.0
"""Nobody is believed to be surer than 3 in ten million."""

MAX_LOG_AMOUNT = 80.0
"""Within this, the exponential of a log is a positive float32."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Questions:
    """The columns of a schema.

    Attributes:
        targets: In declared order.
        columns: By target, the columns that are about it.
    """

    targets: tuple[Target, ...]
    columns: Mapping[str, slice]

    @classmethod
    def of(cls, schema: Schema) -> "Questions":
        """Number the questions that a schema's targets ask."""
        columns, start = {}, 0
        for target in schema.targets:
            num = len(target.horizons_days) if target.kind == "time_to_event" else 1
            columns[target.name] = slice(start, start + num)
            start += num
        return cls(targets=schema.targets, columns=columns)

    def __len__(self) -> int:
        """Return the number of columns."""
        return max(columns.stop for columns in self.columns.values())

    def answers(self, predictions: Predictions) -> Float32[ndarray, "readout question"]:
        """Return what a model predicts in the form of the columns; 0 where it says nothing.

        Args:
            predictions: Of a model that answers every target.
        """
        parts = [
            _survival_logits(target, predictions.probability[target.name])
            if target.kind == "time_to_event"
            else _log_amounts(predictions.expected[target.name])
            for target in self.targets
        ]
        return np.concatenate(parts, axis=1).astype(np.float32)


def is_survival(target: Target) -> bool:
    """Return whether the probability asked for is that of survival, not of the event."""
    return target.form == "inactivity"


def horizon_ends(target: Target) -> tuple[int, ...]:
    """Return the bin (1-based) at whose end each horizon of a ``time_to_event`` target lies."""
    grid = horizon_grid_days(target)
    return tuple(grid.index(float(horizon)) + 1 for horizon in target.horizons_days)


def _survival_logits(target: Target, probability: ndarray) -> ndarray:
    with np.errstate(divide="ignore"):
        logits = np.log(probability) - np.log1p(-probability)
    logits = np.nan_to_num(np.clip(logits, -MAX_LOGIT, MAX_LOGIT))
    return logits if is_survival(target) else -logits


def _log_amounts(expected: ndarray) -> ndarray:
    with np.errstate(divide="ignore"):
        logs = np.log(expected)
    return np.nan_to_num(np.clip(logs, -MAX_LOG_AMOUNT, MAX_LOG_AMOUNT))[:, None]
