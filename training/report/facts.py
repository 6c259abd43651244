"""The data part of a report, counted from a store and its readouts.

It deliberately opens no file.
"""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Bool, Int64
from numpy import ndarray

from holdfast.histories import Histories, prefix_sum
from holdfast.schema import MICROSECONDS_PER_DAY, Schema, Target
from training.evaluation.questions import unit_of
from training.labels import Labeller
from training.outcomes import Outcomes
from training.pages import EVENTS_AT_ONCE, customers_in_parts, release
from training.report.context import CutoffFacts, DataFacts, Eligibility, SplitFacts
from training.report.wording import amount, percent
from training.splits import iso
from training.store import StoreIndex

MOST_DAYS_BY_WEEK, MOST_DAYS_BY_MONTH = 250, 3_660
MOST_TYPES = 5
"""Event types that are told apart over time."""
MOST_CUTOFFS = 60


def data_facts(
    index: StoreIndex,
    histories: Histories,
    splits: Sequence[SplitFacts],
    *,
    eligibility: Eligibility | None = None,
) -> DataFacts:
    """Return what a store says about its data.

    Args:
        index: Of the store.
        histories: Of the store.
        splits: See :func:`split_facts`.
        eligibility: See :func:`eligibility_at`.
    """
    return DataFacts(
        num_customers=index.num_customers,
        num_events=index.num_events,
        first_event=iso(index.first_event_us),
        last_event=iso(index.last_event_us),
        event_types=index.event_types,
        table_rows=index.table_rows,
        excluded=index.excluded,
        notices=index.notices,
        lengths=length_counts(histories.offsets),
        splits=tuple(splits),
        over_time=events_over_time(histories),
        eligibility=eligibility,
    )


def split_facts(
    schema: Schema,
    *,
    name: str,
    customer: Int64[ndarray, " readout"],
    cutoff_us: Int64[ndarray, " readout"],
    outcomes: Outcomes,
) -> SplitFacts:
    """Return what there is to say about one part of the split; it has at least one readout."""
    rates: dict[str, str] = {}
    unknown: dict[str, int] = {}
    for target in schema.targets:
        for at, horizon in enumerate(target.horizons_days):
            if target.kind == "time_to_event":
                labels = outcomes.happened[target.name][:, at]
            else:
                labels = outcomes.values[target.name]
            key, is_known = f"{target.name}, {horizon} days", ~np.isnan(labels)
            rates[key] = _rate(schema, target, labels[is_known])
            if not is_known.all():
                unknown[key] = int((~is_known).sum())
    return SplitFacts(
        name=name,
        first_cutoff=iso(int(cutoff_us.min())),
        last_cutoff=iso(int(cutoff_us.max())),
        num_cutoffs=len(np.unique(cutoff_us)),
        num_readouts=len(customer),
        num_customers=len(np.unique(customer)),
        rates=rates,
        num_unknown=unknown,
        by_cutoff=_by_cutoff(schema, cutoff_us, outcomes),
    )


def eligibility_at(labeller: Labeller, cutoff_us: int) -> Eligibility:
    """Count who is asked about at a cutoff, and why the others are not; some customers at a time."""
    known = ended = quiet = eligible = 0
    for customers in customers_in_parts(labeller.histories, most_events=EVENTS_AT_ONCE):
        is_known, is_ended = _known_and_ended(labeller.histories, labeller.schema, customers, cutoff_us)
        is_eligible = labeller.eligible(customers, np.full(len(customers), cutoff_us, dtype=np.int64))
        known += int(is_known.sum())
        ended += int(is_ended.sum())
        quiet += int((is_known & ~is_ended & ~is_eligible).sum())
        eligible += int(is_eligible.sum())
    return Eligibility(
        at=iso(cutoff_us), num_known=known, num_ended=ended, num_quiet=quiet, num_eligible=eligible
    )


def _known_and_ended(
    histories: Histories, schema: Schema, customers: Int64[ndarray, " customer"], cutoff_us: int
) -> tuple[Bool[ndarray, " customer"], Bool[ndarray, " customer"]]:
    """Return which of some neighbours in the store had come by a cutoff, and which had left for good."""
    offsets = histories.offsets[customers[0] : customers[-1] + 2]
    events = slice(int(offsets[0]), int(offsets[-1]))
    ended_codes = [
        code for code, value in enumerate(histories.event_type.dictionary.values) if value in schema.ended_by
    ]
    is_before = histories.occurred_at_us[events] <= cutoff_us
    is_end = is_before & np.isin(histories.event_type.codes[events], ended_codes)
    own = offsets - offsets[0]
    return np.diff(prefix_sum(is_before)[own]) > 0, np.diff(prefix_sum(is_end)[own]) > 0


def events_over_time(histories: Histories) -> tuple[tuple[str, dict[str, int]], ...]:
    """Return events by week, month or year, whichever gives neither too few nor too many points.

    Args:
        histories: Of a whole store; a bounded number of events is looked at at a time.
    """
    times, codes = histories.occurred_at_us, histories.event_type.codes
    if not len(times):
        return ()
    first, last = _span(times)
    days = (last - first) / MICROSECONDS_PER_DAY
    unit = "W" if days <= MOST_DAYS_BY_WEEK else "M" if days <= MOST_DAYS_BY_MONTH else "Y"
    begin = np.datetime64(first, "us").astype(f"datetime64[{unit}]")
    num = int((np.datetime64(last, "us").astype(f"datetime64[{unit}]") - begin).astype(np.int64)) + 1
    values = list(histories.event_type.dictionary.values)
    counts = np.zeros((num, len(values)), dtype=np.int64)
    for start in range(0, len(times), EVENTS_AT_ONCE):
        part = slice(start, start + EVENTS_AT_ONCE)
        period = times[part].astype("datetime64[us]").astype(f"datetime64[{unit}]") - begin
        place = period.astype(np.int64) * len(values) + codes[part]
        counts += np.bincount(place, minlength=counts.size).reshape(counts.shape)
        release(times)
        release(codes)
    order = np.argsort(-counts.sum(axis=0), kind="stable")
    kept, rest = order[:MOST_TYPES], order[MOST_TYPES:]
    return tuple(
        (
            str((begin + at).astype("datetime64[D]")),
            {values[code]: int(row[code]) for code in kept}
            | ({f"{len(rest)} other types": int(row[rest].sum())} if len(rest) else {}),
        )
        for at, row in enumerate(counts)
    )


def _span(times: Int64[ndarray, " event"]) -> tuple[int, int]:
    """Return the earliest and the latest time, a bounded number of events at a time."""
    lows, highs = [], []
    for start in range(0, len(times), EVENTS_AT_ONCE):
        part = times[start : start + EVENTS_AT_ONCE]
        lows.append(int(part.min()))
        highs.append(int(part.max()))
        release(times)
    return min(lows), max(highs)


def length_counts(offsets: Int64[ndarray, " customer_plus_1"]) -> tuple[tuple[str, int], ...]:
    """Return how many customers have 1, 2, 3 to 4, 5 to 8, ... events, up to the longest."""
    lengths = np.diff(offsets)
    lengths = lengths[lengths > 0]
    if not len(lengths):
        return ()
    octave = np.ceil(np.log2(lengths)).astype(np.int64)
    counts = np.bincount(octave)
    return tuple((_range(power), int(count)) for power, count in enumerate(counts))


def _by_cutoff(schema: Schema, cutoff_us: ndarray, outcomes: Outcomes) -> tuple[CutoffFacts, ...]:
    times, position = np.unique(cutoff_us, return_inverse=True)
    if len(times) > MOST_CUTOFFS:
        months = cutoff_us.astype("datetime64[us]").astype("datetime64[M]")
        _, position = np.unique(months, return_inverse=True)
    found = []
    for at in range(int(position.max()) + 1):
        rows = position == at
        means = {}
        for target in schema.targets:
            labels = (
                outcomes.happened[target.name][rows, -1]
                if target.kind == "time_to_event"
                else outcomes.values[target.name][rows]
            )
            if not np.isnan(labels).all():
                means[target.name] = float(np.nanmean(labels, dtype=np.float64))
        first = iso(int(cutoff_us[rows].min()))
        found.append(CutoffFacts(at=first, num_readouts=int(rows.sum()), means=means))
    return tuple(found)


def _range(power: int) -> str:
    first, last = (2 ** (power - 1) + 1, 2**power) if power else (1, 1)
    return f"{first:,}" if first == last else f"{first:,} to {last:,}"


def _rate(schema: Schema, target: Target, labels: ndarray) -> str:
    if not len(labels):
        return "not known"
    mean = float(labels.mean(dtype=np.float64))
    return (
        percent(mean)
        if target.kind == "time_to_event"
        else f"{amount(mean, unit_of(schema, target))} on average"
    )
