"""Tests of where the targets lie: hazards, locations, and which amounts follow a survival head."""

from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import ArrayLike

from builders import small_schema
from holdfast.errors import ConfigError
from holdfast.plain import from_plain, to_plain
from holdfast.schema import Schema, Target
from training.labels import Labels
from training.model import TargetScale, TargetScales, fit_target_scales
from training.model.scales import MAX_SPREAD, find_tie

NUM_BINS = 12


def make_labels(
    *, lower: ArrayLike, upper: ArrayLike, spend: ArrayLike, orders: ArrayLike | None = None
) -> Labels:
    """Return labels of the small schema."""
    orders = np.ones_like(spend) if orders is None else orders
    return Labels(
        lower={"churn": np.asarray(lower, dtype=np.int64)},
        upper={"churn": np.asarray(upper, dtype=np.int64)},
        values={"spend": np.asarray(spend, dtype=np.float32), "orders": np.asarray(orders, dtype=np.float32)},
    )


def with_target(target: Target, **churn: object) -> Schema:
    """Return the small schema with this amount, and its churn target changed."""
    schema = small_schema()
    return replace(schema, targets=(replace(schema.targets[0], **churn), target))  # type: ignore[arg-type]


def test_hazards_of_exact_labels_are_the_observed_shares() -> None:
    """Those whose event came in a bin over those who still waited."""
    lower = np.random.default_rng(0).integers(0, NUM_BINS + 1, 20_000)
    labels = make_labels(lower=lower, upper=lower + 1, spend=np.ones(20_000))
    hazards = fit_target_scales(small_schema(), labels, use_tied_amounts=False).targets["churn"].hazards
    counts = np.bincount(lower, minlength=NUM_BINS + 1)
    waiting = np.cumsum(counts[::-1])[::-1]
    np.testing.assert_allclose(hazards, (counts / waiting)[:NUM_BINS], rtol=1e-3)


def test_hazards_of_censored_labels_are_those_of_kaplan_and_meier() -> None:
    """A customer censored after c bins counts among the waiting up to bin c and never as an event."""
    rng = np.random.default_rng(1)
    true, censored = rng.geometric(0.1, 50_000) - 1, rng.integers(1, NUM_BINS + 1, 50_000)
    came = true < censored
    lower = np.where(came, true, censored)
    upper = np.where(came, true + 1, NUM_BINS + 1)
    labels = make_labels(lower=lower, upper=upper, spend=np.ones(50_000))
    hazards = fit_target_scales(small_schema(), labels, use_tied_amounts=False).targets["churn"].hazards
    bins = np.arange(NUM_BINS)[:, None]
    at_risk = (lower > bins) | ((lower == bins) & came)
    observed = ((lower == bins) & came).sum(axis=1) / at_risk.sum(axis=1)
    np.testing.assert_allclose(hazards, observed, rtol=5e-3)


def test_a_table_that_only_says_whether_gives_the_right_survival_at_the_end() -> None:
    """(0, K) or (K, K + 1): the curve inside is a guess, its end is the observed share."""
    came = np.arange(1000) < 300
    labels = make_labels(
        lower=np.where(came, 0, NUM_BINS), upper=np.where(came, NUM_BINS, NUM_BINS + 1), spend=np.ones(1000)
    )
    hazards = fit_target_scales(small_schema(), labels, use_tied_amounts=False).targets["churn"].hazards
    assert np.prod(1 - np.array(hazards)) == pytest.approx(0.7, abs=0.005)


def test_all_alike_labels_give_hazards_inside_of_zero_and_one() -> None:
    """Nobody came, or everybody at once: a bias of infinity would never learn anything else."""
    for lower in (0, NUM_BINS):
        labels = make_labels(lower=[lower] * 50, upper=[lower + 1] * 50, spend=[1.0] * 50)
        hazards = fit_target_scales(small_schema(), labels, use_tied_amounts=False).targets["churn"].hazards
        assert len(hazards) == NUM_BINS
        assert all(0 < hazard < 1 for hazard in hazards)


def test_a_shops_spend_is_tied_to_its_churn() -> None:
    """Spend over 90 days needs a purchase within 90 days; the tie names the bin of that horizon."""
    schema = small_schema()
    assert find_tie(schema, schema.targets[1]) == ("churn", 12)


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"form": "event"}, "a cancellation is no purchase"),
        ({"horizons_days": (30, 60)}, "another horizon"),
        ({"event_types": ("visit",)}, "a visit is not among what is summed"),
        ({"event_types": ()}, "any event is more than what is summed"),
    ],
)
def test_no_tie_where_definitions_differ(changes: dict[str, object], why: str) -> None:
    """The zero mass follows the survival head only where no event means no amount."""
    schema = with_target(small_schema().targets[1], **changes)
    assert find_tie(schema, schema.targets[1]) is None, why


def test_a_tie_at_an_inner_horizon_names_its_bin() -> None:
    """Spend over 30 of 90 days follows the curve at its fourth bin."""
    amount = replace(small_schema().targets[1], horizons_days=(30,))
    assert find_tie(with_target(amount), amount) == ("churn", 4)


def test_labels_that_contradict_the_tie_undo_it() -> None:
    """Positive amounts without the event: some other summed type adds money, so the tie would be wrong."""
    came = np.arange(200) % 2 == 0
    lower, upper = np.where(came, 3, 12), np.where(came, 4, 13)
    kept = fit_target_scales(
        small_schema(),
        make_labels(lower=lower, upper=upper, spend=np.where(came, 5, 0)),
        use_tied_amounts=True,
    )
    assert kept.targets["spend"].tied_to == "churn"
    assert kept.targets["spend"].base_rate > 0.98, "of those who came, all spent"
    undone = fit_target_scales(
        small_schema(), make_labels(lower=lower, upper=upper, spend=np.full(200, 5.0)), use_tied_amounts=True
    )
    assert undone.targets["spend"].tied_to is None
    off = fit_target_scales(
        small_schema(),
        make_labels(lower=lower, upper=upper, spend=np.where(came, 5, 0)),
        use_tied_amounts=False,
    )
    assert off.targets["spend"].tied_to is None
    assert off.targets["spend"].base_rate == pytest.approx(0.5, abs=0.01)


def test_locations_are_those_of_log_positive_amounts() -> None:
    """Zeros and censored windows do not enter."""
    rng = np.random.default_rng(2)
    spend = rng.lognormal(4.0, 0.8, 5000)
    spend[::3] = 0.0
    spend[1::3] = np.nan
    labels = make_labels(lower=np.zeros(5000), upper=np.ones(5000), spend=spend)
    scale = fit_target_scales(small_schema(), labels, use_tied_amounts=False).targets["spend"]
    logs = np.log(spend[2::3])
    assert scale.location == pytest.approx(logs.mean(), abs=1e-4)
    assert scale.spread == pytest.approx(logs.std(), abs=1e-4)
    assert scale.base_rate == pytest.approx(0.5, abs=0.01)


@pytest.mark.parametrize(
    "spend", [[0.0] * 4, [np.nan] * 4, [1e30] * 4, [1e-30, 1e30, 0.0, np.nan], [7.0] * 4]
)
def test_degenerate_amounts_give_usable_scales(spend: list[float]) -> None:
    """None positive, none known, absurdly large, absurdly spread, all equal: always inside the limits."""
    labels = make_labels(lower=[0] * 4, upper=[1] * 4, spend=spend, orders=spend)
    scales = fit_target_scales(small_schema(), labels, use_tied_amounts=True)
    assert 0 < scales.targets["spend"].base_rate < 1
    assert scales.targets["spend"].spread <= MAX_SPREAD
    assert scales.targets["orders"].base_rate > 0


def test_scales_survive_plain_values() -> None:
    """A checkpoint keeps them as plain dictionaries."""
    scales = TargetScales(targets={"spend": TargetScale(location=2.0, tied_to="churn", tied_bin=12)})
    assert from_plain(TargetScales, to_plain(scales)) == scales


@pytest.mark.parametrize("values", [{"location": 50.0}, {"spread": 0.0}, {"spread": 9.0}, {"base_rate": 0.0}])
def test_scales_that_would_overflow_are_refused(values: dict[str, float]) -> None:
    """The bound on every prediction rests on these limits."""
    with pytest.raises(ConfigError, match=next(iter(values))):
        TargetScale(**values)  # type: ignore[arg-type]
