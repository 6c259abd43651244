"""Customers in groups that a business can name: by recency, frequency, tenure, spend, attributes.

It deliberately does not know predictions or outcomes.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from jaxtyping import Int64
from numpy import ndarray

from holdfast.schema import Schema
from training.evaluation.standing import Standing

MOST_VALUES = 6
"""Values of a categorical attribute that have a group of their own; rarer ones are put together."""
MISSING, OTHERS = "not known", "others"


@dataclass(frozen=True, slots=True, kw_only=True)
class Grouping:
    """One way to divide readouts into groups.

    Attributes:
        title: What they are divided by.
        names: Of the groups.
        member: The group of every readout.
    """

    title: str
    names: tuple[str, ...]
    member: Int64[ndarray, " readout"]


def groupings(standing: Standing, schema: Schema) -> list[Grouping]:
    """Return every division with at least two groups.

    Numbers are cut at their quartiles, so that the groups are of like size on any data.

    Args:
        standing: Of the readouts.
        schema: For units and what counts as activity.
    """
    units = {attribute.name: attribute.unit for attribute in schema.attributes}
    found = [
        by_size("days since the last activity", np.floor(standing.days_since_activity)),
        by_size("activity events so far", standing.num_activity),
        by_size("days since the first event", np.floor(standing.tenure_days)),
    ]
    if (standing.num_events != standing.num_activity).any():
        found.append(by_size("events of any type so far", standing.num_events))
        found.append(by_value("last event", standing.last_type))
    if standing.spent is not None:
        unit = f", {schema.currency}" if schema.currency else ""
        found.append(by_size(f"spent in the last {schema.lookback_days} days{unit}", standing.spent))
    found += [by_value(name, values) for name, values in standing.categorical.items()]
    found += [
        by_size(f"{name}, {units[name]}" if units.get(name) else name, values)
        for name, values in standing.numeric.items()
    ]
    return [grouping for grouping in found if len(grouping.names) > 1]


def by_size(title: str, values: ndarray) -> Grouping:
    """Divide numbers at their quartiles, rounded so that they can be read; NaN is a group of its own."""
    is_known = ~np.isnan(values)
    known = values[is_known]
    if not len(known):
        return Grouping(title=title, names=(MISSING,), member=np.zeros(len(values), dtype=np.int64))
    edges = np.unique([_readable(edge) for edge in np.quantile(known, [0.25, 0.5, 0.75])])
    # An edge at or above the largest value would leave an empty group behind it.
    edges = edges[edges < known.max()]
    names = [*_ranges(edges, known), MISSING]
    member = np.where(is_known, np.searchsorted(edges, values, side="left"), len(names) - 1)
    return _without_empty(title, names, member)


def by_value(title: str, values: ndarray) -> Grouping:
    """Divide by value, the most frequent first; None is a group of its own."""
    texts = np.array([MISSING if value is None else str(value) for value in values], dtype=object)
    found, counts = np.unique(texts, return_counts=True)
    common = [name for _, name in sorted(zip(-counts, found, strict=True)) if name != MISSING][:MOST_VALUES]
    # One value left over is shown by its name.
    rest = set(found) - {*common, MISSING}
    common += list(rest) if len(rest) == 1 else []
    names = [*common, OTHERS, MISSING]
    place = {name: at for at, name in enumerate(common)} | {MISSING: len(common) + 1}
    member = np.array([place.get(text, len(common)) for text in texts], dtype=np.int64)
    return _without_empty(title, names, member)


def _without_empty(title: str, names: Sequence[str], member: ndarray) -> Grouping:
    kept, position = np.unique(member, return_inverse=True)
    return Grouping(
        title=title, names=tuple(names[at] for at in kept), member=position.reshape(-1).astype(np.int64)
    )


def _readable(edge: float) -> float:
    """Round to two digits, and to whole numbers from 1 on."""
    if edge == 0 or not np.isfinite(edge):
        return float(edge)
    digits = 1 - int(np.floor(np.log10(abs(edge))))
    return float(np.round(edge, min(digits, 0) if abs(edge) >= 1 else digits))


def _ranges(edges: ndarray, values: ndarray) -> Iterator[str]:
    """Name the ranges between edges, each of which belongs to the range below it."""
    if not len(edges):
        yield "all"
        return
    is_whole, smallest = bool((values == np.floor(values)).all()), values.min()
    yield _number(edges[0]) if smallest == edges[0] else f"up to {_number(edges[0])}"
    for low, high in pairwise(edges):
        start = low + 1 if is_whole else low
        yield _number(high) if is_whole and start == high else f"{_number(start)} to {_number(high)}"
    yield f"over {_number(edges[-1])}"


def _number(value: float) -> str:
    return f"{value:,.0f}" if value == np.floor(value) else f"{value:,g}"
