"""A file is there complete or not at all."""

from pathlib import Path

import pytest
import torch

from holdfast.errors import RunError
from training.whole_file import save_whole, write_whole


def test_a_file_is_replaced_when_all_of_it_is_there(tmp_path: Path) -> None:
    """Folders on the way are made, and nothing else stays beside it."""
    path = tmp_path / "new" / "file"
    save_whole({"weights": torch.ones(3)}, path)
    save_whole({"weights": torch.zeros(3)}, path)
    assert torch.equal(torch.load(path, weights_only=True)["weights"], torch.zeros(3))
    assert [other.name for other in path.parent.iterdir()] == ["file"]


def test_a_file_that_cannot_be_written_leaves_the_earlier_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A disk that turns out to be full when data is to reach it: one line, and the old content."""
    path = tmp_path / "file"
    write_whole(path, b"old")

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(RunError, match=r"file cannot be written: No space left on device"):
        write_whole(path, b"new")
    assert path.read_bytes() == b"old"
    assert [other.name for other in tmp_path.iterdir()] == ["file"]


def test_a_file_in_the_place_of_a_folder_is_named(tmp_path: Path) -> None:
    """The message has the path and the reason."""
    (tmp_path / "taken").touch()
    with pytest.raises(RunError, match=r"taken/file cannot be written: (Not a directory|File exists)"):
        write_whole(tmp_path / "taken" / "file", b"new")
