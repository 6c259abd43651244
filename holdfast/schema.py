"""What a business declares: fields, attributes, activity and targets.

It deliberately knows no data: vocabularies, scales and bins are fitted into
:mod:`holdfast.encoding.spec`, and where the tables come from is training's business.
"""

import hashlib
import json
from dataclasses import dataclass, field
from typing import Literal

from holdfast.errors import ConfigError
from holdfast.plain import to_plain

MICROSECONDS_PER_DAY = 86_400_000_000
MAX_HORIZON_DAYS = 3_650
MAX_LOOKBACK_DAYS = 36_500

FieldKind = Literal["categorical", "numeric", "money"]
AttributeKind = Literal["categorical", "numeric"]
TargetKind = Literal["time_to_event", "amount", "count"]
ChurnForm = Literal["inactivity", "event"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Field:
    """One declared field of an event.

    Attributes:
        name: Column name in the canonical events table.
        kind: ``categorical`` (text), ``numeric``, or ``money`` (in the schema's currency).
        unit: Unit of a numeric field, for people ("items", "minutes").
    """

    name: str
    kind: FieldKind
    unit: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Attribute:
    """One declared attribute of a customer; its versions may carry ``valid_from``."""

    name: str
    kind: AttributeKind
    unit: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """One thing to predict about every customer at a cutoff ``t``.

    Attributes:
        name: Name in configuration, metrics, tensors and answers (``churn``, ``spend``).
        kind: ``time_to_event``: when does a matching event next come;
            ``amount``: sum of ``field`` over the matching events of ``(t, t + horizon]``,
            floored at 0; ``count``: how many matching events.
        event_types: The matching events; empty means every event.
        horizons_days: Ascending. ``time_to_event`` answers each of them; ``amount`` and
            ``count`` have exactly one.
        form: ``time_to_event`` only. ``inactivity``: the probability reported is that *no*
            matching event came (a shop); ``event``: that one came (a cancellation).
        field: ``amount`` only: the field that is summed.
    """

    name: str
    kind: TargetKind
    event_types: tuple[str, ...]
    horizons_days: tuple[int, ...]
    form: ChurnForm | None = None
    field: str | None = None

    @property
    def max_horizon_days(self) -> int:
        """The longest horizon in days."""
        return self.horizons_days[-1]


@dataclass(frozen=True, slots=True, kw_only=True)
class Schema:
    """The declared form of a business: the same in YAML, manifest, training and serving.

    Attributes:
        fields: Event fields in tensor order.
        attributes: Customer attributes in tensor order.
        activity: Event types that count as activity for eligibility.
        ended_by: Event types after which a customer is gone for good and no longer eligible.
        lookback_days: Eligible at ``t``: activity in ``(t - lookback_days, t]``.
        targets: What is predicted, in tensor order.
        currency: ISO 4217 code of every money field, or empty.
        categorical_fields: Names of the categorical event fields, in tensor order.
        numeric_fields: Names of the numeric and money event fields, in tensor order.
        categorical_attributes: Names of the categorical attributes, in tensor order.
        numeric_attributes: Names of the numeric attributes, in tensor order.
    """

    fields: tuple[Field, ...]
    attributes: tuple[Attribute, ...]
    activity: tuple[str, ...]
    ended_by: tuple[str, ...]
    lookback_days: int
    targets: tuple[Target, ...]
    currency: str
    categorical_fields: tuple[str, ...] = field(init=False, repr=False, compare=False)
    numeric_fields: tuple[str, ...] = field(init=False, repr=False, compare=False)
    categorical_attributes: tuple[str, ...] = field(init=False, repr=False, compare=False)
    numeric_attributes: tuple[str, ...] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        """Refuse declarations that contradict themselves, and sort the names.

        Raises:
            ConfigError: Naming the declaration, its value and the limit.
        """
        for kind, declared in (("fields", self.fields), ("attributes", self.attributes)):
            for name, is_wanted in (("categorical", True), ("numeric", False)):
                names = tuple(one.name for one in declared if (one.kind == "categorical") == is_wanted)
                object.__setattr__(self, f"{name}_{kind}", names)
        _check_names("schema.fields", [field.name for field in self.fields])
        _check_names("schema.attributes", [attribute.name for attribute in self.attributes])
        _check_names("schema.targets", [target.name for target in self.targets])
        if not self.activity:
            raise ConfigError("schema.activity", self.activity, "at least one event type is needed")
        if not 1 <= self.lookback_days <= MAX_LOOKBACK_DAYS:
            limit = f"it must lie between 1 and {MAX_LOOKBACK_DAYS}"
            raise ConfigError("schema.lookback_days", self.lookback_days, limit)
        for target in self.targets:
            self._check_target(target)

    def _check_target(self, target: Target) -> None:
        where = f"schema.targets.{target.name}"
        horizons = target.horizons_days
        if not horizons or list(horizons) != sorted(set(horizons)):
            raise ConfigError(f"{where}.horizons_days", horizons, "it must be ascending and not empty")
        if horizons[0] < 1 or horizons[-1] > MAX_HORIZON_DAYS:
            limit = f"every horizon must lie between 1 and {MAX_HORIZON_DAYS} days"
            raise ConfigError(f"{where}.horizons_days", horizons, limit)
        if (target.form is not None) != (target.kind == "time_to_event"):
            raise ConfigError(f"{where}.form", target.form, "time_to_event has one, the others have none")
        if (target.field is not None) != (target.kind == "amount"):
            raise ConfigError(f"{where}.field", target.field, "amount has one, the others have none")
        if target.kind != "time_to_event" and len(horizons) != 1:
            raise ConfigError(
                f"{where}.horizons_days", horizons, f"a target of kind {target.kind} has exactly one"
            )
        numeric = [field.name for field in self.fields if field.kind != "categorical"]
        if target.field is not None and target.field not in numeric:
            raise ConfigError(
                f"{where}.field", target.field, f"it must be one of the numeric fields {numeric}"
            )

    @property
    def silences(self) -> tuple[Target, ...]:
        """The targets that await silence: churn by inactivity."""
        return tuple(t for t in self.targets if t.kind == "time_to_event" and t.form == "inactivity")

    @property
    def max_horizon_days(self) -> int:
        """The longest horizon over all targets, in days: the length of the label window."""
        return max(target.max_horizon_days for target in self.targets)

    def fingerprint(self) -> str:
        """Return 16 hex digits that change whenever a declaration does."""
        text = json.dumps(to_plain(self), sort_keys=True, ensure_ascii=True)
        return hashlib.sha256(text.encode()).hexdigest()[:16]


def horizon_grid_days(target: Target, *, num_bins: int = 12) -> tuple[float, ...]:
    """Return the ends of the survival bins of a ``time_to_event`` target, in days.

    About ``num_bins`` equal bins up to the longest horizon, moved so that every asked horizon
    is the end of a bin: the probabilities asked for are then points of the curve.

    Args:
        target: A target of kind ``time_to_event``.
        num_bins: How many bins at about; at least the number of horizons.

    Returns:
        Ascending bin ends in days; the last one is the longest horizon.
    """
    step = target.max_horizon_days / num_bins
    ends: list[float] = []
    start = 0.0
    for horizon in target.horizons_days:
        parts = max(1, round((horizon - start) / step))
        ends.extend(start + (horizon - start) * part / parts for part in range(1, parts + 1))
        start = float(horizon)
    return tuple(ends)


def _check_names(where: str, names: list[str]) -> None:
    repeated = sorted({name for name in names if names.count(name) > 1})
    if repeated:
        raise ConfigError(where, repeated, "every name must be declared once")
    wrong = [name for name in names if not name.isidentifier()]
    if wrong:
        raise ConfigError(where, wrong, "a name must be made of letters, digits and underscores")
