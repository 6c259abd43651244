"""The encoding is fitted on training history alone."""

from dataclasses import replace

import numpy as np
import pytest

from builders import DAY, START_US, histories_of_lengths, random_histories, small_schema
from holdfast.encoding import EncodingSpec
from holdfast.encoding.readouts import feature_names
from holdfast.errors import ConfigError
from holdfast.histories import Histories
from holdfast.plain import from_plain, to_plain
from training.fit_encoding import EncodingSettings, fit_encoding

CUT_US = START_US + 300 * DAY


def fitted(histories: Histories, **settings: int) -> EncodingSpec:
    """Fit on one cutoff for every customer."""
    people = np.arange(histories.num_customers)
    chosen = EncodingSettings(max_events=64, history_days=365, **settings)
    return fit_encoding(
        histories, small_schema(), chosen, customer=people, cutoff_us=np.full(len(people), CUT_US)
    )


def test_nothing_after_the_last_training_cutoff_is_looked_at() -> None:
    """Values, types and attributes that appear later change no bit of the fitted spec."""
    histories = random_histories(np.random.default_rng(0), 60)
    is_late = histories.occurred_at_us > CUT_US
    codes = np.where(is_late, 3, np.minimum(histories.event_type.codes, 2)).astype(np.int32)
    amount = np.where(is_late, np.float32(1e30), histories.numeric["amount"])
    early = replace(histories, event_type=replace(histories.event_type, codes=codes))
    changed = replace(early, numeric=histories.numeric | {"amount": amount})
    assert to_plain(fitted(early)) == to_plain(fitted(changed))
    assert "complaint" not in fitted(changed).event_type.values


def test_the_spec_does_not_depend_on_how_much_is_encoded_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """Histories are encoded in parts, so that memory is bounded; a readout's features are its own."""
    histories = random_histories(np.random.default_rng(3), 60)
    whole = fitted(histories)
    monkeypatch.setattr("training.pages.READOUTS_AT_ONCE", 7)
    assert fitted(histories) == whole


def test_the_spec_survives_json_to_the_last_bit() -> None:
    """What the manifest carries is the spec itself."""
    import json

    spec = fitted(random_histories(np.random.default_rng(1), 60))
    again = from_plain(EncodingSpec, json.loads(json.dumps(to_plain(spec))))
    assert again == spec


def test_what_targets_ask_about_is_known_however_rare() -> None:
    """One return in all of training: no vocabulary without it, however choosy; a type nobody had is none."""
    histories = random_histories(np.random.default_rng(4), 60)
    names = list(histories.event_type.dictionary.values)
    rare, common = names.index("return"), names.index("visit")
    codes = np.where(histories.event_type.codes == rare, common, histories.event_type.codes).astype(np.int32)
    none = replace(histories, event_type=replace(histories.event_type, codes=codes.copy()))
    codes[np.flatnonzero(histories.occurred_at_us <= CUT_US)[0]] = rare
    one = replace(histories, event_type=replace(histories.event_type, codes=codes))
    assert "return" in fitted(one).event_type.values
    assert "return" in fitted(one, max_categories=1).event_type.values
    assert "return" not in fitted(none).event_type.values


def test_edges_are_distinct_in_float32() -> None:
    """Quantiles that coincide in float32 would divide by zero; constant columns get no bins."""
    histories = random_histories(np.random.default_rng(2), 60)
    nearly = (1.0 + np.arange(len(histories.occurred_at_us)) * 1e-9).astype(np.float32)
    spec = fitted(replace(histories, numeric=histories.numeric | {"amount": nearly}))
    assert spec.numeric["amount"].edges == ()
    for scale in spec.readout.scales:
        assert (np.diff(np.array(scale.edges, dtype=np.float32)) > 0).all()


def test_tiny_amounts_are_told_apart_and_equal_ones_are_not() -> None:
    """A currency may be counted in coins of which a hundred-millionth buys something."""
    histories = random_histories(np.random.default_rng(2), 60)
    amounts = histories.numeric["amount"]
    tiny = fitted(replace(histories, numeric=histories.numeric | {"amount": amounts * np.float32(1e-9)}))
    assert tiny.numeric["amount"].std < 1e-6
    assert len(tiny.numeric["amount"].edges) > 2
    for value in (0.0, 1e-9, 19.99):
        same = np.full_like(amounts, value)
        assert (
            fitted(replace(histories, numeric=histories.numeric | {"amount": same})).numeric["amount"].std
            == 1.0
        )


def test_every_readout_feature_has_a_scale_even_when_always_missing() -> None:
    """Customers with one event have no gaps: the scale is the neutral one."""
    histories = histories_of_lengths(np.random.default_rng(3), np.ones(40, dtype=np.int64))
    spec = fitted(histories)
    names = feature_names(spec)
    assert len(names) == spec.readout_value_size
    assert spec.readout.scales[names.index("gap_mean_days")].std == 1.0


def test_rare_values_are_unknown_and_frequent_ones_come_first() -> None:
    """Ids follow frequency; a value seen fewer than min_count times gets none."""
    histories = random_histories(np.random.default_rng(4), 60)
    codes = np.full(len(histories.occurred_at_us), 2, dtype=np.int32)
    codes[histories.occurred_at_us <= CUT_US] = 2
    early = np.flatnonzero(histories.occurred_at_us <= CUT_US)
    codes[early[:1]] = 3
    codes[early[1:9]] = 1
    spec = fitted(replace(histories, event_type=replace(histories.event_type, codes=codes)))
    assert spec.event_type.values == ("visit", "return")


def test_no_event_before_the_cutoffs_is_refused() -> None:
    """A training window before the first event is a clear error."""
    histories = random_histories(np.random.default_rng(5), 10)
    with pytest.raises(ConfigError, match=r"cutoffs\.train.*no event"):
        fit_encoding(
            histories,
            small_schema(),
            EncodingSettings(),
            customer=np.arange(10),
            cutoff_us=np.full(10, START_US - DAY),
        )


@pytest.mark.parametrize("settings", [{"num_bins": 1}, {"windows_days": (30, 7)}, {"windows_days": (0, 7)}])
def test_settings_out_of_range_are_refused(settings: dict[str, object]) -> None:
    """The message names the setting."""
    with pytest.raises(ConfigError, match=rf"encoding\.{next(iter(settings))}"):
        EncodingSettings(**settings)  # type: ignore[arg-type]  # wrong on purpose
