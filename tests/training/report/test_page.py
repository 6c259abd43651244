"""The report: one file, nothing asked of anybody, everything escaped, the same bytes every time."""

import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import pytest
from report_pages import bare_result, context_of, look_of, result_of, schema_of

from holdfast.errors import RunError
from training.report import DataFacts, write_report
from training.report.page import rendered

HOSTILE = '<script>alert("1")</script>&\'$x_1$'


@pytest.fixture(scope="module")
def page() -> str:
    """Return the page of everything."""
    return rendered(result_of(looks=[look_of("churn"), look_of("spend", num_cutoffs=0)]), context_of())


class Reader(HTMLParser):
    """Collects tags, attributes and text, and notices tags that are not closed."""

    VOID = frozenset({"meta", "br", "link", "img", "input"})

    def __init__(self, text: str) -> None:
        """Read a page."""
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text: list[str] = []
        self.open: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Open a tag."""
        self.tags.append((tag, dict(attrs)))
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Note a tag that closes itself."""
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        """Close the tag that is open."""
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        """Keep text."""
        self.text.append(data)


def test_asks_for_nothing_from_anywhere(page: str) -> None:
    """No script, link, picture or frame; references stay inside; no address but names of XML."""
    reader = Reader(page)
    assert not {"script", "link", "img", "iframe", "object", "embed", "base"} & {
        tag for tag, _ in reader.tags
    }
    for _, attributes in reader.tags:
        assert not {"src", "srcset", "action", "data"} & set(attributes)
        for name in ("href", "xlink:href"):
            assert (attributes.get(name) or "#").startswith("#")
        assert not any(name.startswith("on") for name in attributes)
    assert set(re.findall(r"https?://[^\"\s]+", page)) <= {
        "http://www.w3.org/2000/svg",
        "http://www.w3.org/1999/xlink",
    }
    assert "@import" not in page
    assert all(target.startswith("#") for target in re.findall(r"url\(([^)]*)\)", page))


def test_is_well_formed(page: str) -> None:
    """Every tag is closed in order, and no id stands twice."""
    reader = Reader(page)
    assert reader.open == []
    ids = [attributes["id"] for _, attributes in reader.tags if "id" in attributes]
    assert len(ids) == len(set(ids)) > 0
    used = re.findall(r"(?:url\(|href=\")#([^)\"]+)", page)
    assert used
    assert set(used) <= set(ids)


def test_says_what_there_is_to_say(page: str) -> None:
    """Headline, models, data, split, training, definitions and limits."""
    text = " ".join(" ".join(Reader(page).text).split())
    for part in (
        "small shop",
        "most at risk",
        "sequence",
        "trees",
        "truth",
        "AUROC",
        "9,000, from 2022-01-01 to 2024-02-13 12:30 UTC",
        "no customer",
        "10.00 %",
        "exact duplicates, kept",
        "50 % 3 not known",
        "of type purchase in the 180 days up to the cutoff",
        "Fitted in the spring alone.",
        "revision abc1234",
        "Loss during training",
        "200 (50 %) were asked about; 180 had no activity in the 180 days before; 20 had gone for good.",
        "Order is weakest in the group \u201corders so far: 1\u201d (AUROC 0.600, over all 0.800).",
        "The level is farthest off in the group \u201corders so far: 1\u201d: 50 % foreseen on average",
        "0.50 EUR foreseen on average, 0.40 EUR came",
        "4 groups with enough cases",
        "fewer than 100 cases",
        "Judged at one cutoff alone",
    ):
        assert part in text, part


def test_every_figure_has_words(page: str) -> None:
    """Churn has thirteen, spend seven, data four, training one; each with a text of its own."""
    spoken = [attributes.get("aria-label") for tag, attributes in Reader(page).tags if tag == "svg"]
    assert len(spoken) == 25
    assert all(spoken)
    assert len(set(spoken)) == 25
    assert any("AUROC: sequence 0." in label for label in spoken)


def test_follows_the_readers_theme(page: str) -> None:
    """Light, dark and paper; figures take their colours from the page, so none has one of its own."""
    assert "@media (prefers-color-scheme: dark)" in page
    assert "@media print" in page
    figures = "".join(re.findall(r"<svg.*?</svg>", page, flags=re.DOTALL))
    assert "var(--series-1)" in figures
    assert "currentColor" in figures
    assert set(re.findall(r"#[0-9a-fA-F]{6}\b", figures)) <= {"#000000", "#ffffff"}


def test_equal_input_gives_equal_bytes(tmp_path: Path, page: str) -> None:
    """Without a clock and without random ids."""
    looks = [look_of("churn"), look_of("spend", num_cutoffs=0)]
    path = write_report(tmp_path / "report.html", result_of(looks=looks), context_of())
    assert path.read_text(encoding="utf-8") == page
    assert [file.name for file in tmp_path.iterdir()] == ["report.html"]


def test_what_came_from_data_is_escaped() -> None:
    """Scripts, quotes and dollars in names of models, types, reasons and titles are text."""
    data = replace(
        context_of().data,
        event_types={HOSTILE: 1},
        excluded={HOSTILE: {HOSTILE: 1}},
        notices={HOSTILE: 1},
        lengths=((HOSTILE, 3),),
        over_time=tuple((day, {HOSTILE: 1}) for day in ("2024-01-01", "2024-02-01")),
    )
    context = context_of(
        title=HOSTILE,
        data=data,
        settings={HOSTILE: HOSTILE},
        versions={HOSTILE: HOSTILE},
        limits=(HOSTILE,),
        training_curve={HOSTILE: ((0, 1.0), (1, 0.5))},
        created_at=HOSTILE,
    )
    page = rendered(result_of(models=(HOSTILE, "trees")), context)
    reader = Reader(page)
    assert "script" not in {tag for tag, _ in reader.tags}
    assert reader.open == []
    assert any(HOSTILE in text for text in reader.text)
    figures = Reader("".join(re.findall(r"<svg.*?</svg>", page, flags=re.DOTALL)))
    assert any(HOSTILE in text for text in figures.text)


def test_every_script_of_the_world() -> None:
    """Names that the drawing font lacks, right to left, joined, and half a character."""
    names = ("顧客モデル", "مرحبا", "👩‍👩‍👧", "a\u0301\u202e", "_hidden", "\ud800")
    page = rendered(result_of(models=names), context_of(title="".join(names)))
    figures = "".join(re.findall(r"<text.*?</text>", page, flags=re.DOTALL))
    for name in names[:5]:
        assert name in figures


def test_half_a_character_does_not_stop_the_file(tmp_path: Path) -> None:
    """What UTF-8 cannot hold is replaced."""
    path = write_report(tmp_path / "report.html", bare_result(), context_of(title="half \ud800"))
    assert "half ?" in path.read_text(encoding="utf-8")


def test_several_horizons_show_the_longest_first() -> None:
    """Shorter ones keep their table, folded away, and the question whether probabilities are right."""
    page = rendered(
        result_of(models=("sequence",), horizons=(30, 90)), context_of(schema=schema_of(horizons=(30, 90)))
    )
    assert page.index("churn within 90 days</h3>") < page.index("<summary>Churn within 30 days")
    assert all(f'id="reliability-churn-{days}-' in page for days in (30, 90))


def test_no_weak_group_is_said_to_be_none() -> None:
    """Neither is silence: how many were looked at is told, and if none could be."""
    strong, empty = look_of("churn", is_weak=False), look_of("spend", is_weak=False)
    empty |= {"num_compared": 0, "groupings": [], "cutoffs": []}
    page = rendered(bare_result() | {"closer": [strong, empty]}, context_of())
    assert "None of the 4 groups with enough cases falls surely behind the whole." in page
    assert "No group has the 100 cases that it takes to tell it from the rest." in page


def test_without_resamples_nothing_is_said_of_intervals() -> None:
    """No legend of what is not there, and no verdict that only they carry."""
    looks = [look_of("churn"), look_of("spend")]
    result = result_of(looks=looks, num_replicates=0)
    for look in looks:
        for group in [look, *(g for division in look["groupings"] for g in division["groups"])]:
            for metric in group.get("whole", group.get("metrics")).values():
                metric |= {"low": None, "high": None}
        for cutoff in look["cutoffs"]:
            for models in cutoff["models"].values():
                for metric in models.values():
                    metric |= {"low": None, "high": None}
    text = " ".join(" ".join(Reader(rendered(result, context_of())).text).split())
    assert "Line: all customers." in text
    assert "are not surely different" in text
    for word in ("Interval", "intervals", "weakest", "surely behind", "chance alone would"):
        assert word not in text


def test_where_nothing_came_nobody_is_best() -> None:
    """No star, no better or worse, no figure that says so; the foreseen total stands on top of the page."""
    look = look_of("spend")
    for metrics in (look["whole"], *(m for cutoff in look["cutoffs"] for m in cutoff["models"].values())):
        metrics |= {name: {"value": None, "low": None, "high": None} for name in metrics}
    for division in look["groupings"]:
        for group in division["groups"]:
            group["metrics"] = {}
    result = result_of(has_spend=False, looks=[look | {"num_compared": 0, "weakest": []}])
    page = rendered(result, context_of())
    head, spend = (
        page.split('id="target-churn"')[0],
        page.split('id="target-spend"')[1].split("</section>")[0],
    )
    assert "came 0 EUR" in head
    assert "0 EUR on average over 200 readouts: nothing came" in spend
    assert "Nothing came, so that no group can be told from another." in spend
    for claim in ("&#9733;", ", better", ", worse", "is better", "real?"):
        assert claim not in spend


def test_training_without_spend_is_told_on_top_of_the_page() -> None:
    """Who reads the report sees that the amounts in it were never learned."""
    data = context_of().data
    (split,) = data.splits
    cutoffs = [replace(cutoff, means=dict(cutoff.means, spend=0.0)) for cutoff in split.by_cutoff]
    train = replace(split, name="train", by_cutoff=cutoffs)
    page = rendered(bare_result(), context_of(data=replace(data, splits=(train, split))))
    assert "Spend within 90 days was 0 at every training cutoff" in page.split('id="target-churn"')[0]


def test_a_page_without_figures_says_what_is_missing() -> None:
    """Nothing known, nobody excluded, no training curve: no empty frame, no failure."""
    result = bare_result()
    data = DataFacts(num_customers=0, num_events=0, first_event="-", last_event="-", event_types={})
    page = rendered(result, context_of(data=data, training_curve={}))
    text = " ".join(" ".join(Reader(page).text).split())
    assert "no test figure" in text
    assert "no outcome is known" in text
    assert "trees did not answer 2 of the readouts" in text
    assert "No row was left out" in text
    assert "Left out because what came is not known" in text
    assert "<svg" not in page


def test_a_file_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    """The folder is missing: an error of ours, with the path."""
    path = tmp_path / "absent" / "report.html"
    with pytest.raises(RunError, match=r"absent.report\.html"):
        write_report(path, bare_result(), context_of(training_curve={}))
