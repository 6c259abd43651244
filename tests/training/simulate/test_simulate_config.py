"""Arguments of a simulation: what is refused, and how it says so."""

import dataclasses

import pytest

from holdfast.errors import ConfigError
from training.simulate import RetailerParameters, SimulationConfig, SubscriptionParameters, draw_parameters
from training.simulate.config import simulation_config

GOOD = {"kind": "retailer", "num_customers": 10, "seed": 1}


@pytest.mark.parametrize(
    ("values", "field"),
    [
        ({"num_customers": -3}, "num_customers"),
        ({"num_customers": 0}, "num_customers"),
        ({"num_customers": True}, "num_customers"),
        ({"num_customers": 2.5}, "num_customers"),
        ({"seed": -1}, "seed"),
        ({"kind": "bakery"}, "kind"),
        ({"num_days": 0}, "num_days"),
        ({"num_rollouts": 1}, "num_rollouts"),
        ({"lookback_days": 0}, "lookback_days"),
        ({"blocks_per_part": 0}, "blocks_per_part"),
        ({"start_date": "yesterday"}, "start_date"),
        ({"start_date": 20230301}, "start_date"),
        ({"cutoffs": ["2023-03-01T00:00:00Z"]}, "cutoffs"),
        ({"cutoffs": ["2022-01-01T00:00:00Z"]}, "cutoffs"),
        ({"cutoffs": ["2026-01-01T00:00:00Z"]}, "cutoffs"),
        ({"cutoffs": ["2025-06-01T10:00:00Z"]}, "cutoffs"),
        ({"cutoffs": ["2025-06-01T00:00:00+02:00"]}, "cutoffs"),
        ({"cutoffs": ["June"]}, "cutoffs"),
        ({"cutoffs": ["2025-06-01T00:00:00Z", "2025-03-01T00:00:00Z"]}, "cutoffs"),
        ({"cutoffs": ["2025-06-01T00:00:00Z"], "horizons_days": [30, 93]}, "horizons_days"),
        ({"horizons_days": []}, "horizons_days"),
        ({"horizons_days": [60, 30]}, "horizons_days"),
        ({"horizons_days": [-30, 30]}, "horizons_days"),
        ({"parameters_seed": -1}, "parameters_seed"),
        ({"parameters_seed": 1, "parameters": {"purchases": 0.1}}, "parameters"),
        ({"parameters": {"usages": 0.1}}, "parameters.usages"),
        ({"parameters": {"purchases": -0.1}}, "parameters.purchases"),
        ({"parameters": {"purchases": float("nan")}}, "parameters.purchases"),
        ({"parameters": {"resolved_share": 1.5}}, "parameters.resolved_share"),
        ({"parameters": {"failures": 1.5}}, "parameters.failures"),
        ({"parameters": {"visit_half_life_days": 0.0}}, "parameters.visit_half_life_days"),
        ({"customers": 5}, "customers"),
    ],
)
def test_a_bad_argument_is_named(values: dict[str, object], field: str) -> None:
    """The error names the argument at fault, before anything is drawn."""
    with pytest.raises(ConfigError) as caught:
        simulation_config({**GOOD, **values})
    assert field in caught.value.field


def test_a_horizon_that_ends_with_the_span_is_accepted() -> None:
    """The window may end with the last day, but not one day later."""
    config = simulation_config({**GOOD, "cutoffs": ["2025-06-01T00:00:00Z"], "horizons_days": [92]})
    assert config.cutoff_days == (823,)


def test_none_stands_for_the_default() -> None:
    """A key that is null in a file is as good as absent."""
    assert simulation_config({**GOOD, "num_days": None, "parameters": {}}) == SimulationConfig(**GOOD)


def test_parameters_of_the_other_business_are_refused() -> None:
    """A retailer is not simulated with a subscription's parameters."""
    with pytest.raises(ConfigError, match=r"simulate\.parameters"):
        SimulationConfig(**GOOD, parameters=SubscriptionParameters())


def test_the_business_is_standard_drawn_or_given() -> None:
    """Three ways to say which business is simulated."""
    given = RetailerParameters(purchases=0.2)
    assert SimulationConfig(**GOOD).business() == RetailerParameters()
    assert SimulationConfig(**GOOD, parameters_seed=3).business() == draw_parameters(3, "retailer")
    assert SimulationConfig(**GOOD, parameters=given).business() == given


@pytest.mark.parametrize("kind", ["retailer", "subscription"])
def test_drawn_businesses_differ_and_are_sound(kind: str) -> None:
    """The same seed gives the same business, another one another, and all pass their checks."""
    drawn = [draw_parameters(seed, kind) for seed in range(40)]
    assert drawn[7] == draw_parameters(7, kind)
    for declared in dataclasses.fields(drawn[0]):
        assert len({getattr(business, declared.name) for business in drawn}) > 20, declared.name


def test_a_negative_seed_draws_no_business() -> None:
    """The seed is named."""
    with pytest.raises(ConfigError, match="parameters_seed"):
        draw_parameters(-1, "retailer")
