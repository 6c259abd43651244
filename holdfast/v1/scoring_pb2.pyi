from google.protobuf import timestamp_pb2 as _timestamp_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class FieldKind(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    FIELD_KIND_UNSPECIFIED: _ClassVar[FieldKind]
    FIELD_KIND_CATEGORICAL: _ClassVar[FieldKind]
    FIELD_KIND_NUMERIC: _ClassVar[FieldKind]
    FIELD_KIND_MONEY: _ClassVar[FieldKind]

class TargetKind(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    TARGET_KIND_UNSPECIFIED: _ClassVar[TargetKind]
    TARGET_KIND_TIME_TO_EVENT: _ClassVar[TargetKind]
    TARGET_KIND_AMOUNT: _ClassVar[TargetKind]
    TARGET_KIND_COUNT: _ClassVar[TargetKind]

class TargetForm(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    TARGET_FORM_UNSPECIFIED: _ClassVar[TargetForm]
    TARGET_FORM_INACTIVITY: _ClassVar[TargetForm]
    TARGET_FORM_EVENT: _ClassVar[TargetForm]
FIELD_KIND_UNSPECIFIED: FieldKind
FIELD_KIND_CATEGORICAL: FieldKind
FIELD_KIND_NUMERIC: FieldKind
FIELD_KIND_MONEY: FieldKind
TARGET_KIND_UNSPECIFIED: TargetKind
TARGET_KIND_TIME_TO_EVENT: TargetKind
TARGET_KIND_AMOUNT: TargetKind
TARGET_KIND_COUNT: TargetKind
TARGET_FORM_UNSPECIFIED: TargetForm
TARGET_FORM_INACTIVITY: TargetForm
TARGET_FORM_EVENT: TargetForm

class ScoreRequest(_message.Message):
    __slots__ = ("model", "schema_fingerprint", "as_of", "event_types", "field_dictionaries", "attribute_dictionaries", "customers", "include_survival", "include_embedding", "horizons_days", "omit_quantiles")
    class FieldDictionariesEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: Dictionary
        def __init__(self, key: _Optional[str] = ..., value: _Optional[_Union[Dictionary, _Mapping]] = ...) -> None: ...
    class AttributeDictionariesEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: Dictionary
        def __init__(self, key: _Optional[str] = ..., value: _Optional[_Union[Dictionary, _Mapping]] = ...) -> None: ...
    MODEL_FIELD_NUMBER: _ClassVar[int]
    SCHEMA_FINGERPRINT_FIELD_NUMBER: _ClassVar[int]
    AS_OF_FIELD_NUMBER: _ClassVar[int]
    EVENT_TYPES_FIELD_NUMBER: _ClassVar[int]
    FIELD_DICTIONARIES_FIELD_NUMBER: _ClassVar[int]
    ATTRIBUTE_DICTIONARIES_FIELD_NUMBER: _ClassVar[int]
    CUSTOMERS_FIELD_NUMBER: _ClassVar[int]
    INCLUDE_SURVIVAL_FIELD_NUMBER: _ClassVar[int]
    INCLUDE_EMBEDDING_FIELD_NUMBER: _ClassVar[int]
    HORIZONS_DAYS_FIELD_NUMBER: _ClassVar[int]
    OMIT_QUANTILES_FIELD_NUMBER: _ClassVar[int]
    model: str
    schema_fingerprint: str
    as_of: _timestamp_pb2.Timestamp
    event_types: _containers.RepeatedScalarFieldContainer[str]
    field_dictionaries: _containers.MessageMap[str, Dictionary]
    attribute_dictionaries: _containers.MessageMap[str, Dictionary]
    customers: _containers.RepeatedCompositeFieldContainer[Customer]
    include_survival: bool
    include_embedding: bool
    horizons_days: _containers.RepeatedScalarFieldContainer[int]
    omit_quantiles: bool
    def __init__(self, model: _Optional[str] = ..., schema_fingerprint: _Optional[str] = ..., as_of: _Optional[_Union[_timestamp_pb2.Timestamp, _Mapping]] = ..., event_types: _Optional[_Iterable[str]] = ..., field_dictionaries: _Optional[_Mapping[str, Dictionary]] = ..., attribute_dictionaries: _Optional[_Mapping[str, Dictionary]] = ..., customers: _Optional[_Iterable[_Union[Customer, _Mapping]]] = ..., include_survival: bool = ..., include_embedding: bool = ..., horizons_days: _Optional[_Iterable[int]] = ..., omit_quantiles: bool = ...) -> None: ...

class Dictionary(_message.Message):
    __slots__ = ("values",)
    VALUES_FIELD_NUMBER: _ClassVar[int]
    values: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, values: _Optional[_Iterable[str]] = ...) -> None: ...

class Customer(_message.Message):
    __slots__ = ("customer_id", "occurred_at_us", "event_type", "fields", "valid_from_us", "attributes")
    CUSTOMER_ID_FIELD_NUMBER: _ClassVar[int]
    OCCURRED_AT_US_FIELD_NUMBER: _ClassVar[int]
    EVENT_TYPE_FIELD_NUMBER: _ClassVar[int]
    FIELDS_FIELD_NUMBER: _ClassVar[int]
    VALID_FROM_US_FIELD_NUMBER: _ClassVar[int]
    ATTRIBUTES_FIELD_NUMBER: _ClassVar[int]
    customer_id: str
    occurred_at_us: _containers.RepeatedScalarFieldContainer[int]
    event_type: _containers.RepeatedScalarFieldContainer[int]
    fields: _containers.RepeatedCompositeFieldContainer[Column]
    valid_from_us: _containers.RepeatedScalarFieldContainer[int]
    attributes: _containers.RepeatedCompositeFieldContainer[Column]
    def __init__(self, customer_id: _Optional[str] = ..., occurred_at_us: _Optional[_Iterable[int]] = ..., event_type: _Optional[_Iterable[int]] = ..., fields: _Optional[_Iterable[_Union[Column, _Mapping]]] = ..., valid_from_us: _Optional[_Iterable[int]] = ..., attributes: _Optional[_Iterable[_Union[Column, _Mapping]]] = ...) -> None: ...

class Column(_message.Message):
    __slots__ = ("name", "values", "codes")
    NAME_FIELD_NUMBER: _ClassVar[int]
    VALUES_FIELD_NUMBER: _ClassVar[int]
    CODES_FIELD_NUMBER: _ClassVar[int]
    name: str
    values: _containers.RepeatedScalarFieldContainer[float]
    codes: _containers.RepeatedScalarFieldContainer[int]
    def __init__(self, name: _Optional[str] = ..., values: _Optional[_Iterable[float]] = ..., codes: _Optional[_Iterable[int]] = ...) -> None: ...

class ScoreResponse(_message.Message):
    __slots__ = ("model", "version", "targets", "customers")
    MODEL_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    TARGETS_FIELD_NUMBER: _ClassVar[int]
    CUSTOMERS_FIELD_NUMBER: _ClassVar[int]
    model: str
    version: str
    targets: _containers.RepeatedCompositeFieldContainer[Target]
    customers: _containers.RepeatedCompositeFieldContainer[CustomerResult]
    def __init__(self, model: _Optional[str] = ..., version: _Optional[str] = ..., targets: _Optional[_Iterable[_Union[Target, _Mapping]]] = ..., customers: _Optional[_Iterable[_Union[CustomerResult, _Mapping]]] = ...) -> None: ...

class CustomerResult(_message.Message):
    __slots__ = ("customer_id", "prediction", "error", "observed")
    CUSTOMER_ID_FIELD_NUMBER: _ClassVar[int]
    PREDICTION_FIELD_NUMBER: _ClassVar[int]
    ERROR_FIELD_NUMBER: _ClassVar[int]
    OBSERVED_FIELD_NUMBER: _ClassVar[int]
    customer_id: str
    prediction: Prediction
    error: CustomerError
    observed: Observed
    def __init__(self, customer_id: _Optional[str] = ..., prediction: _Optional[_Union[Prediction, _Mapping]] = ..., error: _Optional[_Union[CustomerError, _Mapping]] = ..., observed: _Optional[_Union[Observed, _Mapping]] = ...) -> None: ...

class Prediction(_message.Message):
    __slots__ = ("targets", "embedding")
    TARGETS_FIELD_NUMBER: _ClassVar[int]
    EMBEDDING_FIELD_NUMBER: _ClassVar[int]
    targets: _containers.RepeatedCompositeFieldContainer[TargetPrediction]
    embedding: _containers.RepeatedScalarFieldContainer[float]
    def __init__(self, targets: _Optional[_Iterable[_Union[TargetPrediction, _Mapping]]] = ..., embedding: _Optional[_Iterable[float]] = ...) -> None: ...

class TargetPrediction(_message.Message):
    __slots__ = ("time_to_event", "amount", "count")
    TIME_TO_EVENT_FIELD_NUMBER: _ClassVar[int]
    AMOUNT_FIELD_NUMBER: _ClassVar[int]
    COUNT_FIELD_NUMBER: _ClassVar[int]
    time_to_event: TimeToEventPrediction
    amount: AmountPrediction
    count: CountPrediction
    def __init__(self, time_to_event: _Optional[_Union[TimeToEventPrediction, _Mapping]] = ..., amount: _Optional[_Union[AmountPrediction, _Mapping]] = ..., count: _Optional[_Union[CountPrediction, _Mapping]] = ...) -> None: ...

class TimeToEventPrediction(_message.Message):
    __slots__ = ("probability", "survival")
    PROBABILITY_FIELD_NUMBER: _ClassVar[int]
    SURVIVAL_FIELD_NUMBER: _ClassVar[int]
    probability: _containers.RepeatedScalarFieldContainer[float]
    survival: _containers.RepeatedScalarFieldContainer[float]
    def __init__(self, probability: _Optional[_Iterable[float]] = ..., survival: _Optional[_Iterable[float]] = ...) -> None: ...

class AmountPrediction(_message.Message):
    __slots__ = ("expected", "quantiles")
    EXPECTED_FIELD_NUMBER: _ClassVar[int]
    QUANTILES_FIELD_NUMBER: _ClassVar[int]
    expected: float
    quantiles: _containers.RepeatedScalarFieldContainer[float]
    def __init__(self, expected: _Optional[float] = ..., quantiles: _Optional[_Iterable[float]] = ...) -> None: ...

class CountPrediction(_message.Message):
    __slots__ = ("expected",)
    EXPECTED_FIELD_NUMBER: _ClassVar[int]
    expected: float
    def __init__(self, expected: _Optional[float] = ...) -> None: ...

class CustomerError(_message.Message):
    __slots__ = ("field", "value", "limit")
    FIELD_FIELD_NUMBER: _ClassVar[int]
    VALUE_FIELD_NUMBER: _ClassVar[int]
    LIMIT_FIELD_NUMBER: _ClassVar[int]
    field: str
    value: str
    limit: str
    def __init__(self, field: _Optional[str] = ..., value: _Optional[str] = ..., limit: _Optional[str] = ...) -> None: ...

class Observed(_message.Message):
    __slots__ = ("num_used", "num_truncated", "num_after", "num_unknown", "is_eligible")
    NUM_USED_FIELD_NUMBER: _ClassVar[int]
    NUM_TRUNCATED_FIELD_NUMBER: _ClassVar[int]
    NUM_AFTER_FIELD_NUMBER: _ClassVar[int]
    NUM_UNKNOWN_FIELD_NUMBER: _ClassVar[int]
    IS_ELIGIBLE_FIELD_NUMBER: _ClassVar[int]
    num_used: int
    num_truncated: int
    num_after: int
    num_unknown: int
    is_eligible: bool
    def __init__(self, num_used: _Optional[int] = ..., num_truncated: _Optional[int] = ..., num_after: _Optional[int] = ..., num_unknown: _Optional[int] = ..., is_eligible: bool = ...) -> None: ...

class GetModelRequest(_message.Message):
    __slots__ = ("model",)
    MODEL_FIELD_NUMBER: _ClassVar[int]
    model: str
    def __init__(self, model: _Optional[str] = ...) -> None: ...

class GetModelResponse(_message.Message):
    __slots__ = ("name", "version", "created_at", "schema", "targets", "max_events", "history_days", "limits")
    NAME_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    CREATED_AT_FIELD_NUMBER: _ClassVar[int]
    SCHEMA_FIELD_NUMBER: _ClassVar[int]
    TARGETS_FIELD_NUMBER: _ClassVar[int]
    MAX_EVENTS_FIELD_NUMBER: _ClassVar[int]
    HISTORY_DAYS_FIELD_NUMBER: _ClassVar[int]
    LIMITS_FIELD_NUMBER: _ClassVar[int]
    name: str
    version: str
    created_at: _timestamp_pb2.Timestamp
    schema: Schema
    targets: _containers.RepeatedCompositeFieldContainer[Target]
    max_events: int
    history_days: int
    limits: Limits
    def __init__(self, name: _Optional[str] = ..., version: _Optional[str] = ..., created_at: _Optional[_Union[_timestamp_pb2.Timestamp, _Mapping]] = ..., schema: _Optional[_Union[Schema, _Mapping]] = ..., targets: _Optional[_Iterable[_Union[Target, _Mapping]]] = ..., max_events: _Optional[int] = ..., history_days: _Optional[int] = ..., limits: _Optional[_Union[Limits, _Mapping]] = ...) -> None: ...

class Schema(_message.Message):
    __slots__ = ("fingerprint", "fields", "attributes", "activity", "ended_by", "lookback_days", "currency")
    FINGERPRINT_FIELD_NUMBER: _ClassVar[int]
    FIELDS_FIELD_NUMBER: _ClassVar[int]
    ATTRIBUTES_FIELD_NUMBER: _ClassVar[int]
    ACTIVITY_FIELD_NUMBER: _ClassVar[int]
    ENDED_BY_FIELD_NUMBER: _ClassVar[int]
    LOOKBACK_DAYS_FIELD_NUMBER: _ClassVar[int]
    CURRENCY_FIELD_NUMBER: _ClassVar[int]
    fingerprint: str
    fields: _containers.RepeatedCompositeFieldContainer[FieldDeclaration]
    attributes: _containers.RepeatedCompositeFieldContainer[AttributeDeclaration]
    activity: _containers.RepeatedScalarFieldContainer[str]
    ended_by: _containers.RepeatedScalarFieldContainer[str]
    lookback_days: int
    currency: str
    def __init__(self, fingerprint: _Optional[str] = ..., fields: _Optional[_Iterable[_Union[FieldDeclaration, _Mapping]]] = ..., attributes: _Optional[_Iterable[_Union[AttributeDeclaration, _Mapping]]] = ..., activity: _Optional[_Iterable[str]] = ..., ended_by: _Optional[_Iterable[str]] = ..., lookback_days: _Optional[int] = ..., currency: _Optional[str] = ...) -> None: ...

class FieldDeclaration(_message.Message):
    __slots__ = ("name", "kind", "unit")
    NAME_FIELD_NUMBER: _ClassVar[int]
    KIND_FIELD_NUMBER: _ClassVar[int]
    UNIT_FIELD_NUMBER: _ClassVar[int]
    name: str
    kind: FieldKind
    unit: str
    def __init__(self, name: _Optional[str] = ..., kind: _Optional[_Union[FieldKind, str]] = ..., unit: _Optional[str] = ...) -> None: ...

class AttributeDeclaration(_message.Message):
    __slots__ = ("name", "kind", "unit")
    NAME_FIELD_NUMBER: _ClassVar[int]
    KIND_FIELD_NUMBER: _ClassVar[int]
    UNIT_FIELD_NUMBER: _ClassVar[int]
    name: str
    kind: FieldKind
    unit: str
    def __init__(self, name: _Optional[str] = ..., kind: _Optional[_Union[FieldKind, str]] = ..., unit: _Optional[str] = ...) -> None: ...

class Target(_message.Message):
    __slots__ = ("name", "kind", "event_types", "horizons_days", "form", "field", "grid_days", "quantile_levels")
    NAME_FIELD_NUMBER: _ClassVar[int]
    KIND_FIELD_NUMBER: _ClassVar[int]
    EVENT_TYPES_FIELD_NUMBER: _ClassVar[int]
    HORIZONS_DAYS_FIELD_NUMBER: _ClassVar[int]
    FORM_FIELD_NUMBER: _ClassVar[int]
    FIELD_FIELD_NUMBER: _ClassVar[int]
    GRID_DAYS_FIELD_NUMBER: _ClassVar[int]
    QUANTILE_LEVELS_FIELD_NUMBER: _ClassVar[int]
    name: str
    kind: TargetKind
    event_types: _containers.RepeatedScalarFieldContainer[str]
    horizons_days: _containers.RepeatedScalarFieldContainer[int]
    form: TargetForm
    field: str
    grid_days: _containers.RepeatedScalarFieldContainer[float]
    quantile_levels: _containers.RepeatedScalarFieldContainer[float]
    def __init__(self, name: _Optional[str] = ..., kind: _Optional[_Union[TargetKind, str]] = ..., event_types: _Optional[_Iterable[str]] = ..., horizons_days: _Optional[_Iterable[int]] = ..., form: _Optional[_Union[TargetForm, str]] = ..., field: _Optional[str] = ..., grid_days: _Optional[_Iterable[float]] = ..., quantile_levels: _Optional[_Iterable[float]] = ...) -> None: ...

class Limits(_message.Message):
    __slots__ = ("max_customers", "max_events_per_customer", "max_message_bytes", "max_events")
    MAX_CUSTOMERS_FIELD_NUMBER: _ClassVar[int]
    MAX_EVENTS_PER_CUSTOMER_FIELD_NUMBER: _ClassVar[int]
    MAX_MESSAGE_BYTES_FIELD_NUMBER: _ClassVar[int]
    MAX_EVENTS_FIELD_NUMBER: _ClassVar[int]
    max_customers: int
    max_events_per_customer: int
    max_message_bytes: int
    max_events: int
    def __init__(self, max_customers: _Optional[int] = ..., max_events_per_customer: _Optional[int] = ..., max_message_bytes: _Optional[int] = ..., max_events: _Optional[int] = ...) -> None: ...
