"""Writes the report of a finished run anew (``python -m training.report run=... comparison=...``).

It deliberately fits and judges nothing: the figures are those of the run, and those of the comparison.
"""

import json
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, cast

import hydra
from omegaconf import DictConfig
from rich.console import Console

from holdfast.errors import ArtifactError
from training.entry import CONFIG_DIR, run_entry, wide_console
from training.evaluation.result import FORM, EvaluationResult
from training.export import ArtifactName, source_revision
from training.prepare import prepare_shown
from training.publishing import REPOSITORY, RESULT_NAME, report_context
from training.report.comparison import read_comparison
from training.report.page import write_report
from training.run_config import RunConfig
from training.run_folder import read_settings, store_dir_of
from training.run_setup import plain
from training.store import HistoryStore
from training.task import Task

COMPARED_KEYS = frozenset({"data", "split", "seeds", "origins", "models", "targets", "summary"})
"""What the page tells of a comparison beside its form and its judged models."""


def report_run(run: Path, *, comparison: Path | None, out: Path | None, console: Console) -> Path:
    """Write a run's report from its ``result.json``.

    Args:
        run: The folder of a finished run.
        comparison: A ``comparison.json`` to show on the page, or None.
        out: Where the page goes; None is the run's own ``report.html``.
        console: Where progress is told.

    Returns:
        The page.

    Raises:
        ArtifactError: The folder holds no finished run, or the comparison is none, or not of its data set.
    """
    settings, compared = read_settings(run), read_comparison(comparison) if comparison else None
    result = _read_result(run / RESULT_NAME)
    config, now = RunConfig.from_plain(settings), datetime.now(UTC)
    if comparison is not None and compared is not None:
        _check_compared(comparison, compared, run=run, data=config.data.name)
    store = prepare_shown(config.data, store_dir=store_dir_of(run, settings), console=console)
    task = Task.of(config.data, store)
    _check_targets(run / RESULT_NAME, result, store)
    name = ArtifactName(
        name=task.name, version="", created_at=now, source_revision=source_revision(REPOSITORY)
    )
    context = report_context(task, store, config=config, folder=run, name=name)
    return write_report(out or run / "report.html", result, replace(context, comparison=compared))


def _read_result(path: Path) -> EvaluationResult:
    """Return the figures of a run.

    Raises:
        ArtifactError: They are missing, damaged or of another form.
    """
    try:
        result = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ArtifactError(path, f"it cannot be read: {error}") from error
    form = result.get("form") if isinstance(result, dict) else None
    if form != FORM:
        raise ArtifactError(path, f"it must be a result of form {FORM}; this is form {form}")
    _check_keys(path, result, EvaluationResult.__required_keys__)
    return cast("EvaluationResult", result)


def _check_keys(path: Path, plain: Mapping[str, Any], needed: frozenset[str]) -> None:
    missing = sorted(needed - plain.keys())
    if missing:
        raise ArtifactError(path, f"it is damaged: {', '.join(missing)} must be in it")


def _check_compared(path: Path, compared: Mapping[str, Any], *, run: Path, data: str) -> None:
    """Refuse figures of one data set on the page of another.

    Raises:
        ArtifactError: Naming both, or what is missing.
    """
    _check_keys(path, compared, COMPARED_KEYS)
    if compared["data"] != data:
        raise ArtifactError(path, f"it is of the data set {compared['data']}, and the run {run} is of {data}")


def _check_targets(path: Path, result: EvaluationResult, store: HistoryStore) -> None:
    """Refuse the figures of another data set.

    Raises:
        ArtifactError: Naming the targets of both.
    """
    declared = [(target.name, target.kind, list(target.horizons_days)) for target in store.schema.targets]
    try:
        told = [
            (target["name"], target["kind"], [horizon["horizon_days"] for horizon in target["horizons"]])
            for target in result["targets"]
        ]
    except (KeyError, TypeError) as error:
        raise ArtifactError(path, f"it is damaged: its targets cannot be read ({error})") from error
    if told != declared:
        raise ArtifactError(
            path, f"its targets are {told}, and those of the store {store.path} are {declared}"
        )


@hydra.main(version_base=None, config_path=CONFIG_DIR, config_name="report")
@run_entry
def main(settings: DictConfig) -> None:
    """Write the report of the run that the command line names."""
    values = plain(settings)
    comparison, out = (Path(str(values[key])) if values[key] else None for key in ("comparison", "out"))
    console = wide_console()
    page = report_run(Path(str(values["run"])), comparison=comparison, out=out, console=console)
    console.print(f"report: {page}", soft_wrap=True)


if __name__ == "__main__":
    main()
