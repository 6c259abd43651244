"""Files that are read again once they have changed, while the server goes on.

It deliberately does not know what they hold. What cannot be used leaves in place what was read before.
"""

import logging
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Generic, TypeVar

from holdfast.errors import ConfigError
from serving.settings import flag_of

ValueT = TypeVar("ValueT")

_log = logging.getLogger(__name__)


class Watched(Generic[ValueT]):
    """What some files hold together.

    Attributes:
        value: As it was last read whole.
    """

    def __init__(self, paths: Sequence[Path], read: Callable[[], ValueT]) -> None:
        """Read for the first time.

        Args:
            paths: The files.
            read: Reads all of them.

        Raises:
            ConfigError: They cannot be used.
        """
        self._paths, self._read = tuple(paths), read
        # Looked at before they are read, here and later: what changes meanwhile is read once more.
        self._seen = self._look()
        self._refused: Sequence[object] | None = None
        self.value = read()

    def is_new(self) -> bool:
        """Look at the files, and say whether there is another value now.

        Files that cannot be used are read again at every look, because it may have been the machine that
        could not; they are logged once.
        """
        found = self._look()
        if found == self._seen:
            return False
        extra = {"files": [str(path) for path in self._paths]}
        try:
            value = self._read()
        except ConfigError as error:
            if found != self._refused:
                self._refused = found
                _log.error("files not taken", extra=extra | {"reason": str(error)})
            return False
        self._seen, self._refused, self.value = found, None, value
        _log.info("files taken", extra=extra)
        return True

    def _look(self) -> Sequence[object]:
        return tuple(state_of(path) for path in self._paths)


def read_setting(name: str, path: Path) -> bytes:
    """Return what is in the file that a setting names.

    Raises:
        ConfigError: It cannot be read.
    """
    try:
        # A pipe would keep whoever reads it waiting, and every call with it.
        if path.exists() and not path.is_file():
            raise ConfigError(flag_of(name), str(path), "what lies there is no file")
        return path.read_bytes()
    except OSError as error:
        raise ConfigError(flag_of(name), str(path), f"it cannot be read: {error.strerror}") from error


def state_of(path: Path) -> object:
    """Return what differs once a file was written, replaced or made readable; None where there is none."""
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_mtime_ns, found.st_ctime_ns, found.st_size, found.st_ino, found.st_dev
