"""Typical customers: their curves by hand."""

import numpy as np
import pytest

from builders import small_schema
from holdfast.schema import Target, horizon_grid_days
from training.evaluation.standing import Standing
from training.evaluation.typical import observed_survival, predicted_survival, typical_curves
from training.labels import Labels
from training.outcomes import Predictions

CHURN = small_schema().targets[0]
CANCEL = Target(
    name="cancel", kind="time_to_event", event_types=("cancel",), horizons_days=(30, 60), form="event"
)


def standing_of_everybody(num: int) -> Standing:
    """Return customers by turns frequent and here, frequent and away, new, and come once long ago."""
    kind = np.arange(num) % 4
    return Standing(
        days_since_activity=np.array([1.0, 60.0, 3.0, 200.0])[kind],
        tenure_days=np.array([400.0, 400.0, 5.0, 201.0])[kind],
        num_activity=np.array([20, 20, 1, 1])[kind],
        num_events=np.array([20, 20, 1, 1])[kind],
        last_type=np.array(["purchase"] * num, dtype=object),
        spent=None,
        numeric={},
        categorical={},
    )


def test_observed_by_hand() -> None:
    """Came in bin 2; never came; known to have come by the end only; nothing known."""
    observed = observed_survival(np.array([1, 3, 0, 0]), np.array([2, 4, 3, 4]), num_bins=3)
    nan = np.nan
    np.testing.assert_array_equal(observed, [[1, 0, 0], [1, 1, 1], [nan, nan, 0], [nan, nan, nan]])


@pytest.mark.parametrize("target", [CHURN, CANCEL], ids=["inactivity", "event"])
def test_probabilities_are_points_of_a_curve(target: Target) -> None:
    """A model without a curve is known at the horizons; of a cancellation survival is the complement."""
    probability = np.full((3, len(target.horizons_days)), 0.3)
    said = Predictions(probability={target.name: probability}, expected={}, median={})
    survival, bins = predicted_survival(target, said)
    assert survival[0, 0] == pytest.approx(0.3 if target.form == "inactivity" else 0.7)
    assert [horizon_grid_days(target)[at] for at in bins] == list(target.horizons_days)


def test_curves_of_customers_and_fifths() -> None:
    """Everybody is where one would look for them; risk falls from fifth to fifth."""
    num, grid = 400, horizon_grid_days(CHURN)
    bins = len(grid)
    level = np.linspace(0.1, 0.9, num)
    survival = level[:, None] ** (np.arange(1, bins + 1) / bins)
    # Every second customer comes in the first bin, the others never.
    upper = np.where(np.arange(num) % 2, 1, bins + 1)
    lower = np.where(np.arange(num) % 2, 0, bins)
    curves = typical_curves(
        CHURN,
        Labels(lower={"churn": lower}, upper={"churn": upper}, values={}),
        Predictions(
            probability={"churn": survival[:, -3:]}, expected={}, median={}, survival={"churn": survival}
        ),
        standing_of_everybody(num),
    )
    people = {curve["name"]: curve for curve in curves if curve["kind"] == "customers"}
    assert {name: curve["observed"][-1] for name, curve in people.items()} == {
        "frequent and just here": 1.0,
        "frequent, now away": 0.0,
        "new": 1.0,
        "came once, long ago": 0.0,
    }
    assert all(curve["num_readouts"] == num // 4 for curve in people.values())
    assert people["new"]["days"] == [0.0, *grid]
    assert people["new"]["observed"][0] == people["new"]["predicted"][0] == 1.0
    assert people["new"]["meaning"].startswith("first event within ")
    ends = [curve["predicted"][-1] for curve in curves if curve["kind"] == "risk"]
    assert ends == pytest.approx([level[80 * at : 80 * at + 80].mean() for at in (4, 3, 2, 1, 0)])


def test_what_is_not_known_of_all_is_not_told() -> None:
    """A table of labels that says only whether it came within the longest horizon."""
    num, bins = 60, len(horizon_grid_days(CHURN))
    came = np.arange(num) // 4 % 2 == 0
    labels = Labels(
        lower={"churn": np.where(came, 0, bins)},
        upper={"churn": np.where(came, bins, bins + 1)},
        values={},
    )
    said = Predictions(probability={"churn": np.full((num, 3), 0.5)}, expected={}, median={})
    standing = standing_of_everybody(num)
    assert typical_curves(CHURN, labels, said, standing) == []
    twice = [np.concatenate([column] * 5) for column in (labels.lower["churn"], labels.upper["churn"])]
    many = Labels(lower={"churn": twice[0]}, upper={"churn": twice[1]}, values={})
    said = Predictions(probability={"churn": np.full((5 * num, 3), 0.5)}, expected={}, median={})
    for curve in typical_curves(CHURN, many, said, standing_of_everybody(5 * num)):
        assert curve["observed"][1:-1] == [None, None]
        assert curve["observed"][-1] is not None
