"""Cutoffs that are the same for every draw need not be drawn and labelled again."""

import numpy as np
import pytest
from tasks import small_task

from training.readout_table import ReadoutTable

TASK = small_task(num_customers=60)


def test_the_table_gives_what_drawing_and_labelling_anew_gives() -> None:
    """The same cutoffs in the same order, and the same labels for any of them."""
    split = TASK.fit_split
    assert split.is_fixed
    table = ReadoutTable(TASK.readouts(split), num_customers=TASK.histories.num_customers)
    people = np.array([3, 7, 8, 20, 59])
    position, cutoff_us = table.draw(people, np.random.default_rng(0))
    expected = split.draw(TASK.labeller, people, np.random.default_rng(1))
    np.testing.assert_array_equal(position, expected[0])
    np.testing.assert_array_equal(cutoff_us, expected[1])
    some = np.random.default_rng(2).permutation(len(position))[:20]
    found = table.label(people[position[some]], cutoff_us[some])
    labels = TASK.labeller.label(
        people[position[some]], cutoff_us[some], observed_until_us=split.observed_until_us
    )
    for name in ("lower", "upper", "values"):
        for target, column in getattr(labels, name).items():
            np.testing.assert_array_equal(getattr(found, name)[target], column)


@pytest.mark.parametrize("policy", ["random", "some"])
def test_what_is_left_to_chance_is_drawn_anew(policy: str) -> None:
    """Random times, and a limit per customer, differ from draw to draw."""
    from dataclasses import replace

    from training.cutoffs import RandomCandidates

    split = TASK.fit_split
    if policy == "random":
        split = replace(split, candidates=RandomCandidates(oldest_us=0, newest_us=1, per_customer=2))
    else:
        split = replace(split, per_customer=2)
    assert not split.is_fixed
