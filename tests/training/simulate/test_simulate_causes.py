"""What events do to a customer: the order decides, not the bag."""

import datetime
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest

from training.simulate import (
    RetailerParameters,
    SubscriptionParameters,
    causes,
    retailer_state,
    subscription_state,
)
from training.simulate.process import Process
from training.simulate.retailer import Retailer
from training.simulate.subscription import Subscription

START = datetime.date(2024, 1, 1)
ONE = np.array([0])
ASKED_DAY = 200
FLAT = {"yearly_effect": 0.0, "weekly_effect": 0.0}
SHOP = RetailerParameters(**FLAT)
CLUB = SubscriptionParameters(**FLAT)

Story = Sequence[tuple[int, str]]


def shop_hazard(story: Story) -> float:
    """Probability of a purchase on day 200 after a story of (day, event)."""
    process = Retailer(SHOP, start=START, num_days=400)
    state = retailer_state.new_state(np.zeros(1, np.float32), np.zeros(1, bool), np.full(1, 50.0), SHOP)
    changes: dict[str, Callable[[int], None]] = {
        "purchase": lambda day: retailer_state.purchase(state, ONE, day, np.array([40.0]), SHOP),
        "delivered": lambda day: retailer_state.deliver(state, ONE, day),
        "failed": lambda day: causes.fail(state, ONE, day, SHOP),
    }
    return _follow(process, state, story, changes)


def club_hazard(story: Story) -> float:
    """Probability of a cancellation on day 200 after a story of (day, event)."""
    process = Subscription(CLUB, start=START, num_days=400)
    state = subscription_state.new_state(np.zeros(1, np.float32), np.ones(1, np.int64), CLUB)
    subscription_state.sign_up(state, ONE, 0)
    state.payment_day[:] = ASKED_DAY + 20
    changes: dict[str, Callable[[int], None]] = {
        "usage": lambda day: subscription_state.use(state, ONE, day, CLUB),
        "failed": lambda day: causes.fail(state, ONE, day, CLUB),
        "succeeded": lambda _day: causes.succeed(state, ONE),
    }
    return _follow(process, state, story, changes)


def _follow(
    process: Process[Any], state: causes.Causes, story: Story, changes: dict[str, Callable[[int], None]]
) -> float:
    changes |= {
        "visit": lambda _day: causes.visit(state, ONE),
        "complaint": lambda day: causes.complain(state, ONE, day, process.parameters),
        "price_rise": lambda day: causes.raise_price(state, ONE, day),
        "resolved": lambda _day: causes.answer_call(state, ONE, np.array([True]), process.parameters),
        "unresolved": lambda _day: causes.answer_call(state, ONE, np.array([False]), process.parameters),
        "campaign": lambda _day: causes.contact(state, ONE, process.parameters),
    }
    for day in range(ASKED_DAY):
        for when, what in story:
            if when == day:
                changes[what](day)
        causes.fade(state, process.parameters)
    return float(process.hazard(state, ASKED_DAY)[0])


BOUGHT = [(150, "purchase"), (152, "delivered")]
FAILED_TWICE = [(150, "purchase"), (151, "failed"), (152, "failed"), (153, "delivered")]
FAILED_APART = [(150, "purchase"), (151, "failed"), (152, "delivered"), (153, "failed")]


def test_a_complaint_hurts_a_shop_only_after_a_price_rise() -> None:
    """Rise then complaint makes a purchase far rarer than complaint then rise."""
    broken = shop_hazard([*BOUGHT, (160, "price_rise"), (170, "complaint")])
    unhurt = shop_hazard([*BOUGHT, (160, "complaint"), (170, "price_rise")])
    assert unhurt > 5 * broken


@pytest.mark.parametrize(("days", "is_broken"), [(30, True), (31, False)])
def test_the_window_after_a_price_rise_ends_where_it_says(days: int, is_broken: bool) -> None:
    """A complaint on the last day of the window breaks the relation, one a day later does not."""
    hazard = shop_hazard([*BOUGHT, (160, "price_rise"), (160 + days, "complaint")])
    alone = shop_hazard([*BOUGHT, (160 + days, "complaint")])
    assert (hazard < 0.2 * alone) == is_broken
    assert is_broken or hazard == alone


def test_two_complaints_about_one_price_rise_break_a_relation_once() -> None:
    """The second complaint weighs as any other complaint."""
    once = shop_hazard([*BOUGHT, (160, "price_rise"), (170, "complaint")])
    twice = shop_hazard([*BOUGHT, (160, "price_rise"), (170, "complaint"), (171, "complaint")])
    assert 0.9 * once < twice < once


def test_two_failures_in_a_row_hurt_far_more_than_two_apart() -> None:
    """The same two failures and one delivery, in another order."""
    assert shop_hazard(FAILED_APART) > 4 * shop_hazard(FAILED_TWICE)


def test_a_third_failure_in_a_row_adds_nothing() -> None:
    """The row has hurt when it became a row."""
    third = [(150, "purchase"), (151, "failed"), (152, "failed"), (153, "failed"), (154, "delivered")]
    assert shop_hazard(third) == pytest.approx(shop_hazard(FAILED_TWICE), rel=0.02)


def test_a_resolved_call_heals_what_came_before_it_alone() -> None:
    """After the failures it heals, before them it does nothing, unresolved it does nothing."""
    hurt = shop_hazard(FAILED_TWICE)
    assert shop_hazard([*FAILED_TWICE, (160, "resolved")]) > 3 * hurt
    assert shop_hazard([(140, "resolved"), *FAILED_TWICE]) == hurt
    assert shop_hazard([*FAILED_TWICE, (160, "unresolved")]) == hurt


def test_a_campaign_works_only_after_visits() -> None:
    """Visit then contact raises the rate; contact then visit lowers it below that of no contact."""
    none = shop_hazard([*BOUGHT, (190, "visit")])
    assert shop_hazard([*BOUGHT, (190, "visit"), (190, "visit"), (191, "campaign")]) > 1.5 * none
    assert shop_hazard([*BOUGHT, (189, "campaign"), (190, "visit"), (190, "visit")]) < 0.9 * none


def test_growing_gaps_slow_a_customer_down() -> None:
    """Gaps of 10, 20 and 40 days against the same gaps from long to short."""
    growing = [(100 + d, "purchase") for d in (0, 10, 30, 70)]
    shrinking = [(100 + d, "purchase") for d in (0, 40, 60, 70)]
    delivered = [(171, "delivered")]
    assert shop_hazard([*shrinking, *delivered]) > 1.5 * shop_hazard([*growing, *delivered])


def test_who_waits_for_a_parcel_does_not_buy() -> None:
    """The hazard is exactly zero until the delivery."""
    assert shop_hazard([(150, "purchase")]) == 0.0
    assert shop_hazard(BOUGHT) > 0.0


@pytest.mark.parametrize(
    ("harmful", "harmless", "factor"),
    [
        ([(160, "price_rise"), (170, "complaint")], [(160, "complaint"), (170, "price_rise")], 5.0),
        (
            [(160, "failed"), (161, "failed"), (162, "succeeded")],
            [(160, "failed"), (161, "succeeded"), (162, "failed")],
            5.0,
        ),
        (
            [(150, "resolved"), (160, "failed"), (161, "failed")],
            [(160, "failed"), (161, "failed"), (165, "resolved")],
            3.0,
        ),
        ([(189, "campaign"), (190, "visit")], [(190, "visit"), (190, "visit"), (190, "campaign")], 1.5),
        (
            [(100, "usage"), (105, "usage"), (120, "usage"), (160, "usage")],
            [(100, "usage"), (140, "usage"), (155, "usage"), (160, "usage")],
            1.5,
        ),
    ],
    ids=["rise-complaint", "outages", "resolved-call", "campaign", "slowing-usage"],
)
def test_order_decides_about_cancellation(
    harmful: list[tuple[int, str]], harmless: list[tuple[int, str]], factor: float
) -> None:
    """Nearly the same bag of events, in the harmful order, makes a cancellation likelier by a factor."""
    assert club_hazard(harmful) > factor * club_hazard(harmless)


def test_a_grievance_never_exceeds_its_limit() -> None:
    """However often a customer is hurt, the hazard stays where the limit puts it."""
    story = [(150 + 3 * i + j, what) for i in range(10) for j, what in enumerate(("price_rise", "complaint"))]
    state = retailer_state.new_state(np.zeros(1, np.float32), np.zeros(1, bool), np.full(1, 50.0), SHOP)
    for day, what in story:
        if what == "price_rise":
            causes.raise_price(state, ONE, day)
        else:
            causes.complain(state, ONE, day, SHOP)
    assert state.grievance[0] == np.float32(SHOP.grievance_limit)


def test_a_step_down_after_a_price_rise_relieves() -> None:
    """A cheaper plan takes away its share of the grievance and lowers the price; a dearer one does not."""
    p = CLUB
    for plan, share in ((0, 1.0 - p.relieved_share), (2, 1.0)):
        state = subscription_state.new_state(np.zeros(1, np.float32), np.ones(1, np.int64), p)
        state.grievance[:] = 2.0
        price = state.price[0]
        subscription_state.change_plan(state, ONE, np.array([plan]), p)
        assert state.grievance[0] == pytest.approx(2.0 * share)
        assert state.price[0] == pytest.approx(price * p.plan_factor ** (plan - 1), abs=0.01)
