"""The temporal split: no label of one part sees into the next."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from builders import DAY, START_US, random_histories, small_schema
from holdfast.errors import ConfigError
from holdfast.schema import Schema
from training.cutoffs import GridCandidates, RandomCandidates, TrainPolicy
from training.labels import Labeller, Labels
from training.splits import Split, all_readouts, check_learnable, iso, raise_none_eligible, temporal_splits

HORIZON = 90


def day(value: float) -> int:
    """Return a time in days since START_US."""
    return START_US + round(value * DAY)


def splits(policy: TrainPolicy | None = None, **changes: object) -> object:
    """Return splits with validation at day 300, test at 390 and the end of the data at 480."""
    given_ = {
        "validation_us": (day(300),),
        "test_us": (day(390),),
        "observed_from_us": day(0),
        "observed_until_us": day(480),
    }
    return temporal_splits(small_schema(), policy or TrainPolicy(), **(given_ | changes))


def labeller(schema: Schema | None = None, num_customers: int = 30) -> Labeller:
    """Return a labeller over random histories of 500 days."""
    return Labeller(random_histories(np.random.default_rng(5), num_customers), schema or small_schema())


def test_windows_may_touch() -> None:
    """A label window that ends exactly at the next cutoff is allowed on every side."""
    made = splits()
    assert isinstance(made.train.candidates, GridCandidates)
    assert made.train.candidates.times_us[-1] == day(300 - HORIZON)
    assert made.train.candidates.times_us[0] == day(0)
    assert made.refit.candidates.times_us[-1] == day(390 - HORIZON)
    assert made.validation.candidates.times_us == (day(300),)
    assert made.train.observed_until_us == day(300)
    assert made.refit.observed_until_us == made.validation.observed_until_us == day(390)
    assert made.test.observed_until_us == day(480)


@pytest.mark.parametrize(
    ("changes", "key", "says"),
    [
        ({"validation_us": (START_US + 300 * DAY + 1,)}, "cutoffs.validation", "first test cutoff"),
        ({"validation_us": (day(200), day(301))}, "cutoffs.validation", "first test cutoff"),
        ({"test_us": (START_US + 390 * DAY + 1,)}, "cutoffs.test", "end of the data"),
        ({"test_us": (day(390), day(391))}, "cutoffs.test", "end of the data"),
    ],
)
def test_a_window_that_runs_into_the_next_part_is_refused(
    changes: dict[str, object], key: str, says: str
) -> None:
    """By a microsecond already; the message names the horizon, both times and what would do."""
    with pytest.raises(ConfigError, match=f"{key}.*{HORIZON} days.*{says}.*newest possible cutoff is"):
        splits(**changes)


def test_no_room_for_training_is_refused() -> None:
    """Where the window before validation is longer than the data, the message counts back."""
    with pytest.raises(ConfigError, match=r"90 days.*first validation cutoff.*before the first event"):
        splits(observed_from_us=day(250))


@pytest.mark.parametrize("name", ["validation", "test"])
def test_a_cutoff_before_the_first_event_is_refused(name: str) -> None:
    """The message names the first event."""
    times = {"validation_us": (day(-5),), "test_us": (day(-5),)}
    with pytest.raises(ConfigError, match=f"cutoffs.{name}.*first event is at {iso(day(0))}"):
        splits(**{f"{name}_us": times[f"{name}_us"]})


@pytest.mark.parametrize("times", [(), (2, 1), (1, 1)])
def test_cutoffs_must_ascend(times: tuple[int, ...]) -> None:
    """None, unordered and repeated cutoffs are refused."""
    with pytest.raises(ConfigError, match="ascending"):
        splits(validation_us=tuple(day(t) for t in times))


def test_censored_training_is_allowed_on_request_alone() -> None:
    """Then cutoffs come up to one survival bin before validation, and labels still stop there."""
    made = splits(TrainPolicy(allow_censored=True, every_days=30))
    assert made.train.candidates.times_us[-1] == day(300 - 7.5)
    assert made.train.observed_until_us == day(300)


def test_censored_validation_is_allowed_on_request_alone() -> None:
    """Its labels stop at the first test cutoff; at least one bin must be known."""
    policy = TrainPolicy(allow_censored=True)
    made = splits(policy, validation_us=(day(382.5),))
    assert made.validation.observed_until_us == day(390)
    with pytest.raises(ConfigError, match=r"first 7.5 days"):
        splits(policy, validation_us=(day(383),))


def test_the_test_is_never_censored() -> None:
    """A figure about a part of the window would pass for one about the whole."""
    with pytest.raises(ConfigError, match=r"cutoffs.test"):
        splits(TrainPolicy(allow_censored=True), test_us=(day(391),))


def test_draw_keeps_the_eligible_and_sorts() -> None:
    """Exactly the eligible pairs of a grid, by position, then time."""
    asked = labeller(replace(small_schema(), lookback_days=20))
    split = Split(name="train", candidates=GridCandidates(times_us=(day(200), day(100))), observed_until_us=0)
    customers = np.array([8, 3, 15, 0])
    index, cutoff_us = split.draw(asked, customers, np.random.default_rng(0))
    expected = [
        (i, t)
        for i, customer in enumerate(customers)
        for t in (day(100), day(200))
        if asked.eligible(np.array([customer]), np.array([t]))[0]
    ]
    assert 0 < len(expected) < 8
    assert list(zip(index.tolist(), cutoff_us.tolist(), strict=True)) == expected


def test_draw_keeps_at_most_so_many_of_a_customer() -> None:
    """A random choice of the eligible ones, without repeats, different from draw to draw."""
    times = tuple(day(d) for d in range(100, 300, 10))
    asked = labeller()
    split = Split(
        name="train", candidates=GridCandidates(times_us=times), observed_until_us=0, per_customer=4
    )
    customers = np.arange(30)
    rng = np.random.default_rng(0)
    first, second = split.draw(asked, customers, rng), split.draw(asked, customers, rng)
    everything = replace(split, per_customer=None).draw(asked, customers, rng)
    assert np.bincount(first[0]).tolist() == np.minimum(np.bincount(everything[0]), 4).tolist()
    assert len(set(zip(*map(np.ndarray.tolist, first), strict=True))) == len(first[0])
    assert first[1].tolist() != second[1].tolist()


def test_draw_chooses_evenly() -> None:
    """Over many draws every eligible cutoff comes up about as often as any other."""
    asked = labeller()
    times = tuple(day(d) for d in (200, 210, 220, 230))
    split = Split(
        name="train", candidates=GridCandidates(times_us=times), observed_until_us=0, per_customer=1
    )
    rng = np.random.default_rng(0)
    customers = np.flatnonzero(np.diff(asked.histories.offsets) > 20)
    drawn = np.concatenate([split.draw(asked, customers, rng)[1] for _ in range(100)])
    counts = np.unique(drawn, return_counts=True)[1]
    assert len(counts) == 4
    assert counts.max() < 1.25 * counts.min()


@given(
    seed=st.integers(0, 2**32 - 1), allow=st.booleans(), policy=st.sampled_from(["grid", "random", "event"])
)
def test_no_part_sees_into_the_next(seed: int, allow: bool, policy: str) -> None:
    """Whatever the policy: no training window that is not censored passes the validation cutoff."""
    train = TrainPolicy(
        policy=policy,
        every_days=17,
        per_customer=5 if policy == "random" else None,
        event_type="visit" if policy == "event" else None,
        allow_censored=allow,
    )
    asked = labeller()
    made = splits(train)
    rng = np.random.default_rng(seed)
    index, cutoff_us = made.train.draw(asked, np.arange(30), rng)
    assert len(index)
    assert (cutoff_us < day(300)).all()
    labels = asked.label(index, cutoff_us, observed_until_us=made.train.observed_until_us)
    is_censored = np.isnan(labels.values["spend"])
    assert (is_censored == (cutoff_us + HORIZON * DAY > day(300))).all()
    assert allow or not is_censored.any()


def test_all_readouts_is_every_eligible_customer_at_every_cutoff() -> None:
    """Sorted by customer and time, the same at every call."""
    asked = labeller()
    customer, cutoff_us = all_readouts(asked, (day(200), day(300)))
    assert asked.eligible(customer, cutoff_us).all()
    counted = sum(asked.eligible(np.arange(30), np.full(30, day(d))).sum() for d in (200, 300))
    assert len(customer) == counted
    assert np.array_equal(np.lexsort((cutoff_us, customer)), np.arange(len(customer)))


def test_nobody_eligible_says_what_was_counted() -> None:
    """Customers, events and activity events are counted, and the lookback is named."""
    asked = labeller()
    with pytest.raises(ConfigError, match=r"0 of 30 customers.*purchase.*of \d+ events.*180 days"):
        all_readouts(asked, (day(2_000),), name="validation")
    with pytest.raises(ConfigError, match=r"cutoffs\.train"):
        raise_none_eligible(asked, name="train", times_us=())


def churn_labels(*pairs: tuple[int, int]) -> Labels:
    """Return labels of the small schema with these churn bins."""
    return Labels(
        lower={"churn": np.array([pair[0] for pair in pairs], dtype=np.int64)},
        upper={"churn": np.array([pair[1] for pair in pairs], dtype=np.int64)},
        values={name: np.ones(len(pairs), dtype=np.float32) for name in ("spend", "orders")},
    )


@pytest.mark.parametrize("pairs", [[(0, 1), (3, 4), (0, 13)], [(12, 13), (5, 13), (0, 13)], [(0, 13)]])
def test_one_class_alone_is_refused(pairs: list[tuple[int, int]]) -> None:
    """With the counts of each class and of the unknown."""
    with pytest.raises(ConfigError, match=r"churn.*\d with, \d without, 1 unknown"):
        check_learnable(churn_labels(*pairs), small_schema(), name="train")


def test_both_classes_are_accepted() -> None:
    """A censored survivor is a class as well."""
    check_learnable(churn_labels((0, 1), (5, 13)), small_schema(), name="train")
    check_learnable(churn_labels((0, 12), (12, 13)), small_schema(), name="train")


def test_no_known_amount_is_refused() -> None:
    """A spend target with nothing but censored windows cannot be learned."""
    labels = churn_labels((0, 1), (12, 13))
    unknown = replace(labels, values=dict(labels.values, spend=np.full(2, np.nan, dtype=np.float32)))
    with pytest.raises(ConfigError, match=r"spend.*0 of 2"):
        check_learnable(unknown, small_schema(), name="train")


@pytest.mark.parametrize(
    ("name", "target", "says"),
    [
        ("train", "spend", "none of 2 train cutoffs has a positive sum of amount over events of type "),
        ("refit", "spend", "nothing can be learned"),
        (
            "test",
            "orders",
            "none of 2 test cutoffs has an event of type ['purchase'], so that nothing can be judged",
        ),
    ],
)
def test_a_target_that_is_never_positive_is_told(
    caplog: pytest.LogCaptureFixture, name: str, target: str, says: str
) -> None:
    """A new business may have no spend yet: it is not refused, but the log says so, unknown ones left out."""
    labels = churn_labels((0, 1), (12, 13), (12, 13))
    check_learnable(labels, small_schema(), name=name)
    assert not caplog.records
    nothing = np.array([0.0, 0.0, np.nan], dtype=np.float32)
    check_learnable(
        replace(labels, values=dict(labels.values, **{target: nothing})), small_schema(), name=name
    )
    (record,) = caplog.records
    assert record.levelname == "WARNING"
    assert f"target {target}: " in record.getMessage()
    assert says in record.getMessage()


def test_random_policy_is_cut_to_the_span() -> None:
    """Its newest cutoff leaves room for the whole window."""
    made = splits(TrainPolicy(policy="random", per_customer=3))
    assert isinstance(made.train.candidates, RandomCandidates)
    assert made.train.candidates.newest_us == day(300 - HORIZON)
    assert made.train.per_customer == 3


def test_times_are_shown_in_utc() -> None:
    """Without seconds where they are 0, before 1970 as well."""
    assert iso(1_710_025_200_000_000) == "2024-03-09T23:00Z"
    assert iso(1_710_025_201_999_999) == "2024-03-09T23:00:01Z"
    assert iso(-1) == "1969-12-31T23:59:59Z"


def test_a_limit_on_customers_chooses_the_same_ones_every_time() -> None:
    """A smaller number is part of a greater one, whoever is asked about and with whatever chance."""
    asked = labeller()
    customers = np.arange(30, dtype=np.int64)

    def drawn(most: int | None, seed: int, people: np.ndarray) -> set[int]:
        split = Split(
            name="train",
            candidates=GridCandidates(times_us=(day(200), day(300))),
            observed_until_us=0,
            most_customers=most,
        )
        index, _ = split.draw(asked, people, np.random.default_rng(seed))
        return set(people[index].tolist())

    everybody, ten = drawn(None, 0, customers), drawn(10, 0, customers)
    assert ten == drawn(10, 1, customers) < drawn(20, 0, customers) < everybody
    assert 0 < len(ten) <= 10
    assert drawn(10, 0, customers[::2]) == ten & set(customers[::2].tolist())
    assert drawn(30, 0, customers) == everybody


def test_the_limit_on_customers_binds_training_alone() -> None:
    """Whoever was not learned from is judged all the same."""
    made = splits(TrainPolicy(most_customers=7))
    assert made.train.most_customers == made.refit.most_customers == 7
    assert made.validation.most_customers is made.test.most_customers is None
