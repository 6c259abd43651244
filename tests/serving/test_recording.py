"""What processes notice adds up, and is shown as Prometheus reads it."""

import json

import pytest
from prometheus_client.parser import text_string_to_metric_families

from serving.exposition import expose
from serving.recording import CUSTOMER_BOUNDS, EMPTY, Histogram, Noticed, Recorder, Snapshot, added


def snapshot(*, num: int) -> Snapshot:
    """Return what a process noticed that has answered so many calls."""
    recorder = Recorder()
    for _ in range(num):
        recorder.called("scoring", "OK", seconds=0.004)
        recorder.ran(customers=3, padded_events=24, seconds=0.001)
        recorder.waited(0.5)
        noticed = Noticed(
            num_scored=2, num_faults=1, num_used=20, num_truncated=4, num_after=1, num_unknown=3
        )
        recorder.answered(noticed)
    recorder.refused("queue")
    states = {"requests_in_flight": {"": num}, "model_processes": {"shop\t7": 1}}
    # As it comes from another process.
    told: Snapshot = json.loads(json.dumps({"totals": recorder.totals(), "states": states}))
    return told


def values(shown: bytes) -> dict[tuple[str, str], float]:
    """Return every sample of an exposition by name and labels."""
    return {
        (
            sample.name,
            ",".join(f"{key}={value}" for key, value in sorted(sample.labels.items())),
        ): sample.value
        for family in text_string_to_metric_families(shown.decode())
        for sample in family.samples
    }


def test_processes_add_up() -> None:
    """Totals and states of all of them; a histogram's counts are added bound by bound."""
    shown, content_type = expose(added([snapshot(num=2), snapshot(num=5)]), "")
    found = values(shown)
    assert content_type.startswith("text/plain")
    assert found["holdfast_requests_total", "code=OK,service=scoring"] == 7
    assert found["holdfast_refusals_total", "reason=queue"] == 2
    assert found["holdfast_customers_total", "status=scored"] == 14
    assert found["holdfast_customers_total", "status=fault"] == 7
    assert found["holdfast_events_total", "kind=unknown"] == 21
    assert found["holdfast_requests_in_flight", ""] == 7
    assert found["holdfast_model_processes", "model=shop,version=7"] == 2
    assert found["holdfast_request_seconds_bucket", "le=0.0025,service=scoring"] == 0
    assert found["holdfast_request_seconds_bucket", "le=0.005,service=scoring"] == 7
    assert found["holdfast_request_seconds_bucket", "le=+Inf,service=scoring"] == 7
    assert found["holdfast_request_seconds_sum", "service=scoring"] == pytest.approx(7 * 0.004)
    assert found["holdfast_run_customers_bucket", "le=2.0"] == 0
    assert found["holdfast_run_customers_bucket", "le=4.0"] == 7
    assert found["holdfast_queue_wait_seconds_sum", ""] == pytest.approx(3.5)


def test_nothing_noticed_is_shown_too() -> None:
    """A server that has just started has every metric, without values."""
    shown, _ = expose(EMPTY, "")
    names = {family.name for family in text_string_to_metric_families(shown.decode())}
    assert {"holdfast_requests", "holdfast_run_seconds", "holdfast_requests_in_flight"} <= names
    assert values(shown) == {}


def test_the_reader_chooses_the_form() -> None:
    """Prometheus asks for OpenMetrics, which ends with a mark of its own."""
    shown, content_type = expose(snapshot(num=1), "application/openmetrics-text; version=1.0.0")
    assert content_type.startswith("application/openmetrics-text")
    assert shown.endswith(b"# EOF\n")


def test_a_value_on_a_bound_counts_below_it() -> None:
    """As Prometheus has it: up to and including; what exceeds every bound is the last count."""
    histogram = Histogram(CUSTOMER_BOUNDS)
    for value in (1, 1.5, 1_024, 5_000):
        histogram.add(value)
    *counts, total = histogram.numbers()
    assert (counts[0], counts[1], counts[-2], counts[-1]) == (1, 1, 1, 1)
    assert total == 6_026.5
