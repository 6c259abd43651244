"""Fetching over HTTP from a real server on loopback: whole, resumed, broken off, altered, refused."""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import pairwise
from pathlib import Path
from threading import Thread

import pytest

from holdfast.errors import RunError
from training import fetch as fetch_module
from training.fetch import fetch

CONTENT = bytes(range(256)) * 4_000


@dataclass(slots=True)
class Site:
    """What a server on loopback serves, and what it was asked."""

    content: bytes = CONTENT
    etag: str | None = '"one"'
    modified: str | None = None
    knows_ranges: bool = True
    tells_length: bool = True
    breaks_after: int | None = None
    status: int = 200
    address: str = ""
    ranges: list[str | None] = field(default_factory=list)


@pytest.fixture
def site() -> Iterator[Site]:
    """Serve a site until the test ends."""
    served = Site()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            _answer(self, served)

        def log_message(self, *_: object) -> None:
            """Stay silent."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    served.address = f"http://127.0.0.1:{server.server_address[1]}/file.zip"
    try:
        yield served
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def _answer(request: BaseHTTPRequestHandler, site: Site) -> None:
    wanted = request.headers.get("Range")
    site.ranges.append(wanted)
    if site.status != 200:
        request.send_error(site.status)
        return
    is_same = request.headers.get("If-Range") in (site.etag, site.modified)
    start = (
        int(wanted.removeprefix("bytes=").removesuffix("-"))
        if wanted and is_same and site.knows_ranges
        else 0
    )
    if start >= len(site.content) > 0:
        request.send_error(416)
        return
    body = site.content[start:]
    request.send_response(206 if start else 200)
    for name, value in (("ETag", site.etag), ("Last-Modified", site.modified)):
        if value is not None:
            request.send_header(name, value)
    if start:
        request.send_header("Content-Range", f"bytes {start}-{len(site.content) - 1}/{len(site.content)}")
    if site.tells_length:
        request.send_header("Content-Length", str(len(body)))
    request.end_headers()
    request.wfile.write(body if site.breaks_after is None else body[: site.breaks_after])


def names_in(folder: Path) -> list[str]:
    """Return the names of a folder's files."""
    return sorted(path.name for path in folder.iterdir())


@pytest.mark.parametrize("tells_length", [True, False])
def test_fetches_a_whole_file(site: Site, tmp_path: Path, tells_length: bool) -> None:
    """The file lies there with its digest, folders are made, and nothing else is left."""
    site.tells_length = tells_length
    told: list[tuple[int, int | None]] = []
    target = tmp_path / "new" / "file.zip"
    fetched = fetch(site.address, target, progress=lambda done, total: told.append((done, total)))
    assert target.read_bytes() == CONTENT
    assert fetched.sha256 == hashlib.sha256(CONTENT).hexdigest()
    assert fetched.num_resumed == 0
    assert told[-1] == (len(CONTENT), len(CONTENT) if tells_length else None)
    assert names_in(target.parent) == ["file.zip"]


def test_an_empty_file_is_a_file(site: Site, tmp_path: Path) -> None:
    """Zero bytes are fetched as zero bytes."""
    site.content = b""
    fetch(site.address, tmp_path / "f")
    assert (tmp_path / "f").read_bytes() == b""


def test_a_file_that_breaks_off_is_not_there_and_goes_on_later(site: Site, tmp_path: Path) -> None:
    """What came is kept; the next attempt asks for the rest only; the file appears when it is whole."""
    site.breaks_after = 300_000
    with pytest.raises(RunError, match="300,000 bytes are kept"):
        fetch(site.address, tmp_path / "f")
    assert not (tmp_path / "f").exists()
    site.breaks_after = None
    fetched = fetch(site.address, tmp_path / "f", sha256=hashlib.sha256(CONTENT).hexdigest())
    assert fetched.num_resumed == 300_000
    assert site.ranges == [None, "bytes=300000-"]
    assert (tmp_path / "f").read_bytes() == CONTENT
    assert names_in(tmp_path) == ["f"]


def test_resumes_by_the_time_of_change_where_there_is_no_etag(site: Site, tmp_path: Path) -> None:
    """A server without strong validators but with Last-Modified can be resumed too."""
    site.etag, site.modified, site.breaks_after = None, "Wed, 21 Oct 2015 07:28:00 GMT", 1_000
    with pytest.raises(RunError):
        fetch(site.address, tmp_path / "f")
    site.breaks_after = None
    assert fetch(site.address, tmp_path / "f").num_resumed == 1_000
    assert (tmp_path / "f").read_bytes() == CONTENT


@pytest.mark.parametrize("change", ["content", "ranges", "validator", "address"])
def test_never_puts_two_files_together(site: Site, tmp_path: Path, change: str) -> None:
    """Another version, a server without ranges, no validator, another address: fetched from the start."""
    site.breaks_after = 1_000
    if change == "validator":
        site.etag = 'W/"weak"'
    with pytest.raises(RunError):
        fetch(site.address, tmp_path / "f")
    site.breaks_after = None
    address = site.address
    if change == "content":
        site.content, site.etag = CONTENT[::-1], '"two"'
    elif change == "ranges":
        site.knows_ranges = False
    elif change == "address":
        address += "?other"
    fetched = fetch(address, tmp_path / "f")
    assert fetched.num_resumed == 0
    assert (tmp_path / "f").read_bytes() == site.content


def test_a_part_that_is_already_whole_is_settled(site: Site, tmp_path: Path) -> None:
    """A run that was killed after the last byte but before the end does not get stuck."""
    site.tells_length, site.breaks_after = True, len(CONTENT) - 1
    with pytest.raises(RunError):
        fetch(site.address, tmp_path / "f")
    (tmp_path / "f.part").write_bytes(CONTENT)
    site.breaks_after = None
    fetch(site.address, tmp_path / "f")
    assert (tmp_path / "f").read_bytes() == CONTENT


def test_another_digest_is_refused_and_deleted(site: Site, tmp_path: Path) -> None:
    """A corrupted file never takes its place, and the next attempt starts anew; an older file stays."""
    (tmp_path / "f").write_text("older")
    with pytest.raises(RunError, match=r"it has sha256 .* was expected"):
        fetch(site.address, tmp_path / "f", sha256="0" * 64)
    assert (tmp_path / "f").read_text() == "older"
    assert names_in(tmp_path) == ["f"]


@pytest.mark.parametrize("status", [404, 500])
def test_a_refusal_is_named(site: Site, tmp_path: Path, status: int) -> None:
    """What the server answers is part of the message."""
    site.status = status
    with pytest.raises(RunError, match=f"the server answers {status}"):
        fetch(site.address, tmp_path / "f")
    assert names_in(tmp_path) == []


def test_no_answer_is_named(tmp_path: Path) -> None:
    """A port where nobody listens is no traceback."""
    with pytest.raises(RunError, match="it could not be fetched"):
        fetch("http://127.0.0.1:1/file", tmp_path / "f")


def test_a_broken_state_file_only_costs_the_resumption(site: Site, tmp_path: Path) -> None:
    """Garbage beside the part means that nothing is known about it."""
    (tmp_path / "f.part").write_bytes(b"something")
    (tmp_path / "f.part.json").write_text("{")
    assert fetch(site.address, tmp_path / "f").num_resumed == 0
    assert (tmp_path / "f").read_bytes() == CONTENT


def test_blocks_are_small(site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file is streamed: no block of it is larger than the stated size."""
    monkeypatch.setattr(fetch_module, "BLOCK_BYTES", 100_000)
    told: list[int] = []
    fetch(site.address, tmp_path / "f", progress=lambda done, _: told.append(done))
    assert max(later - earlier for earlier, later in pairwise(told)) <= 100_000
