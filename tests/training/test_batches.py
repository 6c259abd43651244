"""A step's pool holds every drawn cutoff once, in shapes of a small set, and depends on nothing else."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from model_cases import load_config, make_model

from builders import DAY, START_US, random_histories, small_schema, small_spec
from holdfast.encoding import Cutoffs, encode
from holdfast.errors import ConfigError
from training.batches import (
    BatchingConfig,
    MicroBatch,
    PoolDataset,
    draw_some,
)
from training.cutoffs import GridCandidates
from training.labels import Labeller, Labels
from training.losses import LabelTensors, LossWeights, loss_sums
from training.splits import Split
from training.splitting import LENGTH_GRID

CUTOFFS_US = START_US + np.array([100, 200, 300, 400]) * DAY
HISTORIES = random_histories(np.random.default_rng(0), 50)
LABELLER = Labeller(HISTORIES, small_schema())


def draw(customers: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Ask about everybody on every date."""
    return np.repeat(np.arange(len(customers)), 4), np.tile(CUTOFFS_US, len(customers))


def label(customer: np.ndarray, cutoff_us: np.ndarray) -> Labels:
    """Label with everything known."""
    return LABELLER.label(customer, cutoff_us, observed_until_us=START_US + 600 * DAY)


def dataset(*, rank: int = 0, num_ranks: int = 1, is_packed: bool = False, **config: int) -> PoolDataset:
    """Build pools over all customers, or one process's share of them."""
    sizes = {"pool_customers": 20, "readouts_per_customer": 3, "event_budget": 256} | config
    return PoolDataset(
        HISTORIES,
        small_spec(),
        customers=np.arange(50),
        draw=draw,
        label=label,
        weigh=lambda cutoff_us: np.ones(len(cutoff_us), dtype=np.float32),
        config=BatchingConfig(**sizes),
        num_steps=6,
        seed=7,
        rank=rank,
        num_ranks=num_ranks,
        is_packed=is_packed,
    )


def real_readouts(pool: list[MicroBatch]) -> list[tuple[float, ...]]:
    """Return the features of every readout that counts, in an order of their own."""
    rows = [
        tuple(row)
        for batch in pool
        for row in batch.inputs["readout_values"][batch.weights > 0].reshape(-1, 1).tolist()
    ]
    return sorted(rows)


def test_a_step_depends_on_seed_and_step_alone() -> None:
    """A resumed run sees the batches that the killed one would have seen."""
    first, again = dataset(), dataset()
    _ = first[0], first[1]
    for mine, other in zip(first[3], again[3], strict=True):
        for name, tensor in mine.inputs.items():
            assert torch.equal(tensor, other.inputs[name])
    assert not torch.equal(first[3][0].inputs["readout_days"], first[4][0].inputs["readout_days"])


def test_an_epoch_visits_customers_without_repetition() -> None:
    """Pools of one epoch are disjoint."""
    pools = [dataset()._pool(step) for step in range(2)]
    assert len(np.unique(np.concatenate(pools))) == 40


def test_labels_and_inputs_of_a_slot_belong_to_the_same_readout() -> None:
    """Every real slot equals what encoding and labelling that cutoff alone gives."""
    pool = dataset()
    people = pool._pool(2)
    num_checked = 0
    for batch in pool[2]:
        is_real = batch.inputs["readout_is_real"].numpy().reshape(-1)
        days = batch.inputs["readout_days"].numpy().reshape(-1)
        features = batch.inputs["readout_values"].numpy().reshape(len(days), -1)
        for slot in np.flatnonzero(is_real):
            cutoff_us = int(START_US + round(float(days[slot])) * DAY)
            alone = encode(HISTORIES, Cutoffs.one_each(people, np.full(len(people), cutoff_us)), small_spec())
            match = np.flatnonzero((alone.readout_values == features[slot]).all(axis=1))
            expected = label(people[match], np.full(len(match), cutoff_us))
            spend = batch.labels.values["spend"][slot]
            assert any((spend == s) or (np.isnan(spend) and np.isnan(s)) for s in expected.values["spend"])
            num_checked += 1
    assert num_checked == sum(batch.num_readouts for batch in pool[2]) > 40


def test_counts_tell_the_padding() -> None:
    """num_padded is what the tensors hold, num_events what is real."""
    for batch in dataset()[0]:
        ids = batch.inputs["event_ids"][..., 0]
        assert (int((ids > 0).sum()), ids.numel()) == (batch.num_events, batch.num_padded)
        assert ids.shape[1] in LENGTH_GRID


def test_packed_batches_hold_the_same_without_padding() -> None:
    """Every event and cutoff of the padded pool, in fewer micro-batches; every tensor is full."""
    padded, packed = dataset()[0], dataset(is_packed=True)[0]
    assert real_readouts(packed) == real_readouts(padded)
    num_events = sum(batch.num_events for batch in padded)
    assert (
        sum(batch.num_events for batch in packed) == sum(batch.num_padded for batch in packed) == num_events
    )
    assert len(packed) < len(padded)
    for batch in packed:
        assert (batch.inputs["event_ids"][:, 0] > 0).all()
        assert batch.num_events <= 256
        assert batch.shape[:2] == (len(batch.weights), len(batch.inputs["active_rows"]))
        visible, active = batch.inputs["readout_visible"], batch.inputs["active_rows"]
        lengths = (active > torch.arange(len(batch.weights))[:, None]).sum(1)
        assert (visible.amax(1) <= lengths).all()


def test_no_customer_is_a_clear_error() -> None:
    """Nobody eligible at any training cutoff."""
    with pytest.raises(ConfigError, match=r"cutoffs\.train.*at least one customer"):
        PoolDataset(
            HISTORIES,
            small_spec(),
            customers=np.empty(0, dtype=np.int64),
            draw=draw,
            label=label,
            weigh=lambda cutoff_us: np.ones(len(cutoff_us), dtype=np.float32),
            config=BatchingConfig(),
            num_steps=1,
            seed=0,
        )


@pytest.mark.parametrize("name", ["pool_customers", "readouts_per_customer", "event_budget"])
def test_sizes_below_one_are_refused(name: str) -> None:
    """The message names the setting."""
    with pytest.raises(ConfigError, match=rf"batching\.{name}"):
        BatchingConfig(**{name: 0})


def test_drawing_keeps_at_most_so_many_of_a_customer_sorted() -> None:
    """Customers with fewer keep all of them; times ascend within a customer."""
    position = np.array([2, 0, 2, 2, 0, 2])
    kept, cutoff_us = draw_some(position, np.array([5, 9, 3, 8, 1, 7]), 2, np.random.default_rng(0))
    assert kept.tolist() == [0, 0, 2, 2]
    assert cutoff_us[:2].tolist() == [1, 9]
    assert cutoff_us[2] < cutoff_us[3]


def test_older_cutoffs_count_less() -> None:
    """Half as much per half-life before the newest allowed cutoff; alike where none is set."""
    newest = int(CUTOFFS_US[-1])
    split = Split(
        name="train",
        candidates=GridCandidates(times_us=tuple(CUTOFFS_US.tolist())),
        observed_until_us=newest,
        newest_us=newest,
        half_life_days=100.0,
    )
    np.testing.assert_allclose(split.weights(CUTOFFS_US), [0.125, 0.25, 0.5, 1.0])
    assert (replace(split, half_life_days=None).weights(CUTOFFS_US) == 1.0).all()


def test_a_step_carries_the_weights_of_its_cutoffs() -> None:
    """Real slots have the weight of their cutoff, padded slots none."""
    pool = PoolDataset(
        HISTORIES,
        small_spec(),
        customers=np.arange(50),
        draw=draw,
        label=label,
        weigh=lambda cutoff_us: ((cutoff_us - START_US) / DAY).astype(np.float32),
        config=BatchingConfig(
            pool_customers=20, readouts_per_customer=3, event_budget=256, weigh_undrawn=False
        ),
        num_steps=1,
        seed=7,
    )
    for batch in pool[0]:
        is_real = batch.inputs["readout_is_real"]
        assert (batch.weights[~is_real] == 0).all()
        torch.testing.assert_close(batch.weights[is_real], batch.inputs["readout_days"][is_real])


@pytest.mark.parametrize("num_ranks", [1, 2])
def test_who_is_asked_about_more_often_counts_more(num_ranks: int) -> None:
    """Drawn cutoffs count for those that were not drawn, over all processes; without that, for themselves."""

    def uneven(customers: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        num = 1 + customers % 4
        position = np.repeat(np.arange(len(customers)), num)
        return position, CUTOFFS_US[np.concatenate([np.arange(n) for n in num])]

    def weights(*, weigh_undrawn: bool) -> list[list[float]]:
        pools = [
            PoolDataset(
                HISTORIES,
                small_spec(),
                customers=np.arange(20),
                draw=uneven,
                label=label,
                weigh=lambda cutoff_us: np.full(len(cutoff_us), 0.5, dtype=np.float32),
                config=BatchingConfig(
                    pool_customers=20, readouts_per_customer=2, event_budget=256, weigh_undrawn=weigh_undrawn
                ),
                num_steps=1,
                seed=7,
                rank=rank,
                num_ranks=num_ranks,
            )
            for rank in range(num_ranks)
        ]
        return [batch.weights[batch.weights > 0].tolist() for pool in pools for batch in pool[0]]

    # Five customers each with 1, 2, 3 and 4 cutoffs, of which at most 2 are drawn.
    each = sorted(weight for batch in weights(weigh_undrawn=True) for weight in batch)
    assert each == [0.5] * 15 + [0.75] * 10 + [1.0] * 10
    assert {weight for batch in weights(weigh_undrawn=False) for weight in batch} == {0.5}


def test_shares_hold_the_whole_pool_once() -> None:
    """Whatever one process would train on, some process does; nobody is left without a batch."""
    whole = dataset(pool_customers=4)[1]
    shares = [dataset(pool_customers=4, rank=rank, num_ranks=6)[1] for rank in range(6)]
    assert real_readouts([batch for share in shares for batch in share]) == real_readouts(whole)
    assert [sum(batch.num_readouts for batch in share) > 0 for share in shares] == [True] * 4 + [False] * 2
    assert all(share for share in shares)


@pytest.mark.parametrize("is_packed", [True, False], ids=["packed", "padded"])
@pytest.mark.parametrize(("encoder", "num_neighbours"), [("transformer", 0), ("transformer", 3), ("gru", 0)])
def test_a_process_without_a_share_adds_nothing(encoder: str, num_neighbours: int, is_packed: bool) -> None:
    """Its losses are 0 and so are its gradients, of which it has the same as everybody."""
    (batch,) = dataset(pool_customers=1, rank=1, num_ranks=2, is_packed=is_packed)[0]
    model = make_model(load_config(encoder=encoder, num_neighbours=num_neighbours), small_spec()).train()
    weights = LossWeights()
    raw = model(batch.inputs, with_next_event=True)
    labels = LabelTensors.of(batch.labels, like=batch.weights)
    sums = loss_sums(raw, labels, batch.weights, weights, batch=batch.inputs)
    torch.stack([total for total, _ in sums.values()]).sum().backward()
    assert all(float(total.detach()) == 0.0 for total, _ in sums.values())
    own = {name: parameter.grad for name, parameter in model.named_parameters()}
    assert all(gradient is not None and not gradient.any() for gradient in own.values())
