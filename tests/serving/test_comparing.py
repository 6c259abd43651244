"""Answers about the same customers are compared target by target, whatever numbers they hold."""

import json

import numpy as np
import pytest
from numpy import ndarray
from prometheus_client.parser import text_string_to_metric_families

from serving.comparing import PROBABILITY, RATIO, Answers, Compared, compared
from serving.exposition import expose
from serving.recording import Noticed, added
from serving.trial_recording import TrialRecorder


def answers(kind: str, values: list[float], *, is_scored: ndarray | None = None) -> Answers:
    """Return what was said about some customers."""
    return Answers(
        values={"target": np.array(values)},
        kinds={"target": kind},
        is_scored=np.ones(len(values), dtype=np.bool_) if is_scored is None else is_scored,
    )


def filled(found: Compared) -> dict[int, int]:
    """Return the buckets that are not empty."""
    return {place: int(num) for place, num in enumerate(found.numbers[:-1]) if num}


def test_probabilities_are_compared_by_their_absolute_difference() -> None:
    """A value on a bound lies below it, and what is no number lies above all of them."""
    [found] = compared(
        answers(PROBABILITY, [0.5, 0.5, 0.5, 0.25]), answers(PROBABILITY, [0.5, 0.2, float("nan"), 0.75])
    )
    assert filled(found) == {0: 1, 8: 2, 10: 1}
    assert found.numbers[-1] == pytest.approx(0.0 + 0.3 + 2.0 + 0.5)
    assert (found.served, found.candidate) == pytest.approx((1.75, 1.45))


def test_amounts_are_compared_by_their_ratio() -> None:
    """Two zeros are alike, and nothing is infinite: a single customer must not be the whole sum."""
    before, after = [2.0, 0.0, 0.0, 10.0, 1.0], [2.0, 0.0, 3.0, 1.0, -1.0]
    [found] = compared(answers(RATIO, before), answers(RATIO, after))
    assert filled(found) == {7: 2, 14: 1, 0: 2}
    assert found.numbers[-1] == pytest.approx(1.0 + 1.0 + 100.0 + 0.1 + 0.0)


def test_only_customers_whom_both_scored_are_compared() -> None:
    """One that either found at fault says nothing."""
    left = answers(PROBABILITY, [0.1, 0.2, 0.3], is_scored=np.array([True, False, True]))
    right = answers(PROBABILITY, [0.1, 0.2, 0.4], is_scored=np.array([False, True, True]))
    [found] = compared(left, right)
    assert sum(found.numbers[:-1]) == 1
    assert (found.served, found.candidate) == (0.3, 0.4)


def test_what_processes_noticed_of_a_candidate_adds_up() -> None:
    """Role, version and target are labels; sums and histograms are those of all processes."""
    recorder = TrialRecorder()
    noticed = Noticed(num_scored=2, num_faults=1, num_used=9, num_truncated=0, num_after=0, num_unknown=0)
    for role, version in (("served", "1"), ("candidate", "2")):
        recorder.answered(role, version, noticed, seconds=0.004)
    for _ in range(2):
        recorder.compared("2", compared(answers(PROBABILITY, [0.5, 0.5]), answers(PROBABILITY, [0.5, 0.75])))
        recorder.compared("2", compared(answers(RATIO, [2.0]), answers(RATIO, [4.0])))
    recorder.failed("2", "internal")
    recorder.dropped("busy")
    told = json.loads(
        json.dumps({"totals": recorder.totals(), "states": {"candidate_processes": {"m\t2": 1}}})
    )
    text = expose(added([told, told]), "")[0].decode()
    found = {
        (sample.name, *(value for _, value in sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }
    assert found["holdfast_role_requests_total", "served", "1"] == 2
    assert found["holdfast_role_customers_total", "candidate", "scored", "2"] == 4
    assert found["holdfast_role_seconds_bucket", "0.005", "candidate", "2"] == 2
    assert found["holdfast_candidate_failures_total", "internal", "2"] == 2
    assert found["holdfast_shadow_dropped_total", "busy"] == 2
    assert found["holdfast_shadow_expected_total", "candidate", "target", "2"] == 4 * (0.5 + 0.75 + 4.0)
    assert found["holdfast_shadow_probability_difference_bucket", "0.1", "target", "2"] == 4
    assert found["holdfast_shadow_probability_difference_bucket", "0.25", "target", "2"] == 8
    assert found["holdfast_shadow_expected_ratio_bucket", "2.0", "target", "2"] == 4
    assert found["holdfast_shadow_expected_ratio_sum", "target", "2"] == 8.0
    assert found["holdfast_candidate_processes", "m", "2"] == 2
