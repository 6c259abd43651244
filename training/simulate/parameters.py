"""The parameters of the two simulated businesses, and how to draw other businesses from a seed.

It deliberately does not know how they are used: :mod:`training.simulate.retailer` and
:mod:`training.simulate.subscription` give them their meaning.
"""

import math
from dataclasses import dataclass, field, fields, replace
from typing import Any, Literal

import numpy as np

from holdfast.errors import ConfigError

Kind = Literal["retailer", "subscription"]


def _drawn(default: float, *, spread: float = 0.2) -> Any:
    """Declare a parameter whose log varies with standard deviation ``spread`` between businesses."""
    return field(default=default, metadata={"spread": spread})


@dataclass(frozen=True, slots=True, kw_only=True)
class CauseParameters:
    """What both businesses share: who the customers are, and what hurts and heals them.

    Rates are per customer and day, effects are added to the log of a daily hazard, half-lives
    and windows are days.

    Attributes:
        arrivals_early_share: Share of the customers who arrive in the first ``arrivals_early_days``;
            the others arrive evenly over the rest of the span.
        arrivals_early_days: See above.
        heterogeneity: Standard deviation of a customer's own log rate, beyond the attributes.
        attribute_effect: Scale of the effects of region, age and channel on the log rate.
        yearly_effect: Amplitude of the yearly season.
        weekly_effect: Amplitude of the weekly season.
        complaints: Rate of complaints of a customer without a grievance.
        complaints_after_rise: Factor on it within ``rise_window_days`` after a price rise.
        price_rises: Rate of price rises that reach a customer.
        rise_window_days: A complaint this soon after a price rise is a broken relation.
        broken_by_rise: Grievance added by it.
        complaint_alone: Grievance added by any other complaint.
        failed_once: Grievance added by a failure that does not follow another one.
        failed_again: Grievance added by a failure straight after another one.
        grievance_half_life_days: Grievance fades this slowly.
        grievance_limit: Largest grievance.
        supports: Rate of support calls of a customer without trouble.
        supports_after_trouble: Factor on it within ``trouble_window_days`` after a failure or complaint.
        trouble_window_days: See above.
        resolved_share: Share of support calls that are resolved.
        healed_by: Grievance is multiplied by this at a resolved call; a call *before* the trouble
            does nothing for it.
        campaigns: Rate of campaign contacts.
        campaign_needs_visits: Recent visits (a sum that halves every ``visit_half_life_days``)
            from which on a contact works.
        visit_half_life_days: See above.
        campaign_works: Effect of a contact that follows visits.
        campaign_annoys: Effect of any other contact.
        campaign_half_life_days: The effects of contacts fade this fast.
        slower_gap: A gap counts as slower when it is longer than the one before by this factor.
        slower_effect: Effect of every slower gap in a row (at most three).
    """

    arrivals_early_share: float = _drawn(0.25)
    arrivals_early_days: float = _drawn(90.0)
    heterogeneity: float = _drawn(0.3)
    attribute_effect: float = _drawn(0.15)
    yearly_effect: float = _drawn(0.2)
    weekly_effect: float = _drawn(0.15)
    complaints: float = _drawn(0.0045)
    complaints_after_rise: float = _drawn(3.0, spread=0.1)
    price_rises: float = _drawn(0.004)
    rise_window_days: float = _drawn(30.0, spread=0.1)
    broken_by_rise: float = _drawn(2.8, spread=0.1)
    complaint_alone: float = _drawn(0.05)
    failed_once: float = _drawn(0.1)
    failed_again: float = _drawn(2.4, spread=0.1)
    grievance_half_life_days: float = _drawn(240.0)
    grievance_limit: float = _drawn(4.0, spread=0.05)
    supports: float = _drawn(0.003)
    supports_after_trouble: float = _drawn(8.0)
    trouble_window_days: float = _drawn(14.0, spread=0.1)
    resolved_share: float = _drawn(0.55, spread=0.1)
    healed_by: float = _drawn(0.15)
    campaigns: float = _drawn(0.014)
    campaign_needs_visits: float = _drawn(1.0, spread=0.1)
    visit_half_life_days: float = _drawn(10.0)
    campaign_works: float = _drawn(1.2)
    campaign_annoys: float = _drawn(0.5)
    campaign_half_life_days: float = _drawn(30.0)
    slower_gap: float = _drawn(1.2, spread=0.03)
    slower_effect: float = _drawn(0.45)

    def __post_init__(self) -> None:
        """Refuse parameters that make no process.

        Raises:
            ConfigError: Naming the parameter, its value and the limit.
        """
        for declared in fields(self):
            value = getattr(self, declared.name)
            if not math.isfinite(value) or value < 0:
                raise ConfigError(f"parameters.{declared.name}", value, "it must be finite and not negative")
            if declared.name.endswith("half_life_days") and value == 0:
                raise ConfigError(f"parameters.{declared.name}", value, "a half-life must be positive")
            if declared.name.endswith(("_share", "healed_by")) and value > 1:
                raise ConfigError(f"parameters.{declared.name}", value, "a share must lie between 0 and 1")


@dataclass(frozen=True, slots=True, kw_only=True)
class RetailerParameters(CauseParameters):
    """A shop: purchases, deliveries, returns, visits.

    Attributes:
        purchases: Rate of purchases of a content customer.
        dormancy: Fall of the log rate per 30 days without a purchase, up to 240 days.
        plus_effect: Effect of the plan ``plus`` on the log rate of purchases.
        plan_changes: Probability of reconsidering the plan at a purchase.
        deliveries: Daily probability that a parcel under way is attempted.
        failures: Probability that a first attempt fails.
        failures_again: Probability that an attempt fails after a failed one.
        visits: Rate of visits per unit of engagement (purchases, halving every
            ``engagement_half_life_days``).
        visits_floor: Engagement of a customer who has not bought for long.
        engagement_half_life_days: See above.
        returns: Rate of returns within ``return_window_days`` after a delivery, once per delivery.
        return_window_days: See above.
        basket: Typical mean purchase, in currency.
        basket_heterogeneity: Standard deviation of a customer's own log mean purchase.
        basket_noise: Standard deviation of the log of a purchase around it.
        items: Mean number of items beyond the first.
    """

    purchases: float = _drawn(0.07)
    dormancy: float = _drawn(0.25)
    plus_effect: float = _drawn(0.25)
    plan_changes: float = _drawn(0.06)
    deliveries: float = _drawn(0.5, spread=0.1)
    failures: float = _drawn(0.12)
    failures_again: float = _drawn(0.4)
    visits: float = _drawn(0.014)
    visits_floor: float = _drawn(0.15)
    engagement_half_life_days: float = _drawn(60.0)
    returns: float = _drawn(0.01)
    return_window_days: float = _drawn(21.0, spread=0.1)
    basket: float = _drawn(48.0, spread=0.5)
    basket_heterogeneity: float = _drawn(0.45)
    basket_noise: float = _drawn(0.4)
    items: float = _drawn(1.5)

    def __post_init__(self) -> None:
        """Check as every business does, and that the probabilities are probabilities."""
        CauseParameters.__post_init__(self)
        for name in ("plan_changes", "deliveries", "failures", "failures_again"):
            if getattr(self, name) > 1:
                raise ConfigError(
                    f"parameters.{name}", getattr(self, name), "a probability must not exceed 1"
                )


@dataclass(frozen=True, slots=True, kw_only=True)
class SubscriptionParameters(CauseParameters):
    """A subscription: monthly payments, usage, outages, plans, cancellations.

    Attributes:
        cancellations: Daily hazard of a content customer's cancellation.
        idleness: Rise of its log per 30 days without usage, up to 90 days.
        fading_effect: Its rise for every slower gap in a row (at most three).
        near_payment_effect: Its rise in the five days before a payment.
        usages: Rate of days with usage.
        minutes: Typical minutes of a usage.
        minutes_noise: Standard deviation of the log of the minutes.
        outages: Rate of outages that a customer notices; a usage in between ends a row of outages.
        outages_again: Factor on it straight after an outage.
        plan_changes: Rate of plan changes: down after a price rise, which takes away
            ``relieved_share`` of the grievance, otherwise up.
        relieved_share: See above.
        price: Monthly price of the smallest plan, in currency.
        plan_factor: Price of a plan over the one below.
        rise_percent: Typical price rise in percent.
    """

    # A subscriber is hurt more rarely than a buyer, and for longer.
    attribute_effect: float = _drawn(0.5)
    complaints: float = _drawn(0.003)
    complaints_after_rise: float = _drawn(7.0, spread=0.1)
    price_rises: float = _drawn(0.002)
    broken_by_rise: float = _drawn(3.5, spread=0.1)
    failed_again: float = _drawn(3.1, spread=0.1)
    grievance_half_life_days: float = _drawn(400.0)
    grievance_limit: float = _drawn(4.5, spread=0.05)
    supports: float = _drawn(0.002)
    slower_effect: float = _drawn(0.25)
    cancellations: float = _drawn(0.0002)
    idleness: float = _drawn(0.5)
    fading_effect: float = _drawn(0.25)
    near_payment_effect: float = _drawn(0.4)
    usages: float = _drawn(0.09)
    minutes: float = _drawn(35.0, spread=0.4)
    minutes_noise: float = _drawn(0.6)
    outages: float = _drawn(0.0035)
    outages_again: float = _drawn(10.0)
    plan_changes: float = _drawn(0.0012)
    relieved_share: float = _drawn(0.6, spread=0.1)
    price: float = _drawn(12.0, spread=0.5)
    plan_factor: float = _drawn(1.8, spread=0.1)
    rise_percent: float = _drawn(7.0)


Parameters = RetailerParameters | SubscriptionParameters


def default_parameters(kind: Kind) -> Parameters:
    """Return the parameters of the standard business of a kind."""
    return RetailerParameters() if kind == "retailer" else SubscriptionParameters()


def draw_parameters(seed: int, kind: Kind) -> Parameters:
    """Draw a business: every parameter is its default times a lognormal factor.

    Args:
        seed: Not negative; the same seed gives the same business.
        kind: Which kind of business.

    Returns:
        Parameters that pass their own checks; probabilities and shares are kept below 0.9.

    Raises:
        ConfigError: The seed is negative.
    """
    if seed < 0:
        raise ConfigError("parameters_seed", seed, "it must not be negative")
    rng = np.random.default_rng(np.random.SeedSequence([seed, ("retailer", "subscription").index(kind)]))
    standard = default_parameters(kind)
    drawn = {}
    for declared in fields(standard):
        usual = getattr(standard, declared.name)
        value = usual * math.exp(rng.normal(0.0, declared.metadata["spread"]))
        drawn[declared.name] = value if usual >= 1 else min(value, 0.9)
    return replace(standard, **drawn)
