"""Outcomes: what a probability is compared with, and where nothing is known."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from builders import DAY, START_US, random_histories, small_schema
from holdfast.schema import Schema
from training.labels import Labeller, Labels
from training.outcomes import outcomes_of

K = 12
FAR = START_US + 10_000 * DAY


def labels_of(pairs: list[tuple[int, int]]) -> Labels:
    """Return churn labels of the small schema."""
    return Labels(
        lower={"churn": np.array([pair[0] for pair in pairs], dtype=np.int64)},
        upper={"churn": np.array([pair[1] for pair in pairs], dtype=np.int64)},
        values={name: np.zeros(len(pairs), dtype=np.float32) for name in ("spend", "orders")},
    )


def happened(
    pairs: list[tuple[int, int]], *, form: str = "inactivity", until_us: int = FAR
) -> list[list[float]]:
    """Return what happened within 30, 60 and 90 days, one list per readout."""
    schema = small_schema()
    schema = replace(schema, targets=(replace(schema.targets[0], form=form), *schema.targets[1:]))
    cutoff_us = np.full(len(pairs), START_US, dtype=np.int64)
    made = outcomes_of(schema, labels_of(pairs), cutoff_us, observed_until_us=until_us)
    return made.happened["churn"].tolist()


def test_inactivity_is_one_where_nothing_came() -> None:
    """Bins 1, 4, 5 and never against horizons at the ends of bins 4, 8 and 12."""
    answers = happened([(0, 1), (3, 4), (4, 5), (11, 12), (K, K + 1)])
    assert answers == [[0, 0, 0], [0, 0, 0], [1, 0, 0], [1, 1, 0], [1, 1, 1]]


def test_an_event_is_one_where_it_came() -> None:
    """The other way round."""
    answers = happened([(0, 1), (4, 5), (K, K + 1)], form="event")
    assert answers == [[1, 1, 1], [0, 1, 1], [0, 0, 0]]


@pytest.mark.parametrize("pair", [(0, 1), (7, 8), (8, K + 1)])
def test_a_horizon_is_unknown_whatever_happened_where_it_is_censored(pair: tuple[int, int]) -> None:
    """60 days are known: neither who came nor who did not is counted at 90, nor called a churner."""
    (answer,) = happened([pair], until_us=START_US + 60 * DAY)
    assert np.isnan(answer).tolist() == [False, False, True]
    (answer,) = happened([pair], until_us=START_US + 60 * DAY - 1)
    assert np.isnan(answer).tolist() == [False, True, True]


def test_a_table_answers_its_longest_horizon_alone() -> None:
    """Where the labels only say whether anything came, shorter horizons are unknown for everybody."""
    answers = np.array(happened([(0, K), (K, K + 1), (0, K + 1)]))
    assert np.isnan(answers[:, :2]).all()
    np.testing.assert_array_equal(answers[:, 2], [0, 1, np.nan])


def test_values_pass_through() -> None:
    """Amounts and counts are compared as they are."""
    labels = replace(labels_of([(0, 1)]), values={"spend": np.float32([3]), "orders": np.float32([np.nan])})
    made = outcomes_of(small_schema(), labels, np.array([START_US]), observed_until_us=FAR)
    assert made.values["spend"].tolist() == [3.0]
    assert np.isnan(made.values["orders"][0])


def observed(schema: Schema, seed: int, until_us: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return outcomes at 90 days with everything known, and as known at an instant."""
    rng = np.random.default_rng(seed)
    labeller = Labeller(random_histories(rng, 10), schema)
    customer = rng.integers(0, 10, 60)
    cutoff_us = START_US + rng.integers(0, 500, 60) * DAY
    answers = []
    for end in (FAR, until_us):
        labels = labeller.label(customer, cutoff_us, observed_until_us=end)
        answers.append(outcomes_of(schema, labels, cutoff_us, observed_until_us=end).happened["churn"])
    return answers[0], answers[1], cutoff_us


@given(seed=st.integers(0, 2**32 - 1), until_day=st.integers(0, 600))
def test_known_outcomes_are_right_and_known_for_all_alike(seed: int, until_day: int) -> None:
    """What is known early is what is known later, and knowing depends on the cutoff alone."""
    until_us = START_US + until_day * DAY
    full, early, cutoff_us = observed(small_schema(), seed, until_us)
    for column, horizon in enumerate((30, 60, 90)):
        is_known = cutoff_us + horizon * DAY <= until_us
        assert not np.isnan(full[:, column]).any()
        np.testing.assert_array_equal(~np.isnan(early[:, column]), is_known)
        np.testing.assert_array_equal(early[is_known, column], full[is_known, column])
