"""Hidden state is a function of the events that are written out: rebuilt here from nothing else."""

import numpy as np
import polars as pl
import pytest

from training.simulate import SimulationConfig, causes, retailer_state, subscription_state
from training.simulate.block import live, process_of
from training.simulate.event_log import EventLog, customer_ids_of
from training.simulate.process import Process

NUM = 300
DAY = 250
KINDS = ("retailer", "subscription")


def config(kind: str) -> SimulationConfig:
    """A business whose only cutoff is its last day but one."""
    return SimulationConfig(
        kind=kind,
        num_customers=NUM,
        seed=2,
        start_date="2023-01-01",
        num_days=DAY + 1,
        cutoffs=("2023-09-08T00:00:00Z",),
        horizons_days=(1,),
        lookback_days=1_000,
    )


def apply(kind: str, process: Process, state: object, day: int, name: str, events: pl.DataFrame) -> None:
    """Do to a state what events of one type and day say, by what they say alone."""
    p, rows, amount = process.parameters, events["row"].to_numpy(), events["amount"].to_numpy()
    detail = events["detail"]
    shared = {
        "visit": lambda: causes.visit(state, rows),
        "complaint": lambda: causes.complain(state, rows, day, p),
        "support_call": lambda: causes.answer_call(state, rows, (detail == "resolved").to_numpy(), p),
        "campaign_contact": lambda: causes.contact(state, rows, p),
        "delivery_failed": lambda: causes.fail(state, rows, day, p),
        "outage": lambda: causes.fail(state, rows, day, p),
    }
    if kind == "retailer":
        plans = {name: code for code, name in enumerate(process.plans)}
        shared |= {
            "purchase": lambda: retailer_state.purchase(state, rows, day, amount, p),
            "delivered": lambda: retailer_state.deliver(state, rows, day),
            "return": lambda: retailer_state.take_back(state, rows),
            "price_rise": lambda: causes.raise_price(state, rows, day),
            "plan_change": lambda: retailer_state.change_plan(
                state, rows, np.array([plans[name] for name in detail], np.int8), p
            ),
        }
    else:
        plans = {name: code for code, name in enumerate(process.plans)}
        shared |= {
            "signup": lambda: subscription_state.sign_up(state, rows, day),
            "usage": lambda: subscription_state.use(state, rows, day, p),
            "payment": lambda: subscription_state.pay(state, rows),
            "cancellation": lambda: subscription_state.cancel(state, rows),
            "price_rise": lambda: subscription_state.raise_price(state, rows, day, amount),
            "plan_change": lambda: subscription_state.change_plan(
                state, rows, np.array([plans[name] for name in detail]), p
            ),
        }
    shared[name]()


@pytest.mark.parametrize("kind", KINDS)
def test_the_state_at_a_cutoff_follows_from_the_events_before_it(kind: str) -> None:
    """Replaying the written events gives every hazard at the cutoff, own rates being the only secret."""
    simulation = config(kind)
    process = process_of(simulation)
    rng = np.random.default_rng(6)
    state, _ = process.draw_customers(rng, NUM)
    replayed = state.take(np.arange(NUM))
    log = EventLog()
    truth = live(process, state, simulation, rng=rng, sink=log, progress=lambda _work: None)[DAY]
    ids = customer_ids_of(kind, 0, NUM)
    events = log.events(rng, names=process, customer_ids=ids, start=simulation.start)
    events = events.join(pl.DataFrame({"customer_id": ids, "row": np.arange(NUM)}), on="customer_id")
    events = events.with_columns(
        day=(pl.col("occurred_at").dt.date() - simulation.start).dt.total_days().cast(pl.Int64)
    ).filter(pl.col("day") < DAY)

    fade = retailer_state.fade if kind == "retailer" else causes.fade
    fading = ["grievance", "visit_heat", "campaign_heat", *(["engagement"] if kind == "retailer" else [])]
    first_day = np.full(NUM, DAY)
    np.minimum.at(first_day, events["row"].to_numpy(), events["day"].to_numpy())
    by_day = events.sort("occurred_at").partition_by("day", as_dict=True)
    for day in range(DAY):
        if (day,) in by_day:
            # By first time of a type: within a day, times keep the order of causes.
            for same_type in by_day[day,].partition_by("event_type", maintain_order=True):
                apply(kind, process, replayed, day, same_type["event_type"][0], same_type)
        arrived = first_day == day
        kept = {name: getattr(replayed, name)[arrived] for name in fading}
        fade(replayed, process.parameters)
        # Life begins with the day after the first event.
        for name, values in kept.items():
            getattr(replayed, name)[arrived] = values

    asked = replayed.take(truth.row)
    assert len(truth) > 150
    np.testing.assert_allclose(process.hazard(asked, DAY), process.hazard(truth, DAY), rtol=1e-5)
    assert np.ptp(np.log(process.hazard(truth, DAY)[process.hazard(truth, DAY) > 0])) > 2.0
    if kind == "retailer":
        np.testing.assert_allclose(asked.engagement, truth.engagement, rtol=1e-5)
        np.testing.assert_allclose(asked.last_amount, truth.last_amount, rtol=1e-5)
    else:
        np.testing.assert_allclose(asked.price, truth.price, atol=1e-9)
        np.testing.assert_array_equal(asked.payment_day, truth.payment_day)
        np.testing.assert_allclose(asked.usage_rate, truth.usage_rate, rtol=1e-5)
