"""The fitted encoding: vocabularies, scales and bin edges, as plain values for the manifest.

It deliberately does not know how they were fitted (``training.fit_encoding`` does that, on
training history alone).
"""

import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial

import numpy as np
from jaxtyping import Float64, Int64
from numpy import ndarray

from holdfast.encoding.aggregates import ID, LINE, NUM_PLAIN_ROLES
from holdfast.errors import ConfigError
from holdfast.schema import Schema
from holdfast.vocabulary import FIRST_REAL_ID, Dictionary, OfDictionaries, Vocabulary, joined_tables

CALENDAR_SIZE = 6
"""Sine and cosine of hour of day, day of week and day of year."""

MAX_EVENTS_LIMIT = 4_096
"""With fixed-point sums clipped at 2**50 units, 2**12 events cannot overflow an int64."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NumericScale:
    """How one numeric column becomes a model input: ``(slog(x) - mean) / std``, clipped.

    ``slog(x) = sign(x) log(1 + |x|)``, so that amounts of any size and sign stay in range.

    Attributes:
        mean: Mean of ``slog(x)`` over training history.
        std: Standard deviation of the same; positive.
        edges: Ascending bin edges of the scaled value for a piecewise-linear encoding in the
            model, distinct in float32; may be empty.
    """

    mean: float
    std: float
    edges: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        """Refuse a scale that would divide by zero."""
        if not self.std > 0:
            raise ConfigError("scale.std", self.std, "it must be positive")


def factors_of(scales: Sequence[NumericScale]) -> Float64[ndarray, "2 scale"]:
    """Return means, then by what differences to them are multiplied: to divide would take much longer."""
    # Of the smallest numbers there is the reciprocal is none.
    factors = [min(1.0 / scale.std, sys.float_info.max) for scale in scales]
    return np.array([[scale.mean for scale in scales], factors])


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadoutSpec:
    """Which aggregates describe a cutoff, and their scales.

    Attributes:
        windows_days: Ascending lengths of the trailing windows; the whole history comes on top.
        counted_types: Vocabulary ids of the event types that are counted one by one.
        num_last_types: How many of the last event types are given, newest first.
        scales: One per readout feature, in the order of
            :func:`holdfast.encoding.readouts.feature_names`.
        factors: The scales as one array (:func:`factors_of`), so that no request has to collect them.
    """

    windows_days: tuple[int, ...]
    counted_types: tuple[int, ...]
    num_last_types: int
    scales: tuple[NumericScale, ...]
    factors: Float64[ndarray, "2 feature"] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        """Collect the scales, and refuse to count a type twice.

        Raises:
            ConfigError: Naming the types.
        """
        if len(set(self.counted_types)) != len(self.counted_types):
            raise ConfigError(
                "encoding.readout.counted_types", self.counted_types, "every type must stand once"
            )
        object.__setattr__(self, "factors", factors_of(self.scales))


@dataclass(frozen=True, slots=True, kw_only=True)
class EncodingSpec:
    """Everything that encoding needs beside histories and cutoffs.

    Attributes:
        schema: What the business declared.
        max_events: A history is at most its last ``max_events`` events ...
        history_days: ... of ``(cutoff - history_days, cutoff]``.
        origin_us: The time that day 0 of the model's time axis stands for.
        event_type: Vocabulary of event types.
        categorical: Vocabulary by categorical field.
        numeric: Scale by numeric field.
        gap: Scale of the days since the previous event.
        quanta: By numeric field, the unit of its fixed-point sums: sums are taken over
            ``round(value / quantum)`` in int64, where order and company cannot change a result.
        attribute_vocabularies: Vocabulary by categorical attribute.
        readout: The aggregates.
        event_factors: The scales of the numeric fields and of the gap (:func:`factors_of`), in this order.
        quantum_by_field: The quanta in the order of the fields.
        field_tables: Of the dictionaries of event types and categorical fields: ids of the codes
            (:func:`holdfast.vocabulary.joined_tables`).
        told_tables: Of the dictionaries of event types and categorical attributes: what event types are to a
            readout (:mod:`holdfast.encoding.aggregates`), by their code, the last column a missing one's; and
            the attributes' tables.
        spans_days: Lengths of the trailing windows and of the history.
    """

    schema: Schema
    max_events: int
    history_days: int
    origin_us: int
    event_type: Vocabulary
    categorical: Mapping[str, Vocabulary]
    numeric: Mapping[str, NumericScale]
    gap: NumericScale
    quanta: Mapping[str, float]
    attribute_vocabularies: Mapping[str, Vocabulary]
    readout: ReadoutSpec
    event_factors: Float64[ndarray, "2 column"] = field(init=False, repr=False, compare=False)
    quantum_by_field: Float64[ndarray, " field"] = field(init=False, repr=False, compare=False)
    field_tables: OfDictionaries[tuple[ndarray, ndarray]] = field(init=False, repr=False, compare=False)
    told_tables: OfDictionaries[tuple[ndarray, ndarray, ndarray]] = field(
        init=False, repr=False, compare=False
    )
    spans_days: Int64[ndarray, " window"] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        """Refuse limits that the arithmetic cannot keep, and collect what every request would.

        Raises:
            ConfigError: Naming the limit.
        """
        if not 1 <= self.max_events <= MAX_EVENTS_LIMIT:
            raise ConfigError(
                "encoding.max_events", self.max_events, f"it must lie between 1 and {MAX_EVENTS_LIMIT}"
            )
        if self.history_days < 1:
            raise ConfigError("encoding.history_days", self.history_days, "it must be at least 1")
        fields = self.schema.numeric_fields
        scales = (*(self.numeric[name] for name in fields), self.gap)
        object.__setattr__(self, "event_factors", factors_of(scales))
        object.__setattr__(self, "quantum_by_field", np.array([self.quanta[f] for f in fields], dtype=float))
        coded = [self.event_type, *(self.categorical[name] for name in self.schema.categorical_fields)]
        object.__setattr__(self, "field_tables", OfDictionaries(partial(joined_tables, coded)))
        object.__setattr__(self, "told_tables", OfDictionaries(self._told_tables(self._roles_of_types())))
        spans_days = np.array([*self.readout.windows_days, self.history_days], dtype=np.int64)
        object.__setattr__(self, "spans_days", spans_days)

    def _told_tables(
        self, roles: Int64[ndarray, "role type_id"]
    ) -> Callable[[tuple[Dictionary, ...]], tuple[ndarray, ndarray, ndarray]]:
        event_type = self.event_type
        attributes = [self.attribute_vocabularies[name] for name in self.schema.categorical_attributes]

        def of(dictionaries: tuple[Dictionary, ...]) -> tuple[ndarray, ndarray, ndarray]:
            by_code: ndarray = roles.take(event_type.table(dictionaries[0]), axis=1)
            return by_code, *joined_tables(attributes, dictionaries[1:])

        return of

    def _roles_of_types(self) -> Int64[ndarray, "role type_id"]:
        counted, silences = self.readout.counted_types, self.schema.silences
        roles = np.zeros((NUM_PLAIN_ROLES + len(silences), len(self.event_type)), dtype=np.int64)
        roles[ID] = np.arange(len(self.event_type))
        roles[LINE] = len(counted)
        roles[LINE, list(counted)] = np.arange(len(counted))
        for row, target in zip(roles[NUM_PLAIN_ROLES:], silences, strict=True):
            named = [place for place, name in enumerate(self.event_type.values) if name in target.event_types]
            # No type named is every event.
            row[[FIRST_REAL_ID + place for place in named] if target.event_types else slice(None)] = 1
        return roles

    @property
    def event_id_sizes(self) -> tuple[int, ...]:
        """Number of ids of every column of ``event_ids``: event type, then categorical fields."""
        return (len(self.event_type), *(len(self.categorical[f]) for f in self.schema.categorical_fields))

    @property
    def event_value_size(self) -> int:
        """Number of columns of ``event_values``: per field value and missing flag, gap, first, calendar."""
        return 2 * len(self.schema.numeric_fields) + 2 + CALENDAR_SIZE

    @property
    def readout_id_sizes(self) -> tuple[int, ...]:
        """Number of ids of every column of ``readout_ids``: last event types, then attributes."""
        last_types = (len(self.event_type),) * self.readout.num_last_types
        attributes = (len(self.attribute_vocabularies[a]) for a in self.schema.categorical_attributes)
        return (*last_types, *attributes)

    @property
    def readout_value_size(self) -> int:
        """Number of columns of ``readout_values``."""
        return len(self.readout.scales)
