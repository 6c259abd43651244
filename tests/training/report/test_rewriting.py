"""Writing the page of a finished run anew, and what is no result of one."""

import json
from pathlib import Path
from typing import Any

import pytest
from report_pages import bare_result, comparison_of
from rich.console import Console
from shop_run import shop_settings

from holdfast.errors import ArtifactError, ConfigError

# Importing an entry point makes beartype look at the bases of Hydra's DictConfig, which it finds deprecated.
pytestmark = pytest.mark.filterwarnings("ignore:.*deprecated by PEP 585")


def rewritten(run: Path, *, comparison: Path | None = None) -> Path:
    """Write a run's page anew."""
    from training.report.__main__ import report_run

    return report_run(run, comparison=comparison, out=None, console=Console(quiet=True))


def write_result(run: Path, **changes: Any) -> None:
    """Leave the result of another data set than the shop's, with parts of it replaced."""
    (run / "result.json").write_text(json.dumps(bare_result() | changes))


@pytest.mark.parametrize("result", ["[]", "{}", '{"form": 99}'])
def test_a_result_of_another_form_is_refused(tmp_path: Path, result: str) -> None:
    """Half of a page, or figures under the wrong heading, would be worse than none."""
    (tmp_path / "settings.json").write_text("{}")
    (tmp_path / "result.json").write_text(result)
    with pytest.raises(ArtifactError, match=r"result\.json: it must be a result of form 1; this is form"):
        rewritten(tmp_path)


def test_settings_without_a_group_are_named(tmp_path: Path) -> None:
    """As those of another release may be."""
    (tmp_path / "settings.json").write_text(json.dumps({"seed": 1}))
    write_result(tmp_path)
    with pytest.raises(ConfigError, match="data: got None, but this key is needed"):
        rewritten(tmp_path)


def test_a_result_without_figures_is_named(tmp_path: Path) -> None:
    """With the keys that are missing."""
    (tmp_path / "settings.json").write_text("{}")
    (tmp_path / "result.json").write_text('{"form": 1}')
    with pytest.raises(
        ArtifactError, match=r"result\.json: it is damaged: confidence, .*targets must be in it"
    ):
        rewritten(tmp_path)


def test_settings_without_a_store_are_named(tmp_path: Path) -> None:
    """As those of something else may be."""
    shop_settings(tmp_path, store_dir=None)
    write_result(tmp_path)
    with pytest.raises(ArtifactError, match=r"settings\.json: its store_dir must be the folder of a store"):
        rewritten(tmp_path)


@pytest.mark.parametrize("targets", [[{"name": "churn"}], [3], 3])
def test_targets_that_are_none_are_named(tmp_path: Path, targets: object) -> None:
    """However deep the damage lies."""
    shop_settings(tmp_path)
    write_result(tmp_path, targets=targets)
    with pytest.raises(ArtifactError, match=r"result\.json: it is damaged: its targets cannot be read"):
        rewritten(tmp_path)


def test_a_result_of_another_data_set_is_refused(tmp_path: Path) -> None:
    """Its figures would stand under the shop's name."""
    shop_settings(tmp_path)
    write_result(tmp_path)
    with pytest.raises(ArtifactError, match=r"result\.json: its targets are .*'churn'.* store .*\[30, 60\]"):
        rewritten(tmp_path)


def test_a_comparison_of_another_data_set_is_refused(tmp_path: Path) -> None:
    """Both are named; so is what a damaged one lacks."""
    shop_settings(tmp_path)
    write_result(tmp_path)
    comparison = tmp_path / "comparison.json"
    comparison.write_text(json.dumps(comparison_of()))
    said = r"comparison\.json: it is of the data set small shop, and the run .* is of shop"
    with pytest.raises(ArtifactError, match=said):
        rewritten(tmp_path, comparison=comparison)
    comparison.write_text('{"form": 1, "judged": []}')
    with pytest.raises(ArtifactError, match=r"comparison\.json: it is damaged: .*data.* must be in it"):
        rewritten(tmp_path, comparison=comparison)
