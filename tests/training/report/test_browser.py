"""The page in a browser: on a desk, on a phone and on paper, by day and by night; screenshots are kept."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from headless_browser import browser, opened, screenshot_folder
from playwright.sync_api import Browser
from report_pages import context_of, look_of, result_of, schema_of

from training.report import write_report

pytestmark = pytest.mark.long

A4_WIDTH = 680
"""Of the printed area, in CSS pixels."""

NARROW = """() => [...document.querySelectorAll('body *')]
    .filter(e => !e.closest('svg, .scroll') && e.getBoundingClientRect().right > innerWidth + 0.5)
    .map(e => `${e.tagName}.${e.className} ${e.textContent.slice(0, 40)}`)"""
CONTRAST = """() => {
    const style = getComputedStyle(document.documentElement);
    const light = name => {
        const hex = style.getPropertyValue(name).trim();
        const [r, g, b] = [1, 3, 5].map(at => parseInt(hex.slice(at, at + 2), 16) / 255)
            .map(v => v <= .04045 ? v / 12.92 : ((v + .055) / 1.055) ** 2.4);
        return .2126 * r + .7152 * g + .0722 * b;
    };
    const paper = light('--paper');
    const against = name => (Math.max(light(name), paper) + .05) / (Math.min(light(name), paper) + .05);
    const series = Array.from({length: 8}, (_, at) => `--series-${at + 1}`);
    return Object.fromEntries(['--ink', '--soft', '--accent', '--warn', ...series].map(n => [n, against(n)]));
}"""
CUT_OFF = """() => [...document.querySelectorAll('table')]
    .filter(e => e.getBoundingClientRect().right > innerWidth + 0.5).length"""
FOLDED = """() => [...document.querySelectorAll('details > *')]
    .filter(e => !e.getBoundingClientRect().height).length"""
SILENT = """() => [...document.querySelectorAll('svg, img')]
    .filter(e => !(e.getAttribute('aria-label') || e.getAttribute('alt'))).length"""


@pytest.fixture(scope="module")
def running() -> Iterator[Browser]:
    """Return one browser for the module."""
    with browser() as started:
        yield started


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return where screenshots are kept."""
    return screenshot_folder(tmp_path_factory)


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a page with every part, long names among them."""
    models = ("sequence", "a_model_with_a_name_that_goes_on_and_on", "trees", "truth")
    looks = [look_of("churn"), look_of("spend", num_cutoffs=5)]
    result = result_of(models=models, horizons=(30, 90), looks=looks)
    context = context_of(schema=schema_of(horizons=(30, 90)), settings={"key": "value_without_a_break" * 20})
    return write_report(tmp_path_factory.mktemp("page") / "report.html", result, context)


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize(("device", "width"), [("desk", 1280), ("phone", 390), ("small_phone", 320)])
def test_page_on_a_screen(
    running: Browser, file: Path, folder: Path, device: str, width: int, scheme: str
) -> None:
    """Nothing sticks out, is asked for or fails, even with all that is folded opened."""
    with opened(running, file, width=width, scheme=scheme) as seen:
        seen.page.screenshot(path=folder / f"{device}_{scheme}.png", full_page=True)
        assert seen.page.evaluate(NARROW) == []
        seen.page.evaluate("document.querySelectorAll('details').forEach(e => e.open = true)")
        assert seen.page.evaluate(NARROW) == []
        assert seen.page.evaluate("document.documentElement.scrollWidth") <= width
        assert seen.page.evaluate(SILENT) == 0
        assert seen.requests == [file.as_uri()]
        assert seen.complaints == []


def test_page_on_paper(running: Browser, file: Path, folder: Path) -> None:
    """Tables fit the sheet, what is folded is printed, and the paper is white whatever the screen."""
    with opened(running, file, width=A4_WIDTH, scheme="dark") as seen:
        seen.page.emulate_media(media="print")
        assert seen.page.evaluate(NARROW) == []
        assert seen.page.evaluate(CUT_OFF) == 0
        assert seen.page.evaluate(FOLDED) == 0
        assert seen.page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
        seen.page.pdf(path=folder / "print.pdf", format="A4")
        assert seen.complaints == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_colours_can_be_told_from_the_paper(running: Browser, file: Path, scheme: str) -> None:
    """Text has a contrast of 4.5 at least, lines of figures one of 3 (WCAG 2.2, 1.4.3 and 1.4.11)."""
    with opened(running, file, width=800, scheme=scheme) as seen:
        for name, contrast in seen.page.evaluate(CONTRAST).items():
            assert contrast >= (3.0 if "series" in name else 4.5), (name, contrast)


def test_works_by_keyboard_and_without_script(running: Browser, file: Path) -> None:
    """Contents lead to their places, tables that scroll can be reached, and no script is needed."""
    with opened(running, file, width=390, scheme="light") as seen:
        targets = seen.page.evaluate(
            "[...document.querySelectorAll('nav a')].map(e => e.getAttribute('href'))"
        )
        assert len(targets) > 5
        assert all(seen.page.locator(target).count() == 1 for target in targets)
        unreachable = "[...document.querySelectorAll('.scroll')].filter(e => e.tabIndex !== 0).length"
        assert seen.page.evaluate(unreachable) == 0
        assert seen.page.locator("script").count() == 0
