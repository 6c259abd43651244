"""Logging as one line of JSON per event, on standard error.

It deliberately does not decide what is logged: modules use :mod:`logging` as everywhere.
"""

import json
import logging
import sys
from datetime import UTC, datetime
from typing import Any

_STANDARD = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}


class JsonFormatter(logging.Formatter):
    """Formats a record with its ``extra`` values as one line of JSON."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the line; a traceback becomes one of its values."""
        line: dict[str, Any] = {
            "at": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname,
            "logger": record.name,
            "event": record.getMessage(),
            **{name: value for name, value in vars(record).items() if name not in _STANDARD},
        }
        if record.exc_info:
            line["traceback"] = self.formatException(record.exc_info)
        return json.dumps(line, default=str)


def _quoting_no_metadata(record: logging.LogRecord) -> bool:
    """Take out of gRPC's complaint about metadata in no alphabet what it quotes: a token may be in it."""
    if record.msg == "Invalid encoding on %s":
        record.args = ("metadata",)
    return True


def configure_logging(level: str) -> None:
    """Send everything from ``level`` on to standard error; called once, by an entry point."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonFormatter())
    handler.addFilter(_quoting_no_metadata)
    logging.basicConfig(level=level, handlers=[handler], force=True)
