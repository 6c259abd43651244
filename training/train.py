"""The recipe: prepare, fit, calibrate, judge, report, export (``python -m training.train data=...``).

It deliberately does nothing itself; every step has a module of its own.
"""

from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import hydra
from omegaconf import DictConfig
from rich.console import Console

from training.entry import CONFIG_DIR, run_entry, wide_console
from training.evaluation import EvaluationResult, render_table
from training.export import check_place
from training.fitted import FittedModel
from training.fitting import fit
from training.judging import check_window, judge
from training.publishing import publish
from training.run_config import RunConfig
from training.run_folder import check_run, open_run
from training.run_setup import company, loggers, plain, prepared, trainer_factory
from training.store import HistoryStore
from training.sweeps.jobs import kept_apart
from training.task import Task


@dataclass(frozen=True, slots=True, kw_only=True)
class Trained:
    """What a run leaves behind."""

    folder: Path
    store: HistoryStore
    task: Task
    fitted: FittedModel
    result: EvaluationResult
    artifact: Path


def train(settings: DictConfig, *, console: Console | None = None) -> Trained:
    """Train one model and leave a run folder with model, figures, report and artifact.

    Args:
        settings: As ``conf/train.yaml`` composes it.
        console: Where progress is told.

    Returns:
        The parts, opened.
    """
    console = console or wide_console()
    values = plain(settings)
    config = RunConfig.from_plain(values)
    run_dir, resume = Path(settings.run_dir), settings.resume
    check_run(values, run_dir=run_dir, resume=resume)
    if settings.artifact_dir is not None:
        check_place(Path(settings.artifact_dir))

    store = prepared(config.data, Path(settings.store_dir), console)
    task = Task.of(config.data, store)
    check_window(task, config.evaluation)

    with open_run(values, data=store.config_fingerprint, run_dir=run_dir, resume=resume) as run:
        settings.run_dir = str(run.path)
        artifact = Path(settings.artifact_dir or run.path / "artifact")
        check_place(artifact)

        console.print(f"Fitting on {task.name}; everything lies in {run.path}")
        fitted = fit(
            task,
            config.fit,
            trainer=trainer_factory(settings, loggers(settings)),
            folder=run.path,
            resume=run.is_resumed,
            company=company(settings),
        )

        console.print(f"Judging on the {config.evaluation.split} window")
        result = judge(fitted, task, store, config=config.evaluation, truth=config.data.truth)

        now = datetime.now(UTC)
        publish(fitted, task, store, result, config=config, folder=run.path, artifact=artifact, now=now)
        run.finish()
    return Trained(folder=run.path, store=store, task=task, fitted=fitted, result=result, artifact=artifact)


@hydra.main(version_base=None, config_path=CONFIG_DIR, config_name="train")
@run_entry
@kept_apart
def main(settings: DictConfig) -> None:
    """Train what the command line composes and show the figures."""
    console = wide_console()
    trained = train(settings, console=console)
    console.print(render_table(trained.result))
    console.print(f"artifact: {trained.artifact}")


if __name__ == "__main__":
    main()
