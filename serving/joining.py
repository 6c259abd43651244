"""Histories of several requests as one, and stretches of one: what lets requests share an encoding.

It deliberately checks nothing: a code that lies outside its request's dictionary must not become
a neighbour's word, so such codes stay outside every dictionary.
"""

from collections.abc import Sequence
from itertools import accumulate, chain

import numpy as np
from jaxtyping import Int32, Int64
from numpy import ndarray

from holdfast.histories import AttributeVersions, CodedColumn, Histories
from holdfast.vocabulary import Dictionary

_OUTSIDE = np.iinfo(np.int32).max
"""A code that no dictionary has."""


def joined(parts: Sequence[Histories]) -> Histories:
    """Return the customers of all parts, in order.

    Args:
        parts: At least one; all of one schema, each with dictionaries of its own.

    Returns:
        One set of histories; a single part is returned as it is.
    """
    if len(parts) == 1:
        return parts[0]
    first = parts[0]
    versions = [part.attributes for part in parts]
    return Histories(
        offsets=_joined_offsets([part.offsets for part in parts]),
        occurred_at_us=np.concatenate([part.occurred_at_us for part in parts]),
        event_type=_joined_codes([part.event_type for part in parts]),
        categorical={n: _joined_codes([part.categorical[n] for part in parts]) for n in first.categorical},
        numeric={n: np.concatenate([part.numeric[n] for part in parts]) for n in first.numeric},
        attributes=AttributeVersions(
            offsets=_joined_offsets([part.offsets for part in versions]),
            valid_from_us=np.concatenate([part.valid_from_us for part in versions]),
            categorical={
                n: _joined_codes([part.categorical[n] for part in versions])
                for n in first.attributes.categorical
            },
            numeric={n: np.concatenate([part.numeric[n] for part in versions]) for n in versions[0].numeric},
        ),
    )


def stretch(histories: Histories, start: int, end: int) -> Histories:
    """Return customers ``start`` to ``end`` without copying any column."""
    if start == 0 and end == histories.num_customers:
        return histories
    versions = histories.attributes
    offsets = histories.offsets[start : end + 1]
    version_offsets = versions.offsets[start : end + 1]
    rows = slice(int(offsets[0]), int(offsets[-1]))
    version_rows = slice(int(version_offsets[0]), int(version_offsets[-1]))
    return Histories(
        offsets=offsets - offsets[0],
        occurred_at_us=histories.occurred_at_us[rows],
        event_type=_cut(histories.event_type, rows),
        categorical={name: _cut(column, rows) for name, column in histories.categorical.items()},
        numeric={name: column[rows] for name, column in histories.numeric.items()},
        attributes=AttributeVersions(
            offsets=version_offsets - version_offsets[0],
            valid_from_us=versions.valid_from_us[version_rows],
            categorical={name: _cut(column, version_rows) for name, column in versions.categorical.items()},
            numeric={name: column[version_rows] for name, column in versions.numeric.items()},
        ),
    )


def _cut(column: CodedColumn, rows: slice) -> CodedColumn:
    return CodedColumn(codes=column.codes[rows], dictionary=column.dictionary)


def _joined_offsets(parts: Sequence[ndarray]) -> Int64[ndarray, " all_plus_1"]:
    lengths = np.concatenate([part[1:] - part[:-1] for part in parts])
    offsets = np.zeros(len(lengths) + 1, dtype=np.int64)
    np.cumsum(lengths, out=offsets[1:])
    return offsets


def _joined_codes(parts: Sequence[CodedColumn]) -> CodedColumn:
    codes = np.concatenate([part.codes for part in parts])
    return in_one_dictionary(codes, [part.dictionary for part in parts], [len(part.codes) for part in parts])


def in_one_dictionary(
    codes: Int32[ndarray, " row"], dictionaries: Sequence[Dictionary], counts: Sequence[int]
) -> CodedColumn:
    """Return a column whose dictionary holds the words of several, one dictionary after the other.

    Args:
        codes: Rows of the first dictionary, then rows of the second, and so on; any values.
        dictionaries: What the codes mean.
        counts: How many rows are of each.
    """
    first = dictionaries[0]
    # Callers of one kind mostly send the same words.
    if all(dictionary is first or dictionary.values == first.values for dictionary in dictionaries[1:]):
        return CodedColumn(codes=codes, dictionary=first)
    sizes = [len(dictionary) for dictionary in dictionaries]
    size = np.repeat(np.array(sizes, dtype=np.int32), counts)
    base = np.repeat(np.array([0, *accumulate(sizes[:-1])], dtype=np.int32), counts)
    # A missing value is -1 everywhere, and what is below that stays below it.
    moved = np.where(codes < 0, codes, codes + base)
    np.putmask(moved, codes >= size, _OUTSIDE)
    words = chain.from_iterable(dictionary.values for dictionary in dictionaries)
    return CodedColumn(codes=moved, dictionary=Dictionary(words))
