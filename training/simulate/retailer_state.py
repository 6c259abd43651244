"""The state of a simulated retailer's customers, and what each event does to it.

It deliberately draws nothing: every change is a fixed function of the state before and the event, so
the state can be rebuilt from the events that are written out.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float32, Float64, Int8, Int32
from numpy import ndarray

from training.simulate import causes
from training.simulate.causes import Causes
from training.simulate.columns import NEVER
from training.simulate.parameters import RetailerParameters

PURCHASE, VISIT, COMPLAINT, SUPPORT, RETURN, CAMPAIGN, PRICE_RISE, DELIVERED, FAILED, PLAN_CHANGE = range(10)
"""Codes of the event types; up to PRICE_RISE they compete for the day."""


@dataclass(slots=True, kw_only=True)
class RetailerState(Causes):
    """What decides a retail customer's future.

    Attributes:
        log_rate: Log rate of purchases before grievance, campaign, dormancy and season.
        mean_basket: The customer's own mean purchase, in currency; never changes.
        is_waiting: Whether a parcel is under way; such a customer does not buy.
        delivered_day: Day of the last delivery that may still be returned.
        last_amount: Amount of the last purchase.
        engagement: Recent purchases, fading: what visits follow.
    """

    log_rate: Float32[ndarray, " customer"]
    mean_basket: Float32[ndarray, " customer"]
    is_waiting: Bool[ndarray, " customer"]
    delivered_day: Int32[ndarray, " customer"]
    last_amount: Float32[ndarray, " customer"]
    engagement: Float32[ndarray, " customer"]


def new_state(
    own_rate: Float32[ndarray, " customer"],
    plan: Bool[ndarray, " customer"],
    mean_basket: Float64[ndarray, " customer"],
    p: RetailerParameters,
) -> RetailerState:
    """Return customers to whom nothing has happened yet."""
    num = len(own_rate)
    return RetailerState(
        **causes.blank(own_rate, plan),
        log_rate=own_rate + p.plus_effect * plan.astype(np.float32),
        mean_basket=mean_basket.astype(np.float32),
        is_waiting=np.zeros(num, bool),
        delivered_day=np.full(num, NEVER, np.int32),
        last_amount=np.zeros(num, np.float32),
        engagement=np.zeros(num, np.float32),
    )


def purchase(
    state: RetailerState, rows: ndarray, day: int, amount: Float64[ndarray, " row"], p: RetailerParameters
) -> None:
    """A purchase: closes a gap, sends a parcel, and ends the return window of the one before."""
    causes.be_active(state, rows, day, p)
    state.is_waiting[rows] = True
    state.delivered_day[rows] = NEVER
    state.last_amount[rows] = amount
    state.engagement[rows] += 1.0
    _refresh_log_rate(state, rows, p)


def deliver(state: RetailerState, rows: ndarray, day: int) -> None:
    """A delivery: ends the row of failures, and opens the window for a return."""
    causes.succeed(state, rows)
    state.is_waiting[rows] = False
    state.delivered_day[rows] = day


def take_back(state: RetailerState, rows: ndarray) -> None:
    """A return: nothing is left to return."""
    state.delivered_day[rows] = NEVER


def change_plan(
    state: RetailerState, rows: ndarray, plan: Int8[ndarray, " row"], p: RetailerParameters
) -> None:
    """A change of plan: ``plus`` customers buy more often."""
    state.plan[rows] = plan
    _refresh_log_rate(state, rows, p)


def fade(state: RetailerState, p: RetailerParameters) -> None:
    """The end of a day: grievances, heats and engagement fade."""
    causes.fade(state, p)
    state.engagement *= 0.5 ** (1.0 / p.engagement_half_life_days)


def _refresh_log_rate(state: RetailerState, rows: ndarray, p: RetailerParameters) -> None:
    effect = p.plus_effect * state.plan[rows] - p.slower_effect * state.num_slower[rows]
    state.log_rate[rows] = state.own_rate[rows] + effect.astype(np.float32)
