"""The simulated retailer: purchases, deliveries, returns and visits, day by day.

It deliberately does not know files, blocks or cutoffs. On a day a parcel under way may be attempted
(in the morning), and then at most one of purchase, visit, complaint, support call, return, campaign
contact and price rise happens, drawn from hazards fixed at the start of the day. Hazards follow from
the events so far (:mod:`training.simulate.causes`) and a customer's own rate, so the best possible
prediction is nearly reachable from history.
"""

import datetime
from collections.abc import Mapping
from typing import ClassVar

import numpy as np
from jaxtyping import Float32, Float64
from numpy import ndarray

from training.simulate import causes, retailer_state
from training.simulate.columns import (
    EventSink,
    NoSink,
    People,
    choose,
    draw_people,
    positions_by_kind,
    season_of,
)
from training.simulate.parameters import RetailerParameters
from training.simulate.retailer_state import (
    CAMPAIGN,
    COMPLAINT,
    DELIVERED,
    FAILED,
    PLAN_CHANGE,
    PRICE_RISE,
    PURCHASE,
    RETURN,
    SUPPORT,
    VISIT,
    RetailerState,
)

LARGEST_HAZARD = 0.5
MOST_DORMANT_DAYS = 240
BASKET_SEASON = 0.15


class Retailer:
    """The process of a retailer's customers."""

    event_types = (
        "purchase",
        "visit",
        "complaint",
        "support_call",
        "return",
        "campaign_contact",
        "price_rise",
        "delivered",
        "delivery_failed",
        "plan_change",
    )
    details = ("unresolved", "resolved", "standard", "plus")
    plans = ("standard", "plus")
    plan_change = PLAN_CHANGE
    channels = ("web", "app", "store", "email", "post", "phone")
    # Probability of each channel by event type; a type that is not here has none.
    channel_shares: ClassVar[Mapping[int, tuple[float, ...]]] = {
        PURCHASE: (0.5, 0.3, 0.2, 0.0, 0.0, 0.0),
        VISIT: (0.5, 0.4, 0.1, 0.0, 0.0, 0.0),
        COMPLAINT: (0.3, 0.1, 0.1, 0.3, 0.0, 0.2),
        SUPPORT: (0.3, 0.2, 0.0, 0.0, 0.0, 0.5),
        RETURN: (0.0, 0.0, 0.4, 0.0, 0.6, 0.0),
        CAMPAIGN: (0.0, 0.2, 0.0, 0.6, 0.2, 0.0),
    }
    # Slots of the day in hours do not overlap, so that times keep the order of causes.
    day_slots = ((12.0, 20.0),) * 7 + ((6.0, 11.0),) * 2 + ((21.0, 22.0),)

    def __init__(self, parameters: RetailerParameters, *, start: datetime.date, num_days: int) -> None:
        """Prepare the season of ``num_days`` days from ``start`` on."""
        self.parameters = p = parameters
        season = season_of(start, num_days, yearly=p.yearly_effect, weekly=p.weekly_effect)
        self._log_rate_of_day = (season + np.log(max(p.purchases, 1e-9))).tolist()
        basket_season = season_of(start, num_days, yearly=BASKET_SEASON, weekly=0.0)
        self._basket_of_day = np.exp(basket_season).tolist()
        self._largest_other = causes.largest_rate(p) + p.returns

    def draw_customers(self, rng: np.random.Generator, num: int) -> tuple[RetailerState, People]:
        """Draw customers to whom nothing has happened yet."""
        p = self.parameters
        people = draw_people(rng, num, attribute_effect=p.attribute_effect, heterogeneity=p.heterogeneity)
        basket = p.basket * np.exp(rng.normal(0.0, p.basket_heterogeneity, num) + (people.age - 44.0) / 100.0)
        plan = rng.random(num) < 0.2
        return retailer_state.new_state(people.log_rate, plan, basket, p), people

    def arrive(
        self, state: RetailerState, rows: ndarray, day: int, rng: np.random.Generator, sink: EventSink
    ) -> None:
        """Make the first purchase of customers who arrive today."""
        amount, quantity = self._draw_baskets(state, rows, day, rng)
        retailer_state.purchase(state, rows, day, amount, self.parameters)
        kind = np.full(len(rows), PURCHASE, np.uint8)
        sink.add(kind, state.row[rows], day, amount=amount, quantity=quantity)

    def without_gone(self, state: RetailerState) -> RetailerState:
        """Return everybody: nobody leaves a shop for good in a way that can be seen."""
        return state

    def is_eligible(self, state: RetailerState, day: int, *, lookback_days: int) -> ndarray:
        """Return which customers bought in the ``lookback_days`` before the start of ``day``."""
        eligible: ndarray = state.active_day >= day - lookback_days
        return eligible

    def hazard(self, state: RetailerState, day: int) -> Float32[ndarray, " customer"]:
        """Return every customer's probability of a purchase on ``day``, at its start."""
        num_dormant = np.minimum(day - state.active_day, MOST_DORMANT_DAYS)
        dormant = np.multiply(num_dormant, self.parameters.dormancy / 30.0, dtype=np.float32)
        log_hazard = state.log_rate - state.grievance
        log_hazard += state.campaign_heat
        log_hazard -= dormant
        log_hazard += self._log_rate_of_day[day]
        hazard: ndarray = np.minimum(np.exp(log_hazard, out=log_hazard), LARGEST_HAZARD, out=log_hazard)
        hazard[state.is_waiting] = 0.0
        return hazard

    def step(
        self,
        state: RetailerState,
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
            spare: Draw the day under the condition that nobody purchases: the other events then
                keep their law, and the day weighs ``1 - hazard``.

        Returns:
            The probability of a purchase that every customer had on this day.
        """
        p = self.parameters
        hazard = self.hazard(state, day)
        waiting = np.flatnonzero(state.is_waiting)
        uniform: Float32[ndarray, " customer"] = rng.random(len(state), dtype=np.float32)
        if spare:
            uniform = hazard + uniform * (1.0 - hazard)
        visits = np.minimum(state.engagement + p.visits_floor, 3.0)
        visits *= p.visits
        bound = visits + hazard
        bound += self._largest_other
        rows = np.flatnonzero(uniform < bound)
        if len(waiting):
            self._attempt_deliveries(state, waiting, day, rng, sink)
        if len(rows):
            self._happen(state, rows, day, rng, sink, hazard[rows], visits[rows], uniform[rows])
        retailer_state.fade(state, p)
        return hazard

    def roll_out(
        self, state: RetailerState, day: int, horizons: tuple[int, ...], rng: np.random.Generator
    ) -> tuple[Float64[ndarray, "horizon customer"], Float64[ndarray, "horizon customer"]]:
        """Follow customers once: unbiased estimates of churn probability and spend in the window.

        Churn is the product of ``1 - hazard`` along a path without purchases. Spend is, on another
        path, purchases weighed by their hazard at their mean amount, plus drawn returns, plus what
        the floor at zero adds to a drawn sum: the same mean as counting, with less noise
        (Rao-Blackwell).

        Args:
            state: Customers at the start of ``day``; left as they are.
            day: The cutoff as days since the start of the span.
            horizons: Ascending, in days.
            rng: The only source of chance.

        Returns:
            Churn probability and spend per horizon and customer.
        """
        everyone = np.arange(len(state))
        churn, spend = np.empty((2, len(horizons), len(state)))
        lonely, log_survival = state.take(everyone), np.zeros(len(state))
        buying, sums, expected = state.take(everyone), _Sums(len(state)), np.zeros(len(state))
        lonely.row, buying.row = everyone.astype(np.int32), everyone.astype(np.int32)
        for offset in range(horizons[-1]):
            log_survival += np.log1p(-self.step(lonely, day + offset, rng, NoSink(), spare=True))
            hazard = self.step(buying, day + offset, rng, sums)
            expected += hazard * state.mean_basket * self._basket_of_day[day + offset]
            if offset + 1 in horizons:
                at = horizons.index(offset + 1)
                churn[at] = np.exp(log_survival)
                spend[at] = expected + sums.returned + np.maximum(0.0, -(sums.bought + sums.returned))
        return churn, spend

    def _draw_baskets(
        self, state: RetailerState, rows: ndarray, day: int, rng: np.random.Generator
    ) -> tuple[ndarray, ndarray]:
        p = self.parameters
        quantity = 1.0 + rng.poisson(p.items, len(rows))
        noise = rng.lognormal(-0.5 * p.basket_noise**2, p.basket_noise, len(rows))
        mean = state.mean_basket[rows].astype(np.float64) * self._basket_of_day[day]
        return np.round(mean * noise * quantity / (1.0 + p.items), 2), quantity.astype(np.float32)

    def _attempt_deliveries(
        self, state: RetailerState, waiting: ndarray, day: int, rng: np.random.Generator, sink: EventSink
    ) -> None:
        p = self.parameters
        uniform = rng.random((2, len(waiting)))
        fails_at = np.where(state.num_failed[waiting] > 0, p.failures_again, p.failures)
        is_tried = uniform[0] < p.deliveries
        is_failed = is_tried & (uniform[1] < fails_at)
        failed, delivered = waiting[is_failed], waiting[is_tried & ~is_failed]
        causes.fail(state, failed, day, p)
        retailer_state.deliver(state, delivered, day)
        tried = waiting[is_tried]
        sink.add(np.where(is_failed[is_tried], FAILED, DELIVERED).astype(np.uint8), state.row[tried], day)

    def _happen(
        self,
        state: RetailerState,
        rows: ndarray,
        day: int,
        rng: np.random.Generator,
        sink: EventSink,
        hazard: ndarray,
        visits: ndarray,
        uniform: ndarray,
    ) -> None:
        p = self.parameters
        chances = np.empty((7, len(rows)), np.float32)
        chances[PURCHASE], chances[VISIT] = hazard, visits
        chances[COMPLAINT] = causes.complaint_rate(state, rows, day, p)
        chances[SUPPORT] = causes.support_rate(state, rows, day, p)
        chances[RETURN] = np.where(day - state.delivered_day[rows] <= p.return_window_days, p.returns, 0.0)
        chances[CAMPAIGN], chances[PRICE_RISE] = p.campaigns, p.price_rises
        kind = choose(chances, uniform)
        amount, quantity = np.full(len(rows), np.nan), np.full(len(rows), np.nan, np.float32)
        detail = np.full(len(rows), len(self.details), np.uint8)

        of_kind = positions_by_kind(kind, 7)
        at = of_kind[PURCHASE]
        amount[at], quantity[at] = self._draw_baskets(state, rows[at], day, rng)
        retailer_state.purchase(state, rows[at], day, amount[at], p)
        self._reconsider_plan(state, rows[at], day, rng, sink)
        causes.visit(state, rows[of_kind[VISIT]])
        causes.complain(state, rows[of_kind[COMPLAINT]], day, p)
        at = of_kind[SUPPORT]
        is_resolved = rng.random(len(at)) < p.resolved_share
        detail[at] = is_resolved
        causes.answer_call(state, rows[at], is_resolved, p)
        at = of_kind[RETURN]
        amount[at] = -np.round(state.last_amount[rows[at]] * rng.uniform(0.3, 1.0, len(at)), 2)
        retailer_state.take_back(state, rows[at])
        causes.contact(state, rows[of_kind[CAMPAIGN]], p)
        causes.raise_price(state, rows[of_kind[PRICE_RISE]], day)

        real = kind < 7
        sink.add(
            kind[real].astype(np.uint8),
            state.row[rows[real]],
            day,
            amount=amount[real],
            quantity=quantity[real],
            detail=detail[real],
        )

    def _reconsider_plan(
        self, state: RetailerState, rows: ndarray, day: int, rng: np.random.Generator, sink: EventSink
    ) -> None:
        """Some buyers change: to ``plus`` while not slowing down, back to ``standard`` when they are."""
        considers = rng.random(len(rows)) < self.parameters.plan_changes
        wanted = (state.num_slower[rows] == 0).astype(np.int8)
        is_changed = considers & (wanted != state.plan[rows])
        changed, plan = rows[is_changed], wanted[is_changed]
        if len(changed):
            retailer_state.change_plan(state, changed, plan, self.parameters)
            kind = np.full(len(changed), PLAN_CHANGE, np.uint8)
            sink.add(kind, state.row[changed], day, detail=(plan + 2).astype(np.uint8))


class _Sums:
    """A sink that only adds up what is bought and returned."""

    def __init__(self, num: int) -> None:
        """Start at zero for ``num`` customers."""
        self.bought, self.returned = np.zeros((2, num))

    def add(  # The shape of the call is the sink's.
        self,
        kind: ndarray,
        row: ndarray,
        day: int,  # noqa: ARG002
        *,
        amount: ndarray | None = None,
        **rest: object,  # noqa: ARG002
    ) -> None:
        """Add the amounts."""
        if amount is None:
            return
        is_bought, is_returned = kind == PURCHASE, kind == RETURN
        self.bought[row[is_bought]] += amount[is_bought]
        self.returned[row[is_returned]] += amount[is_returned]
