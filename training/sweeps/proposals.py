"""What is tried next, and whether a trial is worth ending: Optuna's TPE and median rule.

It deliberately keeps nothing on disk. What trial ``k`` tries follows from the seed, ``k`` and the
trials before it alone, so a search that was killed goes on as if it had not been.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from holdfast.errors import ConfigError, RunError
from training.sweeps.result import State
from training.sweeps.space import Parameter, Space, Value

if TYPE_CHECKING:
    import optuna


@dataclass(frozen=True, slots=True, kw_only=True)
class ProposalConfig:
    """How a search chooses.

    Attributes:
        random_trials: Trials at the beginning that are drawn at random, the default among them.
        prune: Whether trials are ended early.
        prune_after_trials: Trials that go to their end before any is ended early.
        prune_from_validation: The first validation of a trial at which it may be ended, counted from 1.
    """

    random_trials: int
    prune: bool
    prune_after_trials: int
    prune_from_validation: int

    def __post_init__(self) -> None:
        """Refuse numbers that cannot be meant.

        Raises:
            ConfigError: Naming the key.
        """
        for name in ("random_trials", "prune_after_trials", "prune_from_validation"):
            if getattr(self, name) < 1:
                raise ConfigError(f"sweep.proposals.{name}", getattr(self, name), "it must be at least 1")


@dataclass(frozen=True, slots=True, kw_only=True)
class Trial:
    """A trial that has been made, as far as what comes next depends on it.

    Attributes:
        values: What was chosen, by key.
        state: How it ended.
        value: Its objective; None unless it is finished.
        losses: Validation losses, by number of the validation.
    """

    values: Mapping[str, Value]
    state: State
    value: float | None
    losses: Mapping[int, float]


class Proposals:
    """Asks Optuna, which is told of all trials before."""

    def __init__(
        self,
        space: Space,
        config: ProposalConfig,
        *,
        better: Literal["low", "high"],
        default: Mapping[str, Value],
        seed: int,
    ) -> None:
        """Keep what is searched.

        Args:
            space: What may be chosen.
            config: How.
            better: Which objective is better.
            default: Values of the configuration without overrides: the first trial, where they lie
                in the space.
            seed: Of everything that is drawn.

        Raises:
            RunError: Optuna is not installed.
        """
        try:
            import optuna
        except ModuleNotFoundError as error:
            raise RunError(
                "a search needs Optuna, which is not installed: pip install -c constraints.txt -e '.[sweep]'"
            ) from error
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        self._optuna, self._space, self._config = optuna, space, config
        self._default, self._seed = default, seed
        pruner: optuna.pruners.BasePruner = optuna.pruners.NopPruner()
        if config.prune:
            pruner = optuna.pruners.MedianPruner(
                n_startup_trials=config.prune_after_trials,
                n_warmup_steps=config.prune_from_validation,
            )
        direction: Literal["minimize", "maximize"] = "minimize" if better == "low" else "maximize"
        self._study = optuna.create_study(direction=direction, pruner=pruner)
        self._sign = 1.0 if better == "low" else -1.0
        self._open: optuna.trial.Trial | None = None
        self.num_told = 0

    def tell(self, trial: Trial) -> None:
        """Count a trial among those before the next one."""
        self.num_told += 1
        optuna, states = self._optuna, self._optuna.trial.TrialState
        if self._open is not None:
            # Told anew below as those before a restart are: so both searches go on alike.
            self._study.tell(self._open, state=states.FAIL)
            self._open = None
        state = {"finished": states.COMPLETE, "pruned": states.PRUNED}.get(trial.state, states.FAIL)
        parameters = self._space.parameters
        self._study.add_trial(
            optuna.trial.create_trial(
                state=state,
                value=trial.value,
                params=dict(trial.values),
                distributions={key: _distribution(parameters[key]) for key in trial.values},
                intermediate_values={step: self._sign * loss for step, loss in trial.losses.items()},
            )
        )

    def ask(self, number: int) -> tuple[dict[str, Value], "Watched"]:
        """Return the values of a trial, and where its validation losses are told.

        Args:
            number: Of the trial, from 0: all before it must have been told.
        """
        seed = int(np.random.SeedSequence([self._seed, number]).generate_state(1)[0])
        self._study.sampler = self._optuna.samplers.TPESampler(
            n_startup_trials=self._config.random_trials, multivariate=True, seed=seed
        )
        if number == 0:
            self._study.enqueue_trial(self._usable_default())
        trial = self._open = self._study.ask()
        chosen: dict[str, Value] = {}
        for key, parameter in self._space.parameters.items():
            if self._space.is_asked(key, chosen):
                chosen[key] = _suggested(trial, key, parameter)
        return chosen, Watched(trial, self._sign)

    def _usable_default(self) -> dict[str, Value]:
        parameters = self._space.parameters
        return {key: value for key, value in self._default.items() if parameters[key].holds(value)}


class Watched:
    """A trial that is under way."""

    def __init__(self, trial: "optuna.trial.Trial", sign: float) -> None:
        """Keep Optuna's trial; losses are turned where a high objective is the better one."""
        self._trial, self._sign = trial, sign
        self.losses: dict[int, float] = {}

    def report(self, loss: float, validation: int) -> None:
        """Tell the loss of a validation, counted from 1."""
        self.losses[validation] = loss
        self._trial.report(self._sign * loss, validation)

    def should_end(self) -> bool:
        """Return whether earlier trials stood better at this point."""
        return bool(self._trial.should_prune())


def _distribution(parameter: Parameter) -> "optuna.distributions.BaseDistribution":
    from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

    if parameter.kind == "choice":
        return CategoricalDistribution(parameter.choices)
    assert parameter.low is not None
    assert parameter.high is not None
    is_log = parameter.scale == "log"
    if parameter.kind == "whole":
        low, high = int(parameter.low), int(parameter.high)
        return IntDistribution(low, high, log=is_log, step=int(parameter.step or 1))
    return FloatDistribution(parameter.low, parameter.high, log=is_log, step=parameter.step)


def _suggested(trial: "optuna.trial.Trial", key: str, parameter: Parameter) -> Value:
    distribution: Any = _distribution(parameter)
    if parameter.kind == "choice":
        chosen: Value = trial.suggest_categorical(key, distribution.choices)
        return chosen
    if parameter.kind == "whole":
        low, high = distribution.low, distribution.high
        return trial.suggest_int(key, low, high, step=distribution.step, log=distribution.log)
    low, high = distribution.low, distribution.high
    return trial.suggest_float(key, low, high, step=distribution.step, log=distribution.log)
