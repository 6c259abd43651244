"""Judges the model of a finished run once more (``python -m training.evaluate run=... split=validation``).

It deliberately fits nothing but the baselines beside it.
"""

import json
from pathlib import Path
from typing import Any

import hydra
from omegaconf import DictConfig
from rich.console import Console

from holdfast.errors import SchemaMismatchError, shorten
from holdfast.plain import from_plain, to_plain
from holdfast.schema import Schema
from training.entry import CONFIG_DIR, run_entry, wide_console
from training.evaluation import EvaluationResult, render_table
from training.fitted import FILE_NAME, FittedModel
from training.judging import EvaluationConfig, judge
from training.run_config import RunConfig
from training.run_folder import read_settings, store_dir_of
from training.run_setup import plain, prepared
from training.store import HistoryStore
from training.task import Task
from training.whole_file import write_whole


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
        ArtifactError: The folder holds no finished run, or the model of another data set.
        RunError: The disk is full or the folder cannot be written.
    """
    settings = read_settings(run)
    fitted = FittedModel.load(run)
    data = RunConfig.from_plain(settings).data
    config.check_unseen(data.cutoffs.fit_on)
    store = prepared(data, store_dir_of(run, settings), console)
    check_same_schema(run / FILE_NAME, fitted.spec.schema, store)
    task = Task.of(data, store)
    result = judge(fitted, task, store, config=config, truth=data.truth)
    text = f"{json.dumps(result, indent=1, allow_nan=False)}\n"
    write_whole(run / f"result_{config.split}.json", text.encode())
    return result


def check_same_schema(path: Path, schema: Schema, store: HistoryStore) -> None:
    """Refuse a model that would be asked about columns or targets that it was not fitted on.

    Args:
        path: Of the model.
        schema: Of the model.
        store: That it is to be judged on.

    Raises:
        SchemaMismatchError: Naming both, and the first declaration that differs.
    """
    own, other = to_plain(schema), to_plain(store.schema)
    for part, value in own.items():
        if value != other[part]:
            there, here = _named(value), _named(other[part])
            if there == here:
                there, here = value, other[part]
            reason = f"it was fitted on another data set than that of the store {store.path}"
            raise SchemaMismatchError(
                path, f"{reason}: {part} are {shorten(there)} there and {shorten(here)} here"
            )


def _named(declared: Any) -> Any:
    """Return a part of a schema by the names in it, which say enough where they differ."""
    if not isinstance(declared, list):
        return declared
    return [one["name"] if isinstance(one, dict) else one for one in declared]


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
