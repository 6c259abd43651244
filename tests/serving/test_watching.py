"""Files are read again once they have changed; what cannot be used leaves in place what was there."""

import logging
from pathlib import Path

import pytest

from holdfast.errors import ConfigError
from serving.watching import Watched, read_setting


class Counting:
    """Reads whole numbers from a file, and counts how often."""

    def __init__(self, path: Path) -> None:
        """Begin with none."""
        self.path, self.num = path, 0

    def __call__(self) -> int:
        """Read."""
        self.num += 1
        data = read_setting("token_file", self.path)
        if not data.isdigit():
            raise ConfigError("token_file", data, "it must be a number")
        return int(data)


def written(path: Path, text: str) -> Path:
    """Put a file in the place of another, as whoever rotates one should."""
    partial = path.with_suffix(".partial")
    partial.write_text(text, encoding="ascii")
    return partial.replace(path)


def test_a_file_is_read_once_as_long_as_it_stays(tmp_path: Path) -> None:
    """To look costs no reading; another file in its place is read, of the same size too."""
    read = Counting(written(tmp_path / "file", "1"))
    watched = Watched((read.path,), read)
    assert [watched.is_new(), watched.is_new()] == [False, False]
    assert (watched.value, read.num) == (1, 1)
    written(read.path, "2")
    assert [watched.is_new(), watched.is_new()] == [True, False]
    assert (watched.value, read.num) == (2, 2)


def test_what_cannot_be_used_is_said_once_and_read_until_it_can(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The former value holds meanwhile; each bad state of the files has one line in the log."""
    read = Counting(written(tmp_path / "file", "1"))
    watched = Watched((read.path,), read)
    with caplog.at_level(logging.INFO):
        written(read.path, "bad")
        assert [watched.is_new() for _ in range(3)] == [False] * 3
        read.path.unlink()
        assert [watched.is_new() for _ in range(3)] == [False] * 3
        assert (watched.value, read.num) == (1, 7)
        written(read.path, "3")
        assert watched.is_new()
    assert watched.value == 3
    assert [record.getMessage() for record in caplog.records] == [*["files not taken"] * 2, "files taken"]
    assert [record.levelname for record in caplog.records] == ["ERROR", "ERROR", "INFO"]
    assert "No such file" in caplog.records[1].reason


def test_the_first_reading_must_succeed(tmp_path: Path) -> None:
    """There is nothing to fall back on; flag, variable and reason are named."""
    read = Counting(tmp_path / "none")
    with pytest.raises(ConfigError, match=r"--token-file \(HOLDFAST_TOKEN_FILE\): .*none', .*No such file"):
        Watched((read.path,), read)
