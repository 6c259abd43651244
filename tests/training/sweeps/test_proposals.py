"""What is tried next follows from the seed, its number and the trials before it, and from nothing else."""

import pytest

from training.sweeps.proposals import ProposalConfig, Proposals, Trial
from training.sweeps.space import Space

SPACE = Space.from_plain(
    {
        "model": {"kind": "choice", "choices": ["gru", "none"]},
        "layers": {"kind": "whole", "low": 1, "high": 3, "only_with": {"model": ["gru"]}},
        "rate": {"kind": "real", "low": 1e-4, "high": 1e-1, "scale": "log"},
    }
)
CONFIG = ProposalConfig(random_trials=4, prune=True, prune_after_trials=3, prune_from_validation=2)


def made(number: int, trials: list[Trial], *, better: str = "low", seed: int = 1) -> Proposals:
    """Return proposals that were told of some trials, as after a restart."""
    proposals = Proposals(
        SPACE, CONFIG, better=better, default={"model": "gru", "layers": 2, "rate": 5.0}, seed=seed
    )
    for trial in trials[:number]:
        proposals.tell(trial)
    return proposals


def tried(proposals: Proposals, number: int) -> Trial:
    """Make a trial whose losses fall with the rate; every fourth one fails."""
    values, watched = proposals.ask(number)
    assert isinstance(values["rate"], float)
    for validation in (1, 2, 3):
        watched.report(values["rate"] / validation, validation)
        if watched.should_end():
            return Trial(values=values, state="pruned", value=None, losses=watched.losses)
    if number % 4 == 3:
        return Trial(values=values, state="failed", value=None, losses={})
    return Trial(values=values, state="finished", value=values["rate"], losses=watched.losses)


def all_tried(num: int, **options: str | int) -> list[Trial]:
    """Make some trials without a break."""
    proposals, trials = made(0, [], **options), list[Trial]()
    for number in range(num):
        trials.append(tried(proposals, number))
        proposals.tell(trials[-1])
    return trials


def test_a_restart_changes_nothing() -> None:
    """At any trial: pruned and failed ones before it count as they did; another seed tries others."""
    whole = all_tried(16)
    assert {trial.state for trial in whole} == {"finished", "pruned", "failed"}
    for start in (1, 4, 9, 15):
        assert tried(made(start, whole), start) == whole[start]
    assert all_tried(3, seed=2)[1:] != whole[1:3]


def test_the_default_comes_first_where_it_may_be_chosen() -> None:
    """A rate outside of the space is drawn instead."""
    first = all_tried(1)[0].values
    assert (first["model"], first["layers"]) == ("gru", 2)
    assert 1e-4 <= first["rate"] <= 1e-1


def test_a_parameter_is_chosen_only_where_it_means_something() -> None:
    """Layers belong to one of the models."""
    for trial in all_tried(12):
        assert ("layers" in trial.values) == (trial.values["model"] == "gru")


def test_trials_end_early_only_behind_their_first_validations() -> None:
    """None among the first trials, and none before the validation that is set."""
    whole = all_tried(16)
    assert all(trial.state != "pruned" for trial in whole[:3])
    pruned = [trial for trial in whole if trial.state == "pruned"]
    assert all(min(set(range(1, 4)) - set(trial.losses), default=4) >= 3 for trial in pruned)


@pytest.mark.parametrize("better", ["low", "high"])
def test_losses_are_low_whatever_the_objective_is(better: str) -> None:
    """A trial with the least losses of all is never ended early."""
    proposals = made(0, [], better=better)
    for number in range(6):
        values, watched = proposals.ask(number)
        for validation in (1, 2, 3):
            watched.report(1.0 - 0.1 * number, validation)
            assert not watched.should_end()
        proposals.tell(Trial(values=values, state="finished", value=0.5, losses=watched.losses))
    _, watched = proposals.ask(6)
    for validation in (1, 2):
        watched.report(2.0, validation)
    assert watched.should_end()
