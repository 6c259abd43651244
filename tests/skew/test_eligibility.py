"""The server calls eligible whom training draws cutoffs of, and faults of others change nothing."""

from dataclasses import replace

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from builders import DAY, START_US, random_histories, small_schema
from holdfast.eligibility import find_eligible
from holdfast.histories import CodedColumn
from holdfast.vocabulary import Dictionary
from training.labels import Labeller


@given(seed=st.integers(0, 2**32 - 1), lookback_days=st.integers(1, 200), is_ended=st.booleans())
def test_the_rule_is_trainings(seed: int, lookback_days: int, is_ended: bool) -> None:
    """Any histories, any cutoffs, those at the very instant of an event among them."""
    rng = np.random.default_rng(seed)
    schema = replace(
        small_schema(), lookback_days=lookback_days, ended_by=("complaint", "never") if is_ended else ()
    )
    histories = random_histories(rng, 20)
    as_of_us = START_US + rng.integers(0, 500 * 24, 20) * (DAY // 24)
    found = find_eligible(histories, as_of_us, schema)
    expected = Labeller(histories, schema).eligible(np.arange(20), as_of_us)
    np.testing.assert_array_equal(found, expected)


def test_codes_outside_the_dictionary_harm_nobody_else() -> None:
    """Whoever writes an answer may ask about all customers before the faulty ones are taken out."""
    histories = random_histories(np.random.default_rng(0), 10)
    as_of_us = np.full(10, START_US + 400 * DAY)
    before = find_eligible(histories, as_of_us, small_schema())
    codes = histories.event_type.codes.copy()
    codes[histories.offsets[4] : histories.offsets[5]] = 2**31 - 1
    codes[histories.offsets[5] : histories.offsets[6]] = -7
    wild = CodedColumn(codes=codes, dictionary=histories.event_type.dictionary)
    after = find_eligible(replace(histories, event_type=wild), as_of_us, small_schema())
    others = [0, 1, 2, 3, 6, 7, 8, 9]
    np.testing.assert_array_equal(after[others], before[others])
    nothing = CodedColumn(codes=codes, dictionary=Dictionary(()))
    assert not find_eligible(replace(histories, event_type=nothing), as_of_us, small_schema()).any()
