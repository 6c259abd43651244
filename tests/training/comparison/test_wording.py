"""Words claim no more than intervals."""

import pytest

from training.comparison.result import Block, Difference, Figure, HorizonComparison, TargetComparison
from training.comparison.wording import rival_of, summary, verdict_of
from training.evaluation.questions import Interval


@pytest.mark.parametrize(
    ("metric", "low", "high", "verdict"),
    [
        ("auroc", 0.001, 0.01, "ahead"),
        ("auroc", -0.01, -0.001, "behind"),
        ("auroc", -0.004, 0.01, "level"),
        ("auroc", -0.006, 0.01, "open"),
        ("log_loss", -0.01, -0.001, "ahead"),
        ("log_loss", 0.001, 0.01, "behind"),
        ("log_loss", -0.01, 0.004, "level"),
        ("log_loss", -0.01, 0.006, "open"),
        ("mae_of_mean", -1.0, 0.001, "open"),
        ("auroc", None, None, "open"),
    ],
)
def test_verdicts(metric: str, low: float | None, high: float | None, verdict: str) -> None:
    """Whole intervals decide, in the direction of the metric; the margin only where one is agreed."""
    difference = Interval(value=None if low is None else (low + high) / 2, low=low, high=high)
    assert verdict_of(metric, difference, margin=0.005) == verdict


def block(**differences: float) -> Block:
    """Return a block in which ours differs from others by so much AUROC, surely."""
    figures = {name: 0.8 - value for name, value in differences.items()} | {"ours": 0.8, "truth": 0.9}
    return Block(
        num_readouts=10,
        num_unknown=0,
        mean=0.5,
        models={n: {"auroc": Figure(value=v, spread=None, low=v, high=v)} for n, v in figures.items()},
        differences={
            "ours": {
                name: {
                    "auroc": Difference(
                        value=value, low=value, high=value, verdict="ahead" if value > 0 else "behind"
                    )
                }
                for name, value in differences.items()
            }
        },
        left_out={},
    )


def target(overall: Block, *cutoffs: Block) -> TargetComparison:
    """Return churn at one horizon."""
    horizon = HorizonComparison(
        horizon_days=90,
        overall=overall,
        cutoffs=[{"origin": 0, "cutoff": str(index), **part} for index, part in enumerate(cutoffs)],
    )
    return TargetComparison(
        name="churn", kind="time_to_event", form="inactivity", unit="", horizons=[horizon]
    )


def test_the_rival_is_the_best_other_and_never_the_truth() -> None:
    """Chosen with hindsight, and the sentence says so."""
    asked = block(weak=0.1, strong=-0.01)
    assert rival_of(asked, "auroc", beside=["ours"]) == "strong"
    assert rival_of(asked, "log_loss", beside=["ours"]) is None
    (sentence,) = summary([target(asked)], ["ours"], margin=0.005)
    assert sentence == (
        "churn within 90 days, AUROC: ours is worse than strong, the best of the others on these readouts: "
        "-0.0100 [-0.0100, -0.0100]."
    )


def test_a_sole_rival_was_not_chosen() -> None:
    """And over several cutoffs it is told at how many the sign is the same."""
    (sentence,) = summary(
        [target(block(other=0.02), block(other=0.01), block(other=-0.01))], ["ours"], margin=0.005
    )
    assert "better than other: +0.0200" in sentence
    assert sentence.endswith("Better at 1 of 2 cutoffs.")


def test_nobody_to_compare_with_is_no_sentence() -> None:
    """A comparison of one model says nothing."""
    assert summary([target(block())], ["ours"], margin=0.005) == []
