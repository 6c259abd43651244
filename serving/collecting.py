"""How Python's collector of cycles behaves while calls are answered.

It deliberately knows nothing of what is collected. A full collection looks at every object that the
libraries and the model brought along, and no call goes on meanwhile.
"""

import gc
from collections.abc import Iterator
from contextlib import contextmanager

YOUNG_OBJECTS = 20_000
"""A young collection comes after so many new objects: a batch of large requests brings thousands, which
live for one batch."""


@contextmanager
def collecting_little() -> Iterator[None]:
    """Leave out of every collection what is there already, and collect less often, until the end."""
    thresholds = gc.get_threshold()
    gc.collect()
    gc.freeze()
    gc.set_threshold(YOUNG_OBJECTS, *thresholds[1:])
    try:
        yield
    finally:
        gc.set_threshold(*thresholds)
        gc.unfreeze()
