"""A comparison on the page: read strictly, shown as it stands."""

import json
from pathlib import Path

import pytest
from report_pages import bare_result, comparison_of, context_of

from holdfast.errors import ArtifactError
from training.report.comparison import comparison_part, read_comparison
from training.report.page import rendered


def test_facts_figures_and_spread() -> None:
    """Seeds, splits and cutoffs are counted; a spread of nothing is not shown; best is who is best."""
    part = comparison_part(comparison_of(), main="sequence")
    assert part.facts == (
        "small shop, test window: 2 seeds, 2 temporal splits, 2 cutoffs (2011-03-14 to 2011-06-12)."
    )
    churn, spend = part.targets
    assert churn.title == "churn within 90 days"
    assert churn.left_out == ["btyd did not answer 7"]
    own, other = churn.rows
    assert (own.kind, own.cells[0].text, own.cells[0].interval) == (
        "main",
        "0.750 \N{PLUS-MINUS SIGN} 0.003",
        "0.730 to 0.770",
    )
    assert (other.cells[0].text, other.cells[0].is_best) == ("0.780", True)
    assert [column.metric for column in spend.columns] == ["normalised_gini", "total_ratio"]


def test_cutoffs_are_drawn_in_the_order_of_time() -> None:
    """The newest origin comes first in the file; the words of the figure tell the values in order."""
    churn, _ = comparison_part(comparison_of(), main="sequence").targets
    assert len(churn.figures) == 2
    assert "sequence: 2011-03-14 0.800; 2011-06-12 0.700." in str(churn.figures[0].svg)


def test_one_cutoff_has_no_course() -> None:
    """And one seed, one split and one cutoff are not called several."""
    part = comparison_part(comparison_of(cutoffs=("2011-06-12T00:00:00Z",)) | {"seeds": [1]}, main="sequence")
    assert "1 seed, 1 temporal split, 1 cutoff (2011-06-12)." in part.facts
    assert not part.targets[0].figures


def test_another_main_model_is_stood_for_by_the_first_judged() -> None:
    """A run of a blend beside a comparison of its experts."""
    assert comparison_part(comparison_of(), main="blend").targets[0].rows[0].kind == "main"


def test_page_shows_it() -> None:
    """With its sentences, and the remark about one cutoff points to it."""
    page = rendered(bare_result(), context_of(comparison=comparison_of(), training_curve={}))
    assert '<a href="#steadiness">' in page
    assert "sequence is worse than trees." in page


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (None, "cannot be read"),
        ("{", "cannot be read"),
        ("[]", "it must be the comparison.json"),
        (json.dumps({"form": 2, "judged": []}), "this is form 2"),
        (json.dumps({"form": 1}), "it must be the comparison.json"),
    ],
)
def test_what_is_no_comparison_is_refused(tmp_path: Path, text: str | None, said: str) -> None:
    """Missing, cut off, of another form, or another file that happens to have a form."""
    path = tmp_path / "comparison.json"
    if text is not None:
        path.write_text(text, encoding="utf-8")
    with pytest.raises(ArtifactError, match=said):
        read_comparison(path)


def test_a_comparison_is_read_as_it_stands(tmp_path: Path) -> None:
    """Nothing is added or lost."""
    path = tmp_path / "comparison.json"
    path.write_text(json.dumps(comparison_of()), encoding="utf-8")
    assert read_comparison(path) == comparison_of()
