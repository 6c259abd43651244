"""Making an item early changes nothing about it."""

import threading

import pytest

from training.prefetch import Prefetched


class Squares:
    """Squares of five numbers; notes which thread made which, and fails at one of them."""

    def __init__(self, *, fails_at: int | None = None) -> None:
        """Make nothing yet."""
        self.fails_at = fails_at
        self.made_by: dict[int, int] = {}

    def __len__(self) -> int:
        """Return five."""
        return 5

    def __getitem__(self, index: int) -> int:
        """Return the square."""
        if index == self.fails_at:
            raise RuntimeError(f"no square of {index}")
        self.made_by[index] = threading.get_ident()
        return index**2


def test_items_come_as_without_it_in_any_order() -> None:
    """Forwards, from the middle and twice: what was made in vain is dropped."""
    items = Prefetched(Squares(), finish=lambda item: item + 1)
    assert [items[index] for index in (0, 1, 2, 4, 1, 1, 2)] == [1, 2, 5, 17, 2, 2, 5]


def test_only_the_first_item_is_made_by_the_caller() -> None:
    """Every further one was begun on the thread while the caller had the one before."""
    squares = Squares()
    items = Prefetched(squares)
    assert [items[index] for index in range(5)] == [0, 1, 4, 9, 16]
    own = threading.get_ident()
    assert [squares.made_by[index] == own for index in range(5)] == [True, False, False, False, False]


def test_what_goes_wrong_on_the_thread_is_raised_where_the_item_is_asked_for() -> None:
    """Not before: the item in hand is good."""
    items = Prefetched(Squares(fails_at=2))
    assert [items[0], items[1]] == [0, 1]
    with pytest.raises(RuntimeError, match="no square of 2"):
        _ = items[2]
