"""Figures of quality: what a comparison says, under names that later results are compared by."""

import math
import sys

import pytest

# Importing an entry point makes beartype look at the bases of Hydra's DictConfig, which it finds deprecated.
pytestmark = pytest.mark.filterwarnings("ignore:.*deprecated by PEP 585")


def figure(value: float | None, spread: float | None = 0.002) -> dict:
    """Return one figure of a comparison."""
    return {"value": value, "spread": spread, "low": value, "high": value}


def test_figures_name_data_target_horizon_model_and_metric() -> None:
    """Every model's value, the spread of judged ones, and the goal where the truth is known."""
    from benchmarks.quality import figures_of

    models = {
        "blend": {"auroc": figure(0.8), "log_loss": figure(0.5), "share_of_best_auroc": figure(0.96)},
        "recency": {"auroc": figure(0.7, 0.0), "log_loss": figure(None, None)},
    }
    block = {
        "num_readouts": 9,
        "num_unknown": 0,
        "mean": 0.5,
        "models": models,
        "differences": {},
        "left_out": {},
    }
    horizon = {"horizon_days": 90, "overall": block, "cutoffs": []}
    target = {
        "name": "churn",
        "kind": "time_to_event",
        "form": "inactivity",
        "unit": "",
        "horizons": [horizon],
    }
    found = list(figures_of({"data": "shop", "judged": ["blend"], "targets": [target]}))
    by_name = {one.name: one for one in found}
    assert by_name["shop: churn 90 d, blend, auroc"].value == 0.8
    assert by_name["shop: churn 90 d, blend, auroc, spread over seeds"].value == 0.002
    assert "shop: churn 90 d, recency, auroc, spread over seeds" not in by_name
    assert math.isnan(by_name["shop: churn 90 d, recency, log_loss"].value)
    share = by_name["shop: churn 90 d, blend, share of the best possible AUROC"]
    assert (share.value, share.goal, share.is_met) == (0.96, 0.95, True)


def test_an_override_behind_the_data_sets_is_refused_before_anything_is_trained(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """It would be taken for one more data set, after the trainings of all others."""
    from benchmarks import quality

    monkeypatch.setattr(sys, "argv", ["quality", "--data", "cdnow", "threads=1"])
    with pytest.raises(SystemExit) as stopped:
        quality.main()
    assert stopped.value.code == 2
    assert "write threads=1 before the options" in capsys.readouterr().err
