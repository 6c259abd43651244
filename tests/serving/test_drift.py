"""Who was scored of late, beside those whom the model was judged on."""

from pathlib import Path

import numpy as np
import pytest
from artifact_builder import running_server
from gated_server import connected, request

from holdfast.manifest import read_manifest
from holdfast.reference import Quantity, Reference, stability_index
from serving.drift import HALF_LIFE_CUSTOMERS, TOGETHER, Drift
from serving.exposition import LEAST_CUSTOMERS, expose
from serving.recording import Snapshot, added

EVENTS = Reference(
    quantity=Quantity(name="num_events", tensor="readout_visible"), edges=(2.0, 9.0), shares=(0.5, 0.25, 0.25)
)
CHURN = Reference(
    quantity=Quantity(name="churn_90d", tensor="churn_probability", column=1), edges=(0.5,), shares=(0.4, 0.6)
)


def ran(drift: Drift, events: int, probability: float, *, num: int, is_eligible: bool = True) -> None:
    """Note a run of customers who are all alike."""
    inputs = {"readout_visible": np.full(num, events), "readout_values": np.zeros((num, 3))}
    outputs = {"churn_probability": np.full((num, 2), [0.1, probability]), "embedding": np.zeros((num, 4))}
    drift.ran(inputs, outputs, np.full(num, is_eligible))


def snapshot(drift: Drift) -> Snapshot:
    """Return what a process would tell."""
    return {"totals": {}, "states": drift.states()}


def shown(told: Snapshot) -> dict[str, float]:
    """Return the lines about drift by name and labels."""
    text = expose(told, "")[0].decode()
    lines = [line.rsplit(" ", 1) for line in text.splitlines() if not line.startswith("#")]
    return {name: float(value) for name, value in lines if "quantity=" in name}


def test_customers_are_counted_where_they_lie() -> None:
    """Inputs and outputs alike, some hundred at a time or when somebody looks."""
    drift = Drift((EVENTS, CHURN))
    ran(drift, 2, 0.5, num=3)
    ran(drift, 9, 0.7, num=2)
    states = drift.states()
    assert list(states["recent_customers"].items()) == [
        *(("num_events\t1", 3.0), ("num_events\t2", 2.0), ("num_events\t3", 0.0)),
        *(("churn_90d\t1", 3.0), ("churn_90d\t2", 2.0)),
    ]
    assert list(states["reference_share"].values()) == [0.5, 0.25, 0.25, 0.4, 0.6]


def test_the_past_fades() -> None:
    """After as many as a half-life has, those before count half; nothing is kept beyond a few hundred."""
    drift = Drift((CHURN,))
    ran(drift, 1, 0.2, num=100)
    assert drift.states()["recent_customers"]["churn_90d\t1"] == 100.0
    for _ in range(HALF_LIFE_CUSTOMERS // 100):
        ran(drift, 1, 0.9, num=100)
        assert drift._num_kept < TOGETHER
    found = drift.states()["recent_customers"]
    assert found["churn_90d\t1"] == pytest.approx(50.0)
    assert 5_000 < float(np.sum(found["churn_90d\t2"])) < HALF_LIFE_CUSTOMERS


def test_whoever_is_not_eligible_does_not_count() -> None:
    """The model was judged on none of them, and a list of all customers holds many; none is kept for long."""
    drift = Drift((EVENTS, CHURN))
    ran(drift, 2, 0.5, num=3)
    for _ in range(HALF_LIFE_CUSTOMERS // 100):
        ran(drift, 1, 0.9, num=100, is_eligible=False)
        assert drift._num_kept < TOGETHER
    states = drift.states()
    assert sum(states["recent_customers"].values()) == 6.0
    assert states["recent_customers"]["churn_90d\t1"] == 3.0


def test_processes_are_compared_together() -> None:
    """Their customers add up, and the reference stays what it is."""
    drifts = [Drift((EVENTS, CHURN)) for _ in range(2)]
    ran(drifts[0], 1, 0.2, num=400)
    ran(drifts[1], 20, 0.9, num=600)
    lines = shown(added(snapshot(drift) for drift in drifts))
    assert lines['holdfast_recent_customers{bin="1",quantity="num_events"}'] == 400.0
    assert lines['holdfast_recent_customers{bin="3",quantity="num_events"}'] == 600.0
    assert lines['holdfast_reference_share{bin="2",quantity="churn_90d"}'] == pytest.approx(0.6)
    expected = stability_index(EVENTS.shares, np.array([400.0, 0.0, 600.0]))
    assert lines['holdfast_drift_index{quantity="num_events"}'] == pytest.approx(expected)
    assert lines['holdfast_drift_index{quantity="churn_90d"}'] == pytest.approx(0.0, abs=1e-9)


def test_few_customers_are_not_compared() -> None:
    """Chance would make them look different."""
    drift = Drift((CHURN,))
    ran(drift, 1, 0.9, num=LEAST_CUSTOMERS - 1)
    assert not any("drift_index" in name for name in shown(snapshot(drift)))
    # Those before count a little less by now.
    ran(drift, 1, 0.9, num=2)
    assert any("drift_index" in name for name in shown(snapshot(drift)))


def test_a_server_counts_whom_it_scored(artifact_folder: Path) -> None:
    """Whatever was asked, by what the graph was given and said of each eligible customer."""
    references = {one.quantity.name: one for one in read_manifest(artifact_folder).reference}
    with running_server(artifact_folder) as server, connected(server) as stub:
        answers = [stub.Score(request(seed, num_customers=7)) for seed in range(3)]
        told = server.scorer.snapshot()["states"]["recent_customers"]
    by_quantity: dict[str, list[float]] = {}
    for labels, count in told.items():
        by_quantity.setdefault(labels.partition("\t")[0], []).append(count)
    eligible = [entry for answer in answers for entry in answer.customers if entry.observed.is_eligible]
    said = {
        "num_events": [entry.observed.num_used for entry in eligible],
        "churn_90d": [entry.prediction.targets[0].time_to_event.probability[-1] for entry in eligible],
    }
    assert set(by_quantity) == set(references)
    assert 0 < len(eligible) < 21
    assert {sum(counts) for counts in by_quantity.values()} == {len(eligible)}
    for name, values in said.items():
        assert by_quantity[name] == references[name].counts(np.array(values)).tolist()


def test_a_model_without_a_reference_tells_nothing() -> None:
    """Nothing is kept for it either."""
    drift = Drift(())
    ran(drift, 1, 0.9, num=10_000)
    assert shown(snapshot(drift)) == {}
