"""The data part of a report, counted from a store and its readouts.

It deliberately opens no file.
"""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Int64
from numpy import ndarray

from holdfast.schema import Schema, Target
from training.evaluation.result import unit_of
from training.outcomes import Outcomes
from training.report.context import DataFacts, SplitFacts
from training.report.wording import amount, percent
from training.splits import iso
from training.store import StoreIndex


def data_facts(
    index: StoreIndex, offsets: Int64[ndarray, " customer_plus_1"], splits: Sequence[SplitFacts]
) -> DataFacts:
    """Return what a store says about its data.

    Args:
        index: Of the store.
        offsets: Of the customers' events.
        splits: See :func:`split_facts`.
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
        lengths=length_counts(offsets),
        splits=tuple(splits),
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
    )


def length_counts(offsets: Int64[ndarray, " customer_plus_1"]) -> tuple[tuple[str, int], ...]:
    """Return how many customers have 1, 2, 3 to 4, 5 to 8, ... events, up to the longest."""
    lengths = np.diff(offsets)
    lengths = lengths[lengths > 0]
    if not len(lengths):
        return ()
    octave = np.ceil(np.log2(lengths)).astype(np.int64)
    counts = np.bincount(octave)
    return tuple((_range(power), int(count)) for power, count in enumerate(counts))


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
