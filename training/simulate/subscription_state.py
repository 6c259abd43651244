"""The state of a simulated subscription's customers, and what each event does to it.

It deliberately draws nothing: every change is a fixed function of the state before and the event, so
the state can be rebuilt from the events that are written out.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float32, Float64, Int32, Int64
from numpy import ndarray

from training.simulate import causes
from training.simulate.causes import Causes
from training.simulate.parameters import SubscriptionParameters

CANCELLATION, USAGE, OUTAGE, COMPLAINT, SUPPORT, CAMPAIGN, PRICE_RISE, PLAN_CHANGE, PAYMENT, SIGNUP = range(
    10
)
"""Codes of the event types; up to PLAN_CHANGE they compete for the day."""

BILLING_DAYS = 30
TOP_PLAN = 2


@dataclass(slots=True, kw_only=True)
class SubscriptionState(Causes):
    """What decides a subscriber's future.

    Attributes:
        usage_rate: Daily probability of usage, after slowing down.
        price: Monthly price, in currency.
        payment_day: Day of the next payment.
        is_gone: Whether the customer has cancelled.
    """

    usage_rate: Float32[ndarray, " customer"]
    price: Float64[ndarray, " customer"]
    payment_day: Int32[ndarray, " customer"]
    is_gone: Bool[ndarray, " customer"]


def new_state(
    own_rate: Float32[ndarray, " customer"], plan: Int64[ndarray, " customer"], p: SubscriptionParameters
) -> SubscriptionState:
    """Return customers to whom nothing has happened yet."""
    num = len(own_rate)
    return SubscriptionState(
        **causes.blank(own_rate, plan),
        usage_rate=(p.usages * np.exp(own_rate)).astype(np.float32),
        price=np.round(p.price * p.plan_factor**plan, 2),
        payment_day=np.full(num, np.iinfo(np.int32).max, np.int32),
        is_gone=np.zeros(num, bool),
    )


def sign_up(state: SubscriptionState, rows: ndarray, day: int) -> None:
    """A sign-up: the first payment falls due on the next day."""
    state.active_day[rows] = day
    state.payment_day[rows] = day + 1


def pay(state: SubscriptionState, rows: ndarray) -> None:
    """A payment: the next one falls due 30 days later."""
    state.payment_day[rows] += BILLING_DAYS


def use(state: SubscriptionState, rows: ndarray, day: int, p: SubscriptionParameters) -> None:
    """A usage: closes a gap, ends a row of outages, and counts as a visit."""
    causes.be_active(state, rows, day, p)
    causes.succeed(state, rows)
    causes.visit(state, rows)
    slowed = state.own_rate[rows] - p.slower_effect * state.num_slower[rows]
    state.usage_rate[rows] = p.usages * np.exp(slowed)


def raise_price(state: SubscriptionState, rows: ndarray, day: int, price: Float64[ndarray, " row"]) -> None:
    """A price rise: the new price holds from the next payment on."""
    causes.raise_price(state, rows, day)
    state.price[rows] = price


def change_plan(
    state: SubscriptionState, rows: ndarray, plan: Int64[ndarray, " row"], p: SubscriptionParameters
) -> None:
    """A change of plan: a step down takes away part of the grievance."""
    down = plan < state.plan[rows]
    state.grievance[rows[down]] *= 1.0 - p.relieved_share
    step = plan.astype(np.float64) - state.plan[rows]
    state.price[rows] = np.round(state.price[rows] * p.plan_factor**step, 2)
    state.plan[rows] = plan


def cancel(state: SubscriptionState, rows: ndarray) -> None:
    """A cancellation: the end."""
    state.is_gone[rows] = True


def wanted_plan(
    state: SubscriptionState, rows: ndarray, day: int, p: SubscriptionParameters
) -> Int64[ndarray, " row"]:
    """Return the plan a customer would change to: lower after a price rise, otherwise higher."""
    follows_rise = day - state.price_rise_day[rows] <= p.rise_window_days
    wanted: ndarray = np.clip(state.plan[rows] + np.where(follows_rise, -1, 1), 0, TOP_PLAN)
    return wanted
