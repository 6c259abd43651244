"""What lies where a server looks: which version it is, and what becomes of one that is found."""

import asyncio
from pathlib import Path

import pytest
from gated_server import WAIT_SECONDS
from linked_versions import FIXED, followed, misses_of, point, remove, served

from holdfast.errors import RunError
from serving import versions as versions_module
from serving.settings import Settings
from serving.versions import Version, beside, follow, version_at


async def test_what_ails_the_process_alone_is_tried_again(link: Path) -> None:
    """A version is not to blame for a process that ended while it loaded it."""
    tried: list[Version] = []
    outcomes: list[str] = []
    done = asyncio.Event()

    async def swap(found: Version) -> None:
        tried.append(found)
        if len(tried) == 1:
            raise RunError("process 7 ended")
        done.set()

    settings = Settings(artifact=link, **FIXED)
    async with beside(follow(settings, None, swap, tell=outcomes.append)):
        await asyncio.wait_for(done.wait(), WAIT_SECONDS)
    assert tried == [version_at(link)] * 2
    assert outcomes[0] == "refused"


async def test_a_version_that_takes_long_is_told(
    link: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever waits for it learns that it is being loaded, and one that is quick is not told of."""
    monkeypatch.setattr(versions_module, "SLOW_SECONDS", 0.0)
    done = asyncio.Event()

    async def swap(found: Version) -> None:
        while not caplog.records:
            await asyncio.to_thread(version_at, found.folder)
        monkeypatch.setattr(versions_module, "SLOW_SECONDS", WAIT_SECONDS)
        if found.folder.name == "second":
            done.set()
        point(link, link.with_name("second"))

    async with beside(follow(Settings(artifact=link, **FIXED), None, swap, tell=lambda _: None)):
        await asyncio.wait_for(done.wait(), WAIT_SECONDS)
    assert [record.message for record in caplog.records] == ["version takes long to load"]


async def test_an_unforeseen_error_ends_nothing(link: Path, caplog: pytest.LogCaptureFixture) -> None:
    """It is logged with its trace, and the next version is found all the same."""
    tried: list[Version] = []
    done = asyncio.Event()

    async def swap(found: Version) -> None:
        tried.append(found)
        if len(tried) == 1:
            point(link, link.with_name("second"))
            raise MemoryError("no room")
        done.set()

    async with beside(follow(Settings(artifact=link, **FIXED), None, swap, tell=lambda _: None)):
        await asyncio.wait_for(done.wait(), WAIT_SECONDS)
    assert [version.folder.name for version in tried] == ["first", "second"]
    assert [record.exc_info is not None for record in caplog.records] == [True]


async def test_a_folder_that_is_gone_is_said_once(
    link: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is loaded is served on, and what comes in its place is found."""
    missed = misses_of(monkeypatch)
    async with followed(link) as found:
        remove(link)
        for _ in range(3):
            assert await asyncio.to_thread(missed.acquire, timeout=WAIT_SECONDS)
        assert served(found.server) == "1"
        point(link, link.with_name("second"))
        assert await found.outcome() == "served"
    assert [record.message for record in caplog.records].count("artifact missing") == 1


def test_a_version_is_another_one_when_a_file_is_written(link: Path) -> None:
    """Links are resolved; what tells versions apart is where they lie and what was written."""
    found = version_at(link)
    assert found is not None
    assert found.folder == link.with_name("first")
    assert version_at(link.with_name("first")) == found
    (link / "report.html").write_text("<p>another</p>")
    assert version_at(link) != found
    assert version_at(link.with_name("none")) is None


def test_a_file_that_becomes_readable_makes_another_version(link: Path) -> None:
    """It was refused before, and nothing else about it changes."""
    found = version_at(link)
    (link / "model.onnx").chmod(0o600)
    assert version_at(link) != found


def test_a_link_that_leads_nowhere_is_a_file_like_others(link: Path) -> None:
    """Beside what the manifest names anything may lie; that it went or came is seen all the same."""
    (link / ".lock").symlink_to("nowhere")
    found = version_at(link)
    assert found is not None
    (link / ".lock").unlink()
    assert version_at(link) not in {found, None}


@pytest.mark.parametrize("target", ["current", "first/manifest.json"])
def test_what_is_no_folder_is_no_version(link: Path, target: str) -> None:
    """Links in a circle lead to nothing, and a link to a file to no folder."""
    remove(link)
    link.symlink_to(target)
    assert version_at(link) is None
