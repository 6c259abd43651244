"""The simulated subscription business: payments, usage, outages and cancellations, day by day.

It deliberately does not know files, blocks or cutoffs. On a day a payment may fall due (before
dawn), and then at most one of cancellation, usage, outage, complaint, support call, campaign contact,
price rise and plan change happens, drawn from hazards fixed at the start of the day. Hazards follow
from the events so far (:mod:`training.simulate.causes`) and a customer's own rate, so the best
possible prediction is nearly reachable from history.
"""

import datetime
from collections.abc import Mapping
from typing import ClassVar

import numpy as np
from jaxtyping import Float32, Float64
from numpy import ndarray

from training.simulate import causes, subscription_state
from training.simulate.columns import (
    EventSink,
    NoSink,
    People,
    choose,
    draw_people,
    positions_by_kind,
    season_of,
)
from training.simulate.parameters import SubscriptionParameters
from training.simulate.subscription_state import (
    BILLING_DAYS,
    CAMPAIGN,
    CANCELLATION,
    COMPLAINT,
    OUTAGE,
    PAYMENT,
    PLAN_CHANGE,
    PRICE_RISE,
    SIGNUP,
    SUPPORT,
    TOP_PLAN,
    USAGE,
    SubscriptionState,
)

NEAR_PAYMENT_DAYS = 5
MOST_IDLE_DAYS = 90
LARGEST_HAZARD = 0.5


class Subscription:
    """The process of a subscription's customers."""

    event_types = (
        "cancellation",
        "usage",
        "outage",
        "complaint",
        "support_call",
        "campaign_contact",
        "price_rise",
        "plan_change",
        "payment",
        "signup",
    )
    details = ("unresolved", "resolved", "basic", "standard", "premium")
    plans = ("basic", "standard", "premium")
    plan_change = PLAN_CHANGE
    channels = ("web", "app", "television", "email", "post", "phone")
    # Probability of each channel by event type; a type that is not here has none.
    channel_shares: ClassVar[Mapping[int, tuple[float, ...]]] = {
        CANCELLATION: (0.7, 0.2, 0.0, 0.0, 0.0, 0.1),
        USAGE: (0.2, 0.5, 0.3, 0.0, 0.0, 0.0),
        COMPLAINT: (0.3, 0.2, 0.0, 0.3, 0.0, 0.2),
        SUPPORT: (0.3, 0.2, 0.0, 0.0, 0.0, 0.5),
        CAMPAIGN: (0.0, 0.3, 0.0, 0.6, 0.1, 0.0),
        SIGNUP: (0.6, 0.3, 0.0, 0.0, 0.0, 0.1),
    }
    # Slots of the day in hours do not overlap, so that times keep the order of causes.
    day_slots = ((9.0, 22.0),) * 8 + ((2.0, 5.0),) + ((9.0, 22.0),)

    def __init__(self, parameters: SubscriptionParameters, *, start: datetime.date, num_days: int) -> None:
        """Prepare the season of ``num_days`` days from ``start`` on."""
        self.parameters = p = parameters
        season = season_of(start, num_days, yearly=p.yearly_effect, weekly=p.weekly_effect)
        self._log_cancel_of_day = (np.log(max(p.cancellations, 1e-9)) - season).tolist()
        self._usage_of_day = np.exp(season).tolist()
        self._largest_other = causes.largest_rate(p) + p.outages * max(1.0, p.outages_again) + p.plan_changes

    def draw_customers(self, rng: np.random.Generator, num: int) -> tuple[SubscriptionState, People]:
        """Draw customers to whom nothing has happened yet."""
        p = self.parameters
        people = draw_people(rng, num, attribute_effect=p.attribute_effect, heterogeneity=p.heterogeneity)
        plan = rng.choice(TOP_PLAN + 1, size=num, p=[0.45, 0.35, 0.2])
        return subscription_state.new_state(people.log_rate, plan, p), people

    def arrive(  # Nothing is drawn here; the shape of the call is the process's.
        self,
        state: SubscriptionState,
        rows: ndarray,
        day: int,
        rng: np.random.Generator,  # noqa: ARG002
        sink: EventSink,
    ) -> None:
        """Sign up customers who arrive today; the first payment falls due tomorrow."""
        subscription_state.sign_up(state, rows, day)
        sink.add(np.full(len(rows), SIGNUP, np.uint8), state.row[rows], day)

    def without_gone(self, state: SubscriptionState) -> SubscriptionState:
        """Return the state without cancelled customers, or as it is while they are few."""
        if 20 * np.count_nonzero(state.is_gone) <= len(state):
            return state
        return state.take(~state.is_gone)

    def is_eligible(self, state: SubscriptionState, day: int, *, lookback_days: int) -> ndarray:
        """Return who has not cancelled and was active in the ``lookback_days`` before ``day``."""
        paid_day = state.payment_day - BILLING_DAYS
        eligible: ndarray = ~state.is_gone & (np.maximum(state.active_day, paid_day) >= day - lookback_days)
        return eligible

    def hazard(self, state: SubscriptionState, day: int) -> Float32[ndarray, " customer"]:
        """Return every customer's probability of a cancellation on ``day``, at its start."""
        p = self.parameters
        num_idle = np.minimum(day - state.active_day, MOST_IDLE_DAYS)
        log_hazard = np.multiply(num_idle, p.idleness / 30.0, dtype=np.float32)
        log_hazard += state.grievance
        log_hazard += p.fading_effect * state.num_slower.astype(np.float32)
        log_hazard -= state.own_rate
        log_hazard -= state.campaign_heat
        is_near = state.payment_day - day < NEAR_PAYMENT_DAYS
        log_hazard += is_near * np.float32(p.near_payment_effect)
        log_hazard += self._log_cancel_of_day[day]
        hazard: ndarray = np.minimum(np.exp(log_hazard, out=log_hazard), LARGEST_HAZARD, out=log_hazard)
        return hazard

    def step(
        self,
        state: SubscriptionState,
        day: int,
        rng: np.random.Generator,
        sink: EventSink,
        *,
        spare: bool = False,
    ) -> Float32[ndarray, " customer"]:
        """Live one day.

        Args:
            state: Customers who have arrived before ``day``; changed in place.
            day: Days since the start of the span.
            rng: The only source of chance.
            sink: Takes the events.
            spare: Draw the day under the condition that nobody cancels: the other events then
                keep their law, and the day weighs ``1 - hazard``.

        Returns:
            The probability of a cancellation that every customer had on this day.
        """
        p = self.parameters
        hazard = self.hazard(state, day)
        uniform: Float32[ndarray, " customer"] = rng.random(len(state), dtype=np.float32)
        if spare:
            uniform = hazard + uniform * (1.0 - hazard)
        usage = state.usage_rate * self._usage_of_day[day]
        bound = usage + hazard
        bound += self._largest_other
        self._collect_payments(state, day, sink)
        rows = np.flatnonzero(uniform < bound)
        rows = rows[~state.is_gone[rows]]
        if len(rows):
            self._happen(state, rows, day, rng, sink, hazard[rows], usage[rows], uniform[rows])
        causes.fade(state, p)
        return hazard

    def roll_out(
        self, state: SubscriptionState, day: int, horizons: tuple[int, ...], rng: np.random.Generator
    ) -> tuple[Float64[ndarray, "horizon customer"], Float64[ndarray, "horizon customer"]]:
        """Follow customers once: unbiased estimates of churn probability and spend in the window.

        One path without cancellations serves both: survival is the product of ``1 - hazard`` along
        it, and every payment on it counts with the survival so far: the same means as counting, with
        less noise (Rao-Blackwell).

        Args:
            state: Customers at the start of ``day``; left as they are.
            day: The cutoff as days since the start of the span.
            horizons: Ascending, in days.
            rng: The only source of chance.

        Returns:
            Churn probability and spend per horizon and customer.
        """
        churn, spend = np.empty((2, len(horizons), len(state)))
        path = state.take(np.arange(len(state)))
        survival, spent = np.ones(len(state)), np.zeros(len(state))
        for offset in range(horizons[-1]):
            due = np.flatnonzero(path.payment_day == day + offset)
            spent[due] += survival[due] * path.price[due]
            survival *= 1.0 - self.step(path, day + offset, rng, NoSink(), spare=True)
            if offset + 1 in horizons:
                at = horizons.index(offset + 1)
                churn[at], spend[at] = 1.0 - survival, spent
        return churn, spend

    def _collect_payments(self, state: SubscriptionState, day: int, sink: EventSink) -> None:
        """Let payments that fall due today be made."""
        due = np.flatnonzero(state.payment_day == day)
        subscription_state.pay(state, due)
        due = due[~state.is_gone[due]]
        sink.add(np.full(len(due), PAYMENT, np.uint8), state.row[due], day, amount=state.price[due])

    def _happen(
        self,
        state: SubscriptionState,
        rows: ndarray,
        day: int,
        rng: np.random.Generator,
        sink: EventSink,
        hazard: ndarray,
        usage: ndarray,
        uniform: ndarray,
    ) -> None:
        p = self.parameters
        chances = np.empty((8, len(rows)), np.float32)
        chances[CANCELLATION], chances[USAGE] = hazard, usage
        chances[OUTAGE] = np.where(state.num_failed[rows] > 0, p.outages * p.outages_again, p.outages)
        chances[COMPLAINT] = causes.complaint_rate(state, rows, day, p)
        chances[SUPPORT] = causes.support_rate(state, rows, day, p)
        chances[CAMPAIGN], chances[PRICE_RISE] = p.campaigns, p.price_rises
        wanted = subscription_state.wanted_plan(state, rows, day, p)
        chances[PLAN_CHANGE] = np.where(wanted != state.plan[rows], p.plan_changes, 0.0)
        kind = choose(chances, uniform)
        amount, quantity = np.full(len(rows), np.nan), np.full(len(rows), np.nan, np.float32)
        detail = np.full(len(rows), len(self.details), np.uint8)

        of_kind = positions_by_kind(kind, 8)
        subscription_state.cancel(state, rows[of_kind[CANCELLATION]])
        at = of_kind[USAGE]
        quantity[at] = np.round(p.minutes * rng.lognormal(0.0, p.minutes_noise, len(at)), 1)
        subscription_state.use(state, rows[at], day, p)
        causes.fail(state, rows[of_kind[OUTAGE]], day, p)
        causes.complain(state, rows[of_kind[COMPLAINT]], day, p)
        at = of_kind[SUPPORT]
        is_resolved = rng.random(len(at)) < p.resolved_share
        detail[at] = is_resolved
        causes.answer_call(state, rows[at], is_resolved, p)
        causes.contact(state, rows[of_kind[CAMPAIGN]], p)
        at = of_kind[PRICE_RISE]
        percent = p.rise_percent * rng.uniform(0.5, 1.5, len(at))
        amount[at] = np.round(state.price[rows[at]] * (1.0 + percent / 100.0), 2)
        subscription_state.raise_price(state, rows[at], day, amount[at])
        at = of_kind[PLAN_CHANGE]
        detail[at] = wanted[at] + 2
        subscription_state.change_plan(state, rows[at], wanted[at], p)

        real = kind < 8
        sink.add(
            kind[real].astype(np.uint8),
            state.row[rows[real]],
            day,
            amount=amount[real],
            quantity=quantity[real],
            detail=detail[real],
        )
