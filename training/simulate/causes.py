"""The causes that both simulated businesses share, as changes of a customer's state.

It deliberately draws nothing: whether an event happens is decided by the businesses, what it does
is a fixed function of the state before it. The state therefore follows from the events that are
written out (tests rebuild it from them), and nothing but a modest spread of customers' own rates
stays hidden. The *order* of events decides, so equal bags of counts have unequal futures:

    event            does much                                   does little or nothing
    complaint        within N days after a price rise            before it, or without one
    failure          straight after another failure              with a success in between
    resolved call    after trouble: most of the grievance heals  before the trouble
    campaign         after recent visits: the rate rises         without them: the rate falls
    activity         gaps that grow one after another: slower    the same gaps in another order
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float32, Int8, Int32
from numpy import ndarray

from training.simulate.columns import NEVER, Columns
from training.simulate.parameters import CauseParameters

MOST_SLOWER = 3
"""Growing gaps in a row beyond this many change nothing more."""


@dataclass(slots=True, kw_only=True)
class Causes(Columns):
    """What a customer's past leaves behind.

    Attributes:
        own_rate: The customer's own addition to the log rate of activity; never changes.
        plan: Code of the plan.
        grievance: Taken off the log rate of a shop, added to the hazard of a cancellation.
        num_failed: Failures in a row.
        price_rise_day: Day of the last price rise.
        trouble_day: Day of the last failure or complaint.
        visit_heat: Recent visits, fading.
        campaign_heat: Effect of recent contacts, fading.
        active_day: Day of the last purchase or usage.
        previous_gap: Days between the last two of them; 0 before the second.
        num_slower: Gaps in a row that each grew.
    """

    own_rate: Float32[ndarray, " customer"]
    plan: Int8[ndarray, " customer"]
    grievance: Float32[ndarray, " customer"]
    num_failed: Int8[ndarray, " customer"]
    price_rise_day: Int32[ndarray, " customer"]
    trouble_day: Int32[ndarray, " customer"]
    visit_heat: Float32[ndarray, " customer"]
    campaign_heat: Float32[ndarray, " customer"]
    active_day: Int32[ndarray, " customer"]
    previous_gap: Float32[ndarray, " customer"]
    num_slower: Int8[ndarray, " customer"]


def blank(own_rate: Float32[ndarray, " customer"], plan: ndarray) -> dict[str, ndarray]:
    """Return the columns of :class:`Causes` for customers to whom nothing has happened yet."""
    num = len(own_rate)
    zeros, never = np.zeros(num, np.float32), np.full(num, NEVER, np.int32)
    return {
        "row": np.arange(num, dtype=np.int32),
        "own_rate": own_rate,
        "plan": plan.astype(np.int8),
        "grievance": zeros,
        "num_failed": np.zeros(num, np.int8),
        "price_rise_day": never,
        "trouble_day": never.copy(),
        "visit_heat": zeros.copy(),
        "campaign_heat": zeros.copy(),
        "active_day": never.copy(),
        "previous_gap": zeros.copy(),
        "num_slower": np.zeros(num, np.int8),
    }


def aggrieve(state: Causes, rows: ndarray, by: ndarray | float, p: CauseParameters) -> None:
    """Add to the grievance, up to its limit."""
    state.grievance[rows] = np.minimum(state.grievance[rows] + by, p.grievance_limit)


def complain(state: Causes, rows: ndarray, day: int, p: CauseParameters) -> None:
    """A complaint: breaks the relation when it follows a price rise within the window."""
    follows_rise = day - state.price_rise_day[rows] <= p.rise_window_days
    aggrieve(state, rows, np.where(follows_rise, p.broken_by_rise, p.complaint_alone).astype(np.float32), p)
    # One rise breaks a relation once: further complaints about it are complaints.
    state.price_rise_day[rows[follows_rise]] = NEVER
    state.trouble_day[rows] = day


def raise_price(state: Causes, rows: ndarray, day: int) -> None:
    """A price rise: does nothing by itself, but opens the window for a complaint."""
    state.price_rise_day[rows] = day


def fail(state: Causes, rows: ndarray, day: int, p: CauseParameters) -> None:
    """A failed delivery or an outage: two in a row hurt far more than two apart."""
    again = state.num_failed[rows] == 1
    first = state.num_failed[rows] == 0
    by = np.where(again, p.failed_again, np.where(first, p.failed_once, 0.0)).astype(np.float32)
    aggrieve(state, rows, by, p)
    state.num_failed[rows] = np.minimum(state.num_failed[rows] + 1, 100)
    state.trouble_day[rows] = day


def succeed(state: Causes, rows: ndarray) -> None:
    """A delivery or a usage without trouble: ends the row of failures."""
    state.num_failed[rows] = 0


def answer_call(state: Causes, rows: ndarray, is_resolved: Bool[ndarray, " row"], p: CauseParameters) -> None:
    """A support call: a resolved one heals the grievance that is there by then."""
    state.grievance[rows[is_resolved]] *= p.healed_by
    state.trouble_day[rows[is_resolved]] = NEVER


def contact(state: Causes, rows: ndarray, p: CauseParameters) -> None:
    """A campaign contact: works after recent visits, annoys otherwise; it replaces the one before."""
    works = state.visit_heat[rows] >= p.campaign_needs_visits
    state.campaign_heat[rows] = np.where(works, p.campaign_works, -p.campaign_annoys)


def visit(state: Causes, rows: ndarray) -> None:
    """A visit (or usage): warms the customer for a campaign."""
    state.visit_heat[rows] += 1.0


def be_active(state: Causes, rows: ndarray, day: int, p: CauseParameters) -> None:
    """A purchase or usage: closes a gap; gaps that grow one after another slow the customer down."""
    gap = (day - state.active_day[rows]).astype(np.float32)
    previous = state.previous_gap[rows]
    grew = (previous > 0) & (gap > p.slower_gap * previous)
    slower = np.minimum(state.num_slower[rows] + 1, MOST_SLOWER)
    state.num_slower[rows] = np.where(grew, slower, 0)
    state.previous_gap[rows] = np.where(state.active_day[rows] == NEVER, 0.0, gap)
    state.active_day[rows] = day


def fade(state: Causes, p: CauseParameters) -> None:
    """The end of a day: grievances and heats fade."""
    state.grievance *= 0.5 ** (1.0 / p.grievance_half_life_days)
    state.visit_heat *= 0.5 ** (1.0 / p.visit_half_life_days)
    state.campaign_heat *= 0.5 ** (1.0 / p.campaign_half_life_days)


def complaint_rate(state: Causes, rows: ndarray, day: int, p: CauseParameters) -> Float32[ndarray, " row"]:
    """Return the daily probability of a complaint."""
    follows_rise = day - state.price_rise_day[rows] <= p.rise_window_days
    rate: ndarray = np.where(follows_rise, p.complaints * p.complaints_after_rise, p.complaints)
    return rate.astype(np.float32)


def support_rate(state: Causes, rows: ndarray, day: int, p: CauseParameters) -> Float32[ndarray, " row"]:
    """Return the daily probability of a support call."""
    in_trouble = day - state.trouble_day[rows] <= p.trouble_window_days
    rate: ndarray = np.where(in_trouble, p.supports * p.supports_after_trouble, p.supports)
    return rate.astype(np.float32)


def largest_rate(p: CauseParameters) -> float:
    """Return an upper bound of complaint, support, campaign and price rise together."""
    complaints = p.complaints * max(1.0, p.complaints_after_rise)
    supports = p.supports * max(1.0, p.supports_after_trouble)
    return complaints + supports + p.campaigns + p.price_rises
