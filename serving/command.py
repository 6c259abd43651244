"""The command ``python -m serving``: settings, log, one process or several, exit code.

It deliberately holds nothing but the way in and the way out: one line and exit code 2 when
the server cannot start.
"""

import asyncio
import sys
from collections.abc import Sequence

from holdfast.errors import HoldfastError
from serving.access import check_access
from serving.logs import configure_logging
from serving.loop import run
from serving.processes import supervise
from serving.server import serve
from serving.settings import read_settings
from serving.tracing import check_tracing


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the server until it is told to stop.

    Args:
        arguments: Flags; None for those of the process.

    Returns:
        The exit code: 0 after a stop, 2 when the server could not start.
    """
    try:
        settings = read_settings(sys.argv[1:] if arguments is None else arguments)
        configure_logging(settings.log_level)
        check_access(settings)
        check_tracing(settings)
        if settings.processes == 1:
            run(serve(settings))
        else:
            asyncio.run(supervise(settings))
    except HoldfastError as error:
        print(f"cannot serve: {error}", file=sys.stderr)  # noqa: T201 (the one line that a person reads)
        return 2
    return 0
