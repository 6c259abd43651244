"""Strings to ids: 0 is padding, 1 is unknown or missing, ids from 2 are real values.

It deliberately does not know what the strings mean, nor where a coded column comes from.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import accumulate
from weakref import ReferenceType, WeakKeyDictionary, ref

import numpy as np
from jaxtyping import Int32, Int64
from numpy import ndarray

from holdfast.errors import ConfigError

PADDING_ID = 0
UNKNOWN_ID = 1
FIRST_REAL_ID = 2
MISSING_CODE = -1
"""The code of a missing value in a dictionary-coded column."""


class Dictionary:
    """The distinct strings of a dictionary-coded column; compared by identity.

    A store has one per column for its whole life and a request one per call, so a vocabulary
    can remember the ids of a dictionary as long as it lives.
    """

    __slots__ = ("__weakref__", "values")

    def __init__(self, values: Iterable[str]) -> None:
        """Keep the strings; code ``i`` stands for ``values[i]``."""
        self.values = tuple(values)

    def __len__(self) -> int:
        """Return how many distinct strings there are."""
        return len(self.values)


@dataclass(frozen=True, slots=True, kw_only=True)
class Vocabulary:
    """The strings that were seen in training history, in id order from id 2.

    Attributes:
        values: Real values; ``values[i]`` has id ``i + 2``.
    """

    values: tuple[str, ...]
    _ids: dict[str, int] = field(init=False, repr=False, compare=False)
    _tables: "WeakKeyDictionary[Dictionary, ndarray]" = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        """Index the values.

        Raises:
            ConfigError: A value stands twice.
        """
        ids = {value: index + FIRST_REAL_ID for index, value in enumerate(self.values)}
        if len(ids) != len(self.values):
            raise ConfigError("vocabulary.values", len(self.values), "every value must stand once")
        object.__setattr__(self, "_ids", ids)
        object.__setattr__(self, "_tables", WeakKeyDictionary())

    def __len__(self) -> int:
        """Return the number of ids, padding and unknown included."""
        return len(self.values) + FIRST_REAL_ID

    def id_of(self, value: str) -> int:
        """Return the id of one string; 1 if it was not seen in training."""
        return self._ids.get(value, UNKNOWN_ID)

    def ids(self, codes: Int32[ndarray, " event"], dictionary: Dictionary) -> Int64[ndarray, " event"]:
        """Return the ids of a coded column.

        Args:
            codes: Indices into ``dictionary``, or -1 where the value is missing.
            dictionary: The strings behind the codes.

        Returns:
            Ids: 1 for missing values and strings not seen in training.
        """
        return self.table(dictionary).take(codes)

    def table(self, dictionary: Dictionary) -> Int64[ndarray, " code_plus_1"]:
        """Return the id of every code of a dictionary, and behind them that of a missing value."""
        found = self._tables.get(dictionary)
        if found is None:
            # The last row answers code -1, so that missing needs no branch.
            found = np.array([*map(self.id_of, dictionary.values), UNKNOWN_ID], dtype=np.int64)
            self._tables[dictionary] = found
        return found


class Tables:
    """The tables of several columns' vocabularies as one array, for compiled loops.

    What was found last is kept, because a store asks about the same dictionaries all its life, and a server
    mostly does.
    """

    def __init__(self, vocabularies: Sequence[Vocabulary]) -> None:
        """Keep the vocabularies, one per column."""
        self._vocabularies = tuple(vocabularies)
        nothing = np.empty(0, dtype=np.int64)
        # Read and replaced as a whole: threads share it.
        self._last: tuple[Sequence[ReferenceType[Dictionary]], ndarray, ndarray] = ((), nothing, nothing)

    def of(
        self, dictionaries: Sequence[Dictionary]
    ) -> tuple[Int64[ndarray, " entry"], Int64[ndarray, " column"]]:
        """Return the ids of every code, one column's behind the other's, and where in them each column ends.

        Args:
            dictionaries: One per column. The id of a missing value stands last in each column's part.
        """
        known, tables, ends = self._last
        if len(known) == len(dictionaries) and all(
            one() is other for one, other in zip(known, dictionaries, strict=True)
        ):
            return tables, ends
        found = [v.table(d) for v, d in zip(self._vocabularies, dictionaries, strict=True)]
        ends = np.array([*accumulate(map(len, found))], dtype=np.int64)
        # The type is named, because of nothing at all NumPy would make floating point.
        tables = np.concatenate([*found, np.empty(0, dtype=np.int64)])
        self._last = [ref(dictionary) for dictionary in dictionaries], tables, ends
        return tables, ends
