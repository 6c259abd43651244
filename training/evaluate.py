"""Judges the model of a finished run once more (``python -m training.evaluate run=... split=validation``).

It deliberately fits nothing but the baselines beside it.
"""

import json
from pathlib import Path

import hydra
from omegaconf import DictConfig
from rich.console import Console

from holdfast.plain import from_plain
from training.entry import CONFIG_DIR, run_entry, wide_console
from training.evaluation import EvaluationResult, render_table
from training.fitted import FittedModel
from training.judging import EvaluationConfig, judge
from training.run_config import RunConfig
from training.run_folder import read_settings
from training.run_setup import plain, prepared
from training.task import Task


def evaluate_run(run: Path, *, config: EvaluationConfig, console: Console) -> EvaluationResult:
    """Judge the model of a run on one of its windows and write ``result_<split>.json`` beside it.

    Args:
        run: The folder of a finished run.
        config: Which window, baselines, resamples and seed.
        console: Where progress is told.

    Returns:
        The result.

    Raises:
        ConfigError: The weights have seen the window.
        ArtifactError: The folder holds no finished run.
    """
    settings = read_settings(run)
    fitted = FittedModel.load(run)
    data = RunConfig.from_plain(settings).data
    config.check_unseen(data.cutoffs.fit_on)
    store = prepared(data, Path(settings["store_dir"]), console)
    task = Task.of(data, store)
    result = judge(fitted, task, store, config=config, truth=data.truth)
    (run / f"result_{config.split}.json").write_text(json.dumps(result, indent=1, allow_nan=False) + "\n")
    return result


@hydra.main(version_base=None, config_path=CONFIG_DIR, config_name="evaluate")
@run_entry
def main(settings: DictConfig) -> None:
    """Judge the run that the command line names and show the figures."""
    values = plain(settings)
    run = Path(str(values.pop("run")))
    config = from_plain(EvaluationConfig, values, where="evaluation")
    console = wide_console()
    result = evaluate_run(run, config=config, console=console)
    console.print(render_table(result))


if __name__ == "__main__":
    main()
