"""What a server says about its model, and the same as a GetModelResponse.

It deliberately leaves out what only the server needs: encoding, files, metrics.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeVar

from holdfast.errors import HoldfastError, ServiceError
from holdfast.manifest import Manifest, TargetForm
from holdfast.schema import Attribute, AttributeKind, ChurnForm, Field, FieldKind, Schema, Target, TargetKind
from holdfast.v1 import scoring_pb2 as pb
from holdfast.wire import Limits

_FIELD_KINDS: Mapping[FieldKind, pb.FieldKind] = {
    "categorical": pb.FIELD_KIND_CATEGORICAL,
    "numeric": pb.FIELD_KIND_NUMERIC,
    "money": pb.FIELD_KIND_MONEY,
}
_ATTRIBUTE_KINDS: Mapping[AttributeKind, pb.FieldKind] = {
    "categorical": pb.FIELD_KIND_CATEGORICAL,
    "numeric": pb.FIELD_KIND_NUMERIC,
}
_TARGET_KINDS: Mapping[TargetKind, pb.TargetKind] = {
    "time_to_event": pb.TARGET_KIND_TIME_TO_EVENT,
    "amount": pb.TARGET_KIND_AMOUNT,
    "count": pb.TARGET_KIND_COUNT,
}
_TARGET_FORMS: Mapping[ChurnForm | None, pb.TargetForm] = {
    None: pb.TARGET_FORM_UNSPECIFIED,
    "inactivity": pb.TARGET_FORM_INACTIVITY,
    "event": pb.TARGET_FORM_EVENT,
}


K = TypeVar("K")
V = TypeVar("V")


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelDescription:
    """A model as its callers see it.

    Attributes:
        name: Name of the model.
        version: Version of the model.
        created_at: ISO 8601 time with zone.
        schema: What it expects.
        schema_fingerprint: The server's own fingerprint of the schema.
        targets: How each target of the schema is answered, in its order.
        max_events: The last ``max_events`` events ...
        history_days: ... of the last ``history_days`` days are used.
        limits: What the server takes.
    """

    name: str
    version: str
    created_at: str
    schema: Schema
    schema_fingerprint: str
    targets: tuple[TargetForm, ...]
    max_events: int
    history_days: int
    limits: Limits

    @classmethod
    def of(cls, manifest: Manifest, limits: Limits) -> "ModelDescription":
        """Return the description of an artifact."""
        return cls(
            name=manifest.name,
            version=manifest.version,
            created_at=manifest.created_at,
            schema=manifest.schema,
            schema_fingerprint=manifest.schema.fingerprint(),
            targets=manifest.targets,
            max_events=manifest.encoding.max_events,
            history_days=manifest.encoding.history_days,
            limits=limits,
        )


def write_model(description: ModelDescription) -> pb.GetModelResponse:
    """Return a description as the message."""
    schema = description.schema
    response = pb.GetModelResponse(
        name=description.name,
        version=description.version,
        schema=pb.Schema(
            fingerprint=description.schema_fingerprint,
            fields=[
                pb.FieldDeclaration(name=f.name, kind=_FIELD_KINDS[f.kind], unit=f.unit)
                for f in schema.fields
            ],
            attributes=[
                pb.AttributeDeclaration(name=a.name, kind=_ATTRIBUTE_KINDS[a.kind], unit=a.unit)
                for a in schema.attributes
            ],
            activity=schema.activity,
            ended_by=schema.ended_by,
            lookback_days=schema.lookback_days,
            currency=schema.currency,
        ),
        targets=[write_target(t, f) for t, f in zip(schema.targets, description.targets, strict=True)],
        max_events=description.max_events,
        history_days=description.history_days,
        limits=pb.Limits(
            max_customers=description.limits.max_customers,
            max_events_per_customer=description.limits.max_events_per_customer,
            max_message_bytes=description.limits.max_message_bytes,
            max_events=description.limits.max_events,
        ),
    )
    response.created_at.FromJsonString(description.created_at)
    return response


def write_target(target: Target, form: TargetForm) -> pb.Target:
    """Return a target and the form of its answer as the message."""
    return pb.Target(
        name=target.name,
        kind=_TARGET_KINDS[target.kind],
        event_types=target.event_types,
        horizons_days=target.horizons_days,
        form=_TARGET_FORMS[target.form],
        field=target.field or "",
        grid_days=form.grid_days,
        quantile_levels=form.quantile_levels,
    )


def read_model(response: pb.GetModelResponse) -> ModelDescription:
    """Return the message as a description.

    Raises:
        ServiceError: The server is of a release that this one does not understand.
    """
    try:
        schema = Schema(
            fields=tuple(
                Field(name=f.name, kind=_key(_FIELD_KINDS, f.kind), unit=f.unit)
                for f in response.schema.fields
            ),
            attributes=tuple(
                Attribute(name=a.name, kind=_key(_ATTRIBUTE_KINDS, a.kind), unit=a.unit)
                for a in response.schema.attributes
            ),
            activity=tuple(response.schema.activity),
            ended_by=tuple(response.schema.ended_by),
            lookback_days=response.schema.lookback_days,
            targets=tuple(read_target(target)[0] for target in response.targets),
            currency=response.schema.currency,
        )
    except (HoldfastError, ValueError) as error:
        raise ServiceError("UNIMPLEMENTED", f"the server's schema is not understood: {error}") from error
    limits = response.limits
    return ModelDescription(
        name=response.name,
        version=response.version,
        created_at=response.created_at.ToJsonString(),
        schema=schema,
        schema_fingerprint=response.schema.fingerprint,
        targets=tuple(read_target(target)[1] for target in response.targets),
        max_events=response.max_events,
        history_days=response.history_days,
        limits=Limits(
            max_customers=limits.max_customers,
            max_events_per_customer=limits.max_events_per_customer,
            max_message_bytes=limits.max_message_bytes,
            max_events=limits.max_events or Limits().max_events,
        ),
    )


def read_target(message: pb.Target) -> tuple[Target, TargetForm]:
    """Return a target and the form of its answer.

    Raises:
        ValueError: Its kind or form is unknown to this release.
    """
    target = Target(
        name=message.name,
        kind=_key(_TARGET_KINDS, message.kind),
        event_types=tuple(message.event_types),
        horizons_days=tuple(message.horizons_days),
        form=_key(_TARGET_FORMS, message.form),
        field=message.field or None,
    )
    form = TargetForm(
        name=message.name,
        grid_days=tuple(message.grid_days),
        quantile_levels=tuple(message.quantile_levels),
    )
    return target, form


def _key(table: Mapping[K, V], wanted: V) -> K:
    for key, value in table.items():
        if value == wanted:
            return key
    raise ValueError(f"{wanted} is of a later release")
