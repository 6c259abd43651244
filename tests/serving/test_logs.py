"""A log is one line of JSON per event, whatever is in it."""

import json
import logging
import sys

import pytest

from serving.logs import JsonFormatter, configure_logging


def line_of(**parts: object) -> str:
    """Format one record."""
    record = logging.makeLogRecord({"name": "serving", "levelname": "INFO", "created": 0.0, **parts})
    return JsonFormatter().format(record)


def test_a_record_with_values_is_one_line_of_json() -> None:
    """Values given as ``extra`` stand beside the event; line breaks and odd types do not break the line."""
    line = line_of(msg="scored %d\nof %s", args=(3, "\U0001f6d2"), model="small", where=object)
    assert "\n" not in line
    assert json.loads(line) == {
        "at": "1970-01-01T00:00:00.000+00:00",
        "level": "INFO",
        "logger": "serving",
        "event": "scored 3\nof \U0001f6d2",
        "model": "small",
        "where": "<class 'object'>",
    }


def test_a_traceback_stays_within_the_line() -> None:
    """An error is found by one search, with what led to it."""
    try:
        raise ValueError("wrong")  # noqa: TRY301 (the traceback is what is tested)
    except ValueError:
        line = line_of(msg="failed", exc_info=sys.exc_info())
    assert "\n" not in line
    assert json.loads(line)["traceback"].endswith("ValueError: wrong")


def test_logging_goes_to_standard_error_from_its_level_on(capsys: pytest.CaptureFixture[str]) -> None:
    """Standard output is left to whoever prints results."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    try:
        configure_logging("WARNING")
        logging.getLogger("x").info("quiet")
        logging.getLogger("x").warning("loud")
    finally:
        root.handlers[:] = handlers
        root.setLevel(level)
    shown = capsys.readouterr()
    assert shown.out == ""
    assert [json.loads(line)["event"] for line in shown.err.splitlines()] == ["loud"]
