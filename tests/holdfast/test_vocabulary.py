"""Padding, unknown and real values never share an id."""

import numpy as np
import pytest

from holdfast.errors import ConfigError
from holdfast.vocabulary import Dictionary, OfDictionaries, Vocabulary, joined_tables


def test_missing_and_unseen_strings_are_unknown_and_real_ones_start_at_two() -> None:
    """Id 0 is left to padding; every kind of Unicode is just a string."""
    values = ("a", "ä", "a\u0308", "", "\u0000", "🛒", "مرحبا")
    vocabulary = Vocabulary(values=values)
    dictionary = Dictionary((*values, "unseen"))
    ids = vocabulary.ids(np.arange(-1, len(dictionary), dtype=np.int32), dictionary)
    assert ids.tolist() == [1, 2, 3, 4, 5, 6, 7, 8, 1]
    assert len(vocabulary) == len(values) + 2


def test_a_table_ends_with_the_id_of_a_missing_value() -> None:
    """Code -1 finds it there; an empty dictionary has nothing else."""
    vocabulary = Vocabulary(values=("a", "b"))
    tables = [vocabulary.table(Dictionary(words)).tolist() for words in (["b"], [], ["c", "a"])]
    assert tables == [[3, 1], [1], [1, 2, 1]]


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


def test_tables_of_several_columns_stand_one_behind_the_other() -> None:
    """Each with the id of a missing value last; of no column there is nothing."""
    vocabularies = [Vocabulary(values=("a", "b")), Vocabulary(values=("c",))]
    ids, ends = joined_tables(vocabularies, (Dictionary(("b", "x")), Dictionary(("c",))))
    assert (ids.tolist(), ends.tolist()) == ([3, 1, 1, 2, 1], [3, 5])
    ids, ends = joined_tables([], ())
    assert (ids.dtype, ids.tolist(), ends.tolist()) == (np.int64, [], [])


def test_what_is_made_is_kept_for_the_same_dictionaries_alone() -> None:
    """Another one with the same words, or of the same address after the first has gone, is looked at anew."""
    words = OfDictionaries(lambda dictionaries: [dictionary.values for dictionary in dictionaries])
    first = Dictionary(("a",))
    kept = words((first,))
    assert words((first,)) is kept
    again = words((Dictionary(("a",)),))
    assert again is not kept
    assert again == kept
    for word in ("b", "a", "x"):
        assert words((Dictionary((word,)),)) == [(word,)]
    assert words(()) == []
