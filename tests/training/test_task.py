"""What is drawn of many customers is a sample of what would be drawn of all; nobody is kept from training."""

from dataclasses import replace

import numpy as np
import pytest
from tasks import small_task

import training.task

TASK = small_task()


def test_of_many_customers_a_sample_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    """It holds every cutoff of its customers with the labels of the whole; another seed draws others."""
    split = TASK.splits.train
    whole = replace(TASK).readouts(split, seed=1)
    monkeypatch.setattr(training.task, "MOST_CUSTOMERS", 70)
    drawn = replace(TASK).readouts(split, seed=1)
    people = np.unique(drawn.customer)
    assert 0 < len(people) <= 70
    same = whole.take(np.flatnonzero(np.isin(whole.customer, people)))
    assert drawn.customer.tolist() == same.customer.tolist()
    assert drawn.cutoff_us.tolist() == same.cutoff_us.tolist()
    assert drawn.labels.upper["churn"].tolist() == same.labels.upper["churn"].tolist()
    other = replace(TASK).readouts(split, seed=2)
    assert set(other.customer.tolist()) != set(people.tolist())
    assert TASK.asked_share == 70 / 300


def test_everybody_with_a_cutoff_trains_whatever_the_sample(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pools draw from all customers, found a part at a time."""
    everybody = np.unique(replace(TASK).readouts(TASK.splits.train).customer)
    monkeypatch.setattr(training.task, "MOST_CUSTOMERS", 70)
    assert replace(TASK).customers(TASK.splits.train).tolist() == everybody.tolist()
