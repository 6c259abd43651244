"""Figures of a learning curve: shares of what is possible, by customers and model."""

import pytest

# Importing an entry point makes beartype look at the bases of Hydra's DictConfig, which it finds deprecated.
pytestmark = pytest.mark.filterwarnings("ignore:.*deprecated by PEP 585")


def test_the_goal_stands_where_all_customers_were_learned_from() -> None:
    """Shares are of the best possible AUROC; a goal is set for the default at the largest size alone."""
    from benchmarks.learning_curve import Point, figures_of

    points = [
        Point(size=size, model=model, auroc=auroc, log_loss=(0.5, 0.6), best_auroc=0.8)
        for size, model, auroc in (
            (1_000, "sequence, gru", (0.7, 0.74)),
            (2_000, "sequence, gru", (0.78, 0.78)),
            (2_000, "trees", (0.72, 0.72)),
        )
    ]
    found = {one.name: one for one in figures_of(points)}
    small = found["1,000 customers, sequence, gru, share of the best possible AUROC"]
    assert (small.value, small.goal) == (pytest.approx(0.9), None)
    assert found["1,000 customers, sequence, gru, log loss"].value == pytest.approx(0.55)
    large = found["2,000 customers, sequence, gru, share of the best possible AUROC"]
    assert (large.value, large.is_met) == (pytest.approx(0.975), True)
    assert found["2,000 customers, trees, share of the best possible AUROC"].goal is None
    spread = found["1,000 customers, sequence, gru, share of the best possible AUROC, spread over seeds"]
    assert spread.value == pytest.approx(0.0354, abs=1e-4)


def test_sizes_of_a_run_are_part_of_one_world() -> None:
    """Every size learns from the same shop, so that what differs is the number of customers."""
    from hydra import initialize_config_dir

    from benchmarks.learning_curve import settings_of
    from training.entry import CONFIG_DIR

    with initialize_config_dir(CONFIG_DIR, version_base=None):
        small, large = (
            settings_of(size, "gru", 1, sizes=(100, 200), overrides=["threads=1"]) for size in (100, 200)
        )
    assert small.data.simulate == large.data.simulate
    assert small.data.simulate.num_customers == 200
    assert (small.data.cutoffs.train.most_customers, small.threads) == (100, 1)
