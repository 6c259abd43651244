"""Targets to label arrays: what came after a cutoff, for any customers and cutoffs at once.

It deliberately does not know how cutoffs are chosen, nor what a model is told: it is the only
code that looks past a cutoff, and never past the last instant that its caller allows.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float32, Int64
from numpy import ndarray

from holdfast.histories import Histories, ragged_rows, search_sorted
from holdfast.schema import MICROSECONDS_PER_DAY, Schema, Target, horizon_grid_days
from training.label_table import IndexedRows, LabelRows
from training.pages import release_pages

DEFAULT_EVENTS_AT_ONCE = 4_000_000
"""Events gathered at a time: about 100 MB, whatever the size of the store."""

READOUTS_AT_ONCE = 1_000_000
"""Readouts asked about at a time: sorting the nine million candidates of 250,000 customers, as a grid of 36
cutoffs has them, took half a gigabyte."""

MAX_ADDEND = 2.0**50
"""Beyond, a sum could not be exact: :mod:`training.canonical` leaves rows with such amounts out."""

_COARSE = 2.0**10
_FINE = 2.0**-32


@dataclass(frozen=True, slots=True, kw_only=True)
class Labels:
    """Labels of some readouts, by target name.

    Attributes:
        lower: Of every ``time_to_event`` target: the awaited event fell into bins
            ``(lower, upper]``, counted from 1 ...
        upper: ... where ``K + 1`` means later than the last known bin, perhaps never.
        values: Of every ``amount`` and ``count`` target; NaN where the window is censored.
    """

    lower: Mapping[str, Int64[ndarray, " readout"]]
    upper: Mapping[str, Int64[ndarray, " readout"]]
    values: Mapping[str, Float32[ndarray, " readout"]]

    def take(self, rows: ndarray) -> "Labels":
        """Return the labels at ``rows`` (positions or a mask)."""
        return Labels(
            lower={name: column[rows] for name, column in self.lower.items()},
            upper={name: column[rows] for name, column in self.upper.items()},
            values={name: column[rows] for name, column in self.values.items()},
        )


class Labeller:
    """Answers, for arrays of customers and cutoffs, who is eligible and what came next.

    Nothing is kept per event between calls: a call gathers the events of the customers it
    asks about, a bounded number at a time, so a store larger than memory costs no more.
    """

    def __init__(
        self,
        histories: Histories,
        schema: Schema,
        *,
        table: LabelRows | None = None,
        max_events_at_once: int = DEFAULT_EVENTS_AT_ONCE,
    ) -> None:
        """Keep what labels are made of.

        Args:
            histories: All customers.
            schema: Targets, activity, lookback.
            table: The company's own labels. ``churned`` then answers the first
                ``time_to_event`` target and ``spend`` the first ``amount`` target, with no
                label where the table has no row; the other targets still come from events.
            max_events_at_once: Bound on the events held in memory; one customer's are never split.

        Raises:
            ConfigError: The table has the same customer and cutoff twice.
        """
        self.histories = histories
        self.schema = schema
        self.table = None if table is None else IndexedRows(table, histories.num_customers)
        self._max_events_at_once = max_events_at_once

    @property
    def answered_by_table(self) -> frozenset[str]:
        """The targets whose labels are the company's own, whatever events say."""
        columns = {"churned": _first(self.schema, "time_to_event"), "spend": _first(self.schema, "amount")}
        own = () if self.table is None else self.table.values
        return frozenset(t.name for column, t in columns.items() if t is not None and column in own)

    def eligible(
        self, customer: Int64[ndarray, " readout"], cutoff_us: Int64[ndarray, " readout"]
    ) -> Bool[ndarray, " readout"]:
        """Return who is worth a question: active in ``(t - lookback, t]`` and not gone for good.

        Args:
            customer: Positions in the histories.
            cutoff_us: UTC microseconds.

        Returns:
            True where at least one activity event lies in the lookback and no ``ended_by``
            event lies at or before the cutoff.
        """
        answer = np.zeros(len(customer), dtype=bool)
        lookback_us = self.schema.lookback_days * MICROSECONDS_PER_DAY
        for readouts, local, events in self._chunks(customer):
            time_us = cutoff_us[readouts]
            activity = events.matching(self.schema.activity)
            after = activity.first_after(local, time_us)
            is_active = after > activity.offsets[local]
            is_active[is_active] = activity.time_us[after[is_active] - 1] > time_us[is_active] - lookback_us
            if self.schema.ended_by:
                ended = events.matching(self.schema.ended_by)
                is_active &= ended.first_after(local, time_us) == ended.offsets[local]
            answer[readouts] = is_active
        return answer

    def label(
        self,
        customer: Int64[ndarray, " readout"],
        cutoff_us: Int64[ndarray, " readout"],
        *,
        observed_until_us: int,
    ) -> Labels:
        """Return the labels of some readouts.

        Args:
            customer: Positions in the histories.
            cutoff_us: UTC microseconds.
            observed_until_us: The last known instant, inclusive: nothing later is looked at,
                and what would need it is censored.

        Returns:
            One label per readout and target.
        """
        timed = [target for target in self.schema.targets if target.kind == "time_to_event"]
        summed = [target for target in self.schema.targets if target.kind != "time_to_event"]
        num = len(customer)
        lower = {target.name: np.zeros(num, dtype=np.int64) for target in timed}
        upper = {target.name: np.zeros(num, dtype=np.int64) for target in timed}
        values = {target.name: np.zeros(num, dtype=np.float32) for target in summed}
        for readouts, local, events in self._chunks(customer):
            time_us = cutoff_us[readouts]
            for target in timed:
                bins = _bins(events.matching(target.event_types), local, time_us, observed_until_us, target)
                lower[target.name][readouts], upper[target.name][readouts] = bins
            for target in summed:
                matches = events.matching(target.event_types)
                totals = _totals(matches, local, time_us, observed_until_us, target, events)
                values[target.name][readouts] = totals
        labels = Labels(lower=lower, upper=upper, values=values)
        if self.table is not None:
            _overwrite(labels, self.table, self.schema, customer, cutoff_us, observed_until_us)
        return labels

    def _chunks(self, customer: ndarray) -> "Iterator[tuple[ndarray, ndarray, _Events]]":
        """Yield readouts, their customers' positions in the chunk, and the chunk's events."""
        for start in range(0, len(customer), READOUTS_AT_ONCE):
            for readouts, local, events in self._chunks_of(customer[start : start + READOUTS_AT_ONCE]):
                yield start + readouts, local, events
                release_pages(self.histories)

    def _chunks_of(self, customer: ndarray) -> "Iterator[tuple[ndarray, ndarray, _Events]]":
        distinct, position = np.unique(customer, return_inverse=True)
        lengths = self.histories.offsets[distinct + 1] - self.histories.offsets[distinct]
        chunk = (np.cumsum(lengths) - lengths) // self._max_events_at_once
        order = np.argsort(chunk[position], kind="stable")
        starts = np.flatnonzero(np.diff(chunk, prepend=-1))
        ends = np.searchsorted(chunk[position][order], chunk[starts], side="right")
        lasts = [*starts[1:], len(distinct)]
        for first, last, readouts in zip(starts, lasts, np.split(order, ends[:-1]), strict=True):
            yield readouts, position[readouts] - first, _Events.gather(self.histories, distinct[first:last])


def grid_us(target: Target) -> Int64[ndarray, " bin"]:
    """Return the ends of a target's survival bins in microseconds after the cutoff."""
    ends: ndarray = np.rint(np.array(horizon_grid_days(target)) * MICROSECONDS_PER_DAY)
    return ends.astype(np.int64)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Matches:
    """The events of some customers that match a target, in order."""

    offsets: Int64[ndarray, " customer_plus_1"]
    time_us: Int64[ndarray, " match"]
    rows: Int64[ndarray, " match"]

    def first_after(self, local: ndarray, time_us: ndarray) -> ndarray:
        """Return the position of every customer's first match later than a time."""
        return search_sorted(self.time_us, self.offsets[local], self.offsets[local + 1], time_us)


class _Events:
    """Events of a chunk of customers; remembers the matches of a list of event types."""

    def __init__(self, histories: Histories, rows: ndarray, offsets: ndarray) -> None:
        self.histories, self.rows, self.offsets = histories, rows, offsets
        self.time_us = histories.occurred_at_us[rows]
        self.codes = histories.event_type.codes[rows]
        self._matches: dict[tuple[str, ...], _Matches] = {}

    @classmethod
    def gather(cls, histories: Histories, customers: ndarray) -> "_Events":
        return cls(histories, *ragged_rows(histories.offsets, customers))

    def matching(self, event_types: tuple[str, ...]) -> _Matches:
        """Return the events of these types; no types means every event."""
        if event_types not in self._matches:
            known = self.histories.event_type.dictionary.values
            wanted = np.array([not event_types or value in event_types for value in known], dtype=bool)
            is_match = wanted[self.codes] if len(known) else np.zeros(0, dtype=bool)
            before = np.concatenate([[0], np.cumsum(is_match, dtype=np.int64)])
            self._matches[event_types] = _Matches(
                offsets=before[self.offsets], time_us=self.time_us[is_match], rows=self.rows[is_match]
            )
        return self._matches[event_types]


def _bins(
    matches: _Matches, local: ndarray, cutoff_us: ndarray, observed_until_us: int, target: Target
) -> tuple[ndarray, ndarray]:
    """Return ``lower`` and ``upper`` of one target; nothing after the last full known bin counts.

    An event in a bin that is known only in part is not used: its customers without an event
    could not be counted there, and the hazard of that bin would come out high. For the like
    reason an event that ended the customer does not make the rest of a censored window known:
    late bins would then count those who ended and nobody else, and come out low.
    """
    grid = grid_us(target)
    num_known = np.searchsorted(grid, observed_until_us - cutoff_us, side="right").astype(np.int64)
    found = matches.first_after(local, cutoff_us)
    has_next = found < matches.offsets[local + 1]
    wait_us = matches.time_us[found[has_next]] - cutoff_us[has_next]
    bin_before = np.full(len(found), len(grid), dtype=np.int64)
    bin_before[has_next] = np.searchsorted(grid, wait_us, side="left")
    came = bin_before < num_known
    lower = np.where(came, bin_before, num_known)
    return lower, np.where(came, bin_before + 1, len(grid) + 1)


def _totals(
    matches: _Matches,
    local: ndarray,
    cutoff_us: ndarray,
    observed_until_us: int,
    target: Target,
    events: _Events,
) -> ndarray:
    end_us = cutoff_us + target.max_horizon_days * MICROSECONDS_PER_DAY
    start, end = matches.first_after(local, cutoff_us), matches.first_after(local, end_us)
    if target.field is None:
        total = (end - start).astype(np.float64)
    else:
        total = _sums(events.histories.numeric[target.field][matches.rows], start, end)
    return np.where(end_us <= observed_until_us, np.maximum(total, 0.0), np.nan).astype(np.float32)


def _sums(addends: ndarray, start: ndarray, end: ndarray) -> ndarray:
    """Return sums over ``[start, end)`` to 2e-10 per addend, whatever stands outside of the range.

    A float64 prefix sum would carry the rounding of every earlier customer into a difference.
    Two int64 prefix sums of a coarse and a fine part are exact, and where they overflow, their
    differences do not. Missing addends count as 0; sizes beyond 2**50 are cut to that.
    """
    value = np.clip(np.nan_to_num(addends.astype(np.float64), nan=0.0), -MAX_ADDEND, MAX_ADDEND)
    coarse = np.floor(value / _COARSE)
    fine = np.rint((value - coarse * _COARSE) / _FINE)
    total = np.zeros(len(start))
    for part, unit in ((coarse, _COARSE), (fine, _FINE)):
        prefix = np.concatenate([[0], np.cumsum(part.astype(np.int64))])
        total += (prefix[end] - prefix[start]) * unit
    return total


def _overwrite(
    labels: Labels,
    table: IndexedRows,
    schema: Schema,
    customer: ndarray,
    cutoff_us: ndarray,
    observed_until_us: int,
) -> None:
    """Put the company's own answers into freshly made arrays."""
    row = table.find(customer, cutoff_us)
    for target in schema.targets:
        end_us = cutoff_us + target.max_horizon_days * MICROSECONDS_PER_DAY
        # A row is known when its window is over, as a label made of events would be.
        is_known = (row >= 0) & (end_us <= observed_until_us)
        if target == _first(schema, "time_to_event") and "churned" in table.values:
            churned = np.where(is_known, table.values["churned"][row], np.nan)
            came = 1.0 - churned if target.form == "inactivity" else churned
            num_bins = len(horizon_grid_days(target))
            labels.lower[target.name][:] = np.where(came == 0.0, num_bins, 0)
            labels.upper[target.name][:] = np.where(came == 1.0, num_bins, num_bins + 1)
        if target == _first(schema, "amount") and "spend" in table.values:
            spend = np.where(is_known, table.values["spend"][row], np.nan)
            labels.values[target.name][:] = np.maximum(spend, 0.0)


def _first(schema: Schema, kind: str) -> Target | None:
    return next((target for target in schema.targets if target.kind == kind), None)
