"""The server runs on uvloop where there is one, and without it all the same."""

import asyncio
from importlib.util import find_spec

import pytest

from serving import loop


def running_on() -> str:
    """Return the library of the loop that a coroutine runs on."""
    found: list[str] = []

    async def main() -> None:
        found.append(type(asyncio.get_running_loop()).__module__)

    loop.run(main())
    return found[0]


def test_uvloop_is_taken_where_it_is_installed() -> None:
    """The `serve` extra brings it."""
    assert find_spec("uvloop") is not None
    assert running_on().startswith("uvloop")


def test_the_standard_loop_does_as_well(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing has to be set."""
    monkeypatch.setattr(loop, "find_spec", lambda _: None)
    assert running_on().startswith("asyncio")
