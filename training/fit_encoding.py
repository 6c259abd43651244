"""Fits the encoding on training history: vocabularies, scales, bin edges, counted event types.

It deliberately sees no label and no event after the last training cutoff.
"""

from collections.abc import Collection
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Float64, Int64
from numpy import ndarray

from holdfast.encoding import EncodingSpec, NumericScale, ReadoutSpec
from holdfast.encoding.encode import raw_features
from holdfast.encoding.readouts import feature_names
from holdfast.encoding.scaling import signed_log
from holdfast.errors import ConfigError
from holdfast.histories import AttributeVersions, CodedColumn, Histories
from holdfast.schema import MAX_LOOKBACK_DAYS, MICROSECONDS_PER_DAY, Schema
from holdfast.vocabulary import FIRST_REAL_ID, Vocabulary
from training.pages import in_parts, release

MAX_SAMPLE = 1_000_000
"""Values that a scale and its bins are fitted on, at most; drawn without regard to order."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EncodingSettings:
    """What is chosen about the encoding, where the rest is fitted.

    Attributes:
        max_events: Most events of a history.
        history_days: Length of a history in days.
        windows_days: Trailing windows of the readout features; those longer than the history go.
        max_categories: Most real values of a vocabulary; rarer ones are unknown.
        min_count: A value seen fewer times in training history is unknown.
        max_counted_types: Most event types that are counted one by one.
        num_last_types: How many of the last event types a readout is told.
        num_bins: Quantile bins of the piecewise-linear encodings.
    """

    max_events: int = 256
    history_days: int = 730
    windows_days: tuple[int, ...] = (7, 30, 90, 180, 365)
    max_categories: int = 10_000
    min_count: int = 2
    max_counted_types: int = 32
    num_last_types: int = 3
    num_bins: int = 16

    def __post_init__(self) -> None:
        """Refuse what no encoding can be fitted with.

        Raises:
            ConfigError: Naming the setting.
        """
        least = {"max_events": 1, "history_days": 1, "max_categories": 1, "min_count": 1}
        least |= {"max_counted_types": 0, "num_last_types": 0, "num_bins": 2}
        for name, fewest in least.items():
            if getattr(self, name) < fewest:
                limit = f"it must be at least {fewest}"
                raise ConfigError(f"encoding.{name}", getattr(self, name), limit)
        if self.history_days > MAX_LOOKBACK_DAYS:
            limit = f"it must be at most {MAX_LOOKBACK_DAYS}"
            raise ConfigError("encoding.history_days", self.history_days, limit)
        if list(self.windows_days) != sorted(set(self.windows_days)) or min(self.windows_days, default=1) < 1:
            raise ConfigError("encoding.windows_days", self.windows_days, "it must be ascending and positive")


def fit_encoding(
    histories: Histories,
    schema: Schema,
    settings: EncodingSettings,
    *,
    customer: Int64[ndarray, " readout"],
    cutoff_us: Int64[ndarray, " readout"],
) -> EncodingSpec:
    """Fit everything that encoding needs on what training may see.

    Args:
        histories: The whole store; events after the last training cutoff are not looked at.
        schema: What the business declared.
        settings: What is chosen.
        customer: Customers of training cutoffs (a sample does).
        cutoff_us: The training cutoffs.

    Returns:
        The fitted spec.

    Raises:
        ConfigError: There is no event before the last training cutoff.
    """
    sample = _sample_before(histories, int(cutoff_us.max(initial=np.iinfo(np.int64).min)))
    if not len(sample):
        raise ConfigError(
            "cutoffs.train", int(cutoff_us.max(initial=0)), "no event lies before the last of them"
        )
    named = {name for target in schema.targets for name in target.event_types}
    event_type = _vocabulary(histories.event_type, sample, settings, always=named)
    spec = EncodingSpec(
        schema=schema,
        max_events=settings.max_events,
        history_days=settings.history_days,
        origin_us=int(_taken(histories.occurred_at_us, sample).min()),
        event_type=event_type,
        categorical={
            f: _vocabulary(histories.categorical[f], sample, settings) for f in schema.categorical_fields
        },
        numeric={f: _scale(_column(histories, f, sample), settings.num_bins) for f in schema.numeric_fields},
        gap=_scale(_gap_days(histories, sample), settings.num_bins),
        quanta={f: _quantum(_column(histories, f, sample)) for f in schema.numeric_fields},
        attribute_vocabularies=_attribute_vocabularies(
            histories.attributes, schema, settings, int(cutoff_us.max())
        ),
        readout=ReadoutSpec(
            windows_days=tuple(days for days in settings.windows_days if days < settings.history_days),
            counted_types=tuple(
                range(FIRST_REAL_ID, FIRST_REAL_ID + min(len(event_type.values), settings.max_counted_types))
            ),
            num_last_types=settings.num_last_types,
            scales=(),
        ),
    )
    return _with_readout_scales(spec, histories, customer, cutoff_us, settings.num_bins)


def _sample_before(histories: Histories, until_us: int) -> Int64[ndarray, " row"]:
    """Return rows of events up to a time: all of them, or an even share where they are many."""
    num = len(histories.occurred_at_us)
    step = max(1, num // (4 * MAX_SAMPLE))
    rows = np.arange(0, num, step, dtype=np.int64)
    rows = rows[_taken(histories.occurred_at_us, rows) <= until_us]
    return rows[:: max(1, len(rows) // MAX_SAMPLE)]


def _vocabulary(
    column: CodedColumn,
    sample: Int64[ndarray, " row"],
    settings: EncodingSettings,
    *,
    always: Collection[str] = (),
) -> Vocabulary:
    """Keep the most frequent values, so that low ids are frequent ones and the order is stable.

    What targets ask about is kept however rare it is, as long as it is there at all.
    """
    codes = _taken(column.codes, sample)
    counts = np.bincount(codes[codes >= 0], minlength=len(column.dictionary))
    values = np.array(column.dictionary.values, dtype=object)
    order = np.lexsort((np.arange(len(counts)), -counts))
    is_named = np.isin(values, list(always)) & (counts > 0)
    is_common = counts >= settings.min_count
    is_common[order[settings.max_categories :]] = False
    kept = order[(is_common | is_named)[order]]
    return Vocabulary(values=tuple(values[kept].tolist()))


def _attribute_vocabularies(
    attributes: AttributeVersions, schema: Schema, settings: EncodingSettings, until_us: int
) -> dict[str, Vocabulary]:
    rows = np.flatnonzero(attributes.valid_from_us <= until_us)
    return {a: _vocabulary(attributes.categorical[a], rows, settings) for a in schema.categorical_attributes}


def _column(histories: Histories, field: str, sample: Int64[ndarray, " row"]) -> Float64[ndarray, " kept"]:
    values = _taken(histories.numeric[field], sample).astype(np.float64)
    return values[~np.isnan(values)]


def _gap_days(histories: Histories, sample: Int64[ndarray, " row"]) -> Float64[ndarray, " later"]:
    is_first = np.zeros(len(histories.occurred_at_us) + 1, dtype=bool)
    is_first[histories.offsets] = True
    later = sample[~is_first[sample]]
    times_us = histories.occurred_at_us
    gaps = (_taken(times_us, later) - _taken(times_us, later - 1)) / MICROSECONDS_PER_DAY
    return np.asarray(gaps, dtype=np.float64)


def _taken(column: ndarray, rows: Int64[ndarray, " row"]) -> ndarray:
    """Return a column at some rows from all over it; what was read on the way is given back."""
    taken = column[rows]
    release(column)
    return taken


def _scale(values: Float64[ndarray, " row"], num_bins: int) -> NumericScale:
    """Fit mean, spread and quantile bins of the signed logarithm."""
    if not len(values):
        return NumericScale(mean=0.0, std=1.0)
    logs = signed_log(values)
    mean, std = float(logs.mean()), float(logs.std())
    # A constant column carries nothing; a spread of one keeps it at zero instead of dividing by none. Beside
    # the mean, since amounts of a hundred-millionth, which there are, vary by no more than that.
    std = std if std > 1e-6 * min(1.0, abs(mean)) else 1.0
    scaled = (logs - mean) / std
    quantiles = np.quantile(scaled, np.linspace(0, 1, num_bins + 1)).astype(np.float32)
    return NumericScale(mean=mean, std=std, edges=_distinct(quantiles.tolist()))


def _distinct(edges: list[float], *, apart: float = 1e-3) -> tuple[float, ...]:
    """Drop edges that all but coincide: distinct in float64 may be equal in float32, and divide by zero."""
    kept = edges[:1]
    for edge in edges[1:]:
        if edge > kept[-1] + apart:
            kept.append(edge)
    return tuple(kept) if len(kept) > 1 else ()


def _quantum(values: Float64[ndarray, " row"]) -> float:
    """Return a power of two about a millionth of the median size: fine enough, and exact to multiply."""
    sizes = np.abs(values[values != 0])
    if not len(sizes):
        return 1.0
    return float(2.0 ** np.floor(np.log2(np.median(sizes)) - 20))


def _with_readout_scales(
    spec: EncodingSpec,
    histories: Histories,
    customer: Int64[ndarray, " readout"],
    cutoff_us: Int64[ndarray, " readout"],
    num_bins: int,
) -> EncodingSpec:
    found = [raw_features(own, cutoffs, spec) for own, cutoffs in in_parts(histories, customer, cutoff_us)]
    columns = np.concatenate(found).T
    assert len(columns) == len(feature_names(spec))
    scales = tuple(_scale(column[~np.isnan(column)], num_bins) for column in columns)
    return replace(spec, readout=replace(spec.readout, scales=scales))
