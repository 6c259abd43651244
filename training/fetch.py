"""Fetches a file over HTTP: resumable, verified, complete or not there at all.

It deliberately does not know data sets or formats.
"""

import hashlib
import http.client
import json
import urllib.error
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from holdfast.errors import RunError

BLOCK_BYTES = 1 << 18
SOCKET_TIMEOUT_SECONDS = 60.0

Progress = Callable[[int, int | None], None]
"""Told how many bytes are here and how many there are, None where the server does not say."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Fetched:
    """A file that was fetched whole.

    Attributes:
        path: Where it lies.
        sha256: Its digest.
        num_resumed: Bytes of it that an earlier, interrupted attempt had fetched.
    """

    path: Path
    sha256: str
    num_resumed: int


def fetch(
    url: str,
    path: Path,
    *,
    sha256: str | None = None,
    progress: Progress = lambda *_: None,
) -> Fetched:
    """Fetch ``url`` into ``path``.

    What an interrupted attempt left (``path`` with ``.part`` added) is continued where the server
    still serves the very same file, by its validator, and can serve a part of it.

    Args:
        url: Address of the file.
        path: Where it shall lie; appears only when it is whole and verified.
        sha256: The digest it must have; None where none is known.
        progress: Told how far it is.

    Returns:
        The file and its digest.

    Raises:
        RunError: No answer, a refusal, a file that breaks off (what came is kept) or of another
            digest (what came is deleted).
    """
    part = _Part(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        num_resumed = _receive(url, part, progress)
    except urllib.error.HTTPError as error:
        raise RunError(f"{url}: the server answers {error.code} {error.reason}") from error
    except (OSError, http.client.HTTPException) as error:
        kept = (
            f"; {part.num_bytes:,} bytes are kept, and the next attempt goes on there"
            if part.num_bytes
            else ""
        )
        raise RunError(f"{url}: it could not be fetched: {_reason(error)}{kept}") from error
    digest = _sha256(part.path)
    if sha256 is not None and digest != sha256:
        part.delete()
        raise RunError(f"{url}: it has sha256 {digest}, but {sha256} was expected; what came is deleted")
    part.path.replace(path)
    part.delete()
    return Fetched(path=path, sha256=digest, num_resumed=num_resumed)


class _Part:
    """What is fetched so far, and which file of the server it belongs to."""

    def __init__(self, path: Path) -> None:
        self.path = path.with_name(path.name + ".part")
        self._state = path.with_name(path.name + ".part.json")

    @property
    def num_bytes(self) -> int:
        return self.path.stat().st_size if self.path.is_file() else 0

    def validator(self, url: str) -> str | None:
        """Return what tells that the server still has the same file, if that is known."""
        try:
            state = json.loads(self._state.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return None
        is_ours = isinstance(state, dict) and state.get("url") == url
        return state["validator"] if is_ours and isinstance(state.get("validator"), str) else None

    def remember(self, url: str, validator: str | None) -> None:
        self._state.write_text(json.dumps({"url": url, "validator": validator}), encoding="utf-8")

    def delete(self) -> None:
        self.path.unlink(missing_ok=True)
        self._state.unlink(missing_ok=True)


def _receive(url: str, part: _Part, progress: Progress) -> int:
    """Write what is missing of the file; return how many bytes were there before."""
    start = part.num_bytes
    validator = part.validator(url)
    headers = {"User-Agent": "holdfast", "Accept-Encoding": "identity"}
    # The configuration allows http and https alone.
    request = urllib.request.Request(url, headers=headers)  # noqa: S310 (see above)
    if start and validator is not None:
        request.add_header("Range", f"bytes={start}-")
        # Without this, the rest of another version would be put behind the beginning of this one.
        request.add_header("If-Range", validator)
    try:
        response = urllib.request.urlopen(request, timeout=SOCKET_TIMEOUT_SECONDS)  # noqa: S310 (see above)
    except urllib.error.HTTPError as error:
        if error.code != http.client.REQUESTED_RANGE_NOT_SATISFIABLE:
            raise
        # Nothing is missing, or the file shrank: the whole of it settles which.
        part.delete()
        return _receive(url, part, progress)
    with response:
        is_rest = response.status == http.client.PARTIAL_CONTENT and _begins_at(response, start)
        start = start if is_rest else 0
        part.remember(url, _validator_of(response))
        total = _total(response, start)
        with part.path.open("ab" if is_rest else "wb") as file:
            done = start
            progress(done, total)
            while block := response.read(BLOCK_BYTES):
                file.write(block)
                done += len(block)
                progress(done, total)
    if total is not None and done != total:
        raise OSError(f"it breaks off after {done:,} of {total:,} bytes")
    return start


def _validator_of(response: Any) -> str | None:
    etag = response.headers.get("ETag")
    if etag is not None and not etag.startswith("W/"):
        return str(etag)
    modified = response.headers.get("Last-Modified")
    return None if modified is None else str(modified)


def _begins_at(response: Any, start: int) -> bool:
    return str(response.headers.get("Content-Range", "")).startswith(f"bytes {start}-")


def _total(response: Any, start: int) -> int | None:
    length = response.headers.get("Content-Length")
    return None if length is None else start + int(length)


def _reason(error: BaseException) -> str:
    reason = getattr(error, "reason", None)
    return str(reason if reason is not None else error) or type(error).__name__


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
