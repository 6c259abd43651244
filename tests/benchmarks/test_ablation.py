"""Figures of an ablation: how far every variant lies from the default, under names that last."""

import pytest

# Importing an entry point makes beartype look at the bases of Hydra's DictConfig, which it finds deprecated.
pytestmark = pytest.mark.filterwarnings("ignore:.*deprecated by PEP 585")


def test_figures_are_differences_with_their_intervals() -> None:
    """The default's own value stands once; a total is no better for lying higher, so it has no difference."""
    from benchmarks.ablation import figures_of

    def figure(value: float) -> dict:
        return {"value": value, "spread": 0.0, "low": value, "high": value}

    difference = {"value": -0.01, "low": -0.02, "high": 0.0, "verdict": "behind"}
    block = {
        "models": {"default": {"normalised_gini": figure(0.8), "total_ratio": figure(1.1)}},
        "differences": {"untied": {"default": {"normalised_gini": difference, "total_ratio": difference}}},
    }
    horizon = {"horizon_days": 90, "overall": block, "cutoffs": []}
    target = {"name": "spend", "kind": "amount", "form": None, "unit": "EUR", "horizons": [horizon]}
    found = figures_of({"data": "shop", "judged": ["untied"], "targets": [target]})
    assert {one.name: one.value for one in found} == {
        "shop: spend 90 d, default, normalised_gini": 0.8,
        "shop: spend 90 d, untied minus default, normalised_gini": -0.01,
        "shop: spend 90 d, untied minus default, normalised_gini, low": -0.02,
        "shop: spend 90 d, untied minus default, normalised_gini, high": 0.0,
        "shop: spend 90 d, default, total_ratio": 1.1,
    }


def test_levers_that_are_left_out_exist() -> None:
    """A lever that was renamed would be left out no more, unseen."""
    from pathlib import Path

    import yaml

    from benchmarks.ablation import WITHOUT
    from training.entry import CONFIG_DIR

    levers = yaml.safe_load((Path(CONFIG_DIR) / "ablation" / "levers.yaml").read_text())["variants"]
    assert set().union(*WITHOUT.values()) <= set(levers)
