"""What a run on a small shop leaves behind, without the training: its settings, and a disk that is full.

It deliberately fits nothing.
"""

import json
import os
from pathlib import Path
from typing import Any

import pytest
from data_set_builder import purchases, write_shop
from hydra import compose, initialize_config_dir

from training.entry import CONFIG_DIR
from training.run_setup import plain


def shop_settings(folder: Path, **changes: Any) -> dict[str, Any]:
    """Write a shop's data and, as ``settings.json``, the settings of a run in the same folder.

    Args:
        folder: Of the run, the data and the store.
        changes: Keys of the settings to replace.

    Returns:
        The settings.
    """
    searched = write_shop(folder, purchases())
    with initialize_config_dir(CONFIG_DIR, version_base=None):
        overrides = ["data=shop", "model=tiny", f"store_dir={folder / 'store'}", f"run_dir={folder}"]
        settings = plain(compose("train", overrides=[*overrides, searched])) | changes
    (folder / "settings.json").write_text(json.dumps(settings))
    return settings


def fill_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the system refuse whatever shall last on the disk."""

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
