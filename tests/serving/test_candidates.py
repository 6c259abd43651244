"""Candidates come, go and become what is served, and a bad one changes nothing."""

import asyncio
import logging
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from artifact_builder import build_artifact
from gated_server import WAIT_SECONDS, request
from linked_versions import asked, damaged, emptied, misses_of, point, remove, renamed, served, with_version
from tried_candidates import trial_of, tried

from builders import small_schema, small_spec
from serving.artifact import Artifact
from serving.versions import Version, beside, follow_candidate, version_at


@pytest.fixture
def candidate(link: Path) -> Path:
    """Return a link to version 2."""
    point(link.with_name("candidate"), link.with_name("second"))
    return link.with_name("candidate")


def refuse_to_load(*_: object, **__: object) -> Artifact:
    """Stand in for loading where nothing is to be loaded."""
    raise AssertionError("it is loaded already")


@pytest.mark.parametrize(
    ("harm", "reason"),
    [
        (damaged, "model.onnx: "),
        (renamed, "it is model 'other', and this server serves 'small'"),
        (emptied, "manifest.json: it cannot be read"),
    ],
)
async def test_a_bad_candidate_is_refused_once(
    link: Path, candidate: Path, caplog: pytest.LogCaptureFixture, harm: Callable[[Path], None], reason: str
) -> None:
    """The one before it goes on, and so does what is served; one that is mended is taken."""
    harm(with_version(link.with_name("bad"), "3", like=link.with_name("first")))
    async with tried(link, candidate, candidate_share=1) as (found, candidates), asked(found.server) as stub:
        assert await candidates.outcome() == "taken"
        point(candidate, link.with_name("bad"))
        assert await candidates.outcome() == "refused"
        assert (await stub.Score(request())).version == "2"
        assert served(found.server) == "1"
        refusals = [record for record in caplog.records if record.message == "candidate refused"]
        assert [reason in record.reason for record in refusals] == [True]  # type: ignore[attr-defined]
        shutil.rmtree(link.with_name("bad"))
        with_version(link.with_name("good"), "3", like=link.with_name("first")).rename(link.with_name("bad"))
        # Whatever was found half made on the way was refused, or missing.
        while await candidates.outcome() != "taken":
            pass
        assert (await stub.Score(request())).version == "3"
        assert found.outcomes.empty()


async def test_no_candidate_is_said_once_and_one_that_comes_is_taken(
    link: Path, candidate: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before there is any, and again after one has gone; all calls are answered meanwhile."""
    missed = misses_of(monkeypatch)
    remove(candidate)
    async with tried(link, candidate, candidate_share=1) as (found, candidates), asked(found.server) as stub:
        for times in (1, 2):
            for _ in range(3):
                assert await asyncio.to_thread(missed.acquire, timeout=WAIT_SECONDS)
            assert [record.message for record in caplog.records].count("candidate missing") == times
            assert (await stub.Score(request())).version == "1"
            point(candidate, link.with_name("second"))
            assert await candidates.outcome() == "taken"
            assert (await stub.Score(request())).version == "2"
            remove(candidate)
            assert await candidates.outcome() == "gone"
        assert trial_of(found.server).candidate is None
        assert found.server.scorer.snapshot()["states"]["candidate_processes"] == {}


async def test_a_candidate_that_is_to_be_served_is_loaded_already(
    link: Path, candidate: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """It stands aside then; and what was served before may be the candidate, likewise without loading."""
    async with tried(link, candidate, candidate_share=1) as (found, candidates), asked(found.server) as stub:
        assert await candidates.outcome() == "taken"
        monkeypatch.setattr(Artifact, "load", refuse_to_load)
        point(link, link.with_name("second"))
        assert await found.outcome() == "served"
        assert served(found.server) == "2"
        assert found.server.scorer.snapshot()["states"]["candidate_processes"] == {}
        reasons = [record.reason for record in caplog.records if record.message == "candidate set aside"]  # type: ignore[attr-defined]
        assert reasons == ["it is the version that is served"]
        assert (await stub.Score(request())).version == "2"
        point(candidate, link.with_name("first"))
        assert await candidates.outcome() == "taken"
        assert (await stub.Score(request())).version == "1"


@pytest.mark.parametrize("what", ["schema", "outputs"])
async def test_a_candidate_of_another_schema_waits(
    link: Path, candidate: Path, caplog: pytest.LogCaptureFixture, what: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It gets no call as long as the version that is served has another one, and is told once."""
    schema = replace(small_schema(), lookback_days=small_schema().lookback_days + 1)
    other = build_artifact(link.with_name("other"), spec=small_spec(schema=schema))
    if what == "outputs":
        other = link.with_name("second")
        load = Artifact.load

        def load_with_less(folder: Path, **options: Any) -> Artifact:
            artifact = load(folder, **options)
            if folder != other:
                return artifact
            outputs = artifact.manifest.outputs[:-1]
            return replace(artifact, manifest=replace(artifact.manifest, outputs=outputs))

        monkeypatch.setattr(Artifact, "load", load_with_less)
    point(candidate, other)
    async with tried(link, candidate, candidate_share=1) as (found, candidates), asked(found.server) as stub:
        assert await candidates.outcome() == "taken"
        told = [record for record in caplog.records if record.message == "candidate set aside"]
        assert [what in record.reason for record in told] == [True]  # type: ignore[attr-defined]
        assert told[0].levelno == logging.WARNING
        answer = await stub.Score(request())
        assert answer.version == served(found.server) == "1"
        if what == "schema":
            point(candidate, link.with_name("second"))
            assert await candidates.outcome() == "taken"
            point(link, other)
            assert await found.outcome() == "served"
            assert trial_of(found.server)._asked is None
            point(link, link.with_name("first"))
            assert await found.outcome() == "served"
            assert (await stub.Score(request())).version == "2"


async def test_without_looking_again_what_lies_there_first_stays(link: Path) -> None:
    """Also where the server was told to look only once."""
    found: list[Version] = []
    outcomes: list[str] = []

    async def try_out(version: Version) -> None:
        found.append(version)

    async def end() -> None:
        raise AssertionError("nothing went away")

    await follow_candidate(link, 0, try_out=try_out, end=end, tell=outcomes.append)
    assert found == [version_at(link)]
    assert outcomes == ["taken"]


async def test_what_ends_a_look_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    """A defect there ends neither the server nor what is served."""
    ended = asyncio.Event()

    async def work() -> None:
        ended.set()
        raise MemoryError("no room")

    async with beside(work()):
        await ended.wait()
        await asyncio.sleep(0)
    assert [record.message for record in caplog.records] == ["no version is followed any more"]
