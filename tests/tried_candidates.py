"""A server with a candidate beside the version that it serves, and models that a test holds or harms."""

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from gated_server import GatedPredictor, of_length
from linked_versions import FIXED, Followed

from holdfast.v1 import scoring_pb2 as pb
from serving.artifact import Artifact
from serving.engine import Engine
from serving.predictor import PaddedRun
from serving.recording import Family
from serving.server import ScoringServer
from serving.settings import Settings
from serving.trial import Trial
from serving.versions import Version, Versions, beside, follow, follow_candidate, version_at


@asynccontextmanager
async def tried(link: Path, candidate: Path, **given: object) -> AsyncIterator[tuple[Followed, Followed]]:
    """Serve one link and try out another; yields what becomes of the versions of either."""
    settings = Settings(artifact=link, candidate=candidate, **FIXED | given)
    server = ScoringServer(settings)
    await server.start()
    version = version_at(link)
    try:
        versions = Versions(settings, await server.load(), version)
        served, candidates = Followed(server), Followed(server)

        async def swap(found: Version) -> None:
            await server.swap(found, versions)

        async def try_out(found: Version) -> None:
            await server.try_out(found, versions)

        async def end() -> None:
            versions.end_trial(server.take)

        seconds = settings.reload_seconds
        found = follow_candidate(candidate, seconds, try_out=try_out, end=end, tell=candidates.tell)
        async with beside(follow(settings, version, swap, tell=served.tell), found):
            yield served, candidates
    finally:
        await server.stop(5.0)


class AlteredPredictor(GatedPredictor):
    """Gives other answers than the model."""

    alter: Callable[[dict[str, Any]], None] | None = None

    def run(self, run: PaddedRun, names: Sequence[str]) -> Any:
        """Run, and alter what comes out."""
        found = {name: values.copy() for name, values in super().run(run, names).items()}
        if self.alter is not None:
            self.alter(found)
        return found


def holding(patch: pytest.MonkeyPatch) -> dict[str, AlteredPredictor]:
    """Return predictors by the name of their folder, as they are loaded from now on."""
    held: dict[str, AlteredPredictor] = {}
    load = Artifact.load

    def load_held(folder: Path, **options: Any) -> Artifact:
        artifact = load(folder, **options)
        predictor = held[folder.name] = AlteredPredictor(artifact.predictor)
        return replace(artifact, predictor=predictor)

    patch.setattr(Artifact, "load", load_held)
    return held


def asked_of(*customer_ids: str) -> pb.ScoreRequest:
    """Return a request about some customers."""
    asked = of_length(9)
    one = asked.customers[0]
    del asked.customers[:]
    for customer_id in customer_ids:
        one.customer_id = customer_id
        asked.customers.append(one)
    return asked


def totals_of(server: ScoringServer, name: str) -> Family:
    """Return what a server has counted under a name."""
    return server.scorer.snapshot()["totals"][name]


def trial_of(server: ScoringServer) -> Trial:
    """Return how a server divides its calls."""
    trial = server.scorer._trial
    assert trial is not None
    return trial


def candidate_of(server: ScoringServer) -> Engine:
    """Return the candidate of a server."""
    candidate = trial_of(server).candidate
    assert candidate is not None
    return candidate
