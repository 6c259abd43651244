"""What a server says about its model is what a client reads."""

from dataclasses import replace
from pathlib import Path

import pytest
from artifact_builder import build_artifact, build_manifest

from builders import small_schema, small_spec
from holdfast.description import ModelDescription, read_model, write_model
from holdfast.errors import ServiceError
from holdfast.manifest import Manifest
from holdfast.schema import Target
from holdfast.v1 import scoring_pb2 as pb
from holdfast.wire import Limits


@pytest.fixture
def manifest(tmp_path: Path) -> Manifest:
    """Return the small artifact's manifest."""
    return build_manifest(build_artifact(tmp_path / "artifact"), small_spec())


def test_a_description_comes_back_as_it_was_sent(manifest: Manifest) -> None:
    """Schema, targets with their grids and levels, and limits survive; the fingerprint agrees."""
    limits = Limits(max_customers=3, max_events_per_customer=2**32 - 1, max_message_bytes=2**40)
    sent = ModelDescription.of(manifest, limits)
    read = read_model(pb.GetModelResponse.FromString(write_model(sent).SerializeToString()))
    assert read == replace(sent, created_at="2025-06-01T12:00:00Z")
    assert read.schema.fingerprint() == read.schema_fingerprint == small_schema().fingerprint()


def test_both_forms_and_a_target_over_every_event_survive(manifest: Manifest) -> None:
    """A cancellation is not an inactivity, and no event types at all mean every event."""
    schema = replace(
        small_schema(),
        targets=(
            Target(name="gone", kind="time_to_event", event_types=(), horizons_days=(7,), form="event"),
        ),
        currency="",
    )
    sent = replace(
        ModelDescription.of(manifest, Limits()),
        schema=schema,
        targets=(replace(manifest.targets[0], name="gone"),),
    )
    assert read_model(write_model(sent)).schema == schema


@pytest.mark.parametrize("kind", [0, 77])
def test_a_later_release_is_not_half_understood(manifest: Manifest, kind: int) -> None:
    """A kind that this release does not know is an error, never a guess."""
    response = write_model(ModelDescription.of(manifest, Limits()))
    response.targets[0].kind = kind
    with pytest.raises(ServiceError, match="UNIMPLEMENTED") as caught:
        read_model(response)
    assert caught.value.code == "UNIMPLEMENTED"
