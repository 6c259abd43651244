"""Looks for good settings on the validation window (``python -m training.sweep data=... sweep=...``).

It deliberately never looks at the test window: what is found there is for ``training.train`` to say.
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import hydra
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf
from rich.console import Console
from rich.text import Text

from holdfast.errors import ConfigError, RunError
from holdfast.plain import from_plain
from training.ablate import check_judged, judged_on_validation
from training.compare import OWN_KEYS as COMPARE_KEYS
from training.compare import check_origins, opened_runs
from training.comparison.origins import Origin, rolling_origins
from training.comparison.repeats import Repeats
from training.comparison.runs import Runs
from training.entry import CONFIG_DIR, run_entry, wide_console
from training.evaluation.table import COLUMNS
from training.export import source_revision
from training.publishing import REPOSITORY
from training.recompose import Compose, given_overrides, key_of, recomposer
from training.run_config import RunConfig
from training.run_folder import fingerprint_of
from training.run_setup import plain
from training.sweeps.proposals import ProposalConfig, Proposals, Trial
from training.sweeps.result import FORM, Row, SweepResult
from training.sweeps.search import Objective, Searching, search
from training.sweeps.space import Space
from training.sweeps.table import JSON_NAME, keep, render_sweep
from training.sweeps.trials import only_searcher

OWN_KEYS = COMPARE_KEYS | {"sweep", "num_trials", "judged", "sweeps_dir"}
"""Keys of ``conf/sweep.yaml`` that belong to the search and not to one of its runs."""

_NOT_FOR_TRAIN = OWN_KEYS | {"evaluation.split"}
"""Not on the line that trains the best trial, which is for any window."""


def sweep(
    settings: DictConfig,
    compose: Compose,
    *,
    choices: Mapping[str, str],
    given: Sequence[str] = (),
    console: Console | None = None,
) -> tuple[SweepResult, Path]:
    """Make the trials that are not there yet and keep the table of all.

    Args:
        settings: As ``conf/sweep.yaml`` composes it.
        compose: Applies the overrides of a trial.
        choices: Options of the groups.
        given: Overrides of the command line, for the line that trains the best trial.
        console: Where progress is told.

    Returns:
        The table, best trial first, and the folder of the search.

    Raises:
        ConfigError: A setting is wrong, or the test window was to judge.
        RunError: Optuna is not installed, or another process searches there.
    """
    console = console or wide_console()
    check_choosing(settings)
    repeats = Repeats.of(settings)
    space = Space.from_plain(OmegaConf.to_container(settings.sweep.space, resolve=True))
    chosen = plain(settings.sweep)
    proposing = from_plain(ProposalConfig, chosen["proposals"], where="sweep.proposals")
    base = judged_on_validation(compose([]))
    data = RunConfig.from_plain(plain(base)).data
    origins = rolling_origins(data, num=repeats.num_origins, step_days=repeats.step_days)
    runs = opened_runs(settings, data, console, own_keys=OWN_KEYS)
    check_origins(runs, origins, [base])
    objective = from_plain(Objective, chosen["objective"], where="sweep.objective").column(runs.store.schema)
    searching = Searching(
        data=data,
        space=space,
        objective=objective,
        judged=settings.judged,
        origins=origins,
        seeds=repeats.seeds,
        runs=runs,
        compose=compose,
        console=console,
    )
    better = COLUMNS[objective["metric"]].better
    assert better != "near"
    proposals = Proposals(
        space,
        proposing,
        better="low" if better == "low" else "high",
        default=searching.defaults(base, choices),
        seed=settings.seed,
    )
    folder = Path(settings.sweeps_dir) / _name(settings, base, runs, origins)
    rows: list[Row] = []

    def kept(trial: Trial, row: Row) -> None:
        trials.add(trial, row)
        rows.append(row)
        keep(_result(searching, rows, given), folder)

    with only_searcher(folder) as trials:
        for trial, row in trials.read():
            proposals.tell(trial)
            rows.append(row)
        if rows:
            console.print(f"going on with {len(rows)} trials that are there already, in {folder}")
        search(searching, proposals, num_trials=settings.num_trials, keep=kept)
        result = _result(searching, rows, given)
        keep(result, folder)
    console.print(render_sweep(result))
    return result, folder


def check_choosing(settings: DictConfig) -> None:
    """Refuse a search that would choose on the test window, or that cannot be watched.

    Raises:
        ConfigError: ``evaluation.split``, ``num_trials`` or ``judged``.
        RunError: The trainer takes several devices.
    """
    if settings.evaluation.split != "validation":
        limit = "a search chooses on the validation window; test is for what was chosen"
        raise ConfigError("evaluation.split", settings.evaluation.split, limit)
    check_judged(settings.judged)
    if not isinstance(settings.num_trials, int) or settings.num_trials < 1:
        raise ConfigError("num_trials", settings.num_trials, "it must be a whole number, at least 1")
    if OmegaConf.select(settings, "trainer.devices") != 1:
        raise RunError("a trial of a search takes one device: trainer=cpu, trainer=gpu, or trainer.devices=1")


def _name(settings: DictConfig, base: DictConfig, runs: Runs, origins: Sequence[Origin]) -> str:
    """Return the name of a search, which changes with anything that its trials depend on."""
    shaping = {
        "run": runs.folder_of(base).name,
        "sweep": plain(settings.sweep),
        "judged": settings.judged,
        "seed": settings.seed,
        "seeds": list(settings.seeds),
        "origins": [origin.validation for origin in origins],
        "source": runs.source if settings.same_source else None,
    }
    return fingerprint_of(json.loads(json.dumps(shaping)))[:16]


def _result(searching: Searching, rows: Sequence[Row], given: Sequence[str]) -> SweepResult:
    """Return the table: finished trials from the best on, then those given up, then those that failed."""
    sign = 1.0 if COLUMNS[searching.objective["metric"]].better == "low" else -1.0
    order = ("finished", "pruned", "failed", "unfinished")

    def place(row: Row) -> tuple[int, float, int]:
        value = row.get("value")
        return (order.index(row["state"]), 0.0 if value is None else sign * value, row["number"])

    ranked = sorted(rows, key=place)
    result = SweepResult(
        form=FORM,
        data=searching.data.name,
        split="validation",
        shared=list(given),
        columns=searching.columns(),
        rows=ranked,
        means=[],
        objective=searching.objective["name"],
        revision=source_revision(REPOSITORY),
    )
    if ranked and ranked[0]["state"] == "finished":
        values = ranked[0]["overrides"]
        again = {key_of(key) for key in values} | _NOT_FOR_TRAIN
        kept = [override for override in given if key_of(override) not in again]
        result["best"] = [*kept, *(f"{key}={value}" for key, value in values.items())]
    return result


@hydra.main(version_base=None, config_path=CONFIG_DIR, config_name="sweep")
@run_entry
def main(settings: DictConfig) -> None:
    """Search the space of the group ``sweep`` that the command line names."""
    console = wide_console()
    choices = {str(group): str(option) for group, option in HydraConfig.get().runtime.choices.items()}
    result, folder = sweep(
        settings, recomposer("sweep"), choices=choices, given=given_overrides(), console=console
    )
    if "best" in result:
        line = f"python -m training.train {' '.join(result['best'])}"
        console.print(Text(f"best: {line}"), soft_wrap=True)
    console.print(f"table: {folder / JSON_NAME}", soft_wrap=True)


if __name__ == "__main__":
    main()
