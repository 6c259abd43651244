"""Labels: windows, ties, censoring, returns, a company's own table, against hand and oracle."""

from dataclasses import dataclass, replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from builders import DAY, EVENT_TYPES, START_US, random_histories, small_schema
from holdfast.errors import ConfigError, DataError
from holdfast.histories import AttributeVersions, CodedColumn, Histories
from holdfast.schema import Schema, Target, horizon_grid_days
from holdfast.vocabulary import Dictionary
from training import labels as labels_module
from training.labels import Labeller, grid_us

FOREVER = START_US + 10_000 * DAY
Events = list[tuple[float, str, float]]


def histories_of(*customers: Events) -> Histories:
    """Return histories from (days since START_US, event type, amount) per customer."""
    rows = [event for events in customers for event in events]
    versions = np.zeros(len(customers) + 1, dtype=np.int64)
    return Histories(
        offsets=np.cumsum([0, *map(len, customers)], dtype=np.int64),
        occurred_at_us=np.array([at(row[0]) for row in rows], dtype=np.int64),
        event_type=CodedColumn(
            codes=np.array([EVENT_TYPES.index(row[1]) for row in rows], dtype=np.int32),
            dictionary=Dictionary(EVENT_TYPES),
        ),
        categorical={},
        numeric={"amount": np.array([row[2] for row in rows], dtype=np.float32)},
        attributes=AttributeVersions(
            offsets=versions, valid_from_us=np.zeros(0, dtype=np.int64), categorical={}, numeric={}
        ),
    )


def at(days: float) -> int:
    """Return a time in days since START_US."""
    return START_US + round(days * DAY)


def purchases(*days: float) -> Events:
    """Return purchases of 10 each."""
    return [(day, "purchase", 10.0) for day in days]


def shop(**changes: object) -> Schema:
    """Return a shop with a 30 and 90 day horizon and 180 days of lookback."""
    return replace(small_schema(), **changes)


def ask(
    histories: Histories, *queries: tuple[int, float], schema: Schema | None = None, until: int = FOREVER
) -> object:
    """Label (customer, day) pairs."""
    customer = np.array([query[0] for query in queries], dtype=np.int64)
    cutoff_us = np.array([at(query[1]) for query in queries], dtype=np.int64)
    return Labeller(histories, schema or shop()).label(customer, cutoff_us, observed_until_us=until)


def eligible(histories: Histories, *queries: tuple[int, float], schema: Schema | None = None) -> list[bool]:
    """Ask who is eligible at (customer, day) pairs."""
    customer = np.array([query[0] for query in queries], dtype=np.int64)
    cutoff_us = np.array([at(query[1]) for query in queries], dtype=np.int64)
    return Labeller(histories, schema or shop()).eligible(customer, cutoff_us).tolist()


def bins(labels: object, name: str = "churn") -> list[tuple[int, int]]:
    """Return (lower, upper) pairs of a target."""
    return list(zip(labels.lower[name].tolist(), labels.upper[name].tolist(), strict=True))


MICROSECOND = 1 / DAY
K = 12
"""Bins of the shop's churn: horizons 30, 60, 90, so 7.5 days each."""


def test_grid_has_the_declared_bins() -> None:
    """The tests below count on twelve bins of 7.5 days."""
    assert grid_us(shop().targets[0]).tolist() == [round(7.5 * DAY) * k for k in range(1, K + 1)]


def test_event_at_the_cutoff_is_history() -> None:
    """A purchase exactly at the cutoff does not answer it; one a microsecond later does."""
    histories = histories_of(purchases(100))
    assert bins(ask(histories, (0, 100), (0, 100 - MICROSECOND))) == [(K, K + 1), (0, 1)]


def test_event_at_the_horizon_is_inside() -> None:
    """The window is half-open: an event exactly at its end counts, a microsecond later not."""
    histories = histories_of(purchases(0, 90), [(0, "purchase", 1.0), (90 + MICROSECOND, "purchase", 1.0)])
    labels = ask(histories, (0, 0), (1, 0))
    assert bins(labels) == [(K - 1, K), (K, K + 1)]
    assert labels.values["spend"].tolist() == [10.0, 0.0]
    assert labels.values["orders"].tolist() == [1.0, 0.0]


def test_event_at_the_end_of_an_inner_bin_is_inside_that_bin() -> None:
    """Bins are half-open on the left as well: 7.5 days is bin 1, a microsecond more bin 2."""
    histories = histories_of(purchases(0, 7.5), purchases(0, 7.5 + MICROSECOND))
    assert bins(ask(histories, (0, 0), (1, 0))) == [(0, 1), (1, 2)]


def test_ties_at_the_cutoff_are_all_history() -> None:
    """Three events at the same instant as the cutoff are history, in whatever order they came."""
    tied = [(5.0, "return", -3.0), (5.0, "purchase", 8.0), (5.0, "purchase", 9.0)]
    labels = ask(histories_of(tied), (0, 5), (0, 5 - MICROSECOND))
    assert bins(labels) == [(K, K + 1), (0, 1)]
    assert labels.values["spend"].tolist() == [0.0, 14.0]
    assert labels.values["orders"].tolist() == [0.0, 2.0]


def test_only_the_next_event_decides() -> None:
    """Later purchases and events of other types do not move the bin."""
    events = [(0, "purchase", 1.0), (1, "visit", 0.0), (20, "purchase", 1.0), (80, "purchase", 1.0)]
    assert bins(ask(histories_of(events), (0, 0))) == [(2, 3)]


def test_the_next_customer_is_never_seen() -> None:
    """The last customer's window is not answered by the following customer's events."""
    histories = histories_of(purchases(0), purchases(1, 2, 3), [])
    labels = ask(histories, (0, 0), (2, 0))
    assert bins(labels) == [(K, K + 1), (K, K + 1)]
    assert labels.values["spend"].tolist() == [0.0, 0.0]


def test_summer_time_does_not_stretch_a_window() -> None:
    """A day is 24 hours: 30 days over a change of the clocks end an hour off the local clock.

    2024-03-31 loses an hour in Berlin. The cutoff is 2024-03-10 00:00 there (23:00 UTC the day
    before); 30 days later it is 2024-04-08 23:00 UTC, which a clock in Berlin shows as 01:00.
    """
    cutoff_us = 1_710_025_200_000_000
    end_us = 1_712_617_200_000_000
    assert end_us - cutoff_us == 30 * DAY
    inside, outside = (end_us - START_US) / DAY, (end_us + 1 - START_US) / DAY
    target = Target(
        name="churn", kind="time_to_event", event_types=("purchase",), horizons_days=(30,), form="inactivity"
    )
    histories = histories_of(purchases(inside), purchases(outside))
    start = (cutoff_us - START_US) / DAY
    labels = ask(histories, (0, start), (1, start), schema=shop(targets=(target,)))
    num_bins = len(horizon_grid_days(target))
    assert bins(labels) == [(num_bins - 1, num_bins), (num_bins, num_bins + 1)]


@pytest.mark.parametrize(
    ("until", "expected"),
    [
        (90.0, (12, 13)),
        (90.0 - MICROSECOND, (11, 13)),
        (30.0, (4, 13)),
        (7.5, (1, 13)),
        (7.5 - MICROSECOND, (0, 13)),
        (0.0, (0, 13)),
        (-50.0, (0, 13)),
    ],
)
def test_censored_without_event(until: float, expected: tuple[int, int]) -> None:
    """Who did nothing until the data ends survived the full bins that are known, no more."""
    histories = histories_of(purchases(0))
    assert bins(ask(histories, (0, 0), until=at(until))) == [expected]


@pytest.mark.parametrize(
    ("until", "expected"),
    [
        (90.0, (2, 3)),
        (22.5, (2, 3)),
        (22.5 - MICROSECOND, (2, 13)),
        (20.0, (2, 13)),
        (20.0 - MICROSECOND, (2, 13)),
        (15.0, (2, 13)),
        (14.0, (1, 13)),
    ],
)
def test_censored_with_event(until: float, expected: tuple[int, int]) -> None:
    """An event counts once its whole bin is known, and nothing after the last known instant does."""
    histories = histories_of(purchases(0, 20))
    assert bins(ask(histories, (0, 0), until=at(until))) == [expected]


def test_a_window_that_ends_with_the_data_is_known() -> None:
    """The last known instant is inclusive."""
    histories = histories_of(purchases(0, 90))
    labels = ask(histories, (0, 0), until=at(90))
    assert labels.values["spend"].tolist() == [10.0]
    assert bins(labels) == [(11, 12)]


def test_spend_takes_returns_off_and_is_floored_at_zero() -> None:
    """Returns count negative; who returns more than bought has spent nothing; missing is nothing."""
    mixed = [(0, "purchase", 5.0), (1, "purchase", 10.0), (2, "return", -4.0), (3, "purchase", np.nan)]
    refund = [(0, "purchase", 50.0), (1, "return", -50.0), (2, "visit", 99.0)]
    labels = ask(histories_of(mixed, refund), (0, 0), (1, 0))
    assert labels.values["spend"].tolist() == [6.0, 0.0]


def test_sums_do_not_carry_the_rounding_of_others() -> None:
    """A cent after a billion of somebody else's is a cent."""
    rich = [(float(day), "purchase", 1e9 + day * 64) for day in range(50)]
    poor = [(0, "purchase", 1.0), (1, "purchase", 0.01)]
    alone = ask(histories_of(poor), (0, 0)).values["spend"]
    beside = ask(histories_of(rich, poor), (1, 0), (0, 0)).values["spend"]
    assert alone[0] == np.float32(0.01)
    assert beside[0] == alone[0]
    assert beside[1] == np.float32(sum(np.float32(1e9 + day * 64).astype(float) for day in range(1, 50)))


def test_extreme_amounts_stay_finite() -> None:
    """The largest float32 amounts, of either sign, give a finite label that harms no neighbour."""
    largest = float(np.finfo(np.float32).max)
    wild = [(float(day), "purchase", largest) for day in range(60)]
    owing = [(float(day), "purchase", -largest) for day in range(60)]
    spend = ask(histories_of(wild, owing, purchases(0, 1)), (0, 0), (1, 0), (2, 0)).values["spend"]
    assert np.isfinite(spend).all()
    assert spend[0] > 1e15
    assert spend[1:].tolist() == [0.0, 10.0]


def test_eligible_needs_activity_in_the_half_open_lookback() -> None:
    """Activity exactly ``lookback`` ago is too old, a microsecond younger is not, at t it counts."""
    histories = histories_of(purchases(100))
    queries = [(0, 100 - MICROSECOND), (0, 100), (0, 280 - MICROSECOND), (0, 280)]
    assert eligible(histories, *queries) == [False, True, True, False]


def test_eligible_asks_for_activity_not_for_events() -> None:
    """A visit is no activity of a shop, and a customer without events is never eligible."""
    histories = histories_of([(100, "visit", 0.0)], [])
    assert eligible(histories, (0, 101), (1, 101)) == [False, False]


def test_who_is_gone_for_good_is_not_eligible() -> None:
    """From the instant of the ending event on, also where activity follows it."""
    histories = histories_of([(0, "purchase", 1.0), (10, "complaint", 0.0), (20, "purchase", 1.0)])
    ended = shop(ended_by=("complaint",))
    answer = eligible(histories, (0, 10 - MICROSECOND), (0, 10), (0, 25), schema=ended)
    assert answer == [True, False, False]


def test_labels_of_no_readouts_and_of_no_events() -> None:
    """Nothing asked, or nothing known, is no error."""
    assert bins(ask(histories_of(purchases(1)))) == []
    nothing = ask(histories_of([], []), (0, 5), (1, 5))
    assert bins(nothing) == [(K, K + 1), (K, K + 1)]
    assert nothing.values["orders"].tolist() == [0.0, 0.0]


def test_no_event_types_match_every_event() -> None:
    """A target without event types awaits any event."""
    target = Target(name="contact", kind="count", event_types=(), horizons_days=(30,))
    histories = histories_of([(0, "visit", 0.0), (1, "complaint", 0.0), (2, "purchase", 1.0)])
    labels = ask(histories, (0, 0), schema=shop(targets=(target,)))
    assert labels.values["contact"].tolist() == [2.0]


@dataclass(frozen=True)
class Rows:
    """A company's own labels."""

    customer: np.ndarray
    cutoff_us: np.ndarray
    values: dict[str, np.ndarray]


def own_rows(*rows: tuple[int, float, float, float]) -> Rows:
    """Return a table from (customer, day, churned, spend)."""
    return Rows(
        customer=np.array([row[0] for row in rows], dtype=np.int64),
        cutoff_us=np.array([at(row[1]) for row in rows], dtype=np.int64),
        values={"churned": np.array([row[2] for row in rows]), "spend": np.array([row[3] for row in rows])},
    )


def test_own_table_answers_churn_and_spend() -> None:
    """Churned and kept become what the longest horizon says; other targets come from events."""
    table = own_rows((1, 0, 1.0, 0.0), (0, 50, 0.0, 70.0), (0, 0, 1.0, -5.0), (1, 50, np.nan, np.nan))
    histories = histories_of(purchases(0, 1), purchases(0, 1))
    customer = np.array([0, 0, 1, 1, 0], dtype=np.int64)
    cutoff_us = np.array([at(0), at(50), at(0), at(50), at(1)], dtype=np.int64)
    labels = Labeller(histories, shop(), table=table).label(customer, cutoff_us, observed_until_us=FOREVER)
    assert bins(labels) == [(K, K + 1), (0, K), (K, K + 1), (0, K + 1), (0, K + 1)]
    np.testing.assert_array_equal(labels.values["spend"], [0, 70, 0, np.nan, np.nan])
    assert labels.values["orders"].tolist() == [1, 0, 1, 0, 0]


def test_own_table_of_an_event_form_is_the_other_way_round() -> None:
    """Churned by a cancellation means that the cancellation came."""
    churn = replace(shop().targets[0], form="event")
    table = own_rows((0, 0, 1.0, 0.0), (0, 1, 0.0, 0.0))
    labeller = Labeller(histories_of(purchases(0)), shop(targets=(churn,)), table=table)
    labels = labeller.label(np.zeros(2, dtype=np.int64), np.array([at(0), at(1)]), observed_until_us=FOREVER)
    assert bins(labels) == [(0, K), (K, K + 1)]


def test_own_table_is_not_known_before_its_window_is_over() -> None:
    """A row whose window runs past the last allowed instant is no label: it would be a leak."""
    table = own_rows((0, 0, 1.0, 5.0))
    labeller = Labeller(histories_of(purchases(0)), shop(), table=table)
    early = labeller.label(np.zeros(1, dtype=np.int64), np.array([at(0)]), observed_until_us=at(90) - 1)
    late = labeller.label(np.zeros(1, dtype=np.int64), np.array([at(0)]), observed_until_us=at(90))
    assert (bins(early), bins(late)) == ([(0, K + 1)], [(K, K + 1)])
    assert np.isnan(early.values["spend"][0])
    assert late.values["spend"][0] == 5.0


def test_own_table_may_be_empty() -> None:
    """Without rows nothing is known, and nothing breaks."""
    labeller = Labeller(histories_of(purchases(0)), shop(), table=own_rows())
    labels = labeller.label(np.zeros(1, dtype=np.int64), np.array([at(0)]), observed_until_us=FOREVER)
    assert bins(labels) == [(0, K + 1)]


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (own_rows((0, 0, 1.0, 0.0), (0, 0, 0.0, 0.0)), "twice"),
        (own_rows((0, 0, 2.0, 0.0)), "0, 1 or missing"),
        (Rows(np.zeros(0, dtype=np.int64), np.zeros(0, dtype=np.int64), {}), "churned or spend"),
    ],
)
def test_own_table_that_contradicts_itself_is_refused(rows: Rows, message: str) -> None:
    """Repeated cutoffs, a churn that is neither, and a table without an answer are named."""
    with pytest.raises((ConfigError, DataError), match=message):
        Labeller(histories_of(purchases(0)), shop(), table=rows)


def oracle(
    histories: Histories, schema: Schema, customer: int, cutoff_us: int, until_us: int
) -> tuple[bool, dict[str, object]]:
    """Answer one readout by walking over its events in plain Python, straight from the definitions."""
    rows = range(int(histories.offsets[customer]), int(histories.offsets[customer + 1]))
    names = histories.event_type.dictionary.values
    events = [
        (
            int(histories.occurred_at_us[r]),
            names[histories.event_type.codes[r]],
            histories.numeric["amount"][r],
        )
        for r in rows
    ]
    lookback_us = schema.lookback_days * DAY
    is_active = any(
        kind in schema.activity and cutoff_us - lookback_us < time <= cutoff_us for time, kind, _ in events
    )
    has_ended = any(kind in schema.ended_by and time <= cutoff_us for time, kind, _ in events)
    answers: dict[str, object] = {}
    for target in schema.targets:
        matching = [e for e in events if not target.event_types or e[1] in target.event_types]
        if target.kind == "time_to_event":
            answers[target.name] = _oracle_bins(target, [e[0] for e in matching], cutoff_us, until_us)
            continue
        end_us = cutoff_us + target.horizons_days[0] * DAY
        inside = [e for e in matching if cutoff_us < e[0] <= end_us]
        amounts = [float(e[2]) for e in inside if not np.isnan(e[2])]
        total = float(len(inside)) if target.kind == "count" else max(0.0, sum(amounts))
        answers[target.name] = total if end_us <= until_us else None
    return is_active and not has_ended, answers


def _oracle_bins(target: Target, times: list[int], cutoff_us: int, until_us: int) -> tuple[int, int]:
    ends = [cutoff_us + round(days * DAY) for days in horizon_grid_days(target)]
    survived, start = 0, cutoff_us
    for end in ends:
        if end > until_us:
            break
        if any(start < time <= end for time in times):
            return survived, survived + 1
        survived, start = survived + 1, end
    return survived, len(ends) + 1


@given(
    seed=st.integers(0, 2**32 - 1),
    until_day=st.floats(-10, 600),
    at_once=st.sampled_from([1, 7, 50, 10_000]),
    ends=st.booleans(),
)
def test_labels_equal_a_slow_oracle(seed: int, until_day: float, at_once: int, ends: bool) -> None:
    """Eligibility and every label equal a per-customer walk over the events, in chunks of any size."""
    rng = np.random.default_rng(seed)
    histories = random_histories(rng, 9, max_length=40)
    schema = shop(ended_by=("complaint",) if ends else (), lookback_days=60)
    num = 40
    customer = rng.integers(0, 9, num)
    # Whole hours, as the events: cutoffs fall onto events, and bin ends do as well.
    cutoff_us = START_US + rng.integers(-24, 520 * 24, num) * (DAY // 24)
    until_us = at(until_day)
    labeller = Labeller(histories, schema, max_events_at_once=at_once)
    is_eligible = labeller.eligible(customer, cutoff_us)
    labels = labeller.label(customer, cutoff_us, observed_until_us=until_us)
    for i in range(num):
        want, answers = oracle(histories, schema, int(customer[i]), int(cutoff_us[i]), until_us)
        assert bool(is_eligible[i]) == want
        assert (labels.lower["churn"][i], labels.upper["churn"][i]) == answers["churn"]
        for name in ("spend", "orders"):
            if answers[name] is None:
                assert np.isnan(labels.values[name][i])
            else:
                assert labels.values[name][i] == pytest.approx(answers[name], rel=1e-6, abs=1e-6)


def test_readouts_are_asked_about_a_bounded_number_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """With the answers of all at once, also where they are in no order."""
    rng = np.random.default_rng(5)
    histories = random_histories(rng, 30)
    customer = rng.integers(0, 30, 100)
    cutoff_us = START_US + rng.integers(0, 500, 100) * DAY
    labeller = Labeller(histories, shop(lookback_days=60))
    is_eligible = labeller.eligible(customer, cutoff_us)
    labels = labeller.label(customer, cutoff_us, observed_until_us=at(400))
    monkeypatch.setattr(labels_module, "READOUTS_AT_ONCE", 7)
    sorted_at_once = []
    plain = np.unique
    monkeypatch.setattr(
        labels_module.np, "unique", lambda x, **given: sorted_at_once.append(len(x)) or plain(x, **given)
    )
    again = labeller.label(customer, cutoff_us, observed_until_us=at(400))
    np.testing.assert_array_equal(labeller.eligible(customer, cutoff_us), is_eligible)
    np.testing.assert_array_equal(again.lower["churn"], labels.lower["churn"])
    np.testing.assert_array_equal(again.upper["churn"], labels.upper["churn"])
    np.testing.assert_array_equal(again.values["spend"], labels.values["spend"])
    assert max(sorted_at_once) == 7


@given(seed=st.integers(0, 2**32 - 1))
def test_labels_see_nothing_after_the_last_known_instant(seed: int) -> None:
    """Deleting every event later than that leaves every label as it was, bit for bit."""
    rng = np.random.default_rng(seed)
    histories = random_histories(rng, 8)
    until_us = START_US + int(rng.integers(0, 500)) * DAY
    kept = histories.occurred_at_us <= until_us
    before = np.concatenate([[0], np.cumsum(kept)])
    cut = replace(
        histories,
        offsets=before[histories.offsets],
        occurred_at_us=histories.occurred_at_us[kept],
        event_type=histories.event_type.take(kept),
        categorical={name: column.take(kept) for name, column in histories.categorical.items()},
        numeric={name: column[kept] for name, column in histories.numeric.items()},
    )
    customer = rng.integers(0, 8, 30)
    cutoff_us = START_US + rng.integers(0, 500 * 24, 30) * (DAY // 24)
    full = Labeller(histories, shop()).label(customer, cutoff_us, observed_until_us=until_us)
    less = Labeller(cut, shop()).label(customer, cutoff_us, observed_until_us=until_us)
    for ours, theirs in ((full.lower, less.lower), (full.upper, less.upper), (full.values, less.values)):
        for name in ours:
            np.testing.assert_array_equal(ours[name], theirs[name])


@given(seed=st.integers(0, 2**32 - 1))
def test_a_label_does_not_depend_on_the_others_asked(seed: int) -> None:
    """One readout alone has the bits that it has among many."""
    rng = np.random.default_rng(seed)
    histories = random_histories(rng, 12)
    customer = rng.integers(0, 12, 20)
    cutoff_us = START_US + rng.integers(0, 500, 20) * DAY
    many = Labeller(histories, shop()).label(customer, cutoff_us, observed_until_us=FOREVER)
    alone = Labeller(histories, shop()).label(customer[7:8], cutoff_us[7:8], observed_until_us=FOREVER)
    one = many.take(np.array([7]))
    assert (one.lower["churn"], one.upper["churn"]) == (alone.lower["churn"], alone.upper["churn"])
    assert one.values["spend"].tobytes() == alone.values["spend"].tobytes()
