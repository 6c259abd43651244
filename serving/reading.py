"""What several requests ask, read in one go: one set of histories, and who is at fault.

It deliberately decides nothing that :mod:`holdfast.wire` and :mod:`holdfast.faults` decide: where
anything is not plainly sound, each request is read number by number, and refused there.

Compiled loops (:mod:`serving.columns`) read the columns of all customers of all requests at once: a few
nanoseconds per event instead of a hundred, and the fixed cost of a request is shared by who waits with it.
"""

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import lru_cache
from itertools import accumulate
from typing import Any

import numpy as np
from jaxtyping import Int32, Int64
from numpy import ndarray

from holdfast.errors import HistoryError
from holdfast.faults import find_faults, without
from holdfast.histories import AttributeVersions, Block, CodedBlock, CodedColumn, Histories
from holdfast.schema import Schema
from holdfast.vocabulary import Dictionary
from holdfast.wire import Limits
from serving.asking import Asked, AskedBytes
from serving.columns import Customers, NotPlainError
from serving.joining import in_one_dictionary, joined

_NO_WORDS = Dictionary(())

MOST_REMEMBERED = 2_048
"""Words and letters of a dictionary that is remembered: 64 of them take a few MiB at most."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Read:
    """What was asked, read and checked.

    Attributes:
        histories: Of those who can be scored.
        rows: Where they stand among all who were asked about.
        faults: Why the others cannot be scored, by row.
    """

    histories: Histories
    rows: Int64[ndarray, " customer"]
    faults: Mapping[int, HistoryError]


def read_together(asked: Sequence[Asked], schema: Schema, *, limits: Limits) -> Read:
    """Read what several requests ask; the customers of the first one come first.

    Args:
        asked: At least one.
        schema: What the model expects.
        limits: What this server takes of a request.

    Returns:
        Histories of which every value has been checked.

    Raises:
        RequestError: A request as a whole is malformed.
    """
    plain = [(one, one.plain) for one in asked if isinstance(one, AskedBytes) and one.plain is not None]
    if len(plain) == len(asked):
        with suppress(NotPlainError):
            histories = _read_plain(plain, schema, limits)
            if not find_faults(histories):
                return Read(histories=histories, rows=_count(histories.num_customers), faults={})
    if len(asked) == 1:
        return _read_alone(asked[0], schema, limits)
    # Each for itself, since a message must speak of the caller's own columns and dictionaries.
    parts, rows, start = [], [], 0
    faults: dict[int, HistoryError] = {}
    for one in asked:
        read = read_together([one], schema, limits=limits)
        parts.append(read.histories)
        rows.append(read.rows + start)
        faults |= {start + row: error for row, error in read.faults.items()}
        start += len(one.num_events)
    return Read(histories=joined(parts), rows=np.concatenate(rows), faults=faults)


def _read_alone(asked: Asked, schema: Schema, limits: Limits) -> Read:
    """Read number by number."""
    received = asked.read(schema, limits=limits)
    found = find_faults(received.histories)
    histories, kept = without(received.histories, found)
    faults = {int(received.positions[row]): error for row, error in found.items()}
    return Read(histories=histories, rows=received.positions[kept], faults={**received.errors, **faults})


def _count(num: int) -> Int64[ndarray, " num"]:
    return np.arange(num, dtype=np.int64)


def _read_plain(asked: Sequence[tuple[AskedBytes, Customers]], schema: Schema, limits: Limits) -> Histories:
    """Return the histories.

    Raises:
        NotPlainError: Anything is not as it should be.
    """
    for one, _ in asked:
        if max(one.num_events, default=0) > limits.max_events_per_customer:
            raise NotPlainError
    views, customers = [one.view for one, _ in asked], _together(asked)
    types, events, versions = customers.read(schema)
    ends = [0, *accumulate(len(one.num_events) for one, _ in asked)]
    num_rows, num_versions = (np.diff(rows.offsets[ends]).tolist() for rows in (events, versions))
    coded, coded_attributes = schema.categorical_fields, schema.categorical_attributes
    words = [_words(view.field_dictionaries, coded) for view in views]
    attribute_words = [_words(view.attribute_dictionaries, coded_attributes) for view in views]
    type_words = [dictionary_of(tuple(view.event_types)) for view in views]
    return Histories(
        offsets=events.offsets,
        occurred_at_us=events.times,
        event_type=in_one_dictionary(types, type_words, num_rows),
        categorical=_coded(coded, events.codes, words, num_rows),
        numeric=Block(schema.numeric_fields, events.values),
        attributes=AttributeVersions(
            offsets=versions.offsets,
            valid_from_us=versions.times,
            categorical=_coded(coded_attributes, versions.codes, attribute_words, num_versions),
            numeric=Block(schema.numeric_attributes, versions.values),
        ),
    )


def _together(asked: Sequence[tuple[AskedBytes, Customers]]) -> Customers:
    """Return the customers of all requests: to look again costs less than to join what was found."""
    if len(asked) == 1:
        return asked[0][1]
    return Customers.of([sent for one, _ in asked for sent in one.sent()])


def _coded(
    names: tuple[str, ...],
    codes: Int32[ndarray, "column row"],
    words: Sequence[tuple[Dictionary, ...]],
    num_rows: Sequence[int],
) -> Mapping[str, CodedColumn]:
    """Return columns whose dictionaries hold the words of all requests."""
    # Callers of one kind mostly send the same words.
    if all(one == words[0] for one in words[1:]):
        return CodedBlock(Block(names, codes), words[0])
    return {
        name: in_one_dictionary(column, dictionaries, num_rows)
        for name, column, dictionaries in zip(names, codes, zip(*words, strict=True), strict=True)
    }


def _words(given: Any, categorical: tuple[str, ...]) -> tuple[Dictionary, ...]:
    """Return the dictionaries of all columns.

    Raises:
        NotPlainError: There is one of something else.
    """
    words = tuple(
        dictionary_of(tuple(given[name].values)) if name in given else _NO_WORDS for name in categorical
    )
    if len(given) != sum(dictionary is not _NO_WORDS for dictionary in words):
        raise NotPlainError
    return words


def dictionary_of(words: tuple[str, ...]) -> Dictionary:
    """Return a dictionary of some words: mostly the one of an earlier call, whose ids are known already."""
    if sum(map(len, words)) + len(words) > MOST_REMEMBERED:
        return Dictionary(words)
    return _remembered(words)


@lru_cache(maxsize=64)
def _remembered(words: tuple[str, ...]) -> Dictionary:
    return Dictionary(words)
