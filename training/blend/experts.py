"""The experts beside the sequence model: baselines that go into the artifact.

It deliberately keeps them as plain values, so that a run's file holds nothing that could be run.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool
from numpy import ndarray

from holdfast.errors import ConfigError
from holdfast.schema import Schema
from training.baselines import Baseline, fit_baseline
from training.baselines.features import FeatureMatrix
from training.baselines.linear import LinearAmount, LinearProbability
from training.baselines.repeat_buying import PARETO_NBD, RepeatAmount, RepeatBuying, SilenceProbability
from training.baselines.single import ConstantAmount, ConstantProbability
from training.baselines.trees import TreesAmount, TreesProbability
from training.blend.questions import Questions
from training.outcomes import Outcomes

EXPERTS = ("trees", "linear", PARETO_NBD)
"""The baselines that have a form in the exported graph."""

ProbabilityExpert = TreesProbability | LinearProbability | SilenceProbability | ConstantProbability
AmountExpert = TreesAmount | LinearAmount | RepeatAmount | ConstantAmount


@dataclass(frozen=True, slots=True, kw_only=True)
class BlendConfig:
    """What is blended.

    Attributes:
        experts: Names out of :data:`EXPERTS`; with none of them the sequence model stands alone.
        prior_std: How far the softmax's arguments of the weights may move from equality, as the
            standard deviation of a normal prior.
    """

    experts: tuple[str, ...]
    prior_std: float

    def __post_init__(self) -> None:
        """Refuse what has no form in the graph, and a prior that is none.

        Raises:
            ConfigError: Naming the key.
        """
        unknown = [name for name in self.experts if name not in EXPERTS]
        if unknown or len(set(self.experts)) < len(self.experts):
            raise ConfigError("blend.experts", list(self.experts), f"each of {list(EXPERTS)} at most once")
        if not 0 < self.prior_std <= 100:
            raise ConfigError("blend.prior_std", self.prior_std, "it must lie in (0, 100]")


@dataclass(frozen=True, slots=True, kw_only=True)
class Expert:
    """A fitted baseline as plain values.

    Attributes:
        probability: Of every ``time_to_event`` target, a model per horizon.
        amount: Of every other target.
    """

    probability: Mapping[str, tuple[ProbabilityExpert, ...]]
    amount: Mapping[str, AmountExpert]

    def baseline(self, name: str, schema: Schema) -> Baseline:
        """Return it as the baseline that answers."""
        return Baseline(name=name, schema=schema, probability=self.probability, amount=self.amount)

    def models(self, questions: Questions) -> list[ProbabilityExpert | AmountExpert]:
        """Return the model behind every question."""
        found: list[ProbabilityExpert | AmountExpert] = []
        for target in questions.targets:
            if target.kind == "time_to_event":
                found += self.probability[target.name]
            else:
                found.append(self.amount[target.name])
        return found

    def is_able(self, questions: Questions) -> Bool[ndarray, " question"]:
        """Return which questions it learned to answer: a constant knows nothing of a customer."""
        constants = (ConstantProbability, ConstantAmount)
        return np.array([not isinstance(model, constants) for model in self.models(questions)])


_NO_PROBABILITY, _NO_AMOUNT = ConstantProbability(probability=0.5), ConstantAmount(amount=0.0)
"""Where an expert has nothing to say; no weight lets anybody hear it."""


def buying_expert(schema: Schema, buying: RepeatBuying) -> Expert:
    """Return what :func:`training.baselines.repeat_buying.fit_repeat_buying` fitted as an expert."""
    timed = {target.name: target for target in schema.targets if target.kind == "time_to_event"}
    return Expert(
        probability={
            name: buying.probability.get(name, (_NO_PROBABILITY,) * len(target.horizons_days))
            for name, target in timed.items()
        },
        amount={
            target.name: buying.amount.get(target.name, _NO_AMOUNT)
            for target in schema.targets
            if target.name not in timed
        },
    )


def fit_expert(
    name: str, schema: Schema, features: FeatureMatrix, outcomes: Outcomes, *, seed: int, threads: int
) -> Expert:
    """Fit one expert; see :func:`training.baselines.fit_baseline` for the arguments."""
    baseline = fit_baseline(name, schema, features, outcomes, seed=seed, threads=threads)
    probability: dict[str, tuple[ProbabilityExpert, ...]] = {}
    for target, models in baseline.probability.items():
        assert all(isinstance(model, ProbabilityExpert) for model in models)
        probability[target] = models  # type: ignore[assignment]  # asserted
    amount: dict[str, AmountExpert] = {}
    for target, model in baseline.amount.items():
        assert isinstance(model, AmountExpert)
        amount[target] = model
    return Expert(probability=probability, amount=amount)
