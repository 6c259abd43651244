"""Random histories and small specs for tests; deliberately hard: ties, empty and one-event histories."""

import numpy as np

from holdfast.encoding import EncodingSpec, NumericScale, ReadoutSpec
from holdfast.encoding.encode import Encoded
from holdfast.encoding.padding import EVENT_INPUTS, pad_many
from holdfast.encoding.readouts import feature_names
from holdfast.histories import ALWAYS_US, AttributeVersions, CodedColumn, Histories
from holdfast.schema import MICROSECONDS_PER_DAY, Attribute, Field, Schema, Target
from holdfast.vocabulary import Dictionary, Vocabulary

DAY = MICROSECONDS_PER_DAY
START_US = 1_700_000_000_000_000
EVENT_TYPES = ("purchase", "return", "visit", "complaint")
CHANNELS = ("web", "shop", "phone")
REGIONS = ("north", "south")


def small_schema() -> Schema:
    """Return a shop with every kind of field, attribute and target."""
    return Schema(
        fields=(
            Field(name="amount", kind="money"),
            Field(name="quantity", kind="numeric", unit="items"),
            Field(name="channel", kind="categorical"),
        ),
        attributes=(
            Attribute(name="region", kind="categorical"),
            Attribute(name="age", kind="numeric", unit="years"),
        ),
        activity=("purchase",),
        ended_by=(),
        lookback_days=180,
        targets=(
            Target(
                name="churn",
                kind="time_to_event",
                event_types=("purchase",),
                horizons_days=(30, 60, 90),
                form="inactivity",
            ),
            Target(
                name="spend",
                kind="amount",
                event_types=("purchase", "return"),
                horizons_days=(90,),
                field="amount",
            ),
            Target(name="orders", kind="count", event_types=("purchase",), horizons_days=(90,)),
        ),
        currency="EUR",
    )


def small_spec(
    *, max_events: int = 32, history_days: int = 365, schema: Schema | None = None
) -> EncodingSpec:
    """Return a spec that matches :func:`random_histories`; "phone" and "complaint" are unknown to it."""
    readout = ReadoutSpec(windows_days=(7, 30, 90), counted_types=(2, 3, 4), num_last_types=2, scales=())
    spec = EncodingSpec(
        schema=schema or small_schema(),
        max_events=max_events,
        history_days=history_days,
        origin_us=START_US,
        event_type=Vocabulary(values=EVENT_TYPES[:3]),
        categorical={"channel": Vocabulary(values=CHANNELS[:2])},
        numeric={
            "amount": NumericScale(mean=3.0, std=1.5, edges=(-2.0, -1.0, 0.0, 1.0, 2.0)),
            "quantity": NumericScale(mean=1.0, std=0.5, edges=(-1.0, 0.0, 1.0)),
        },
        gap=NumericScale(mean=1.5, std=1.0),
        quanta={"amount": 2.0**-10, "quantity": 1.0},
        attribute_vocabularies={"region": Vocabulary(values=REGIONS)},
        readout=readout,
    )
    edges = (-2.0, -1.0, 0.0, 1.0, 2.0)
    scales = tuple(NumericScale(mean=1.0, std=1.5, edges=edges) for _ in feature_names(spec))
    return _replace_scales(spec, scales)


def _replace_scales(spec: EncodingSpec, scales: tuple[NumericScale, ...]) -> EncodingSpec:
    from dataclasses import replace

    return replace(spec, readout=replace(spec.readout, scales=scales))


def random_histories(
    rng: np.random.Generator, num_customers: int, *, max_length: int = 60, span_days: int = 500
) -> Histories:
    """Return histories with lengths from 0, many ties in time, missing values and unknown strings."""
    lengths = rng.integers(0, max_length + 1, num_customers)
    lengths[: min(3, num_customers)] = np.array([0, 1, 2])[: min(3, num_customers)]
    return histories_of_lengths(rng, lengths, span_days=span_days)


def histories_of_lengths(rng: np.random.Generator, lengths: np.ndarray, *, span_days: int = 500) -> Histories:
    """Return random histories of the given lengths."""
    offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    num = int(offsets[-1])
    # Whole hours, so that ties are frequent.
    time_us = START_US + rng.integers(0, span_days * 24, num) * 3_600_000_000
    order = np.lexsort((time_us, np.repeat(np.arange(len(lengths)), lengths)))
    amount = np.round(rng.lognormal(3, 1, num) * rng.choice([1, -1], num, p=[0.9, 0.1]), 2).astype(np.float32)
    amount[rng.random(num) < 0.2] = np.nan
    quantity = rng.integers(1, 9, num).astype(np.float32)
    quantity[rng.random(num) < 0.1] = np.nan
    return Histories(
        offsets=offsets,
        occurred_at_us=time_us[order].astype(np.int64),
        event_type=CodedColumn(
            codes=rng.choice(4, num, p=[0.5, 0.1, 0.3, 0.1]).astype(np.int32),
            dictionary=Dictionary(EVENT_TYPES),
        ),
        categorical={
            "channel": CodedColumn(
                codes=rng.integers(-1, len(CHANNELS), num).astype(np.int32), dictionary=Dictionary(CHANNELS)
            )
        },
        numeric={"amount": amount, "quantity": quantity},
        attributes=_random_attributes(rng, len(lengths)),
    )


def segment_events(encoded: Encoded, segments: np.ndarray) -> dict[str, np.ndarray]:
    """Return the events of some segments as the model gets them, flat and without padding."""
    lengths = encoded.lengths[segments]
    most = int(np.diff(encoded.readout_offsets)[segments].max(initial=0))
    tensors = pad_many(encoded, segments, length=int(lengths.max(initial=0)), num_readouts=most)
    is_real = np.arange(lengths.max(initial=0)) < lengths[:, None]
    return {name: tensors[name][is_real] for name in EVENT_INPUTS}


def _random_attributes(rng: np.random.Generator, num_customers: int) -> AttributeVersions:
    versions = rng.integers(0, 3, num_customers)
    offsets = np.concatenate([[0], np.cumsum(versions)]).astype(np.int64)
    num = int(offsets[-1])
    valid_from = START_US + rng.integers(0, 400, num) * DAY
    customer = np.repeat(np.arange(num_customers), versions)
    valid_from = valid_from[np.lexsort((valid_from, customer))]
    # Every third first version has always been valid.
    first = offsets[:-1][versions > 0]
    valid_from[first[::3]] = ALWAYS_US
    age = rng.integers(18, 90, num).astype(np.float32)
    age[rng.random(num) < 0.2] = np.nan
    return AttributeVersions(
        offsets=offsets,
        valid_from_us=valid_from.astype(np.int64),
        categorical={
            "region": CodedColumn(
                codes=rng.integers(-1, len(REGIONS), num).astype(np.int32), dictionary=Dictionary(REGIONS)
            )
        },
        numeric={"age": age},
    )
