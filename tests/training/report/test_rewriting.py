"""Writing the page of a finished run anew, and what is no result of one."""

import json
from pathlib import Path

import pytest
from rich.console import Console

from holdfast.errors import ArtifactError, ConfigError

# Importing an entry point makes beartype look at the bases of Hydra's DictConfig, which it finds deprecated.
pytestmark = pytest.mark.filterwarnings("ignore:.*deprecated by PEP 585")


def rewritten(run: Path) -> Path:
    """Write a run's page anew."""
    from training.report.__main__ import report_run

    return report_run(run, comparison=None, out=None, console=Console(quiet=True))


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
    (tmp_path / "result.json").write_text(json.dumps({"form": 1}))
    with pytest.raises(ConfigError, match="data: got None, but this key is needed"):
        rewritten(tmp_path)
