"""How a store takes its place: one writer at a time, complete or not at all.

It deliberately does not know what a store holds. Whenever a run ends, the store that was there is
whole or the new one is; what a killed run left is removed or put back by the next one.
"""

import fcntl
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from holdfast.errors import RunError
from training.store.layout import INDEX


@contextmanager
def only_writer(store_dir: Path, *, tell_waiting: Callable[[], None]) -> Iterator[None]:
    """Hold the right to write a store; wait while another process holds it.

    Args:
        store_dir: The store's folder; it and those above it are made as needed.
        tell_waiting: Called once before a wait.

    Raises:
        RunError: No file can be made beside the store.
    """
    store_dir = store_dir.absolute()
    try:
        store_dir.parent.mkdir(parents=True, exist_ok=True)
        # Left behind on purpose: who deletes a lock file may delete it under the next one's feet.
        lock = (store_dir.parent / f".{store_dir.name}.lock").open("ab")
    except OSError as error:
        raise _cannot_write(store_dir, error) from error
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            tell_waiting()
            fcntl.flock(lock, fcntl.LOCK_EX)
        _clear_up(store_dir)
        yield


@contextmanager
def replaced_when_complete(store_dir: Path) -> Iterator[Path]:
    """Give a folder beside ``store_dir`` that takes its place when the block ends well.

    Only for who holds :func:`only_writer`.

    Raises:
        RunError: Something other than a store lies there, or the system refuses to write.
    """
    store_dir = store_dir.absolute()
    is_empty = store_dir.is_dir() and not any(store_dir.iterdir())
    if store_dir.exists() and not is_empty and not (store_dir / INDEX).is_file():
        reason = "something other than a history store lies there, and it is left alone"
        raise RunError(f"{store_dir}: {reason}; remove it or name another folder")
    folder = _partial(store_dir)
    try:
        folder.mkdir()
        yield folder
        _put_in_place(folder, store_dir)
    except OSError as error:
        raise _cannot_write(store_dir, error) from error
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _put_in_place(folder: Path, store_dir: Path) -> None:
    for path in folder.iterdir():
        _sync(path)
    _sync(folder)
    if store_dir.exists():
        store_dir.rename(_previous(store_dir))
    folder.rename(store_dir)
    _sync(store_dir.parent)
    shutil.rmtree(_previous(store_dir), ignore_errors=True)


def _clear_up(store_dir: Path) -> None:
    """Remove what a killed run had begun; put back a store that it had just set aside."""
    shutil.rmtree(_partial(store_dir), ignore_errors=True)
    previous = _previous(store_dir)
    if previous.exists() and not store_dir.exists():
        previous.rename(store_dir)
    shutil.rmtree(previous, ignore_errors=True)


def _partial(store_dir: Path) -> Path:
    return store_dir.with_name(f".{store_dir.name}-partial")


def _previous(store_dir: Path) -> Path:
    return store_dir.with_name(f".{store_dir.name}-previous")


def _sync(path: Path) -> None:
    """Make what was written last through a loss of power, so that the rename cannot overtake it."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _cannot_write(store_dir: Path, error: OSError) -> RunError:
    return RunError(f"{store_dir}: the store cannot be written: {error}")
