"""A result keeps one form, judges its goals rightly and says where it was measured."""

import io
import json
import math
import platform
from pathlib import Path

import pytest
from rich.console import Console

from benchmarks.results import Figure, describe_revision, report


def figure(value: float, *, goal: float | None, better: str) -> Figure:
    """Return a figure in seconds."""
    return Figure(name="preparing", value=value, unit="s", goal=goal, better=better)


@pytest.mark.parametrize(
    ("value", "goal", "better", "met"),
    [
        (3.0, 3.0, "lower", True),
        (3.1, 3.0, "lower", False),
        (3.0, 3.0, "higher", True),
        (2.9, 3.0, "higher", False),
        (0.0, 0.0, "lower", True),
        (math.nan, 3.0, "lower", False),
        (math.nan, 3.0, "higher", False),
        (3.0, None, "lower", None),
    ],
)
def test_a_goal_is_met_at_its_bound_and_by_no_nan(
    value: float, goal: float | None, better: str, met: bool | None
) -> None:
    """The bound itself keeps the goal in either direction; a figure that failed keeps none."""
    assert figure(value, goal=goal, better=better).is_met is met


def test_the_file_has_the_form_that_every_benchmark_shares(tmp_path: Path) -> None:
    """Machine, versions, revision and figures stand under the names that later comparisons read."""
    figures = [figure(2.5, goal=3.0, better="lower"), figure(7.0, goal=None, better="higher")]
    path = report("some", figures, method="once", folder=tmp_path, console=Console(file=io.StringIO()))
    assert path == tmp_path / "some.json"
    result = json.loads(path.read_text(encoding="utf-8"))
    assert set(result) == {"benchmark", "measured_at", "method", "machine", "versions", "revision", "figures"}
    assert set(result["machine"]) == {"cpu", "cores", "memory_bytes", "os"}
    assert result["machine"]["cpu"]
    assert result["versions"]["numpy"]
    expected = {"name": "preparing", "value": 2.5, "unit": "s", "goal": 3.0, "better": "lower", "met": True}
    assert result["figures"][0] == expected
    assert result["figures"][1]["met"] is None


def test_figures_of_data_sets_that_were_not_measured_stay_with_their_commit(tmp_path: Path) -> None:
    """Only those that were named, and again with the commit that they were first measured at."""

    def of(data: str, value: float) -> Figure:
        return Figure(name=f"{data}: auroc", value=value, unit="", goal=None, better="higher")

    def kept(figures: list[Figure], beside: list[str], commit: str) -> list[dict[str, object]]:
        console = Console(file=io.StringIO())
        path = report("some", figures, method="once", beside=beside, folder=tmp_path, console=console)
        result = json.loads(path.read_text(encoding="utf-8"))
        result["revision"]["commit"] = commit
        path.write_text(json.dumps(result), encoding="utf-8")
        return [{key: f.get(key) for key in ("name", "value", "kept_from")} for f in result["figures"]]

    kept([of("shop", 0.5), of("cases", 0.6), of("other", 0.7)], ["shop"], "first")
    new = {"name": "cases: auroc", "value": 0.8, "kept_from": None}
    old = {"name": "shop: auroc", "value": 0.5, "kept_from": "first"}
    assert kept([of("cases", 0.8)], ["shop"], "second") == [new, old]
    assert kept([of("cases", 0.8)], ["shop"], "third") == [new, old]


def test_no_result_names_the_host(tmp_path: Path) -> None:
    """A result may be published: it says what machine it was, not whose."""
    path = report("some", [], method="once", folder=tmp_path, console=Console(file=io.StringIO()))
    words = path.read_text(encoding="utf-8").replace('"', " ").split()
    assert platform.node() not in {word for word in words if word != platform.system()}


def test_the_table_shows_value_goal_and_verdict(tmp_path: Path) -> None:
    """A reader sees a missed goal without doing arithmetic."""
    printed = io.StringIO()
    console = Console(file=printed, width=120)
    missed = Figure(name="simulated", value=512_345.6, unit="events/s", goal=1e6, better="higher")
    report("some", [missed], method="median of 3", folder=tmp_path, console=console)
    (row,) = (line for line in printed.getvalue().splitlines() if "simulated" in line)
    assert "512,346 events/s" in row
    assert "≥ 1,000,000 events/s" in row
    assert "0.51" in row
    assert " no " in row
    assert "median of 3" in printed.getvalue()


def test_a_tree_without_git_has_no_revision(tmp_path: Path) -> None:
    """A benchmark of an unpacked archive still gives its figures."""
    assert describe_revision(tmp_path) == {"commit": None, "is_modified": None}


def test_what_could_not_be_measured_is_null(tmp_path: Path) -> None:
    """Not NaN, which other readers of JSON refuse; the goal is not met."""
    figures = [figure(math.nan, goal=3.0, better="lower")]
    path = report("some", figures, method="once", folder=tmp_path, console=Console(file=io.StringIO()))
    text = path.read_text(encoding="utf-8")
    assert "NaN" not in text
    found = json.loads(text)["figures"][0]
    assert (found["value"], found["met"]) == (None, False)
