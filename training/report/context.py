"""What the report says beside the evaluation's result.

It deliberately carries plain values alone, and no clock: who writes a report says when.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from holdfast.schema import Schema


@dataclass(frozen=True, slots=True, kw_only=True)
class CutoffFacts:
    """What came after one cutoff, or after those of one month.

    Attributes:
        at: ISO text of the first one.
        num_readouts: Eligible customers at it.
        means: By target, the mean label at its longest horizon; a target without known ones left out.
    """

    at: str
    num_readouts: int
    means: Mapping[str, float]


@dataclass(frozen=True, slots=True, kw_only=True)
class SplitFacts:
    """One part of the temporal split.

    Attributes:
        name: ``train``, ``validation`` or ``test``.
        first_cutoff: ISO text.
        last_cutoff: ISO text.
        num_cutoffs: Distinct cutoff times.
        num_readouts: Eligible customers at cutoffs.
        num_customers: Customers among them.
        rates: By target and horizon, in words, the share of 1 or the mean amount with its unit.
        num_unknown: By the same, how many readouts have no known outcome; those with 0 left out.
        by_cutoff: One cutoff after the other, or one month, where there are too many to tell apart.
    """

    name: str
    first_cutoff: str
    last_cutoff: str
    num_cutoffs: int
    num_readouts: int
    num_customers: int
    rates: Mapping[str, str]
    num_unknown: Mapping[str, int]
    by_cutoff: Sequence[CutoffFacts] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Eligibility:
    """Who is asked about at the last test cutoff, and why the others are not.

    Attributes:
        at: ISO text.
        num_known: Customers with an event up to it.
        num_ended: Gone for good before.
        num_quiet: Not gone, but without activity in the lookback.
        num_eligible: The rest.
    """

    at: str
    num_known: int
    num_ended: int
    num_quiet: int
    num_eligible: int


@dataclass(frozen=True, slots=True, kw_only=True)
class DataFacts:
    """What a model was made of.

    Attributes:
        num_customers: Customers with an event.
        num_events: Events.
        first_event: ISO text.
        last_event: ISO text.
        event_types: Number of events by type.
        table_rows: Rows that were read, by table.
        excluded: Rows left out, by table and reason.
        notices: What was seen and left as it is, counted.
        lengths: Number of customers by number of events, as (range in words, customers).
        splits: The temporal split.
        over_time: Number of events by type, by ISO day on which a week, month or year begins; the most
            frequent types, and the others together.
        eligibility: At the last test cutoff.
    """

    num_customers: int
    num_events: int
    first_event: str
    last_event: str
    event_types: Mapping[str, int]
    table_rows: Mapping[str, int] = field(default_factory=dict)
    excluded: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    notices: Mapping[str, int] = field(default_factory=dict)
    lengths: Sequence[tuple[str, int]] = ()
    splits: Sequence[SplitFacts] = ()
    over_time: Sequence[tuple[str, Mapping[str, int]]] = ()
    eligibility: Eligibility | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ReportContext:
    """Everything on the page that is no test figure.

    Attributes:
        title: Of the data set or the model.
        schema: What was declared; definitions are worded from it.
        data: What the model was made of.
        created_at: ISO text; the page has no clock of its own.
        revision: Of the source.
        versions: Of libraries, by name.
        settings: What was chosen, by name.
        training_curve: Points (step, value) by the name of the curve.
        intended_use: Sentences that replace the standard ones.
        limits: Sentences beside the standard ones.
        comparison: What ``training.compare`` wrote, or None; see :mod:`training.report.comparison`.
    """

    title: str
    schema: Schema
    data: DataFacts
    created_at: str
    revision: str = ""
    versions: Mapping[str, str] = field(default_factory=dict)
    settings: Mapping[str, str] = field(default_factory=dict)
    training_curve: Mapping[str, Sequence[tuple[float, float]]] = field(default_factory=dict)
    intended_use: Sequence[str] = ()
    limits: Sequence[str] = ()
    comparison: Mapping[str, Any] | None = None
