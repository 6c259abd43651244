"""Trains and judges everything over seeds and cutoffs (``python -m training.compare data=cdnow``).

It deliberately makes no artifact: what it trains is judged and kept as predictions.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import hydra
from omegaconf import DictConfig
from rich.console import Console
from rich.text import Text

from holdfast.errors import ConfigError, InputError
from holdfast.plain import from_plain
from training.comparison import ComparisonResult, Record, render_comparison
from training.comparison.combine import Judging, Sitting, combine
from training.comparison.origins import Origin, rolling_origins
from training.comparison.repeats import Repeats
from training.comparison.result import FORM, OriginFacts
from training.comparison.runs import Runs
from training.comparison.table import text_of
from training.comparison.wording import summary
from training.data_config import DataConfig
from training.entry import CONFIG_DIR, run_entry, wide_console
from training.export import source_revision
from training.metrics.bootstrap import CONFIDENCE
from training.outcomes import Predictions
from training.run_config import RunConfig
from training.run_setup import plain, prepared
from training.whole_file import write_whole

OWN_KEYS = frozenset(
    {"seeds", "num_origins", "step_days", "margin", "num_replicates", "same_source", "runs_dir", "out"}
)
"""Keys of ``conf/compare.yaml`` that belong to the comparison and not to one of its runs."""

OURS = ("blend", "sequence")
"""Models that the others are compared with, where a run has them."""

RESULT_NAME = "comparison.json"
TEXT_NAME = "comparison.txt"
_ROOT = Path(__file__).resolve().parents[1]


def compare(settings: DictConfig, *, console: Console | None = None) -> ComparisonResult:
    """Train what is not there yet, judge all of it together and keep the result.

    Args:
        settings: As ``conf/compare.yaml`` composes it.
        console: Where progress is told.

    Returns:
        The result, also written to ``comparison.json`` and, as tables, to ``comparison.txt``.

    Raises:
        ConfigError: A setting is wrong, or an origin lies outside of the data.
    """
    console = console or wide_console()
    repeats, judging = Repeats.of(settings), judging_of(settings)
    seeds = repeats.seeds
    data = RunConfig.from_plain(plain(settings)).data
    origins = rolling_origins(data, num=repeats.num_origins, step_days=repeats.step_days)
    runs = opened_runs(settings, data, console, own_keys=OWN_KEYS)
    check_origins(runs, origins, [settings])
    records = []
    for number, origin in enumerate(origins, start=1):
        moved = origin.applied(settings)
        for seed in seeds:
            moved.seed = seed
            label = f"origin {number} of {len(origins)} ({origin.test[0]}), seed {seed}"
            records.append(runs.record(moved, label=label))
    by_origin = [records[start : start + len(seeds)] for start in range(0, len(records), len(seeds))]
    models = answering_everywhere(by_origin, origins, console)
    sittings = [sitting(same, {m: [r.predictions[m] for r in same] for m in models}) for same in by_origin]
    judging = replace(judging, judged=tuple(name for name in OURS if name in models))
    result = completed(
        data=data,
        origins=origins,
        sittings=sittings,
        judging=judging,
        seeds=seeds,
        records={"all": records},
        unanswered=[name for name in settings.evaluation.baselines if name not in models],
        split=records[0].facts.split,
        runs=runs,
    )
    keep(result, Path(settings.out), console)
    return result


def answering_everywhere(
    by_origin: Sequence[Sequence[Record]], origins: Sequence[Origin], console: Console
) -> list[str]:
    """Return the models that every run has, and tell where the others are missing.

    A mean over origins is one of the same origins for all: a baseline may find nothing to learn from
    at an early one.
    """
    named = dict.fromkeys(name for same in by_origin for record in same for name in record.predictions)
    models = []
    for name in named:
        missing = [
            origin.validation[0]
            for origin, same in zip(origins, by_origin, strict=True)
            if any(name not in record.predictions for record in same)
        ]
        if missing:
            said = f"{name} is left out: it has no answer with validation from {', '.join(missing)} on"
            console.print(Text(said), soft_wrap=True)
        else:
            models.append(name)
    return models


def opened_runs(
    settings: DictConfig, data: DataConfig, console: Console, *, own_keys: frozenset[str]
) -> Runs:
    """Prepare the data set once for all runs."""
    return Runs(
        folder=Path(settings.runs_dir),
        store=prepared(data, Path(settings.store_dir), console),
        own_keys=own_keys,
        same_source=settings.same_source,
        console=console,
    )


def check_origins(runs: Runs, origins: Sequence[Origin], variants: Sequence[DictConfig]) -> None:
    """Refuse a run that could not be fitted or judged, before others have been trained for hours.

    Raises:
        ConfigError: A setting is wrong, or an origin has nothing to learn from or to judge by.
    """
    for index, origin in enumerate(origins):
        for variant in variants:
            try:
                runs.check(origin.applied(variant))
            except InputError as error:
                if index == 0:
                    raise
                limit = f"with validation from {origin.validation[0]} on, a run is impossible: {error}"
                raise ConfigError("num_origins", len(origins), limit) from error


def sitting(same_origin: Sequence[Record], answers: Mapping[str, Sequence[Predictions]]) -> Sitting:
    """Return what records of one origin were asked, with the answers to judge."""
    first = same_origin[0]
    return Sitting(
        customer=first.customer, cutoff_us=first.cutoff_us, outcomes=first.outcomes, answers=answers
    )


def judging_of(settings: DictConfig) -> Judging:
    """Return how everything is judged, once it is known which models there are.

    Raises:
        ConfigError: ``margin`` or ``num_replicates``.
    """
    values = plain(settings)
    own = {key: values[key] for key in ("margin", "num_replicates")}
    # The resamples do not depend on the seeds that are compared.
    return from_plain(Judging, {"judged": [], "seed": 0, **own}, where="")


def completed(
    *,
    data: DataConfig,
    origins: Sequence[Origin],
    sittings: Sequence[Sitting],
    judging: Judging,
    seeds: Sequence[int],
    records: Mapping[str, Sequence[Record]],
    unanswered: Sequence[str],
    split: str,
    runs: Runs,
) -> ComparisonResult:
    """Judge the sittings and put all around them that a reader wants to know."""
    targets = combine(runs.store.schema, sittings, judging)
    return ComparisonResult(
        form=FORM,
        data=data.name,
        split=split,
        judged=list(judging.judged),
        models=list(sittings[0].answers),
        unanswered=list(unanswered),
        seeds=list(seeds),
        origins=[
            OriginFacts(
                validation=list(origin.validation),
                test=list(origin.test),
                num_readouts=len(asked.customer),
                num_customers=len(set(asked.customer.tolist())),
            )
            for origin, asked in zip(origins, sittings, strict=True)
        ],
        num_replicates=judging.num_replicates,
        confidence=CONFIDENCE,
        margin=judging.margin,
        targets=targets,
        summary=summary(targets, judging.judged, margin=judging.margin),
        seconds={
            name: round(sum(record.facts.seconds for record in made), 1) for name, made in records.items()
        },
        revision=source_revision(_ROOT),
    )


def keep(result: ComparisonResult, folder: Path, console: Console) -> None:
    """Show a result and write it down.

    Raises:
        RunError: The disk is full or the folder cannot be written.
    """
    console.print(render_comparison(result))
    write_whole(folder / TEXT_NAME, text_of(result).encode())
    write_whole(folder / RESULT_NAME, f"{json.dumps(result, indent=1, allow_nan=False)}\n".encode())


@hydra.main(version_base=None, config_path=CONFIG_DIR, config_name="compare")
@run_entry
def main(settings: DictConfig) -> None:
    """Compare what the command line composes."""
    console = wide_console()
    compare(settings, console=console)
    console.print(f"comparison: {Path(settings.out) / RESULT_NAME}", soft_wrap=True)


if __name__ == "__main__":
    main()
