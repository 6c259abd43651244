"""Tests of how ids and numbers become channels."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from model_cases import load_config

from builders import small_spec
from holdfast.encoding import EncodingSpec
from holdfast.vocabulary import UNKNOWN_ID
from training.model.embedding import (
    EventEmbedding,
    IdEmbedding,
    NumberEmbedding,
    PiecewiseLinear,
    event_edges,
)


def test_piecewise_linear_is_the_share_of_every_bin_below_the_value() -> None:
    """Equation 1 of Gorishniy et al., value by value; edges by column, and a column behind them."""
    edges = [(-1.0, 0.0, 2.0), (), (0.5,), (0.0, 1.0)]
    values = np.random.default_rng(0).normal(0, 2, (40, 5)).astype(np.float32)
    expected = [
        [min(max((row[0] + 1) / 1, 0), 1), min(max(row[0] / 2, 0), 1), min(max(row[3], 0), 1)]
        for row in values
    ]
    encoded = PiecewiseLinear(edges, num_columns=5)(torch.from_numpy(values))
    np.testing.assert_allclose(encoded.numpy(), expected, atol=1e-6)


@pytest.mark.parametrize(
    "edges",
    [
        (0.1, 0.1 + 1e-12, 1.0),
        (1.0, 1.0, 1.0),
        (0.0, 1e-44, 1.0),
        (-1e30, 1e30),
        tuple(np.linspace(0, 1e-6, 20)),
    ],
)
def test_edges_that_coincide_in_float32_give_no_nan(edges: tuple[float, ...]) -> None:
    """Quantile bins of a column with many equal values: distinct in float64, equal in float32."""
    encoder = PiecewiseLinear([edges], num_columns=1)
    values = torch.tensor([[-8.0], [0.0], [0.1], [1.0], [8.0]])
    encoded = encoder(values)
    assert torch.isfinite(encoded).all()
    assert ((encoded >= 0) & (encoded <= 1)).all()


def test_an_unknown_value_starts_neutral_and_ids_of_columns_do_not_mix() -> None:
    """Id 1 adds nothing before training has seen one; id 2 of two columns has two embeddings."""
    embedding = IdEmbedding((4, 3), 8)
    unknown = embedding(torch.full((1, 2), UNKNOWN_ID))
    assert (unknown == 0).all()
    first, second = embedding(torch.tensor([[2, UNKNOWN_ID], [UNKNOWN_ID, 2]]))
    assert not torch.allclose(first, second)
    assert torch.allclose(embedding(torch.tensor([[2, 2]]))[0], first + second)


def test_numbers_are_linear_where_there_are_no_bins() -> None:
    """Without edges the encoding is the affine map alone."""
    embedding = NumberEmbedding(3, [], 5)
    values = torch.randn(7, 3)
    assert torch.equal(embedding(values), embedding.linear(values))


def test_event_edges_name_the_value_columns_only() -> None:
    """Flags have no bins: amount, its flag, quantity, its flag, gap."""
    spec = small_spec()
    spec = replace(spec, gap=replace(spec.gap, edges=(0.0, 1.0)))
    assert [len(edges) for edges in event_edges(spec, load_config())] == [5, 0, 3, 0, 2]
    assert event_edges(spec, load_config(use_piecewise_linear=False)) == []


def test_an_event_depends_on_nothing_but_itself(spec: EncodingSpec) -> None:
    """Changing one event changes its own vector and no other."""
    embedding = EventEmbedding(spec, load_config()).eval()
    ids = torch.ones(2, 5, 2, dtype=torch.int64)
    values = torch.randn(2, 5, spec.event_value_size)
    before = embedding(ids, values)
    values[0, 3, 0] += 1.0
    changed = (embedding(ids, values) != before).any(dim=-1)
    assert changed.nonzero().tolist() == [[0, 3]]


@pytest.mark.parametrize(("use", "num_seen"), [("year", 6), ("week", 4), ("none", 0)])
def test_an_event_tells_of_its_date_what_is_asked_for(spec: EncodingSpec, use: str, num_seen: int) -> None:
    """Hour and weekday stand before the day of the year; what is left out moves nothing."""
    embedding = EventEmbedding(spec, load_config(event_calendar=use)).eval()
    ids, values = torch.ones(1, 1, 2, dtype=torch.int64), torch.zeros(1, 1, spec.event_value_size)
    before, moved = embedding(ids, values), []
    for column in range(spec.event_value_size - 6, spec.event_value_size):
        changed = values.clone()
        changed[..., column] = 1.0
        moved.append(not torch.equal(embedding(ids, changed), before))
    assert moved == [True] * num_seen + [False] * (6 - num_seen)
