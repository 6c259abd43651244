"""The next item of a data set, made on a thread while the caller works with the one before.

It deliberately does not know what items are: an item follows from its number alone, so that making
one early, or in vain, changes nothing.
"""

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Generic, Protocol, TypeVar

from torch.utils.data import Dataset

T_co = TypeVar("T_co", covariant=True)
T = TypeVar("T")


class Numbered(Protocol[T_co]):
    """Items by number."""

    def __len__(self) -> int:
        """Return how many there are."""
        ...

    def __getitem__(self, index: int, /) -> T_co:
        """Return one of them."""
        ...


class Prefetched(Dataset[T], Generic[T]):
    """Items of another data set; asking for one has the next one made meanwhile."""

    def __init__(self, items: Numbered[T], *, finish: Callable[[T], T] = lambda item: item) -> None:
        """Keep the items; no thread runs before the first one is asked for.

        Args:
            items: What is made ahead.
            finish: Applied to every item on the thread that makes it, such as a copy to pinned memory.
        """
        self._items, self._finish = items, finish
        self._maker = ThreadPoolExecutor(max_workers=1, thread_name_prefix="prefetch")
        self._ahead: tuple[int, Future[T]] | None = None

    def __len__(self) -> int:
        """Return the number of items."""
        return len(self._items)

    def __getitem__(self, index: int) -> T:
        """Return an item, and begin with the one behind it. What its making raised is raised here."""
        ahead, self._ahead = self._ahead, None
        item = ahead[1].result() if ahead is not None and ahead[0] == index else self._make(index)
        if index + 1 < len(self):
            self._ahead = (index + 1, self._maker.submit(self._make, index + 1))
        return item

    def _make(self, index: int) -> T:
        return self._finish(self._items[index])
