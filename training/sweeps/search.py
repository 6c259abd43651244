"""The trials of a search, one after the other: proposed, trained, judged on validation, kept.

It deliberately never looks at the test window.
"""

import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from shutil import rmtree

import numpy as np
from omegaconf import DictConfig, OmegaConf
from rich.console import Console
from rich.text import Text

from holdfast.errors import ConfigError, HoldfastError
from holdfast.schema import Schema
from training.ablate import check_same_store, judged_answers, judged_on_validation
from training.comparison.origins import Origin
from training.comparison.record import Record
from training.comparison.runs import Runs, metrics_of
from training.comparison.wording import MAIN_METRICS
from training.data_config import DataConfig
from training.entry import OF_THE_DISK
from training.evaluation.table import COLUMNS
from training.recompose import Compose
from training.run_config import RunConfig
from training.run_setup import plain
from training.sweeps.figures import column, joined
from training.sweeps.jobs import reason_of
from training.sweeps.proposals import Proposals, Trial, Watched
from training.sweeps.result import FigureColumn, Row, State
from training.sweeps.space import Space, Value, override, text_of
from training.sweeps.watching import TrialEndedEarly, ValidationWatch


@dataclass(frozen=True, slots=True, kw_only=True)
class Objective:
    """What trials are compared by, at the target's longest horizon.

    Attributes:
        target: Its name; None is the first one.
        metric: One of the evaluation's that is better high or low.
    """

    target: str | None
    metric: str

    def column(self, schema: Schema) -> FigureColumn:
        """Return the figure that it means.

        Raises:
            ConfigError: There is no such target, or the metric is none to rank by.
        """
        names = [target.name for target in schema.targets]
        name = names[0] if self.target is None else self.target
        if name not in names:
            raise ConfigError("sweep.objective.target", self.target, f"the targets are {names}")
        kind = schema.targets[names.index(name)].kind
        known = COLUMNS.keys() & RANKING_METRICS[kind]
        if self.metric not in known:
            raise ConfigError(
                "sweep.objective.metric", self.metric, f"of {name} it is one of {sorted(known)}"
            )
        horizon_days = schema.targets[names.index(name)].max_horizon_days
        return column(name, horizon_days, self.metric)


_OF_AMOUNTS = frozenset({"normalised_gini", "spearman", "mae_of_mean", "rmse"})
RANKING_METRICS = {
    "time_to_event": frozenset({"auroc", "average_precision", "log_loss", "brier", "lift_at_10"}),
    "amount": _OF_AMOUNTS | {"mae_of_median"},
    "count": _OF_AMOUNTS,
}
"""By kind of target. Errors of calibration are no aim: it is fitted where they are judged."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Searching:
    """What the trials of a search share.

    Attributes:
        data: The data set.
        space: What may be chosen.
        objective: The figure that trials are compared by.
        judged: The model of a run that is judged.
        origins: Temporal splits whose validation windows judge.
        seeds: Of the trainings; every trial takes all of them at all origins.
        runs: Where trainings are kept.
        compose: Applies overrides.
        console: Where every trial is told.
    """

    data: DataConfig
    space: Space
    objective: FigureColumn
    judged: str
    origins: Sequence[Origin]
    seeds: Sequence[int]
    runs: Runs
    compose: Compose
    console: Console

    def trial(self, number: int, values: Mapping[str, Value], watched: Watched) -> tuple[Trial, Row]:
        """Train and judge what was proposed; a trial that fails is one too.

        Args:
            number: Of the trial.
            values: What was chosen.
            watched: Where validation losses are told.

        Returns:
            The trial as what comes next sees it, and its row of the table.

        Raises:
            RunError: The disk is full or cannot be written, which says nothing about the trial.
            OSError: The same.
        """
        begin = time.perf_counter()
        state: State = "finished"
        reason: str | None = None
        figures: dict[str, float | None] = {}
        folders: list[Path] = []
        try:
            figures = self._figures(number, values, watched, folders)
            if figures[self.objective["name"]] is None:
                state, reason = "failed", "its objective is not defined"
        except TrialEndedEarly as ending:
            state, reason = "pruned", str(ending)
            # A trial is not gone on with once it has been given up.
            rmtree(folders[-1] / "checkpoints", ignore_errors=True)
        except HoldfastError as error:
            if _is_of_the_disk(error):
                raise
            state, reason = "failed", " ".join(str(error).split())
        except Exception as error:  # a defect or a full memory ends this trial, not the search
            if _is_of_the_disk(error):
                raise
            self.console.print(Text(traceback.format_exc()), soft_wrap=True)
            state, reason = "failed", reason_of(error)
        if state != "finished":
            self.console.print(Text(f"trial {number} {state}: {reason}"), soft_wrap=True)
        value = figures.get(self.objective["name"]) if state == "finished" else None
        row = Row(
            number=number,
            state=state,
            overrides={key: text_of(chosen) for key, chosen in values.items()},
            figures=figures,
            seconds=round(time.perf_counter() - begin, 1),
            folder=str(folders[0]) if folders else "",
            reason=reason,
            value=value,
            losses={str(step): loss for step, loss in watched.losses.items()},
        )
        return Trial(values=dict(values), state=state, value=value, losses=dict(watched.losses)), row

    def columns(self) -> list[FigureColumn]:
        """Return what the table shows of every trial, the objective first."""
        found = [self.objective]
        for target in self.runs.store.schema.targets:
            found += [
                column(target.name, target.max_horizon_days, metric) for metric in MAIN_METRICS[target.kind]
            ]
        return joined(found)

    def defaults(self, settings: DictConfig, choices: Mapping[str, str]) -> dict[str, Value]:
        """Return what the configuration has where the space may choose.

        Args:
            settings: As the command line composes them.
            choices: Options of groups.
        """
        return {
            key: choices[key] if key in choices else OmegaConf.select(settings, key.lstrip("+"))
            for key in self.space.parameters
        }

    def _figures(
        self, number: int, values: Mapping[str, Value], watched: Watched, folders: list[Path]
    ) -> dict[str, float | None]:
        """Return means over origins and seeds; ``folders`` gets that of every run before it begins."""
        overrides = [override(key, value) for key, value in values.items()]
        settings = judged_on_validation(self.compose(overrides))
        config = RunConfig.from_plain(plain(settings))
        check_same_store(config, self.data, where=f"trial {number}", overrides=overrides)
        records: list[Record] = []
        for origin in self.origins:
            moved = origin.applied(settings)
            for seed in self.seeds:
                moved.seed = seed
                folders.append(self.runs.folder_of(moved))
                # The first training of a trial is watched: those of other cutoffs have another level.
                callbacks = [] if records else self._watches(config, watched)
                label = f"trial {number} ({' '.join(overrides)}), {_place(origin, seed)}"
                records.append(self.runs.record(moved, label=label, callbacks=callbacks))
        return {c["name"]: self._mean(c, records) for c in self.columns()}

    def _watches(self, config: RunConfig, watched: Watched) -> list[ValidationWatch]:
        name = self.objective["target"]
        kind = next(target.kind for target in self.runs.store.schema.targets if target.name == name)
        weight: float = getattr(config.fit.weights, kind)
        return [ValidationWatch(watched, part=name, weight=weight)] if weight else []

    def _mean(self, figure: FigureColumn, records: Sequence[Record]) -> float | None:
        values = []
        for record in records:
            judged_answers(record, self.judged)
            schema = self.runs.store.schema
            metrics = metrics_of(record, schema, figure["target"], model=self.judged)
            values.append(metrics.get(figure["metric"], float("nan")))
        mean = float(np.mean(values))
        return mean if np.isfinite(mean) else None


def search(
    searching: Searching, proposals: Proposals, *, num_trials: int, keep: Callable[[Trial, Row], None]
) -> None:
    """Make trials until there are ``num_trials`` of them.

    Args:
        searching: What they share.
        proposals: Whom to ask; it has been told of those that were there.
        num_trials: How many there shall be in all.
        keep: Called with each as soon as it has ended.

    Raises:
        ConfigError: Every trial of the first few failed.
    """
    failures: list[str] = []
    for number in range(proposals.num_told, num_trials):
        values, watched = proposals.ask(number)
        trial, row = searching.trial(number, values, watched)
        proposals.tell(trial)
        keep(trial, row)
        failures.append(row["reason"] or "") if trial.state == "failed" else failures.clear()
        if number + 1 == len(failures) >= MOST_FAILURES:
            raise ConfigError("sweep", f"{len(failures)} failed trials", f"the last one said: {failures[-1]}")


MOST_FAILURES = 3
"""Trials at the beginning, all of which failed: then something other than their values is wrong."""


def _is_of_the_disk(error: BaseException | None) -> bool:
    """Return whether the disk is at fault: kept as a result, that would fail the same trial for ever."""
    while error is not None and not isinstance(error, OSError):
        error = error.__cause__
    return error is not None and error.errno in OF_THE_DISK


def _place(origin: Origin, seed: int) -> str:
    return f"validation {origin.validation[0][:10]}, seed {seed}"
