"""Writes the report of a finished run anew (``python -m training.report run=... comparison=...``).

It deliberately fits and judges nothing: the figures are those of the run, and those of the comparison.
"""

import json
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import hydra
from omegaconf import DictConfig
from rich.console import Console

from holdfast.errors import ArtifactError
from training.entry import CONFIG_DIR, run_entry, wide_console
from training.evaluation.result import FORM
from training.export import ArtifactName, source_revision
from training.prepare import prepare_shown
from training.publishing import REPOSITORY, RESULT_NAME, report_context
from training.report.comparison import read_comparison
from training.report.page import write_report
from training.run_config import RunConfig
from training.run_folder import read_settings
from training.run_setup import plain
from training.task import Task


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
        ArtifactError: The folder holds no finished run, or the comparison is none.
    """
    settings, compared = read_settings(run), read_comparison(comparison) if comparison else None
    try:
        result = json.loads((run / RESULT_NAME).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ArtifactError(run / RESULT_NAME, f"it cannot be read: {error}") from error
    form = result.get("form") if isinstance(result, dict) else None
    if form != FORM:
        raise ArtifactError(run / RESULT_NAME, f"it must be a result of form {FORM}; this is form {form}")
    config, now = RunConfig.from_plain(settings), datetime.now(UTC)
    store = prepare_shown(config.data, store_dir=Path(settings["store_dir"]), console=console)
    task = Task.of(config.data, store)
    name = ArtifactName(
        name=task.name, version="", created_at=now, source_revision=source_revision(REPOSITORY)
    )
    context = report_context(task, store, config=config, folder=run, name=name)
    return write_report(out or run / "report.html", result, replace(context, comparison=compared))


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
