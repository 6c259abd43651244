"""Which cutoffs of a customer share one pass over its events.

It deliberately does not know labels or tensors: it trades a shorter past of early cutoffs
against one pass for many of them.
"""

import numpy as np
from jaxtyping import Int64
from numpy import ndarray

from holdfast.encoding import Cutoffs, EncodingSpec
from holdfast.encoding.windows import windows_of
from holdfast.histories import Histories


def share_segments(
    histories: Histories,
    customer: Int64[ndarray, " readout"],
    time_us: Int64[ndarray, " readout"],
    spec: EncodingSpec,
    *,
    min_share: float = 0.5,
) -> Cutoffs:
    """Group cutoffs into segments, newest first.

    A segment holds the history of its newest cutoff. An older cutoff joins it as long as it still
    sees at least ``min_share`` of its own history there; otherwise it begins a segment of its own.

    Args:
        histories: Flat columns.
        customer: Customer of every cutoff, ascending.
        time_us: The cutoffs, ascending within a customer.
        spec: The encoding, for its limits.
        min_share: Smallest share of its own history that a cutoff must see.

    Returns:
        The cutoffs in the order given, grouped.
    """
    alone = Cutoffs.one_each(customer, time_us)
    windows = windows_of(histories, alone, max_events=spec.max_events, history_days=spec.history_days)
    begins = segment_begins(customer, windows.start, windows.end, min_share=min_share)
    first = np.flatnonzero(begins)
    return Cutoffs(customer=customer[first], offsets=np.append(first, len(customer)), time_us=time_us)


def segment_begins(
    customer: Int64[ndarray, " readout"],
    start: Int64[ndarray, " readout"],
    end: Int64[ndarray, " readout"],
    *,
    min_share: float,
) -> ndarray:
    """Return which cutoffs begin a segment (bool per readout); see :func:`share_segments`.

    Cutoffs are visited by their rank from the newest, all customers at once: as many rounds as
    the fullest customer has cutoffs.
    """
    num = len(customer)
    is_newest = np.append(customer[1:] != customer[:-1], True) if num else np.zeros(0, dtype=bool)
    newest = np.flatnonzero(is_newest)
    per_customer = np.diff(np.concatenate([[-1], newest]))
    anchor = start[newest].copy()
    begins = np.zeros(num, dtype=bool)
    for rank in range(1, int(per_customer.max(initial=0))):
        open_ = np.flatnonzero(per_customer > rank)
        row = newest[open_] - rank
        own = end[row] - start[row]
        is_apart = end[row] - anchor[open_] < min_share * own
        begins[row[is_apart] + 1] = True
        anchor[open_[is_apart]] = start[row[is_apart]]
    begins[newest - per_customer + 1] = True
    return begins
