"""Answers hold what was asked for and nothing else, for every kind of target."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from artifact_builder import build_manifest

from builders import small_schema, small_spec
from holdfast.errors import HistoryError, RequestError
from holdfast.manifest import Manifest, TargetForm
from holdfast.schema import Target
from holdfast.v1 import scoring_pb2 as pb
from serving.answers import AnswerWriter, Wanted
from serving.outputs import RowOf
from serving.predictor import Predictions

VISITS = Target(
    name="visits", kind="time_to_event", event_types=("visit",), horizons_days=(7, 30), form="event"
)


@pytest.fixture
def manifest(artifact_folder: Path) -> Manifest:
    """Return a manifest with two targets that have horizons."""
    spec = small_spec()
    manifest = build_manifest(artifact_folder, spec)
    wide = replace(spec, schema=replace(small_schema(), targets=(*small_schema().targets, VISITS)))
    forms = (*manifest.targets, TargetForm(name="visits", grid_days=(7.0, 30.0)))
    return replace(manifest, encoding=wide, targets=forms)


def predictions() -> Predictions:
    """Return numbers that tell by themselves where they stand, for three customers."""
    rows = np.arange(3, dtype=np.float32)[:, None]
    counts = np.array([1, 0, 300])
    return Predictions(
        outputs={
            "churn_probability": rows + np.array([0.30, 0.60, 0.90], dtype=np.float32),
            "churn_survival": rows + np.arange(12, dtype=np.float32),
            "spend_expected": rows[:, 0],
            "spend_quantiles": rows + np.array([0.1, 0.5, 0.9], dtype=np.float32),
            "orders_expected": rows[:, 0],
            "visits_probability": rows + np.array([0.07, 0.30], dtype=np.float32),
            "visits_survival": rows + np.array([0.5, 0.25], dtype=np.float32),
            "embedding": rows + np.arange(4, dtype=np.float32),
        },
        num_used=counts,
        num_truncated=counts,
        num_after=counts,
        num_unknown=counts,
        is_eligible=np.array([True, False, True]),
    )


def answer(manifest: Manifest, request: pb.ScoreRequest) -> pb.ScoreResponse:
    """Return the answer about three customers, of whom the second is at fault."""
    wanted = Wanted.of(request, manifest.schema.targets)
    faults = {1: HistoryError("event_type[0]", 9, "it must be known")}
    return pb.ScoreResponse.FromString(
        AnswerWriter(manifest).write([b"a", b"b", b"c"], predictions(), faults, wanted=wanted)
    )


def probabilities(response: pb.ScoreResponse, customer: int) -> dict[str, list[float]]:
    """Return the probabilities of a customer by target, rounded."""
    entries = zip(response.targets, response.customers[customer].prediction.targets, strict=True)
    return {
        target.name: [round(value, 2) for value in entry.time_to_event.probability]
        for target, entry in entries
        if target.kind == pb.TARGET_KIND_TIME_TO_EVENT
    }


def test_all_horizons_are_answered_unless_some_are_chosen(manifest: Manifest) -> None:
    """Every target answers those of the chosen horizons that are its own, in its own order."""
    assert probabilities(answer(manifest, pb.ScoreRequest()), 2) == {
        "churn": [2.3, 2.6, 2.9],
        "visits": [2.07, 2.3],
    }
    some = answer(manifest, pb.ScoreRequest(horizons_days=[90, 30, 90]))
    assert probabilities(some, 0) == {"churn": [0.3, 0.9], "visits": [0.3]}
    assert [list(t.horizons_days) for t in some.targets] == [[30, 90], [90], [90], [30]]


def test_a_customer_alone_is_answered_as_among_others(manifest: Manifest) -> None:
    """The quick way for one customer picks the same horizons, and writes the same bytes."""
    wanted = Wanted(horizons_days=(30, 90), include_quantiles=False, include_survival=True)
    writer = AnswerWriter(manifest)
    among = pb.ScoreResponse.FromString(writer.write([b"a", b"b", b"c"], predictions(), {}, wanted=wanted))
    alone = writer.write([b"c"], predictions().rows(slice(2, 3)), {}, wanted=wanted)
    assert pb.ScoreResponse.FromString(alone).customers[0] == among.customers[2]
    found = predictions()
    of_row = replace(found.rows(slice(2, 3)), outputs=RowOf(found.outputs, 2))
    assert writer.write([b"c"], of_row, {}, wanted=wanted) == alone
    assert probabilities(pb.ScoreResponse.FromString(alone), 0) == {"churn": [2.3, 2.9], "visits": [2.3]}


def test_a_target_without_a_chosen_horizon_is_still_of_its_kind(manifest: Manifest) -> None:
    """Its entry is there and empty, so that entries and targets stay side by side."""
    some = answer(manifest, pb.ScoreRequest(horizons_days=[7], include_survival=True))
    assert probabilities(some, 0) == {"churn": [], "visits": [0.07]}
    entry = some.customers[0].prediction.targets[0]
    assert entry.WhichOneof("kind") == "time_to_event"
    assert len(entry.time_to_event.survival) == 12


def test_quantiles_can_be_left_out(manifest: Manifest) -> None:
    """From the numbers and from the description of the target alike."""
    full, lean = (answer(manifest, pb.ScoreRequest(omit_quantiles=omit)) for omit in (False, True))
    assert len(full.customers[0].prediction.targets[1].amount.quantiles) == 3
    assert list(full.targets[1].quantile_levels) == [0.1, 0.5, 0.9]
    assert len(lean.customers[0].prediction.targets[1].amount.quantiles) == 0
    assert list(lean.targets[1].quantile_levels) == []
    assert lean.customers[2].prediction.targets[1].amount.expected == 2


def test_what_was_noticed_stands_beside_the_prediction(manifest: Manifest) -> None:
    """Counts of any size, who is eligible; a customer at fault has an error alone."""
    first, second, third = answer(manifest, pb.ScoreRequest()).customers
    assert first.observed == pb.Observed(
        num_used=1, num_truncated=1, num_after=1, num_unknown=1, is_eligible=True
    )
    assert (second.WhichOneof("outcome"), second.HasField("observed")) == ("error", False)
    assert (third.observed.num_used, third.observed.is_eligible) == (300, True)


def test_a_horizon_of_no_target_is_refused(manifest: Manifest) -> None:
    """With the place in the request, the value, and the horizons that there are."""
    with pytest.raises(RequestError) as caught:
        answer(manifest, pb.ScoreRequest(horizons_days=[30, 45]))
    assert (caught.value.field, caught.value.value) == ("horizons_days[1]", "45")
    assert caught.value.limit == "the model answers [7, 30, 60, 90]"


def test_many_kinds_of_answer_are_not_kept_for_ever(
    manifest: Manifest, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A caller who asks in ever new ways gets right answers, and takes no memory."""
    monkeypatch.setattr("serving.answers._MAX_FORMS", 2)
    writer = AnswerWriter(manifest)
    for horizons_days in ((7,), (30,), (60,), (90,), (7,), (7, 30)):
        wanted = Wanted(horizons_days=horizons_days)
        response = pb.ScoreResponse.FromString(
            writer.write([b"a", b"b", b"c"], predictions(), {}, wanted=wanted)
        )
        assert sorted({*response.targets[0].horizons_days, *response.targets[3].horizons_days}) == list(
            horizons_days
        )
    assert len(writer._heads) <= 2
    assert len(writer._forms) <= 2
