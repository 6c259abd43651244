"""The end of a run: figures, report and artifact from a fitted and judged model.

It deliberately computes no figure of its own.
"""

import json
from datetime import UTC, datetime
from importlib.metadata import version as library_version
from pathlib import Path
from typing import Any

import polars as pl

from holdfast.plain import to_plain
from training.evaluation import EvaluationResult
from training.export import LIBRARIES, ArtifactName, source_revision, write_artifact
from training.fitted import FittedModel
from training.report import ReportContext, data_facts, eligibility_at, split_facts, write_report
from training.run_config import RunConfig
from training.store import HistoryStore
from training.task import Task
from training.whole_file import write_whole

RESULT_NAME = "result.json"
CSV_FOLDER = "csv"
"""Of the CSV logger in a run's folder (``conf/logger``); with a number behind it, of an earlier start."""
REPOSITORY = Path(__file__).parents[1]


def publish(
    fitted: FittedModel,
    task: Task,
    store: HistoryStore,
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
        task: Targets and splits.
        store: What was counted while it was prepared.
        result: What judging gave.
        config: Of the run.
        folder: Of the run.
        artifact: Where the artifact shall lie.
        now: Time of creation, with zone; it names the version.

    Returns:
        The folder of the artifact.

    Raises:
        RunError: The disk is full or a folder cannot be written.
    """
    write_whole(folder / RESULT_NAME, f"{json.dumps(result, indent=1, allow_nan=False)}\n".encode())
    report = folder / "report.html"
    name = ArtifactName(
        name=task.name,
        version=now.astimezone(UTC).strftime("%Y%m%dT%H%M%SZ"),
        created_at=now,
        source_revision=source_revision(REPOSITORY),
    )
    write_report(report, result, report_context(task, store, config=config, folder=folder, name=name))
    return write_artifact(
        fitted,
        task,
        train=task.readouts(task.fit_split, seed=config.fit.seed),
        judged=task.readouts(task.splits.test, seed=config.fit.seed),
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


def report_context(
    task: Task, store: HistoryStore, *, config: RunConfig, folder: Path, name: ArtifactName
) -> ReportContext:
    """Return what the report says beside the figures: data, splits, settings, curves, versions."""
    splits = [task.fit_split, task.splits.test]
    if task.fit_on == "train":
        splits.insert(1, task.splits.validation)
    facts = []
    for split in splits:
        readouts = task.readouts(split, seed=config.fit.seed)
        facts.append(
            split_facts(
                task.schema,
                name=split.name,
                customer=readouts.customer,
                cutoff_us=readouts.cutoff_us,
                outcomes=task.outcomes(readouts, split),
            )
        )
    eligibility = eligibility_at(task.labeller, int(readouts.cutoff_us.max()))
    return ReportContext(
        title=task.name,
        schema=task.schema,
        data=data_facts(store.index, task.histories, facts, eligibility=eligibility),
        created_at=name.created_at.isoformat(timespec="minutes"),
        revision=name.source_revision,
        versions={library: library_version(library) for library in LIBRARIES},
        settings=settings_in_words(config),
        training_curve=training_curve(folder),
    )


def settings_in_words(config: RunConfig) -> dict[str, str]:
    """Return what was chosen about the model and its schedule, by name."""
    chosen = {"model": config.fit.model, "optimiser": config.fit.optimiser, "encoding": config.fit.encoding}
    named = {
        f"{part}.{key}": json.dumps(value)
        for part, values in chosen.items()
        for key, value in to_plain(values).items()
    }
    return named | {"seed": str(config.fit.seed)}


def training_curve(folder: Path) -> dict[str, list[tuple[float, float]]]:
    """Return the loss by step as the CSV logger wrote it; empty where it did not log.

    A run that was gone on with has a log of every start; of a step that was taken twice the later
    one counts.

    Args:
        folder: Of the run.
    """
    starts = sorted(folder.glob(f"{CSV_FOLDER}.*"), key=lambda path: int(path.suffix[1:]))
    curves: dict[str, dict[float, float]] = {}
    for path in (start / "metrics.csv" for start in (*starts, folder / CSV_FOLDER)):
        if not path.is_file() or not path.stat().st_size:
            continue
        table = pl.read_csv(path, infer_schema_length=None)
        for column in ("train/loss", "validation/loss"):
            if column in table.columns:
                known = table.select("step", column).drop_nulls()
                curve = curves.setdefault(column.replace("/", " "), {})
                curve.update({float(step): float(loss) for step, loss in known.rows()})
    return {name: sorted(curve.items()) for name, curve in curves.items()}
