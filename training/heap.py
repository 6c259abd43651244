"""Memory that a step frees is there for the next one, instead of going back to the system page by page.

The C library returns large blocks to the system when they are freed, and the system clears the pages
that it gives out again: a part of every step on a CPU. It deliberately changes nothing where
the C library is not glibc, or another allocator stands in for it.
"""

import ctypes
import sys
from typing import Any

from pytorch_lightning.callbacks import Callback

_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3
"""Of ``mallopt``, from glibc's ``malloc.h``."""

_MMAP_BYTES = 32 << 20
"""Larger blocks are still mapped on their own: the most that glibc itself comes to, left alone."""

_KEPT_BYTES, _USUAL_BYTES = 1 << 30, 2 * _MMAP_BYTES
"""How much that is free at the end of the heap stays there, in a fit and after it: glibc takes double the
other threshold."""


class KeptMemory(Callback):
    """Keeps what a fit frees until its end."""

    def on_fit_start(self, *_: Any) -> None:
        """Keep memory from now on."""
        # Whoever sets one of them holds the other at its first value, 128 KiB, which is much too low.
        _call("mallopt", _MMAP_THRESHOLD, _MMAP_BYTES)
        _call("mallopt", _TRIM_THRESHOLD, _KEPT_BYTES)

    def on_fit_end(self, *_: Any) -> None:
        """Give back what is free."""
        self._release()

    def on_exception(self, *_: Any) -> None:
        """Give back what is free."""
        self._release()

    def _release(self) -> None:
        _call("mallopt", _TRIM_THRESHOLD, _USUAL_BYTES)
        _call("malloc_trim", 0)


def _call(name: str, *arguments: int) -> None:
    if not sys.platform.startswith("linux"):
        return
    function = getattr(ctypes.CDLL(None), name, None)
    if function is not None:
        function(*arguments)
