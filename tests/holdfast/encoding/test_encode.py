"""Encoding sees the past only, and every customer alone."""

from dataclasses import fields, replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from builders import DAY, START_US, histories_of_lengths, random_histories, segment_events, small_spec
from holdfast.encoding import Cutoffs, encode, encode_readouts, pad
from holdfast.encoding.encode import Encoded, EncodedReadouts, raw_features
from holdfast.encoding.padding import INPUT_NAMES, pad_many
from holdfast.encoding.readouts import feature_names
from holdfast.encoding.windows import windows_of
from holdfast.histories import Histories

PER_READOUT = ("readout_ids", "readout_values", "readout_calendar", "readout_days", "readout_visible")


def random_cutoffs(rng: np.random.Generator, histories: Histories, num: int) -> Cutoffs:
    """Return cutoffs on whole hours, so that many coincide with an event."""
    customer = rng.integers(0, histories.num_customers, num)
    time_us = START_US + rng.integers(-24, 520 * 24, num) * 3_600_000_000
    return Cutoffs.one_each(customer, time_us)


def segment(encoded: Encoded, index: int) -> dict[str, np.ndarray]:
    """Return everything that one single-cutoff segment holds."""
    return segment_events(encoded, np.array([index])) | {
        name: getattr(encoded, name)[index] for name in (*PER_READOUT, "num_used", "num_truncated")
    }


def assert_same_bits(left: dict[str, np.ndarray], right: dict[str, np.ndarray]) -> None:
    """Compare every part to the last bit."""
    for name, value in left.items():
        np.testing.assert_array_equal(value, right[name], err_msg=name)


def with_future_changed(rng: np.random.Generator, histories: Histories, cut_us: int) -> Histories:
    """Return histories whose events after ``cut_us`` are removed, altered, and joined by others."""
    num = histories.num_customers
    customer = np.repeat(np.arange(num), np.diff(histories.offsets))
    is_past = histories.occurred_at_us <= cut_us
    new = histories_of_lengths(rng, rng.integers(0, 30, num))
    new_customer = np.repeat(np.arange(num), np.diff(new.offsets))
    new_time = cut_us + 1 + rng.integers(0, 50 * DAY, new.num_events)
    owner = np.concatenate([customer[is_past], new_customer])
    time_us = np.concatenate([histories.occurred_at_us[is_past], new_time])
    order = np.lexsort((np.arange(len(owner)), time_us, owner))

    def joined(old: np.ndarray, fresh: np.ndarray) -> np.ndarray:
        return np.concatenate([old[is_past], fresh])[order]

    # Extreme amounts in the future: a sum that leaked through a float prefix would show.
    fresh_numeric = {name: (column * 1e30).astype(np.float32) for name, column in new.numeric.items()}
    return replace(
        histories,
        offsets=np.concatenate([[0], np.cumsum(np.bincount(owner, minlength=num))]),
        occurred_at_us=time_us[order],
        event_type=replace(
            histories.event_type, codes=joined(histories.event_type.codes, new.event_type.codes)
        ),
        categorical={
            name: replace(column, codes=joined(column.codes, new.categorical[name].codes))
            for name, column in histories.categorical.items()
        },
        numeric={name: joined(column, fresh_numeric[name]) for name, column in histories.numeric.items()},
    )


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 2**32 - 1))
def test_events_after_the_cutoff_change_no_bit(seed: int) -> None:
    """Events after the cutoff may be changed, deleted or added: every input keeps every bit."""
    rng = np.random.default_rng(seed)
    histories, spec = random_histories(rng, 12), small_spec()
    cut_us = int(START_US + rng.integers(0, 500 * 24) * 3_600_000_000)
    cutoffs = Cutoffs.one_each(np.arange(12), np.full(12, cut_us))
    before = encode(histories, cutoffs, spec)
    after = encode(with_future_changed(rng, histories, cut_us), cutoffs, spec)
    for index in range(12):
        assert_same_bits(segment(before, index), segment(after, index))


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 2**32 - 1))
def test_a_customer_alone_gets_the_bits_it_gets_in_company(seed: int) -> None:
    """Neither other customers nor other cutoffs of the call change a bit of one cutoff's inputs."""
    rng = np.random.default_rng(seed)
    histories, spec = random_histories(rng, 20), small_spec()
    cutoffs = random_cutoffs(rng, histories, 50)
    together = encode(histories, cutoffs, spec)
    for index in range(0, 50, 7):
        customer, time_us = cutoffs.customer[index : index + 1], cutoffs.time_us[index : index + 1]
        alone = encode(histories.take(customer), Cutoffs.one_each(np.zeros(1, dtype=np.int64), time_us), spec)
        assert_same_bits(segment(together, index), segment(alone, 0))


def test_what_lies_before_the_window_changes_no_bit() -> None:
    """Only the last max_events of the last history_days count: serving may leave the rest out."""
    rng = np.random.default_rng(3)
    spec = small_spec(max_events=16, history_days=200)
    histories = histories_of_lengths(rng, np.full(10, 80))
    cutoffs = Cutoffs.one_each(np.arange(10), np.full(10, START_US + 450 * DAY))
    windows = windows_of(histories, cutoffs, max_events=16, history_days=200)
    whole = encode(histories, cutoffs, spec)
    for index in range(10):
        kept = np.arange(windows.start[index], windows.end[index])
        short = replace(
            histories.take(np.array([index])),
            offsets=np.array([0, len(kept)]),
            occurred_at_us=histories.occurred_at_us[kept],
            event_type=histories.event_type.take(kept),
            categorical={name: column.take(kept) for name, column in histories.categorical.items()},
            numeric={name: column[kept] for name, column in histories.numeric.items()},
        )
        alone = encode(short, Cutoffs.one_each(np.zeros(1, dtype=np.int64), cutoffs.time_us[:1]), spec)
        expected = segment(whole, index)
        expected["num_truncated"] = np.int64(0)
        assert_same_bits(expected, segment(alone, 0))


def test_events_that_no_cutoff_sees_are_not_encoded() -> None:
    """Of long histories only what the cutoffs see is encoded; where they see most of it, nothing is moved."""
    histories = histories_of_lengths(np.random.default_rng(4), np.array([0, 900, 3]))
    cutoffs = Cutoffs(
        customer=np.array([1, 0, 2]),
        offsets=np.array([0, 2, 3, 4]),
        time_us=START_US + np.array([300, 500, 500, 600]) * DAY,
    )
    seen = encode(histories, cutoffs, small_spec(max_events=32, history_days=730))
    assert len(seen.events.days) == 1 + 32 + 3
    whole = encode(histories, cutoffs, small_spec(max_events=900, history_days=730))
    assert len(whole.events.days) == 1 + 903
    np.testing.assert_array_equal(
        segment_events(seen, np.arange(3))["event_days"],
        segment_events(whole, np.arange(3))["event_days"][-35:],
    )


def test_an_event_at_the_cutoff_is_history_and_one_microsecond_later_is_not() -> None:
    """History is ``occurred_at <= t``; ties at the cutoff belong to it, all of them."""
    histories = histories_of_lengths(np.random.default_rng(0), np.array([3]))
    time_us = np.array([START_US, START_US + DAY, START_US + DAY])
    histories = replace(histories, occurred_at_us=time_us)
    at = encode(histories, Cutoffs.one_each(np.zeros(1, dtype=np.int64), time_us[-1:]), small_spec())
    before = encode(histories, Cutoffs.one_each(np.zeros(1, dtype=np.int64), time_us[-1:] - 1), small_spec())
    assert at.num_used[0] == 3
    assert (before.num_used[0], before.num_after[0]) == (1, 2)


def test_the_history_window_is_open_on_the_left() -> None:
    """An event exactly history_days before the cutoff is too old; one microsecond later it is not."""
    histories = histories_of_lengths(np.random.default_rng(0), np.array([1]))
    cut_us = histories.occurred_at_us + 365 * DAY
    one = np.zeros(1, dtype=np.int64)
    assert encode(histories, Cutoffs.one_each(one, cut_us), small_spec()).num_used[0] == 0
    assert encode(histories, Cutoffs.one_each(one, cut_us - 1), small_spec()).num_used[0] == 1


def test_several_cutoffs_in_one_segment_see_what_each_sees_alone() -> None:
    """Readout inputs of a shared segment equal those of single ones, and visibility cuts its events."""
    rng = np.random.default_rng(5)
    histories, spec = histories_of_lengths(rng, np.array([30, 0, 20])), small_spec(history_days=730)
    time_us = np.sort(START_US + rng.integers(0, 500, (3, 4)) * DAY, axis=1).reshape(-1)
    shared = Cutoffs(customer=np.arange(3), offsets=np.array([0, 4, 8, 12]), time_us=time_us)
    many = encode(histories, shared, spec)
    single = encode(histories, Cutoffs.one_each(np.repeat(np.arange(3), 4), time_us), spec)
    for name in PER_READOUT:
        np.testing.assert_array_equal(getattr(many, name), getattr(single, name), err_msg=name)
    np.testing.assert_array_equal(many.readout_visible, single.lengths)


@pytest.mark.parametrize("length", [30, 3_000], ids=["all events", "seen events alone"])
def test_readouts_alone_are_those_that_come_with_events(length: int) -> None:
    """Whoever has the events gets the same bits of everything else, and no categorical field is read."""
    rng = np.random.default_rng(7)
    histories, spec = histories_of_lengths(rng, np.array([length, 0, 20])), small_spec()
    time_us = np.sort(START_US + rng.integers(300, 320, (3, 4)) * DAY, axis=1).reshape(-1)
    shared = Cutoffs(customer=np.arange(3), offsets=np.array([0, 4, 8, 12]), time_us=time_us)
    alone = encode_readouts(replace(histories, categorical={}), shared, spec)
    whole = encode(histories, shared, spec)
    # Rows of the histories there, of what was encoded here.
    for name in {field.name for field in fields(EncodedReadouts)} - {"segment_start", "segment_end"}:
        np.testing.assert_array_equal(getattr(alone, name), getattr(whole, name), name)
    np.testing.assert_array_equal(alone.lengths, whole.lengths)


def test_a_shared_segment_begins_with_the_last_cutoffs_history() -> None:
    """Where limits cut, an earlier cutoff sees a shorter past, never an event after it."""
    histories = histories_of_lengths(np.random.default_rng(6), np.array([60]))
    spec = small_spec(max_events=20, history_days=730)
    time_us = histories.occurred_at_us[[30, 45, 59]]
    shared = Cutoffs(customer=np.zeros(1, dtype=np.int64), offsets=np.array([0, 3]), time_us=time_us)
    encoded = encode(histories, shared, spec)
    assert encoded.lengths[0] == 20
    days = segment_events(encoded, np.arange(1))["event_days"]
    for visible, cut_day in zip(encoded.readout_visible, encoded.readout_days, strict=True):
        assert (days[:visible] <= cut_day).all()
        assert (days[visible:] > cut_day).all()


def test_padding_unknown_and_real_values_never_share_an_id() -> None:
    """Padding is 0, unknown and missing are 1, real values start at 2."""
    rng = np.random.default_rng(7)
    histories = histories_of_lengths(rng, np.array([5, 40]))
    cutoffs = Cutoffs.one_each(np.arange(2), np.full(2, START_US + 600 * DAY))
    encoded = encode(histories, cutoffs, small_spec(history_days=3650, max_events=50))
    tensors = pad(encoded, np.arange(2), length=40)
    assert (tensors["event_ids"][0, 5:] == 0).all()
    assert (tensors["event_ids"][0, :5] >= 1).all()
    codes = histories.categorical["channel"].codes
    np.testing.assert_array_equal(
        segment_events(encoded, np.arange(2))["event_ids"][:, 1],
        np.where((codes == -1) | (codes == 2), 1, codes + 2),
    )


def test_missing_numbers_have_a_flag_of_their_own() -> None:
    """A missing value is encoded as the mean with its flag set."""
    histories = histories_of_lengths(np.random.default_rng(8), np.array([40]))
    cutoffs = Cutoffs.one_each(np.zeros(1, dtype=np.int64), np.array([START_US + 600 * DAY]))
    encoded = encode(histories, cutoffs, small_spec(history_days=3650, max_events=50))
    values = segment_events(encoded, np.arange(1))["event_values"]
    is_missing = np.isnan(histories.numeric["amount"])
    np.testing.assert_array_equal(values[:, 1], is_missing)
    assert (values[is_missing, 0] == 0).all()
    assert (values[~is_missing, 0] != 0).all()


@pytest.mark.parametrize("amount", [3.4e38, -3.4e38, 1e-38, 0.0])
def test_extreme_amounts_stay_finite(amount: float) -> None:
    """Any finite float32 gives finite inputs within the clipping range."""
    histories = histories_of_lengths(np.random.default_rng(9), np.array([40]))
    extreme = {name: np.full_like(column, amount) for name, column in histories.numeric.items()}
    cutoffs = Cutoffs.one_each(np.zeros(1, dtype=np.int64), np.array([START_US + 400 * DAY]))
    encoded = encode(replace(histories, numeric=extreme), cutoffs, small_spec())
    assert np.abs(segment_events(encoded, np.arange(1))["event_values"]).max() <= 8.0
    assert np.abs(encoded.readout_values).max() <= 8.0


def test_pad_places_every_row_and_nothing_else() -> None:
    """Padding neither moves nor repeats a value, at any width and in any order."""
    rng = np.random.default_rng(10)
    histories = random_histories(rng, 9)
    cutoffs = Cutoffs.one_each(np.arange(9), np.full(9, START_US + 500 * DAY))
    encoded = encode(histories, cutoffs, small_spec())
    order = rng.permutation(9)
    for width in (32, 47):
        tensors = pad(encoded, order, length=width)
        assert tuple(tensors) == INPUT_NAMES
        for row, index in enumerate(order):
            own = segment(encoded, int(index))
            length = len(own["event_days"])
            np.testing.assert_array_equal(tensors["event_values"][row, :length], own["event_values"])
            assert not tensors["event_values"][row, length:].any()
            np.testing.assert_array_equal(tensors["readout_values"][row], own["readout_values"])


def test_pad_many_marks_real_readouts() -> None:
    """Padded readouts are marked; real ones keep their row, those without events too."""
    histories = histories_of_lengths(np.random.default_rng(11), np.array([4, 0]))
    time_us = START_US + np.array([100, 600, 10]) * DAY
    cutoffs = Cutoffs(customer=np.arange(2), offsets=np.array([0, 2, 3]), time_us=time_us)
    encoded = encode(histories, cutoffs, small_spec())
    tensors = pad_many(encoded, np.array([1, 0]), length=8, num_readouts=2)
    np.testing.assert_array_equal(tensors["readout_is_real"], [[True, False], [True, True]])
    np.testing.assert_array_equal(tensors["readout_row"], [[2, 0], [0, 1]])
    np.testing.assert_array_equal(tensors["readout_days"][1], encoded.readout_days[:2])


def oracle_features(histories: Histories, customer: int, time_us: int, spec) -> dict[str, float]:  # noqa: ANN001
    """Compute a few features of one cutoff with plain loops over one customer's events."""
    first, last = histories.offsets[customer], histories.offsets[customer + 1]
    rows = [
        i
        for i in range(first, last)
        if time_us - spec.history_days * DAY < histories.occurred_at_us[i] <= time_us
    ][-spec.max_events :]
    ages = [(time_us - histories.occurred_at_us[i]) / DAY for i in rows]
    names = [histories.event_type.dictionary.values[histories.event_type.codes[i]] for i in rows]
    amounts = np.array([float(histories.numeric["amount"][i]) for i in rows])
    gaps = -np.diff(ages)
    expected = {
        "recency_days": ages[-1] if ages else spec.history_days,
        "tenure_days": ages[0] if ages else 0.0,
        "gap_mean_days": gaps.mean() if len(gaps) else np.nan,
        "gap_std_days": gaps.std() if len(gaps) else np.nan,
        "gap_last_days": gaps[-1] if len(gaps) else np.nan,
        "amount_last": amounts[-1] if ages else np.nan,
        "num_events_all": len(rows),
    }
    for span in (7, 30, 90):
        inside = [age < span for age in ages]
        expected[f"num_events_{span}d"] = sum(inside)
        expected[f"num_visit_{span}d"] = sum(i and n == "visit" for i, n in zip(inside, names, strict=True))
        expected[f"amount_sum_{span}d"] = np.nansum(amounts[np.array(inside, dtype=bool)])
    for name in ("purchase", "return", "visit"):
        own = [age for age, n in zip(ages, names, strict=True) if n == name]
        expected[f"days_since_{name}"] = own[-1] if own else spec.history_days
    (silence,) = spec.schema.silences
    awaited = [i for i, name in zip(rows, names, strict=True) if name in silence.event_types]
    days = [int(histories.occurred_at_us[i]) // DAY for i in awaited]
    # The first event of every day stands for it.
    firsts = [(time_us - histories.occurred_at_us[i]) / DAY for i, day in zip(awaited, days, strict=True)]
    firsts = [age for place, age in enumerate(firsts) if place == 0 or days[place] != days[place - 1]]
    none = ages[0] if ages else 0.0
    expected["num_days_for_churn"] = len(firsts)
    expected["days_since_first_for_churn"] = firsts[0] if firsts else none
    expected["days_since_last_for_churn"] = firsts[-1] if firsts else none
    return expected


def test_readout_features_agree_with_plain_loops() -> None:
    """The compiled loop gives what a plain one over one customer's events gives."""
    rng = np.random.default_rng(12)
    histories, spec = random_histories(rng, 30), small_spec(max_events=24)
    cutoffs = random_cutoffs(rng, histories, 200)
    raw = raw_features(histories, cutoffs, spec)
    names = feature_names(spec)
    assert raw.shape == (200, len(names))
    for index in range(200):
        expected = oracle_features(histories, int(cutoffs.customer[index]), int(cutoffs.time_us[index]), spec)
        actual = {name: raw[index, names.index(name)] for name in expected}
        # Sums are taken over quanta of 2**-10; gaps in whole minutes for their spread.
        np.testing.assert_allclose(
            list(actual.values()), list(expected.values()), atol=0.02, err_msg=str(index)
        )


def test_attributes_are_those_valid_at_the_cutoff() -> None:
    """A version that becomes valid after the cutoff is not known yet; before the first, all are missing."""
    histories = histories_of_lengths(np.random.default_rng(13), np.array([2]))
    versions = replace(
        histories.attributes,
        offsets=np.array([0, 2]),
        valid_from_us=START_US + np.array([10, 20]) * DAY,
        categorical={
            "region": replace(histories.attributes.categorical["region"], codes=np.array([0, 1], np.int32))
        },
        numeric={"age": np.array([30.0, 40.0], dtype=np.float32)},
    )
    histories, spec = replace(histories, attributes=versions), small_spec()
    time_us = START_US + np.array([10 * DAY - 1, 10 * DAY, 20 * DAY - 1, 20 * DAY])
    encoded = encode(histories, Cutoffs.one_each(np.zeros(4, dtype=np.int64), time_us), spec)
    assert encoded.readout_ids[:, -1].tolist() == [1, 2, 2, 3]
    is_missing = encoded.readout_values[:, feature_names(spec).index("age_is_missing")]
    assert is_missing[0] > is_missing[1]
