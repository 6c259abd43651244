"""A spec holds what was fitted and refuses what encoding cannot keep."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from builders import DAY, START_US, random_histories, small_spec
from holdfast.encoding import Cutoffs, EncodingSpec, NumericScale, encode
from holdfast.encoding.readouts import feature_names
from holdfast.encoding.spec import factors_of
from holdfast.errors import ConfigError
from holdfast.plain import from_plain, to_plain


@pytest.mark.parametrize("max_events", [0, 5_000])
def test_limits_that_the_arithmetic_cannot_keep_are_refused(max_events: int) -> None:
    """max_events outside its range is a ConfigError that names it."""
    with pytest.raises(ConfigError, match=r"encoding\.max_events"):
        small_spec(max_events=max_events)


def test_a_type_counted_twice_is_refused() -> None:
    """Two features of one name would make the columns of the model ambiguous."""
    with pytest.raises(ConfigError, match=r"encoding\.readout\.counted_types"):
        replace(small_spec().readout, counted_types=(2, 3, 2))


@pytest.mark.parametrize("change", [{"windows_days": ()}, {"counted_types": ()}, {"num_last_types": 0}])
def test_a_spec_may_do_without_a_kind_of_aggregate(change: Mapping[str, Any]) -> None:
    """No trailing windows (a history shorter than all of them), no counted types, no last types."""
    spec = small_spec()
    spec = replace(spec, readout=replace(spec.readout, **change))
    scales = (NumericScale(mean=0.0, std=1.0),) * len(feature_names(spec))
    spec = replace(spec, readout=replace(spec.readout, scales=scales))
    histories = random_histories(np.random.default_rng(14), 10)
    encoded = encode(histories, Cutoffs.one_each(np.arange(10), np.full(10, START_US + 300 * DAY)), spec)
    assert encoded.readout_values.shape == (10, len(scales))
    assert encoded.readout_ids.shape == (10, spec.readout.num_last_types + 1)


def test_the_plain_form_of_a_spec_holds_no_derived_arrays() -> None:
    """A spec read back is equal to the one written, and has the scales as arrays again."""
    spec = small_spec()
    plain = to_plain(spec)
    assert set(plain["readout"]) == {"windows_days", "counted_types", "num_last_types", "scales"}
    again = from_plain(EncodingSpec, plain)
    assert again == spec
    assert hash(again.readout) == hash(spec.readout)
    np.testing.assert_array_equal(again.readout.factors, spec.readout.factors)
    np.testing.assert_array_equal(
        again.readout.factors.T, [(scale.mean, 1 / scale.std) for scale in spec.readout.scales]
    )


def test_the_smallest_deviation_there_is_has_a_factor() -> None:
    """Its reciprocal is none; what equals the mean must not become infinity times 0."""
    [[mean], [factor]] = factors_of([NumericScale(mean=2.0, std=5e-324)])
    assert mean == 2.0
    assert np.isfinite(factor)
    assert (2.0 - mean) * factor == 0.0
