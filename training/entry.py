"""How an entry point ends: a clear line and an exit code instead of a traceback.

It deliberately does not know any entry point.
"""

import errno
import logging
import os
import sys
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

from hydra.experimental.callback import Callback
from rich.console import Console
from rich.text import Text

from holdfast.errors import HoldfastError

CONFIG_DIR = str(Path(__file__).resolve().parents[1] / "conf")
"""Where Hydra finds the configuration of every entry point, whatever the working directory."""

EXIT_ERROR = 2
"""The run was refused or failed for a reason that is named."""

EXIT_INTERRUPTED = 130
"""Somebody pressed Ctrl-C."""

EXIT_TERMINATED = 143
"""Somebody sent SIGTERM."""

NOTHING_LOST = "nothing that was complete before is lost"

LOG_COLUMNS = 140

PROBE_BYTES = 65_536
"""About what Hydra writes into the folder of a run before the run itself begins."""

OF_THE_DISK = frozenset(
    {
        *(errno.ENOSPC, errno.EDQUOT, errno.EFBIG),
        *(errno.EACCES, errno.EPERM, errno.EROFS),
        *(errno.ENOTDIR, errno.EISDIR, errno.EIO),
    }
)
"""What the system says where a disk is full or broken, or a folder cannot be written: no defect of ours."""

P = ParamSpec("P")
R = TypeVar("R")


def run_entry(main: Callable[P, R]) -> Callable[P, R]:
    """Decorate an entry point so that errors raised on purpose end it with one line.

    So does a full disk or a folder that cannot be written. Any other exception is a defect and keeps
    its traceback. Where Hydra decorates too, this stands below it: Hydra would turn the error into an
    exit code of its own.

    Args:
        main: The entry point.

    Returns:
        The same, which exits with code 2 on a :class:`HoldfastError`, 130 on an interruption, 143 on SIGTERM.
    """

    @wraps(main)
    def guarded(*args: P.args, **kwargs: P.kwargs) -> R:
        # A log that cannot be written either must not bury that line under tracebacks of its own.
        logging.raiseExceptions = False
        try:
            return main(*args, **kwargs)
        except HoldfastError as error:
            say_error(str(error))
            raise SystemExit(EXIT_ERROR) from error
        except OSError as error:
            if error.errno not in OF_THE_DISK:
                raise
            say_error(_of_the_disk(error))
            raise SystemExit(EXIT_ERROR) from error
        except KeyboardInterrupt as error:
            say_error(f"interrupted; {NOTHING_LOST}")
            raise SystemExit(EXIT_INTERRUPTED) from error
        except SystemExit as error:
            code = _code_of_signal(error)
            if code is None:
                raise
            raise SystemExit(code) from error

    return guarded


def _code_of_signal(error: SystemExit) -> int | None:
    """Return the exit code where Lightning has made an exit of a signal, and say so; None for any other.

    Its own exit would be taken for a success after SIGTERM, and for a failure after Ctrl-C.
    """
    # Known by name: not every command has need of Lightning.
    if type(error).__name__ == "SIGTERMException":
        say_error(f"told to stop; {NOTHING_LOST}")
        return EXIT_TERMINATED
    if isinstance(error.__context__, KeyboardInterrupt):
        say_error(f"interrupted; {NOTHING_LOST}")
        return EXIT_INTERRUPTED
    return None


def wide_console() -> Console:
    """Return a console for tables: a log has no width of its own, and 80 columns would break every row."""
    return Console(width=None if sys.stdout.isatty() else LOG_COLUMNS)


class WritableFolder(Callback):
    """Refuses in one line a folder that Hydra could not write into (``hydra.callbacks`` in ``conf/``)."""

    def on_run_start(self, config: Any, **_: Any) -> None:
        """Make the folder of a run, before Hydra does and with a traceback.

        Raises:
            SystemExit: It cannot be made, or nothing written there.
        """
        _try_folder(Path(config.hydra.run.dir))

    def on_multirun_start(self, config: Any, **_: Any) -> None:
        """Make the folder that holds those of all jobs; see :meth:`on_run_start`."""
        _try_folder(Path(config.hydra.sweep.dir))


def _try_folder(folder: Path) -> None:
    probe = folder / f".probe-{os.getpid()}"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        try:
            # On a full disk a folder can still be made, and a file be opened.
            with probe.open("wb") as file:
                file.write(bytes(PROBE_BYTES))
                file.flush()
                os.fsync(file.fileno())
        finally:
            probe.unlink(missing_ok=True)
    except OSError as error:
        say_error(f"the run folder {folder} cannot be written: {error.strerror or error}")
        raise SystemExit(EXIT_ERROR) from error


def _of_the_disk(error: OSError) -> str:
    """Return what the system refused, and where, in words."""
    where = error.filename or "a file"
    return f"{where} cannot be written or read: {error.strerror}; {NOTHING_LOST}"


def say_error(message: str) -> None:
    """Print one line that says what went wrong, whatever line breaks the message has."""
    line = " ".join(message.split())
    # As text, so that brackets in a message are not read as markup; soft, so that it stays one line.
    Console(stderr=True).print(Text("error: ", style="bold red") + Text(line), soft_wrap=True)
