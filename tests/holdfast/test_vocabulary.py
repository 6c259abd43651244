"""Padding, unknown and real values never share an id."""

import numpy as np
import pytest

from holdfast.errors import ConfigError
from holdfast.vocabulary import Dictionary, Vocabulary


def test_missing_and_unseen_strings_are_unknown_and_real_ones_start_at_two() -> None:
    """Id 0 is left to padding; every kind of Unicode is just a string."""
    values = ("a", "ä", "a\u0308", "", "\u0000", "🛒", "مرحبا")
    vocabulary = Vocabulary(values=values)
    dictionary = Dictionary((*values, "unseen"))
    ids = vocabulary.ids(np.arange(-1, len(dictionary), dtype=np.int32), dictionary)
    assert ids.tolist() == [1, 2, 3, 4, 5, 6, 7, 8, 1]
    assert len(vocabulary) == len(values) + 2


def test_a_dictionary_is_known_if_training_saw_all_its_strings() -> None:
    """Missing values are no strings; an empty dictionary holds nothing unknown."""
    vocabulary = Vocabulary(values=("a", "b"))
    assert [vocabulary.knows_all(Dictionary(words)) for words in (["b"], [], ["a", "c"])] == [
        True,
        True,
        False,
    ]


def test_equal_dictionaries_are_told_apart_by_identity() -> None:
    """Remembered ids belong to one dictionary, not to another with the same codes."""
    vocabulary = Vocabulary(values=("a", "b"))
    codes = np.array([0], dtype=np.int32)
    assert vocabulary.ids(codes, Dictionary(["a"])).tolist() == [2]
    assert vocabulary.ids(codes, Dictionary(["b"])).tolist() == [3]


def test_a_value_that_stands_twice_is_refused() -> None:
    """Two ids for one string would make its encoding a matter of chance."""
    with pytest.raises(ConfigError, match="every value must stand once"):
        Vocabulary(values=("a", "a"))
