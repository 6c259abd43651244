"""Downloading a data set's sources: archives, workbooks, and what is served instead of them."""

import importlib.util
import io
import os
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import polars as pl
import pytest
from data_set_builder import shop_config
from polars.testing import assert_frame_equal

from holdfast.errors import ConfigError, DataError, RunError
from training.data_config import DataConfig
from training.download import download

TEXT = b" customer\n 00001 19970101  1   11.77\n"


@pytest.fixture
def served() -> Iterator[dict[str, Any]]:
    """Serve ``content`` at ``url`` until the test ends."""
    site: dict[str, Any] = {"content": b"", "asked": 0}

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            site["asked"] += 1
            self.send_response(200)
            self.send_header("Content-Length", str(len(site["content"])))
            self.end_headers()
            self.wfile.write(site["content"])

        def log_message(self, *_: object) -> None:
            """Stay silent."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    site["url"] = f"http://127.0.0.1:{server.server_address[1]}/data.zip"
    try:
        yield site
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def zipped(**members: bytes) -> bytes:
    """Return a zip archive."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name.replace("_", "."), content)
    return buffer.getvalue()


def config_for(folder: Path, url: str, **keys: Any) -> DataConfig:
    """Return a data set whose one source can be fetched."""
    source = {"path": str(folder / "data" / "lines.txt"), "format": "lines", "download": {"url": url} | keys}
    return shop_config(folder / "unused", sources={"lines": source})


def names_in(folder: Path) -> list[str]:
    """Return the names of a folder's files."""
    return sorted(path.name for path in folder.iterdir())


def test_fetches_and_unpacks_what_is_missing(served: dict[str, Any], tmp_path: Path) -> None:
    """The member of the archive lies at the source's path; its digest is told; nothing else is left."""
    served["content"] = zipped(lines_txt=TEXT, readme_txt=b"x")
    config = config_for(tmp_path, served["url"], member="lines.txt")
    digests: list[tuple[str, str]] = []
    files = download(config, tell_digest=lambda url, sha256: digests.append((url, sha256)))
    assert files == [tmp_path / "data" / "lines.txt"]
    assert files[0].read_bytes() == TEXT
    assert names_in(tmp_path / "data") == ["lines.txt"]
    assert digests[0][0] == served["url"]
    assert len(digests[0][1]) == 64


def test_what_is_there_is_not_fetched_again(served: dict[str, Any], tmp_path: Path) -> None:
    """A second run asks nobody; force asks again."""
    served["content"] = TEXT
    config = config_for(tmp_path, served["url"])
    download(config)
    assert download(config) == []
    assert served["asked"] == 1
    served["content"] = TEXT * 2
    assert len(download(config, force=True)) == 1
    assert (tmp_path / "data" / "lines.txt").read_bytes() == TEXT * 2


def test_a_corrupted_download_is_refused(served: dict[str, Any], tmp_path: Path) -> None:
    """A file of another digest is not put in place, and is not kept."""
    served["content"] = TEXT
    with pytest.raises(RunError, match="sha256"):
        download(config_for(tmp_path, served["url"], sha256="0" * 64))
    assert names_in(tmp_path / "data") == []


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b"<html>sorry</html>", "no sound zip archive"),
        (zipped(lines_txt=TEXT)[:-30], "no sound zip archive"),
        (zipped(other_txt=TEXT), r"the archive holds \['other.txt'\]"),
    ],
)
def test_an_archive_that_is_none_is_refused(
    served: dict[str, Any], tmp_path: Path, content: bytes, why: str
) -> None:
    """An error page, half an archive and another archive are named; an older file stays."""
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "lines.txt").write_text("older")
    served["content"] = content
    with pytest.raises(DataError, match=why) as caught:
        download(config_for(tmp_path, served["url"], member="lines.txt"), force=True)
    assert caught.value.field.startswith("data.sources.lines.download")
    assert (tmp_path / "data" / "lines.txt").read_text() == "older"
    assert names_in(tmp_path / "data") == ["lines.txt"]


def test_a_member_with_altered_bytes_is_refused(served: dict[str, Any], tmp_path: Path) -> None:
    """The archive's own checksum is heeded."""
    content = bytearray(zipped(lines_txt=TEXT * 100))
    content[60] ^= 0xFF
    served["content"] = bytes(content)
    with pytest.raises(DataError, match="no sound zip archive"):
        download(config_for(tmp_path, served["url"], member="lines.txt"))


def test_a_set_without_addresses_says_so(tmp_path: Path) -> None:
    """Where nothing can be fetched, the command does not pretend to have done something."""
    with pytest.raises(ConfigError, match="none of its sources names an address"):
        download(shop_config(tmp_path))


def test_only_local_paths_are_downloaded_to(tmp_path: Path) -> None:
    """An object store is not written to."""
    source = {"path": "s3://bucket/x", "format": "parquet", "download": {"url": "http://127.0.0.1:1/x"}}
    with pytest.raises(ConfigError, match="only a local path"):
        download(shop_config(tmp_path, sources={"lines": source}))


WORKBOOK = {
    "sheets": {"early": "Year 1", "late": "Year 2"},
    "sql": """
        SELECT * FROM early WHERE day < (SELECT MIN(day) FROM late)
        UNION ALL SELECT * FROM late
        ORDER BY day
    """,
}


def test_a_workbook_becomes_parquet(
    served: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Sheets are joined by SQL, an overlap is taken once, and the result lies at the source's path."""
    sheets = {"Year 1": pl.DataFrame({"day": [1, 2, 3]}), "Year 2": pl.DataFrame({"day": [3, 4]})}
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: object())
    monkeypatch.setattr(pl, "read_excel", lambda _, sheet_name, **__: sheets[sheet_name])
    served["content"] = zipped(book_xlsx=b"any")
    (path,) = download(config_for(tmp_path, served["url"], member="book.xlsx", workbook=WORKBOOK))
    assert_frame_equal(pl.read_parquet(path), pl.DataFrame({"day": [1, 2, 3, 4]}))
    assert names_in(path.parent) == ["lines.txt"]


def test_a_workbook_without_its_reader_is_refused_before_fetching(
    served: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The package that is needed is named, and no gigabyte is fetched in vain."""
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    with pytest.raises(RunError, match="needs the package fastexcel"):
        download(config_for(tmp_path, served["url"], workbook=WORKBOOK))
    assert served["asked"] == 0


def test_a_sheet_that_is_not_there_is_named(
    served: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever the reader raises becomes one line with the sheet's key."""

    def refuse(_: object, **__: object) -> pl.DataFrame:
        raise ValueError("no matching sheet found")

    monkeypatch.setattr(importlib.util, "find_spec", lambda _: object())
    monkeypatch.setattr(pl, "read_excel", refuse)
    served["content"] = b"any"
    with pytest.raises(DataError, match="no matching sheet found") as caught:
        download(config_for(tmp_path, served["url"], workbook=WORKBOOK))
    assert caught.value.field == "data.sources.lines.download.workbook.sheets.early"


def test_the_command_fetches_and_tells_the_digest(served: dict[str, Any], tmp_path: Path) -> None:
    """The digest of what came is printed, so that it can be pinned; a second run has nothing to do."""
    served["content"] = zipped(CDNOW_txt=TEXT)
    url = f"data.sources.lines.download.url={served['url']}"
    arguments = ["data=cdnow", url, "data.sources.lines.download.member=CDNOW.txt", f"data_root={tmp_path}"]
    root = Path(__file__).resolve().parents[2]

    def run() -> str:
        done = subprocess.run(
            [sys.executable, "-m", "training.download", *arguments],
            cwd=tmp_path,
            env=os.environ | {"PYTHONPATH": str(root)},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    shown = run()
    assert "sha256" in shown
    assert (tmp_path / "cdnow" / "CDNOW_master.txt").read_bytes() == TEXT
    assert "every file is there already" in run()
    assert served["asked"] == 1
