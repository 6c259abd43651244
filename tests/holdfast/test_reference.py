"""How quantities were distributed, and how far others lie from that: counted by hand and by scipy."""

from dataclasses import replace

import numpy as np
import pytest
from scipy.stats import entropy

from builders import small_schema, small_spec
from holdfast.encoding.readouts import feature_names
from holdfast.errors import ConfigError
from holdfast.reference import Quantity, Reference, quantities_of, stability_index

SPEND = Quantity(name="spend_90d", tensor="spend_expected")


def test_tenths_of_what_is_all_different() -> None:
    """Every bin has as many, and every value belongs to the bin of the first edge that it does not exceed."""
    reference = Reference.of(SPEND, np.arange(100, dtype=np.float32))
    assert reference.edges == (9, 19, 29, 39, 49, 59, 69, 79, 89)
    assert reference.shares == pytest.approx([0.1] * 10)
    counts = reference.counts(np.array([-5.0, 9.0, 9.5, 1e9]))
    assert counts.tolist() == [2, 1, *[0] * 7, 1]


@pytest.mark.parametrize(
    ("values", "edges", "shares"),
    [
        ([0.0] * 8 + [3.0, 4.0], (0.0, 3.0), (0.8, 0.1, 0.1)),
        ([2.0] * 7, (), (1.0,)),
        ([5.0], (), (1.0,)),
        ([1, 1, 1, 2], (1.0,), (0.75, 0.25)),
    ],
)
def test_many_of_one_value_share_a_bin(
    values: list[float], edges: tuple[float, ...], shares: tuple[float, ...]
) -> None:
    """No bin is empty, and no edge stands twice."""
    reference = Reference.of(SPEND, np.array(values))
    assert reference.edges == edges
    assert reference.shares == pytest.approx(shares)


def test_the_index_is_the_divergence_in_both_directions() -> None:
    """With many customers it is what scipy's relative entropies add up to; alike is 0."""
    shares, now = np.array([0.2, 0.3, 0.5]), np.array([0.4, 0.4, 0.2])
    expected = entropy(now, shares) + entropy(shares, now)
    assert stability_index(shares.tolist(), 1e7 * now) == pytest.approx(expected, rel=1e-5)
    assert stability_index(shares.tolist(), 1e3 * shares) == pytest.approx(0.0)
    # A bin that is empty now is far away, and not infinitely.
    assert 1.0 < stability_index([0.5, 0.5], np.array([1_000.0, 0.0])) < 5.0


def test_chance_alone_makes_it_what_the_docstring_says() -> None:
    """One less than there are bins over the number of customers, in the mean of many draws."""
    rng = np.random.default_rng(0)
    drawn = rng.multinomial(500, [0.1] * 10, size=400)
    found = [stability_index([0.1] * 10, counts.astype(float)) for counts in drawn]
    assert np.mean(found) == pytest.approx(9 / 500, rel=0.1)


def test_what_is_compared_follows_from_schema_and_encoding() -> None:
    """Events, readout features by their columns, and every target's answer at its longest horizon."""
    spec = small_spec()
    quantities = {quantity.name: quantity for quantity in quantities_of(spec)}
    assert list(quantities) == [
        *("num_events", "recency_days", "tenure_days", "events_per_day"),
        *("churn_90d", "spend_90d", "orders_90d"),
    ]
    column = feature_names(spec).index("tenure_days")
    assert (quantities["tenure_days"].tensor, quantities["tenure_days"].column) == ("readout_values", column)
    assert quantities["churn_90d"].column == len(small_schema().targets[0].horizons_days) - 1
    tensors = {"churn_probability": np.arange(6.0).reshape(2, 3), "spend_expected": np.array([7.0, 8.0])}
    assert quantities["churn_90d"].of(tensors).tolist() == [2.0, 5.0]
    assert quantities["spend_90d"].of(tensors).tolist() == [7.0, 8.0]


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"edges": (2.0, 2.0), "shares": (0.2, 0.3, 0.5)}, "edges"),
        ({"shares": (1.0,)}, "shares"),
        ({"shares": (-0.5, 1.0, 0.5)}, "shares"),
        ({"shares": (0.5, 0.5, 0.5)}, "shares"),
    ],
)
def test_what_is_no_distribution_is_refused(changes: dict[str, tuple[float, ...]], named: str) -> None:
    """By the quantity's name and what is wrong with it."""
    reference = Reference(quantity=SPEND, edges=(1.0, 2.0), shares=(0.2, 0.3, 0.5))
    with pytest.raises(ConfigError, match=f"reference of spend_90d: {named}"):
        replace(reference, **changes)
