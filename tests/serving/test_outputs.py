"""What the graph gave is brought together in the order asked, part after part."""

from unittest.mock import Mock

import numpy as np

from builders import random_histories
from holdfast.errors import HistoryError
from holdfast.results import ELIGIBLE_NAME, OBSERVED_NAMES
from serving.asking import AskedHistories
from serving.batch import Part
from serving.outputs import RowsOf
from serving.predictor import Predictions
from serving.scored import scored_of


def test_rows_of_several_runs_are_brought_together_when_they_are_looked_at() -> None:
    """In any order, an output at a time."""
    runs = [{"a": np.arange(3.0), "b": np.ones((3, 2))}, {"a": np.array([7.0]), "b": np.zeros((1, 2))}]
    rows = RowsOf(runs, np.array([3, 0, 2]))
    assert (list(rows), len(rows), "a" in rows, "c" in rows) == (["a", "b"], 2, True, False)
    assert rows["a"].tolist() == [7.0, 0.0, 2.0]
    assert rows["b"].tolist() == [[0.0, 0.0], [1.0, 1.0], [1.0, 1.0]]


def test_parts_of_a_request_are_one_answer() -> None:
    """Part after part; zeros for one in which everybody is at fault, and faults under their rows."""
    counts = np.array([1, 2])
    noticed = dict.fromkeys(OBSERVED_NAMES, counts) | {ELIGIBLE_NAME: np.array([True, False])}
    outputs = [{}, {"a": np.array([5.0, 6.0])}, {"a": np.array([8.0, 9.0])}]
    parts = [
        Part(
            asked=AskedHistories(histories=random_histories(np.random.default_rng(0), 2)),
            as_of_us=counts,
            padded_events=0,
            sent_events=0,
            is_large=True,
            is_wanted=lambda: True,
            done=Mock(),
            predictions=Predictions(outputs=one, **noticed),
        )
        for one in outputs
    ]
    wrong = HistoryError("event_type[0]", 9, "it must be known")
    parts[0].faults = {0: wrong, 1: wrong}
    parts[2].faults = {1: wrong}
    scored = scored_of(parts)
    assert (list(scored.predictions.outputs), "a" in scored.predictions.outputs) == (["a"], True)
    assert scored.predictions.outputs["a"].tolist() == [0.0, 0.0, 5.0, 6.0, 8.0, 9.0]
    assert scored.faults == {0: wrong, 1: wrong, 5: wrong}
    assert scored.predictions.num_used.tolist() == [1, 2, 1, 2, 1, 2]
