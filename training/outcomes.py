"""What came and what was predicted, in one form: a number per readout, target and horizon.

It deliberately does not know who predicted, nor how good it is.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from jaxtyping import Float, Float32, Int64
from numpy import ndarray

from holdfast.schema import MICROSECONDS_PER_DAY, Schema, Target, horizon_grid_days
from training.labels import Labels


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcomes:
    """What came, by target name; NaN where it is not known.

    Attributes:
        happened: Of every ``time_to_event`` target and horizon, what its probability is about, 0
            or 1: for ``inactivity`` that no awaited event came, for ``event`` that one did.
        values: Of every ``amount`` and ``count`` target.
    """

    happened: Mapping[str, Float32[ndarray, "readout horizon"]]
    values: Mapping[str, Float32[ndarray, " readout"]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Predictions:
    """What a model says, by target name.

    Attributes:
        probability: Of every ``time_to_event`` target, per horizon.
        expected: Of every ``amount`` and ``count`` target.
        median: Of those targets for which the model gives one.
        upper: Likewise what only a tenth exceeds, the 0.9 quantile.
        survival: Of those ``time_to_event`` targets for which the model gives the whole curve.
    """

    probability: Mapping[str, Float[ndarray, "readout horizon"]]
    expected: Mapping[str, Float[ndarray, " readout"]]
    median: Mapping[str, Float[ndarray, " readout"]]
    upper: Mapping[str, Float[ndarray, " readout"]] = field(default_factory=dict)
    survival: Mapping[str, Float[ndarray, "readout bin"]] = field(default_factory=dict)


def outcomes_of(
    schema: Schema, labels: Labels, cutoff_us: Int64[ndarray, " readout"], *, observed_until_us: int
) -> Outcomes:
    """Turn labels into what a probability or an expectation is compared with.

    A horizon counts as known only where it is known whatever happened. In a censored window an
    early purchase is known and its absence is not, and a table that says only whether anything
    came within the longest horizon tells an absence at a shorter one, but no purchase: counting
    what happens to be known would count one class and not the other.

    Args:
        schema: The targets.
        labels: Of some readouts.
        cutoff_us: Their cutoffs in UTC microseconds.
        observed_until_us: The last instant that the labels were allowed to look at.

    Returns:
        The outcomes of the same readouts.
    """
    return Outcomes(
        happened={
            target.name: _happened(
                target, labels.lower[target.name], labels.upper[target.name], observed_until_us - cutoff_us
            )
            for target in schema.targets
            if target.kind == "time_to_event"
        },
        values={t.name: labels.values[t.name] for t in schema.targets if t.kind != "time_to_event"},
    )


def _happened(target: Target, lower: ndarray, upper: ndarray, observed_us: ndarray) -> ndarray:
    grid = horizon_grid_days(target)
    columns = []
    for horizon in target.horizons_days:
        end = grid.index(float(horizon)) + 1
        came = np.full(len(lower), np.nan, dtype=np.float32)
        came[upper <= end] = 1.0
        came[lower >= end] = 0.0
        came[observed_us < horizon * MICROSECONDS_PER_DAY] = np.nan
        if ((lower < end) & (end < upper) & (upper <= len(grid))).any():
            came[:] = np.nan
        columns.append(1.0 - came if target.form == "inactivity" else came)
    return np.stack(columns, axis=1)
