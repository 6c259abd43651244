"""The end of a run: figures, report and artifact from a fitted and judged model.

It deliberately computes no figure of its own.
"""

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from training.evaluation import EvaluationResult
from training.export import ArtifactName, source_revision, write_artifact
from training.fitted import FittedModel
from training.report import write_report
from training.run_config import RunConfig
from training.task import Task

RESULT_NAME = "result.json"
REPOSITORY = Path(__file__).parents[1]


def publish(
    fitted: FittedModel,
    task: Task,
    result: EvaluationResult,
    *,
    config: RunConfig,
    folder: Path,
    artifact: Path,
    now: datetime,
) -> Path:
    """Write ``result.json``, the report and the artifact.

    Args:
        fitted: The model.
        task: Store and splits.
        result: What judging gave.
        config: Of the run.
        folder: Of the run.
        artifact: Where the artifact shall lie.
        now: Time of creation, with zone; it names the version.

    Returns:
        The folder of the artifact.
    """
    (folder / RESULT_NAME).write_text(json.dumps(result, indent=1, allow_nan=False) + "\n")
    report = folder / "report.html"
    name = ArtifactName(
        name=task.name,
        version=now.astimezone(UTC).strftime("%Y%m%dT%H%M%SZ"),
        created_at=now,
        source_revision=source_revision(REPOSITORY),
    )
    write_report(report, result, context_of(task, config, name))
    return write_artifact(
        fitted,
        task,
        train=task.readouts(task.fit_split, seed=config.fit.seed),
        golden=task.readouts(task.splits.test, seed=config.fit.seed),
        folder=artifact,
        name=name,
        metrics=headline(result),
        report=report,
    )


def headline(result: EvaluationResult) -> dict[str, Any]:
    """Return the main model's metrics with their intervals, by target and horizon, for the manifest."""
    return {
        f"{target['name']}_{horizon['horizon_days']}d": horizon["models"][result["main"]]["metrics"]
        for target in result["targets"]
        for horizon in target["horizons"]
        if result["main"] in horizon["models"]
    }
