"""The end of a run on a disk that is full."""

from datetime import UTC, datetime
from pathlib import Path

import pytest
from report_pages import bare_result
from shop_run import fill_disk, shop_settings
from tasks import small_task
from trained import fitted_once

from holdfast.errors import RunError
from training.prepare import prepare
from training.publishing import publish
from training.run_config import RunConfig


def test_a_full_disk_leaves_the_result_that_was_there(
    tmp_path: Path, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A run that was gone on with has one already."""
    config = RunConfig.from_plain(shop_settings(tmp_path))
    store, fitted = prepare(config.data, store_dir=tmp_path / "store"), fitted_once(tmp_path_factory)
    (tmp_path / "result.json").write_text("{}")
    fill_disk(monkeypatch)
    with pytest.raises(RunError, match=r"result\.json cannot be written: No space left on device"):
        publish(
            fitted,
            small_task(),
            store,
            bare_result(),
            config=config,
            folder=tmp_path,
            artifact=tmp_path / "artifact",
            now=datetime(2026, 1, 2, tzinfo=UTC),
        )
    assert (tmp_path / "result.json").read_text() == "{}"
    assert not list(tmp_path.glob("*.partial"))
