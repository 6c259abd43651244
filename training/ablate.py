"""Trains named variants over seeds and judges them on the validation window (``python -m training.ablate``).

It deliberately never looks at the test window: variants are there to choose from.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import hydra
from omegaconf import DictConfig, OmegaConf
from rich.console import Console

from holdfast.errors import ConfigError
from training.baselines import BASELINE_NAMES
from training.compare import (
    OWN_KEYS,
    RESULT_NAME,
    check_origins,
    completed,
    judging_of,
    keep,
    opened_runs,
    sitting,
)
from training.comparison import ComparisonResult, Record
from training.comparison.origins import rolling_origins
from training.comparison.repeats import Repeats
from training.data_config import DataConfig
from training.entry import CONFIG_DIR, run_entry, wide_console
from training.judging import BLEND, SEQUENCE
from training.outcomes import Predictions
from training.recompose import Compose, recomposer
from training.run_config import RunConfig
from training.run_setup import plain

DEFAULT = "default"
"""The variant without overrides, with which the others are compared."""


def ablate(settings: DictConfig, compose: Compose, *, console: Console | None = None) -> ComparisonResult:
    """Train every variant that is not there yet, judge all together and keep the result.

    Args:
        settings: As ``conf/ablate.yaml`` composes it.
        compose: Applies the overrides of a variant.
        console: Where progress is told.

    Returns:
        The result of :mod:`training.comparison` with variants in the place of models.

    Raises:
        ConfigError: A variant's override is wrong; nothing has been trained then.
    """
    console = console or wide_console()
    repeats, judging = Repeats.of(settings), judging_of(settings)
    check_judged(settings.judged)
    overrides = _variants(settings)
    variants = {name: judged_on_validation(compose(chosen)) for name, chosen in overrides.items()}
    configs = {name: RunConfig.from_plain(plain(variant)) for name, variant in variants.items()}
    data = configs[DEFAULT].data
    for name, config in configs.items():
        check_same_store(config, data, where=f"ablation.variants.{name}", overrides=overrides[name])
    if OmegaConf.select(settings, "data.cutoffs.fit_on") != "train":
        console.print("weights see training cutoffs alone here, not every window (cutoffs.fit_on=train)")
    origins = rolling_origins(data, num=repeats.num_origins, step_days=repeats.step_days)
    runs = opened_runs(settings, data, console, own_keys=OWN_KEYS | {"ablation", "judged"})
    check_origins(runs, origins, list(variants.values()))
    records: dict[str, list[list[Record]]] = {name: [] for name in variants}
    for name, variant in variants.items():
        for origin in origins:
            moved = origin.applied(variant)
            records[name].append([])
            for seed in repeats.seeds:
                moved.seed = seed
                label = f"{name}, validation {origin.validation[0]}, seed {seed}"
                records[name][-1].append(runs.record(moved, label=label))
    sittings = [
        sitting(
            records[DEFAULT][index],
            {
                name: [judged_answers(r, settings.judged) for r in made[index]]
                for name, made in records.items()
            },
        )
        for index in range(len(origins))
    ]
    result = completed(
        data=data,
        origins=origins,
        sittings=sittings,
        judging=replace(judging, judged=tuple(n for n in variants if n != DEFAULT), against=(DEFAULT,)),
        seeds=repeats.seeds,
        records={name: [record for same in made for record in same] for name, made in records.items()},
        unanswered=(),
        split="validation",
        runs=runs,
    )
    result["overrides"] = overrides
    keep(result, Path(settings.out), console)
    return result


def _variants(settings: DictConfig) -> dict[str, list[str]]:
    """Return the overrides of every variant, the default first.

    Raises:
        ConfigError: There is none, or the default has overrides.
    """
    found = OmegaConf.to_container(settings.ablation.variants, resolve=True)
    if not isinstance(found, Mapping) or not found or DEFAULT in found:
        limit = f"it must name at least one variant, and none {DEFAULT!r}, which has no overrides"
        raise ConfigError("ablation.variants", found, limit)
    variants = {str(name): [str(value) for value in chosen or ()] for name, chosen in found.items()}
    return {DEFAULT: [], **variants}


def check_same_store(config: RunConfig, data: DataConfig, *, where: str, overrides: Sequence[str]) -> None:
    """Refuse a variant whose store would be another one.

    Raises:
        ConfigError: Naming where the variant stands, and its overrides.
    """
    if config.data.store_fingerprint(files=None) != data.store_fingerprint(files=None):
        limit = "a variant may not change what the history store is made of"
        raise ConfigError(where, list(overrides), limit)


def judged_on_validation(settings: DictConfig) -> DictConfig:
    """Return the settings with weights that see training cutoffs alone, judged on the validation window."""
    OmegaConf.update(settings, "evaluation.split", "validation")
    # Weights that had seen the validation window could not be judged there.
    OmegaConf.update(settings, "data.cutoffs.fit_on", "train", force_add=True)
    return settings


def check_judged(model: str) -> None:
    """Refuse a model that no run has; whether these runs have it is seen when the first one is there.

    Raises:
        ConfigError: Naming it.
    """
    known = (SEQUENCE, BLEND, *BASELINE_NAMES)
    if model not in known:
        raise ConfigError("judged", model, f"it must be one of {list(known)}")


def judged_answers(record: Record, model: str) -> Predictions:
    """Return what the judged model of a run said.

    Raises:
        ConfigError: The run has no such model.
    """
    if model not in record.predictions:
        raise ConfigError("judged", model, f"the models are {list(record.predictions)}")
    return record.predictions[model]


@hydra.main(version_base=None, config_path=CONFIG_DIR, config_name="ablate")
@run_entry
def main(settings: DictConfig) -> None:
    """Judge the variants of the group ``ablation`` that the command line names."""
    console = wide_console()
    ablate(settings, recomposer("ablate"), console=console)
    console.print(f"ablation: {Path(settings.out) / RESULT_NAME}", soft_wrap=True)


if __name__ == "__main__":
    main()
