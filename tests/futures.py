"""Other futures for the same histories: whatever comes after a point in time is altered, dropped, added.

They deliberately use what training never saw: new strings, amounts at the edge of float32, the
last year that is taken.
"""

import numpy as np
from numpy import ndarray

from builders import DAY
from holdfast.faults import LATEST_US
from holdfast.histories import AttributeVersions, CodedColumn, Histories
from holdfast.vocabulary import Dictionary

EXTREMES = np.array([3e38, -3e38, 1e-38, 0.0, np.nan, 12.5], dtype=np.float32)
"""Amounts of a future that must not be seen."""

NEW_STRINGS = ("", "\U0001f6d2 neu")
"""A sorted dictionary has one of them in front of what was known, which moves every code, and one behind."""


def other_future(rng: np.random.Generator, histories: Histories, until_us: int) -> Histories:
    """Return the histories with another future.

    Args:
        rng: Chooses the future.
        histories: Sorted histories.
        until_us: Everything up to and including it stays as it is, to the last bit.

    Returns:
        Histories with the same past: after it one customer in three has nothing, the others have
        new events from one microsecond after ``until_us`` on, and attributes that change then.
    """
    past = _kept(histories, until_us)
    num = histories.num_customers
    added = np.where(rng.random(num) < 1 / 3, 0, rng.integers(1, 12, num))
    order, offsets, times = _merged(rng, past.offsets, past.occurred_at_us, added, until_us)
    fresh = int(added.sum())
    return Histories(
        offsets=offsets,
        occurred_at_us=times,
        event_type=_with_new_codes(rng, past.event_type, fresh, order, lowest=0),
        categorical={
            name: _with_new_codes(rng, column, fresh, order, lowest=-1)
            for name, column in past.categorical.items()
        },
        numeric={
            name: np.concatenate([values, rng.choice(EXTREMES, fresh)])[order]
            for name, values in past.numeric.items()
        },
        attributes=_other_versions(rng, past.attributes, until_us),
    )


def _kept(histories: Histories, until_us: int) -> Histories:
    rows = histories.occurred_at_us <= until_us
    versions = histories.attributes.valid_from_us <= until_us
    attributes = histories.attributes
    return Histories(
        offsets=_offsets(histories.offsets, rows),
        occurred_at_us=histories.occurred_at_us[rows],
        event_type=histories.event_type.take(rows),
        categorical={name: column.take(rows) for name, column in histories.categorical.items()},
        numeric={name: values[rows] for name, values in histories.numeric.items()},
        attributes=AttributeVersions(
            offsets=_offsets(attributes.offsets, versions),
            valid_from_us=attributes.valid_from_us[versions],
            categorical={name: column.take(versions) for name, column in attributes.categorical.items()},
            numeric={name: values[versions] for name, values in attributes.numeric.items()},
        ),
    )


def _offsets(offsets: ndarray, is_kept: ndarray) -> ndarray:
    return np.concatenate([[0], np.cumsum(is_kept)])[offsets]


def _merged(
    rng: np.random.Generator, offsets: ndarray, times: ndarray, added: ndarray, until_us: int
) -> tuple[ndarray, ndarray, ndarray]:
    """Return the order of old rows followed by new ones, the new offsets, and the times in that order."""
    fresh = int(added.sum())
    num = len(added)
    after = until_us + rng.choice([1, 2, DAY // 2, 40 * DAY, LATEST_US - 1 - until_us], fresh)
    owner = np.concatenate([np.repeat(np.arange(num), np.diff(offsets)), np.repeat(np.arange(num), added)])
    joined = np.concatenate([times, after])
    order = np.lexsort((joined, owner))
    return order, np.concatenate([[0], np.cumsum(np.bincount(owner, minlength=num))]), joined[order]


def _with_new_codes(
    rng: np.random.Generator, column: CodedColumn, fresh: int, order: ndarray, *, lowest: int
) -> CodedColumn:
    first, last = NEW_STRINGS
    dictionary = Dictionary((first, *column.dictionary.values, last))
    old = np.where(column.codes < 0, column.codes, column.codes + 1)
    codes = rng.integers(lowest, len(dictionary), fresh)
    return CodedColumn(codes=np.concatenate([old, codes])[order].astype(np.int32), dictionary=dictionary)


def _other_versions(
    rng: np.random.Generator, versions: AttributeVersions, until_us: int
) -> AttributeVersions:
    # At most one new version each: those of a customer must differ in time.
    added = rng.integers(0, 2, len(versions.offsets) - 1)
    order, offsets, times = _merged(rng, versions.offsets, versions.valid_from_us, added, until_us)
    fresh = int(added.sum())
    return AttributeVersions(
        offsets=offsets,
        valid_from_us=times,
        categorical={
            name: _with_new_codes(rng, column, fresh, order, lowest=-1)
            for name, column in versions.categorical.items()
        },
        numeric={
            name: np.concatenate([values, rng.choice(EXTREMES, fresh)])[order]
            for name, values in versions.numeric.items()
        },
    )
