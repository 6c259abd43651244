"""The answer to a request, put together from its parts, and what is counted of it.

It deliberately does not know who waits for it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from holdfast.errors import HistoryError
from holdfast.results import COUNT_NAMES, OBSERVED_NAMES
from serving.batch import Part
from serving.outputs import OfParts
from serving.predictor import Predictions
from serving.recording import Noticed


@dataclass(frozen=True, slots=True, kw_only=True)
class Scored:
    """The answer to a request.

    Attributes:
        predictions: One row per customer, in the order asked.
        faults: Why customers could not be scored, by row. That row of the predictions says nothing,
            and where everybody is at fault there may be no outputs at all.
    """

    predictions: Predictions
    faults: Mapping[int, HistoryError]


def scored_of(parts: Sequence[Part]) -> Scored:
    """Return the answer to a request whose parts have all been answered."""
    found = [part.predictions for part in parts if part.predictions is not None]
    if len(found) == 1:
        return Scored(predictions=found[0], faults=parts[0].faults)
    faults: dict[int, HistoryError] = {}
    start = 0
    for part in parts:
        faults |= {start + row: error for row, error in part.faults.items()}
        start += len(part.as_of_us)
    outputs = OfParts([(one.outputs, len(one.num_used)) for one in found])
    counts = {name: np.concatenate([getattr(one, name) for one in found]) for name in OBSERVED_NAMES}
    return Scored(predictions=Predictions(outputs=outputs, **counts), faults=faults)


def noticed_in(scored: Scored) -> Noticed:
    """Return what is counted of an answer; those at fault have zeros."""
    num_faults = len(scored.faults)
    # Sums of plain integers: NumPy's cost more for the few customers of most requests.
    counts = {name: sum(getattr(scored.predictions, name).tolist()) for name in COUNT_NAMES}
    num = len(scored.predictions.num_used)
    return Noticed(num_scored=num - num_faults, num_faults=num_faults, **counts)
