"""A headless Chromium that opens one page and tells what happened; it may reach nothing but that file."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, sync_playwright

NAMES = ("chromium", "chromium-browser", "google-chrome", "chrome")
FLAGS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
FOLDER_VARIABLE = "HOLDFAST_SCREENSHOTS"
"""Folder in which screenshots are kept; without it they lie in pytest's temporary folder."""


@dataclass(slots=True)
class Opened:
    """A page, and everything that went out or went wrong while it was open."""

    page: Page
    requests: list[str] = field(default_factory=list)
    complaints: list[str] = field(default_factory=list)


def chromium() -> str:
    """Return the program, or skip the test with a message that says what is missing."""
    found = next(filter(None, map(shutil.which, NAMES)), None)
    if found is None:
        pytest.skip(f"no Chromium on this machine (looked for {', '.join(NAMES)}): apt-get install chromium")
    return found


@contextmanager
def browser() -> Iterator[Browser]:
    """Start a browser and stop it."""
    with sync_playwright() as driver:
        started = driver.chromium.launch(executable_path=chromium(), args=list(FLAGS))
        try:
            yield started
        finally:
            started.close()


@contextmanager
def opened(running: Browser, file: Path, *, width: int, scheme: str) -> Iterator[Opened]:
    """Open a file in a window of its own, so wide, with the reader's preference for light or dark."""
    context = running.new_context(viewport={"width": width, "height": 900}, color_scheme=scheme)
    page = context.new_page()
    seen = Opened(page=page)
    page.on("request", lambda request: seen.requests.append(request.url))
    page.on("console", lambda message: seen.complaints.append(f"console: {message.text}"))
    page.on("pageerror", lambda error: seen.complaints.append(f"error: {error}"))
    page.on("requestfailed", lambda request: seen.complaints.append(f"failed: {request.url}"))
    page.goto(file.as_uri())
    try:
        yield seen
    finally:
        context.close()


def screenshot_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return where screenshots are kept."""
    named = os.environ.get(FOLDER_VARIABLE)
    folder = Path(named) if named else tmp_path_factory.mktemp("screenshots")
    folder.mkdir(parents=True, exist_ok=True)
    return folder
