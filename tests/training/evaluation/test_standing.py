"""Standing: what is known of a customer at a cutoff, counted by hand and by a plain loop."""

from dataclasses import replace

import numpy as np
import pytest

from builders import CHANNELS, DAY, EVENT_TYPES, REGIONS, START_US, random_histories, small_schema
from holdfast.histories import ALWAYS_US, AttributeVersions, CodedColumn, Histories
from holdfast.vocabulary import Dictionary
from training.evaluation.standing import standing_of


def two_customers() -> Histories:
    """Return one who bought twice, returned and visited, and one who bought once."""
    days = np.array([0, 10, 20, 30, 5])
    return Histories(
        offsets=np.array([0, 4, 5]),
        occurred_at_us=START_US + days * DAY,
        event_type=CodedColumn(codes=np.int32([0, 0, 1, 2, 0]), dictionary=Dictionary(EVENT_TYPES)),
        categorical={"channel": CodedColumn(codes=np.int32([0] * 5), dictionary=Dictionary(CHANNELS))},
        numeric={
            "amount": np.float32([100, 50, -20, np.nan, 7]),
            "quantity": np.float32([1, 1, 1, np.nan, 1]),
        },
        attributes=AttributeVersions(
            offsets=np.array([0, 2, 2]),
            valid_from_us=np.array([ALWAYS_US, START_US + 15 * DAY]),
            categorical={"region": CodedColumn(codes=np.int32([0, 1]), dictionary=Dictionary(REGIONS))},
            numeric={"age": np.float32([30, np.nan])},
        ),
    )


def test_by_hand() -> None:
    """Nothing after the cutoff counts; an event at the cutoff does; versions hold from their time."""
    customer, days = np.array([0, 0, 1]), np.array([10, 31, 7])
    found = standing_of(two_customers(), small_schema(), customer, START_US + days * DAY)
    assert found.days_since_activity.tolist() == [0, 21, 2]
    assert found.tenure_days.tolist() == [10, 31, 2]
    assert found.num_activity.tolist() == [2, 2, 1]
    assert found.num_events.tolist() == [2, 4, 1]
    assert found.last_type.tolist() == ["purchase", "visit", "purchase"]
    assert found.spent is not None
    assert found.spent.tolist() == [150, 130, 7]
    assert found.categorical["region"].tolist() == ["north", "south", None]
    assert found.numeric["age"][0] == 30
    assert np.isnan(found.numeric["age"][1:]).all()


def test_spend_looks_back_no_further_than_the_lookback() -> None:
    """The first purchase lies one day too far back."""
    schema = replace(small_schema(), lookback_days=20)
    found = standing_of(two_customers(), schema, np.array([0]), np.array([START_US + 21 * DAY]))
    assert found.spent is not None
    assert found.spent.tolist() == [30]


def test_without_an_amount_nobody_spends() -> None:
    """A business that predicts churn alone."""
    schema = replace(small_schema(), targets=small_schema().targets[:1])
    found = standing_of(two_customers(), schema, np.array([1]), np.array([START_US + 7 * DAY]))
    assert found.spent is None


def test_chunks_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """A bounded number of readouts at a time gives what all at once give, in the order asked."""
    rng = np.random.default_rng(1)
    histories = random_histories(rng, 40)
    bought = np.flatnonzero(np.diff(histories.offsets) > 0)
    customer = rng.choice(bought, 60)
    cutoff_us = histories.occurred_at_us[histories.offsets[customer + 1] - 1] + 3 * DAY
    whole = standing_of(histories, small_schema(), customer, cutoff_us)
    monkeypatch.setattr("training.pages.READOUTS_AT_ONCE", 7)
    parts = standing_of(histories, small_schema(), customer, cutoff_us)
    np.testing.assert_array_equal(whole.tenure_days, parts.tenure_days)
    np.testing.assert_array_equal(whole.num_activity, parts.num_activity)
    np.testing.assert_array_equal(whole.numeric["age"], parts.numeric["age"])
    assert whole.spent is not None
    assert parts.spent is not None
    np.testing.assert_allclose(whole.spent, parts.spent, atol=1e-5)
    assert whole.categorical["region"].tolist() == parts.categorical["region"].tolist()
