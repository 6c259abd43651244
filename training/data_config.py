"""The dataclasses of ``conf/data/<name>.yaml``: everything that declares one data set.

It deliberately reads no table: sources are scanned in :mod:`training.sources`, cutoff policies
are applied in :mod:`training.cutoffs`.
"""

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from holdfast.errors import ConfigError
from holdfast.plain import from_plain, to_plain
from holdfast.schema import Attribute, AttributeKind, ChurnForm, Field, FieldKind, Schema, Target, TargetKind
from training.cutoffs import FitOn, TrainPolicy
from training.fit_encoding import EncodingSettings
from training.source_config import SourceConfig
from training.times import check_time_zone, parse_instant

RESERVED_COLUMNS = ("customer_id", "occurred_at", "event_type", "valid_from", "cutoff")


@dataclass(frozen=True, slots=True, kw_only=True)
class FieldConfig:
    """Kind and unit of one event field."""

    kind: FieldKind
    unit: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class AttributeConfig:
    """Kind and unit of one customer attribute."""

    kind: AttributeKind
    unit: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class EventsConfig:
    """The query that gives customer_id, occurred_at, event_type and the declared fields.

    Events of a customer at the same instant keep the order of the query's rows. A plain SELECT
    keeps that of the table; UNION, JOIN and GROUP BY keep none, so that they want an ORDER BY.
    """

    sql: str
    fields: Mapping[str, FieldConfig] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class CustomersConfig:
    """The query that gives customer_id, optionally valid_from, and the declared attributes."""

    sql: str
    attributes: Mapping[str, AttributeConfig]


@dataclass(frozen=True, slots=True, kw_only=True)
class LabelsConfig:
    """The query that gives customer_id, cutoff, and churned or spend or both."""

    sql: str


@dataclass(frozen=True, slots=True, kw_only=True)
class TargetConfig:
    """One target; see :class:`holdfast.schema.Target`."""

    kind: TargetKind
    horizons_days: tuple[int, ...]
    event_types: tuple[str, ...] = ()
    form: ChurnForm | None = None
    field: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class CutoffsConfig:
    """Cutoffs of the three splits; times as ISO text, read by :class:`DataConfig`.

    Attributes:
        train: How training cutoffs are chosen.
        validation: Where models are chosen and calibrated.
        test: Where they are judged, once.
        fit_on: ``train``: weights see windows up to the validation cutoff and are calibrated on
            the validation window, which holds for one date and leaves out the freshest labels;
            ``refit``: they see every window that ends before the test cutoff, and nothing later is
            left to calibrate on, which short histories want; ``both``: first the one, for the
            weights of the blend, then the other.
    """

    train: TrainPolicy
    validation: tuple[str, ...]
    test: tuple[str, ...]
    fit_on: FitOn = "both"


@dataclass(frozen=True, slots=True, kw_only=True)
class TruthConfig:
    """Where the simulator wrote the true probability and expectation per customer and cutoff."""

    path: str


@dataclass(frozen=True, slots=True, kw_only=True)
class LimitsConfig:
    """Limits of preparing.

    Attributes:
        max_excluded_share: Largest share of a table's rows that may be unusable.
        rows_per_part: Rows that are held in memory at once; more are split by customer.
        drop_duplicates: Whether of events that are equal in every column only one is kept;
            they are counted either way.
    """

    max_excluded_share: float = 0.05
    rows_per_part: int = 16_000_000
    drop_duplicates: bool = False

    def __post_init__(self) -> None:
        """Refuse limits that are none.

        Raises:
            ConfigError: Naming the key.
        """
        if not 0.0 <= self.max_excluded_share <= 1.0:
            raise ConfigError("limits.max_excluded_share", self.max_excluded_share, "it must lie in [0, 1]")
        if self.rows_per_part < 1:
            raise ConfigError("limits.rows_per_part", self.rows_per_part, "it must be at least 1")


@dataclass(frozen=True, slots=True, kw_only=True)
class DataConfig:
    """One data set as its YAML file declares it.

    Attributes:
        name: Names the store, the run and the model.
        time_zone: Zone of times that carry none.
        sources: The source tables by the names that the queries know them by.
        events: The canonical events.
        activity: Event types that count as activity.
        lookback_days: See :class:`holdfast.schema.Schema`.
        targets: Targets by name, in tensor order.
        cutoffs: The splits.
        customers: The canonical attributes, or None.
        labels: The company's own labels, or None.
        ended_by: Event types that end a customer's life.
        currency: ISO 4217 code, or empty.
        observed_from: Since when events are complete; None: since the first event.
        observed_until: Until when they are; None: until the last event.
        simulate: Passed to the simulator if the sources are absent; None for real data.
        truth: The simulator's truth, or None.
        limits: Limits of preparing.
        encoding: What is chosen about the encoding.
    """

    name: str
    sources: Mapping[str, SourceConfig]
    events: EventsConfig
    activity: tuple[str, ...]
    lookback_days: int
    targets: Mapping[str, TargetConfig]
    cutoffs: CutoffsConfig
    time_zone: str = "UTC"
    customers: CustomersConfig | None = None
    labels: LabelsConfig | None = None
    ended_by: tuple[str, ...] = ()
    currency: str = ""
    observed_from: str | None = None
    observed_until: str | None = None
    simulate: Mapping[str, Any] | None = None
    truth: TruthConfig | None = None
    limits: LimitsConfig = field(default_factory=LimitsConfig)
    encoding: EncodingSettings = field(default_factory=EncodingSettings)

    def __post_init__(self) -> None:
        """Refuse a data set that contradicts itself; the schema and every time are read once here.

        Raises:
            ConfigError: Naming the key, its value and the limit.
        """
        if not re.fullmatch(r"\w[\w .-]*", self.name):
            limit = "it names folders: letters, digits, spaces, dots, - and _ alone, such as my_shop"
            raise ConfigError("data.name", self.name, limit)
        if not self.targets:
            raise ConfigError("data.targets", self.targets, "at least one target is needed")
        check_time_zone("data.time_zone", self.time_zone)
        if not self.sources:
            raise ConfigError("data.sources", self.sources, "at least one source table is needed")
        declared = [*self.events.fields, *(self.customers.attributes if self.customers else ())]
        taken = sorted({name for name in declared if name in RESERVED_COLUMNS or name.startswith("_")})
        if taken:
            limit = f"{list(RESERVED_COLUMNS)} and names that begin with _ are taken"
            raise ConfigError("data.events.fields", taken, limit)
        _ = self.schema, self.observed_from_us, self.observed_until_us
        self._check_order("validation", self.validation_us)
        self._check_order("test", self.test_us)

    def _check_order(self, split: str, times: tuple[int, ...]) -> None:
        if list(times) != sorted(set(times)):
            texts = getattr(self.cutoffs, split)
            raise ConfigError(f"data.cutoffs.{split}", texts, "they must be ascending, each once")

    @classmethod
    def from_plain(cls, data: Any) -> "DataConfig":
        """Build the configuration from what the YAML file resolves to.

        Raises:
            ConfigError: A key is unknown, missing, of another type or out of range.
        """
        return from_plain(cls, data, where="data")

    @property
    def schema(self) -> Schema:
        """What the data set declares to the model and to the server."""
        attributes = self.customers.attributes if self.customers else {}
        return Schema(
            fields=tuple(Field(name=n, kind=f.kind, unit=f.unit) for n, f in self.events.fields.items()),
            attributes=tuple(Attribute(name=n, kind=a.kind, unit=a.unit) for n, a in attributes.items()),
            activity=self.activity,
            ended_by=self.ended_by,
            lookback_days=self.lookback_days,
            targets=tuple(Target(name=name, **_target(t)) for name, t in self.targets.items()),
            currency=self.currency,
        )

    @property
    def observed_from_us(self) -> int | None:
        """Since when events are complete, in UTC microseconds; None: since the first event."""
        return self._instant("observed_from", self.observed_from)

    @property
    def observed_until_us(self) -> int | None:
        """Until when events are complete, in UTC microseconds; None: until the last event."""
        return self._instant("observed_until", self.observed_until)

    @property
    def validation_us(self) -> tuple[int, ...]:
        """Validation cutoffs in UTC microseconds, ascending."""
        return self._instants("cutoffs.validation", self.cutoffs.validation)

    @property
    def test_us(self) -> tuple[int, ...]:
        """Test cutoffs in UTC microseconds, ascending."""
        return self._instants("cutoffs.test", self.cutoffs.test)

    def _instant(self, key: str, text: str | None) -> int | None:
        return None if text is None else parse_instant(f"data.{key}", text, time_zone=self.time_zone)

    def _instants(self, key: str, texts: tuple[str, ...]) -> tuple[int, ...]:
        where = f"data.{key}"
        return tuple(
            parse_instant(f"{where}[{i}]", text, time_zone=self.time_zone) for i, text in enumerate(texts)
        )

    def store_fingerprint(self, *, files: Any) -> str:
        """Return 64 hex digits that change whenever a store made from this would.

        Cutoffs, encoding, truth, simulator and downloads do not shape a store, so that they can be
        tried out without preparing again; nor does the number of parts.

        Args:
            files: Plain values that identify the source files (sizes and times of change).
        """
        shaping = to_plain(self)
        for key in ("cutoffs", "encoding", "truth", "simulate"):
            del shaping[key]
        del shaping["limits"]["rows_per_part"]
        for source in shaping["sources"].values():
            del source["download"]
        text = json.dumps({"config": shaping, "files": files}, sort_keys=True, default=str)
        return hashlib.sha256(text.encode()).hexdigest()


def _target(config: TargetConfig) -> dict[str, Any]:
    return {name: getattr(config, name) for name in ("kind", "event_types", "horizons_days", "form", "field")}
