"""Runs one after the other, each in a folder named by what it is: what is there already is taken.

It deliberately makes neither report nor artifact: a comparison wants predictions.
"""

import hashlib
import json
import shutil
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from omegaconf import DictConfig
from pytorch_lightning.callbacks import Callback
from rich.console import Console
from rich.text import Text

from holdfast.errors import RunError
from holdfast.schema import Schema
from training.comparison.record import FORM, Facts, Record
from training.comparison.wording import MAIN_METRICS
from training.evaluation.questions import Question
from training.evaluation.table import COLUMNS
from training.fitting import fit
from training.judging import ask, check_window
from training.metrics.bootstrap import Bootstrap
from training.run_config import RunConfig
from training.run_folder import SETTINGS_NAME, fingerprint_of
from training.run_setup import company, plain, trainer_factory
from training.store import HistoryStore
from training.task import Task

_ROOT = Path(__file__).resolve().parents[2]
SOURCE_NAME = "source.txt"
SHOWING = (
    *("ablate.py", "compare.py", "comparison", "evaluation", "metrics", "report", "simulate"),
    *("advice.py", "recompose.py", "sweep.py", "sweeps"),
)
"""Parts of ``training`` that judge, show or simulate: they do not change what a run predicts."""

_NOT_SHAPING = ("store_dir", "data_root", "simulated_root", "threads")


def source_digest(root: Path = _ROOT) -> str:
    """Return 16 hex digits that change with any code that a run's predictions come from."""
    digest = hashlib.sha256()
    for path in sorted(file for name in ("holdfast", "training") for file in (root / name).rglob("*.py")):
        place = path.relative_to(root)
        if place.parts[1] not in SHOWING:
            digest.update(place.as_posix().encode() + b"\0" + path.read_bytes() + b"\0")
    return digest.hexdigest()[:16]


@dataclass(frozen=True, slots=True, kw_only=True)
class Runs:
    """Where runs lie, and what they share.

    Attributes:
        folder: Of all runs.
        store: The prepared data set.
        own_keys: Keys of the settings that belong to the comparison, not to a run.
        same_source: Whether a run that other code left is made anew.
        console: Where each finished run is told.
        source: Digest of this code, taken before the first run.
    """

    folder: Path
    store: HistoryStore
    own_keys: frozenset[str]
    same_source: bool
    console: Console
    source: str = field(default_factory=source_digest)

    def record(self, settings: DictConfig, *, label: str, callbacks: Sequence[Callback] = ()) -> Record:
        """Return the record of a run, made now or before.

        Args:
            settings: Of the run, as ``conf/train.yaml`` composes them; further keys are left aside.
            label: What is different about it, for people.
            callbacks: Who looks on while it is fitted; they may end it by an error of theirs.

        Raises:
            ConfigError: A setting is wrong.
            RunError: The folder cannot be written.
        """
        values = self._shaping(plain(settings))
        folder = self.folder_of(settings)
        found = Record.load(folder)
        if found is not None and (found.facts.source == self.source or not self.same_source):
            self._tell(label, found, f"there already, {found.facts.seconds:.0f} s then")
            return found
        _make_ready(folder, values, self.source)
        made = self._made(settings, folder, callbacks)
        made.save(folder)
        shutil.rmtree(folder / "checkpoints", ignore_errors=True)
        self._tell(label, made, f"{made.facts.seconds:.0f} s")
        return made

    def folder_of(self, settings: DictConfig) -> Path:
        """Return where a run lies or will lie: its name changes with anything that shapes its result."""
        return self.folder / fingerprint_of(self._shaping(plain(settings)))[:16]

    def check(self, settings: DictConfig) -> None:
        """Refuse a run that could not be fitted or judged, before others have been trained for hours.

        Raises:
            ConfigError: A setting is wrong, or a split holds nothing to learn from or to judge by.
        """
        config = RunConfig.from_plain(plain(settings))
        task = Task.of(config.data, self.store)
        task.readouts(task.fit_split, seed=config.evaluation.seed)
        check_window(task, config.evaluation)

    def _shaping(self, values: dict[str, Any]) -> dict[str, Any]:
        """Return what decides whether an earlier run is the same one."""
        left = {key: value for key, value in values.items() if key not in self.own_keys}
        left = {key: value for key, value in left.items() if key not in _NOT_SHAPING}
        # Intervals are computed here, from the predictions.
        left["evaluation"] = {k: v for k, v in left["evaluation"].items() if k != "num_bootstrap"}
        return left | {"store": self.store.config_fingerprint}

    def _made(self, settings: DictConfig, folder: Path, callbacks: Sequence[Callback]) -> Record:
        begin = time.perf_counter()
        settings = settings.copy()
        settings.run_dir = str(folder)
        config = RunConfig.from_plain(plain(settings))
        task = Task.of(config.data, self.store)
        fitted = fit(
            task,
            config.fit,
            trainer=trainer_factory(settings, [], callbacks),
            folder=folder,
            resume=True,
            company=company(settings),
        )
        asked = ask(fitted, task, self.store, config=config.evaluation, truth=config.data.truth)
        return Record(
            facts=Facts(
                form=FORM,
                split=asked.split,
                main=asked.main,
                models=tuple(asked.predictions),
                seconds=round(time.perf_counter() - begin, 1),
                source=self.source,
            ),
            customer=asked.readouts.customer,
            cutoff_us=asked.readouts.cutoff_us,
            outcomes=asked.outcomes,
            predictions=asked.predictions,
        )

    def _tell(self, label: str, record: Record, took: str) -> None:
        figures = ", ".join(headline(record, self.store.schema))
        self.console.print(Text(f"{label}: {figures} ({took})"), soft_wrap=True)


def headline(record: Record, schema: Schema) -> Iterator[str]:
    """Yield the main figures of a run's main model, each in words, at the longest horizons."""
    for target in schema.targets:
        metrics = metrics_of(record, schema, target.name, model=record.facts.main)
        for metric in MAIN_METRICS[target.kind]:
            if metric in metrics:
                column = COLUMNS[metric]
                yield f"{target.name} {column.title} {metrics[metric]:{column.difference_form}}"


def metrics_of(record: Record, schema: Schema, target: str, *, model: str) -> dict[str, float]:
    """Return all metrics of a model of a run, for one target within its longest horizon.

    Empty where the model has no answer, or no outcome is known.
    """
    (asked,) = (one for one in schema.targets if one.name == target)
    at = len(asked.horizons_days) - 1
    question = Question.of(asked, at, record.outcomes, {model: record.predictions[model]})
    if model not in question.predicted or not len(question.labels):
        return {}
    bootstrap = Bootstrap(np.arange(len(question.labels)), num_replicates=0, seed=0)
    return {name: float(sample.value) for name, sample in question.samples(model, bootstrap).items()}


def _make_ready(folder: Path, values: dict[str, Any], source: str) -> None:
    """Make the folder of a run; what other code left half done in it goes."""
    try:
        path = folder / SOURCE_NAME
        if not path.is_file() or path.read_text(encoding="ascii").strip() != source:
            shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True, exist_ok=True)
        (folder / SETTINGS_NAME).write_text(json.dumps(values, indent=1, default=str) + "\n")
        path.write_text(source + "\n", encoding="ascii")
    except OSError as error:
        raise RunError(f"the run folder {folder} cannot be written: {error.strerror}") from error
