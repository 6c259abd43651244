"""Everything that happens to a model before it may answer: verified, measured, warm.

It deliberately does not know who asks it later.
"""

import logging
from dataclasses import dataclass, replace

from serving.artifact import Artifact
from serving.cores import num_cores
from serving.measuring import Measured, measure
from serving.rehearsing import rehearse
from serving.settings import Settings

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Prepared:
    """A model that is verified, measured and warm.

    Attributes:
        artifact: The model.
        measured: How it runs best here.
    """

    artifact: Artifact
    measured: Measured


def prepare(settings: Settings, *, like: Measured | None = None) -> Prepared:
    """Load the model, find out how it runs best here, and warm it up; blocks.

    Args:
        settings: What the server was told.
        like: How it is run where nothing shall be measured: a measurement beside calls that are
            answered would find anything.

    Raises:
        ArtifactError: It cannot be served.
        ConfigError: What shall run it is missing on this machine.
    """
    artifact = Artifact.load(
        settings.artifact, schema_fingerprint=settings.schema_fingerprint, provider=settings.provider
    )
    measured = _measured(artifact, settings) if like is None else like.for_plan(artifact.predictor.plan)
    predictor = artifact.predictor.with_plan(measured.plan)
    predictor.warm_up()
    artifact = replace(artifact, predictor=predictor)
    rehearse(artifact, limits=settings.limits)
    return Prepared(artifact=artifact, measured=measured)


def _measured(artifact: Artifact, settings: Settings) -> Measured:
    measured = measure(
        artifact.predictor,
        max_threads=num_cores(),
        threads=settings.threads,
        budget_events=settings.budget_events,
    )
    extra = {
        "threads": measured.threads,
        "budget_events": measured.plan.budget_events,
        "merge_events": measured.plan.merge_events,
        "microseconds_per_event": round(1e6 * measured.seconds_per_event, 2),
    }
    _log.info("measured", extra=extra)
    return measured
