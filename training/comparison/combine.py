"""Records of many runs to one result: means over seeds and origins, intervals, paired differences.

It deliberately does not know how the runs were made. One resample of customers weighs all seeds,
origins, cutoffs and models, so an interval is that of the mean over seeds, and every difference is
paired.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Int64
from numpy import ndarray

from holdfast.errors import ConfigError
from holdfast.schema import Schema, Target
from training.comparison.result import (
    Block,
    CutoffBlock,
    Difference,
    Figure,
    HorizonComparison,
    TargetComparison,
)
from training.comparison.wording import verdict_of
from training.evaluation.questions import (
    TRUTH,
    Question,
    interval_of,
    known,
    plain,
    shares_of_best,
    unit_of,
)
from training.evaluation.table import COLUMNS
from training.metrics.bootstrap import Bootstrap, Sample, check_num_replicates
from training.outcomes import Outcomes, Predictions
from training.splits import iso


@dataclass(frozen=True, slots=True, kw_only=True)
class Sitting:
    """What was asked at one origin, and what every model answered under every seed.

    Attributes:
        customer: Of every readout.
        cutoff_us: Of every readout.
        outcomes: What came.
        answers: By model, one per seed, in the same order of seeds.
    """

    customer: Int64[ndarray, " readout"]
    cutoff_us: Int64[ndarray, " readout"]
    outcomes: Outcomes
    answers: Mapping[str, Sequence[Predictions]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Judging:
    """How sittings are judged.

    Attributes:
        judged: Models that the others are taken off from.
        against: Those others; None is every other one.
        margin: What may be lost in AUROC, log loss or normalised Gini without being worse.
        num_replicates: Resamples.
        seed: Of them.
    """

    judged: tuple[str, ...]
    margin: float
    num_replicates: int
    seed: int
    against: tuple[str, ...] | None = None

    def __post_init__(self) -> None:
        """Refuse what cannot be judged by.

        Raises:
            ConfigError: Naming key, value and limit.
        """
        if not 0 <= self.margin < math.inf:
            raise ConfigError("margin", self.margin, "it must be a number, at least 0")
        check_num_replicates("num_replicates", self.num_replicates)


def combine(schema: Schema, sittings: Sequence[Sitting], judging: Judging) -> list[TargetComparison]:
    """Judge every model over all seeds and origins.

    Args:
        schema: The targets.
        sittings: One per origin, with the same seeds.
        judging: How.

    Returns:
        One comparison per target, as plain values.

    Raises:
        ConfigError: A judged model gave no answers.
    """
    missing = [name for name in judging.judged if any(name not in s.answers for s in sittings)]
    if missing:
        raise ConfigError("judged", missing, f"the models are {list(sittings[0].answers)}")
    customers = np.concatenate([sitting.customer for sitting in sittings])
    bootstrap = Bootstrap(customers, num_replicates=judging.num_replicates, seed=judging.seed)
    return [
        TargetComparison(
            name=target.name,
            kind=target.kind,
            form=target.form,
            unit=unit_of(schema, target),
            horizons=[
                _Asking(target, at, sittings, bootstrap, judging).compared()
                for at in range(len(target.horizons_days))
            ],
        )
        for target in schema.targets
    ]


Seeds = list[dict[str, Sample]]
"""The metrics of one model, per seed."""


class _Asking:
    """One target and horizon over all sittings; what was computed once is kept."""

    def __init__(
        self, target: Target, at: int, sittings: Sequence[Sitting], bootstrap: Bootstrap, judging: Judging
    ) -> None:
        self._target, self._at, self._sittings = target, at, sittings
        self._bootstrap, self._judging = bootstrap, judging
        self._starts = np.cumsum([0, *(len(sitting.customer) for sitting in sittings)])

    def compared(self) -> HorizonComparison:
        whole = [self._seeds(index, np.ones(len(s.customer), bool)) for index, s in enumerate(self._sittings)]
        cutoffs = []
        for index, sitting in enumerate(self._sittings):
            for cutoff_us in np.unique(sitting.cutoff_us):
                is_there = sitting.cutoff_us == cutoff_us
                # An origin with a single cutoff has been judged there already.
                asked = whole[index] if is_there.all() else self._seeds(index, is_there)
                place = {"origin": index, "cutoff": iso(int(cutoff_us))}
                cutoffs.append(CutoffBlock(**place, **self._block([asked])))  # type: ignore[typeddict-item]
        return HorizonComparison(
            horizon_days=self._target.horizons_days[self._at], overall=self._block(whole), cutoffs=cutoffs
        )

    def _seeds(self, index: int, is_asked: ndarray) -> "_Answers":
        """Return the metrics of every model that answered all of some readouts of a sitting."""
        sitting, target, at = self._sittings[index], self._target, self._at
        is_known = known(target, at, sitting.outcomes)
        rows = np.flatnonzero(is_asked & is_known)
        per_model: dict[str, Seeds] = {}
        left_out: dict[str, int] = {}
        for name, said in sitting.answers.items():
            found = list(self._per_seed(index, name, said, rows))
            missing = sum(answer for answer in found if isinstance(answer, int))
            if missing:
                left_out[name] = missing
            elif found:
                per_model[name] = [answer for answer in found if not isinstance(answer, int)]
        labels = _rows(sitting.outcomes, rows)
        asked = Question.of(target, at, labels, {})
        num_unknown = int((is_asked & ~is_known).sum())
        return _Answers(labels=asked.labels, num_unknown=num_unknown, seeds=per_model, left_out=left_out)

    def _per_seed(
        self, index: int, name: str, said: Sequence[Predictions], rows: ndarray
    ) -> Iterator[dict[str, Sample] | int]:
        """Yield a model's metrics under every seed, or how many readouts it did not answer."""
        outcomes = _rows(self._sittings[index].outcomes, rows)
        if not len(rows):
            return
        seen: dict[bytes, dict[str, Sample]] = {}
        for predictions in said:
            question = Question.of(self._target, self._at, outcomes, {name: _rows_of(predictions, rows)})
            if name in question.left_out:
                yield question.left_out[name]
            elif name in question.predicted:
                # Baselines that draw nothing say the same under every seed.
                parts = (question.predicted, question.median, question.upper)
                key = b"".join(part[name].tobytes() for part in parts if name in part)
                if key not in seen:
                    seen[key] = question.samples(name, self._bootstrap, self._starts[index] + rows)
                yield seen[key]

    def _block(self, sittings: Sequence["_Answers"]) -> Block:
        """Return the mean over sittings of what was found in each."""
        names = [name for name in sittings[0].seeds if all(name in sitting.seeds for sitting in sittings)]
        per_seed = {name: _mean_over_sittings([s.seeds[name] for s in sittings]) for name in names}
        if TRUTH in per_seed:
            best = per_seed[TRUTH]
            per_seed = {
                name: seeds
                if name == TRUTH
                else [own | shares_of_best(own, other) for own, other in zip(seeds, best, strict=True)]
                for name, seeds in per_seed.items()
            }
        means = {name: _mean_over_seeds(seeds) for name, seeds in per_seed.items()}
        labels = np.concatenate([sitting.labels for sitting in sittings])
        left_out = {
            name: sum(sitting.left_out.get(name, 0) for sitting in sittings)
            for name in dict.fromkeys(name for sitting in sittings for name in sitting.left_out)
        }
        return Block(
            num_readouts=len(labels),
            num_unknown=sum(sitting.num_unknown for sitting in sittings),
            mean=plain(labels.mean()) if len(labels) else None,
            models={name: _figures(means[name], per_seed[name]) for name in names},
            differences={
                name: {o: self._differences(means[name], means[o]) for o in self._others(name, names)}
                for name in names
                if name in self._judging.judged
            },
            left_out=left_out,
        )

    def _others(self, name: str, names: Sequence[str]) -> list[str]:
        against = self._judging.against
        return [o for o in names if o not in (name, TRUTH) and (against is None or o in against)]

    def _differences(self, own: Mapping[str, Sample], other: Mapping[str, Sample]) -> dict[str, Difference]:
        found = {}
        for metric in own:
            # Of a ratio that should be 1, neither more nor less is better.
            if metric in other and metric in COLUMNS and COLUMNS[metric].better != "near":
                interval = interval_of(metric, own[metric].minus(other[metric]), is_difference=True)
                verdict = verdict_of(metric, interval, margin=self._judging.margin)
                found[metric] = Difference(**interval, verdict=verdict)
        return found


@dataclass(frozen=True, slots=True, kw_only=True)
class _Answers:
    """Labels of some readouts of a sitting, and every model's metrics there."""

    labels: ndarray
    num_unknown: int
    seeds: Mapping[str, Seeds]
    left_out: Mapping[str, int]


def _rows(outcomes: Outcomes, rows: ndarray) -> Outcomes:
    return Outcomes(
        happened={name: column[rows] for name, column in outcomes.happened.items()},
        values={name: column[rows] for name, column in outcomes.values.items()},
    )


def _rows_of(predictions: Predictions, rows: ndarray) -> Predictions:
    return Predictions(
        probability={name: column[rows] for name, column in predictions.probability.items()},
        expected={name: column[rows] for name, column in predictions.expected.items()},
        median={name: column[rows] for name, column in predictions.median.items()},
        upper={name: column[rows] for name, column in predictions.upper.items()},
    )


def _mean_over_sittings(sittings: Sequence[Seeds]) -> Seeds:
    return [_mean_over_seeds(list(same_seed)) for same_seed in zip(*sittings, strict=True)]


def _mean_over_seeds(seeds: Seeds) -> dict[str, Sample]:
    return {
        metric: Sample(
            value=float(np.mean([own[metric].value for own in seeds])),
            replicates=np.mean([own[metric].replicates for own in seeds], axis=0),
        )
        for metric in seeds[0]
        if all(metric in own for own in seeds)
    }


def _figures(mean: Mapping[str, Sample], seeds: Seeds) -> dict[str, Figure]:
    figures = {}
    for metric, sample in mean.items():
        values = [own[metric].value for own in seeds]
        spread = plain(float(np.std(values, ddof=1))) if len(values) > 1 else None
        interval = interval_of(metric, sample)
        figures[metric] = Figure(
            value=interval["value"], spread=spread, low=interval["low"], high=interval["high"]
        )
    return figures
