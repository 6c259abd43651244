"""Strings to ids: 0 is padding, 1 is unknown or missing, ids from 2 are real values.

It deliberately does not know what the strings mean, nor where a coded column comes from.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from itertools import accumulate
from typing import Generic, TypeVar
from weakref import WeakKeyDictionary

import numpy as np
from jaxtyping import Int32, Int64
from numpy import ndarray

from holdfast.errors import ConfigError

T = TypeVar("T")

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


class OfDictionaries(Generic[T]):
    """What is made of some dictionaries; for those that were asked about last it is there already.

    A store asks about the same ones all its life, and a server mostly does.
    """

    def __init__(self, make: Callable[[tuple[Dictionary, ...]], T]) -> None:
        """Say what to make of them."""
        self._make = make
        # Read and replaced as a whole: threads share it.
        self._last: tuple[tuple[Dictionary, ...], T] | None = None

    def __call__(self, dictionaries: tuple[Dictionary, ...]) -> T:
        """Return what is made of them."""
        last = self._last
        if last is None or last[0] != dictionaries:
            last = self._last = dictionaries, self._make(dictionaries)
        return last[1]


def joined_tables(
    vocabularies: Sequence[Vocabulary], dictionaries: Sequence[Dictionary]
) -> tuple[Int64[ndarray, " entry"], Int64[ndarray, " column"]]:
    """Return the tables of several columns as one array, for compiled loops, and where each column's ends.

    Args:
        vocabularies: One per column.
        dictionaries: Likewise. The id of a missing value stands last in each column's part.
    """
    found = [v.table(d) for v, d in zip(vocabularies, dictionaries, strict=True)]
    ends = np.array([*accumulate(map(len, found))], dtype=np.int64)
    # The type is named, because of nothing at all NumPy would make floating point.
    return np.concatenate([*found, np.empty(0, dtype=np.int64)]), ends
