"""Python's collector leaves alone what was there before calls, and is as before at the end."""

import gc

import pytest

from serving.collecting import YOUNG_OBJECTS, collecting_little


def test_what_is_there_is_left_out_of_collections_until_the_end() -> None:
    """What serving needs for its whole life is looked at no more, and young objects seldom."""
    before, num_frozen = gc.get_threshold(), gc.get_freeze_count()
    assert before[0] < YOUNG_OBJECTS
    with collecting_little():
        assert gc.get_freeze_count() > num_frozen + 1_000
        assert gc.get_threshold() == (YOUNG_OBJECTS, *before[1:])
    assert gc.get_threshold() == before
    assert gc.get_freeze_count() == 0


def test_the_collector_is_as_before_after_an_error_too() -> None:
    """Whatever ends serving."""
    before = gc.get_threshold()
    with pytest.raises(KeyError), collecting_little():
        raise KeyError
    assert gc.get_threshold() == before
