"""Tests of the whole model: equivalences that must hold for every encoder, and no look ahead."""

from dataclasses import replace

import pytest
import torch
from model_cases import CUTOFF_DAYS, encoded_histories, load_config, make_model, scales_for, to_batch

from builders import small_spec
from training.losses import survival_loss
from training.model import ModelConfig, RawOutputs, SequenceModel
from training.model.distributions import log_survival

LENGTHS = (0, 1, 2, 17, 32, 32)
CONFIGS = {
    "transformer": load_config(),
    "transformer, bare": load_config(
        rotary_days=(), time_bins=0, use_piecewise_linear=False, use_linear_path=False, calendar="none"
    ),
    "transformer, recent events": load_config(attention_days=30.0, calendar="input"),
    "gru": load_config(encoder="gru", num_layers=1),
    "gru, two layers": load_config(encoder="gru", time_bins=0),
    "none": load_config(encoder="none", use_next_event=False),
    "none, features only": load_config(encoder="none", use_next_event=False, time_bins=0),
}


@pytest.fixture(params=sorted(CONFIGS))
def model(request: pytest.FixtureRequest) -> SequenceModel:
    """Return a model of every kind."""
    return make_model(CONFIGS[request.param])


def flat(raw: RawOutputs, row: int = 0) -> torch.Tensor:
    """Return all outputs of a row's readouts side by side."""
    parts: list[torch.Tensor] = []

    def keep(x: torch.Tensor) -> torch.Tensor:
        parts.append(x[row].flatten(1) if x[row].ndim > 1 else x[row][:, None])
        return x

    raw.map_readouts(keep)
    return torch.cat(parts, dim=1)


@torch.no_grad()
def test_a_customer_gets_the_same_answer_in_any_company(model: SequenceModel) -> None:
    """Alone, in any batch, at any position and in any padding: equal to 1e-5."""
    encoded = encoded_histories(LENGTHS)
    alone = [flat(model(to_batch(encoded, [row]))) for row in range(len(LENGTHS))]
    for order in ([0, 1, 2, 3, 4, 5], [5, 3, 0, 4, 2, 1], [3, 3, 3], [0, 4]):
        for length, num_readouts in ((32, 4), (45, 4), (32, 7)):
            raw = model(to_batch(encoded, order, length=length, num_readouts=num_readouts))
            for position, row in enumerate(order):
                found = flat(raw, position)[: len(CUTOFF_DAYS)]
                torch.testing.assert_close(found, alone[row], atol=1e-5, rtol=1e-5)


@torch.no_grad()
def test_one_cutoff_alone_equals_the_same_among_many(model: SequenceModel) -> None:
    """A cutoff in a segment of several, and encoded with nothing but its own past: equal to 1e-5."""
    encoded = encoded_histories(LENGTHS)
    rows = list(range(len(LENGTHS)))
    together = model(to_batch(encoded, rows))
    for index, day in enumerate(CUTOFF_DAYS):
        single = model(to_batch(encoded_histories(LENGTHS, cutoff_days=(day,)), rows))
        for row in rows:
            expected, found = flat(single, row)[0], flat(together, row)[index]
            torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)


@torch.no_grad()
def test_events_that_a_readout_does_not_see_change_nothing(model: SequenceModel) -> None:
    """Whatever stands at or behind ``readout_visible``: every output is the same, bit for bit."""
    batch = to_batch(encoded_histories((32, 32, 17)), [0, 1, 2])
    before = model(batch)
    for readout in range(len(CUTOFF_DAYS)):
        changed = {name: x.clone() for name, x in batch.items()}
        for row in range(3):
            visible = int(batch["readout_visible"][row, readout])
            changed["event_ids"][row, visible:] = 2
            changed["event_values"][row, visible:] = 7.5
            changed["event_days"][row, visible:] += 123.0
        after = model(changed)
        for row in range(3):
            assert torch.equal(flat(before, row)[readout], flat(after, row)[readout])


@torch.no_grad()
def test_events_that_a_readout_sees_do_change_its_outputs() -> None:
    """The guard of the test above: with an encoder or time bins, each visible event matters."""
    for name, config in CONFIGS.items():
        if name == "none, features only":
            continue
        model = make_model(config)
        batch = to_batch(encoded_histories((12,), cutoff_days=(300,)), [0])
        before = flat(model(batch))
        first = 11 if "recent" in name else 0
        for event in range(first, 12):
            changed = {key: x.clone() for key, x in batch.items()}
            changed["event_values"][0, event, 0] += 3.0
            assert not torch.equal(flat(model(changed)), before), (name, event)


@torch.no_grad()
def test_padded_readouts_do_not_disturb_real_ones(model: SequenceModel) -> None:
    """Whatever stands in a padded readout slot changes no other slot, bit for bit."""
    batch = to_batch(encoded_histories((9, 4)), [0, 1], num_readouts=6)
    before = model(batch)
    for name in ("readout_values", "readout_days", "readout_calendar"):
        batch[name][:, 4:] = 9.0
    batch["readout_visible"][:, 4:] = 3
    after = model(batch)
    for row in range(2):
        assert torch.equal(flat(before, row)[:4], flat(after, row)[:4])


@torch.no_grad()
def test_only_differences_of_days_matter() -> None:
    """Twenty years after the origin the answers are those of day one, as far as float32 days go."""
    model = make_model(load_config())
    batch = to_batch(encoded_histories((17,)), [0])
    for name in ("event_days", "readout_days"):
        batch[name] = torch.round(batch[name] * 64) / 64
    before = flat(model(batch))
    for name in ("event_days", "readout_days"):
        batch[name] = batch[name] + 7300.0
    torch.testing.assert_close(flat(model(batch)), before, atol=1e-5, rtol=1e-5)


@torch.no_grad()
def test_without_events_only_the_readout_features_speak(model: SequenceModel) -> None:
    """No event at all is a finite answer, and it still depends on the features."""
    batch = to_batch(encoded_histories((0,)), [0])
    before = flat(model(batch))
    assert torch.isfinite(before).all()
    batch["readout_values"][0, 0, 0] += 1.0
    assert not torch.equal(flat(model(batch))[0], before[0])


@torch.no_grad()
def test_the_calendar_is_added_to_the_output_only() -> None:
    """In its default place it moves the heads and leaves the embedding; elsewhere it moves that too."""
    batch = to_batch(encoded_histories((5,)), [0])
    moved = {**batch, "readout_calendar": batch["readout_calendar"] + 1.0}
    for calendar, changes_embedding, changes_heads in (
        ("output", False, True),
        ("input", True, True),
        ("none", False, False),
    ):
        model = make_model(load_config(calendar=calendar))
        one, other = model(batch), model(moved)
        assert torch.equal(one.embedding, other.embedding) is not changes_embedding
        assert torch.equal(one.survival["churn"], other.survival["churn"]) is not changes_heads


def test_the_auxiliary_outputs_come_only_when_asked_for() -> None:
    """They cost a whole layer, and change nothing about the readouts."""
    for config in (CONFIGS["transformer"], CONFIGS["gru"]):
        model = make_model(config)
        batch = to_batch(encoded_histories((9, 4)), [0, 1])
        plain, asked = model(batch), model(batch, with_next_event=True)
        assert plain.next_event is None
        assert asked.next_event is not None
        assert asked.next_event.type_logits.shape == (2, 9, len(model.spec.event_type))
        assert asked.next_event.log_gap.shape == (2, 9)
        torch.testing.assert_close(flat(plain), flat(asked), atol=1e-6, rtol=1e-6)


def test_the_auxiliary_outputs_never_look_ahead() -> None:
    """What an event says about the next one depends on no later event, bit for bit."""
    for config in (CONFIGS["transformer"], CONFIGS["gru"]):
        model = make_model(config)
        batch = to_batch(encoded_histories((9,)), [0])
        before = model(batch, with_next_event=True).next_event
        batch["event_values"][0, 6:] = -3.0
        batch["event_days"][0, 6:] += 50.0
        after = model(batch, with_next_event=True).next_event
        assert torch.equal(before.type_logits[:, :6], after.type_logits[:, :6])
        assert torch.equal(before.log_gap[:, :6], after.log_gap[:, :6])


def test_every_weight_gets_a_gradient() -> None:
    """A part that nothing flows through would be a part that does nothing."""
    for name, config in CONFIGS.items():
        model = make_model(config).train()
        raw = model(
            to_batch(encoded_histories((0, 17, 32)), [0, 1, 2]), with_next_event=config.use_next_event
        )
        total = raw.survival["churn"].sum() + raw.amounts["spend"].mu.sum() + raw.amounts["spend"].sigma.sum()
        total = total + raw.amounts["spend"].positive_logit.sum() + raw.counts["orders"].log_rate.sum()
        total = total + raw.counts["orders"].log_dispersion.sum() + raw.embedding.square().sum()
        if raw.next_event is not None:
            total = total + raw.next_event.type_logits.square().sum() + raw.next_event.log_gap.sum()
        total.backward()
        dead = [n for n, p in model.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0]
        assert not dead, (name, dead)


def test_mixed_precision_keeps_counts_and_heads_in_float32() -> None:
    """Under bfloat16 autocast the outputs are float32 and near those without it."""
    model = make_model(load_config())
    batch = to_batch(encoded_histories((17, 4)), [0, 1])
    exact = model(batch)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        mixed = model(batch)
    assert mixed.amounts["spend"].mu.dtype == torch.float32
    torch.testing.assert_close(mixed.survival["churn"], exact.survival["churn"], atol=0.15, rtol=0.1)


@pytest.mark.parametrize("name", ["transformer", "gru", "none"])
def test_every_encoder_learns_from_the_events_alone(name: str) -> None:
    """Who has four or more purchases comes back at once: learnt in a few steps from nothing but events."""
    torch.manual_seed(0)
    config = replace(CONFIGS[name], dropout=0.0)
    model = SequenceModel(small_spec(), config, scales_for(small_spec().schema)).train()
    encoded = encoded_histories((*range(16),) * 5, cutoff_days=(300,))
    batch = to_batch(encoded, list(range(80)))
    for key in ("readout_ids", "readout_values"):
        batch[key] = torch.zeros_like(batch[key])
    came = (batch["event_ids"][:, :, 0] == 2).sum(dim=1, keepdim=True) >= 4
    lower = torch.where(came, 0, 12)
    adam = torch.optim.Adam(model.parameters(), lr=0.01)
    for _ in range(80):
        loss = survival_loss(model(batch).survival["churn"], lower, lower + 1).mean()
        adam.zero_grad()
        loss.backward()
        adam.step()
    with torch.no_grad():
        stays = torch.exp(log_survival(model.eval()(batch).survival["churn"]))[..., -1]
    assert 0.4 < came.float().mean().item() < 0.6, "no guess is right for more than 60 %"
    assert ((stays < 0.5) == came).float().mean().item() > 0.9


def test_a_config_alone_decides_the_shape() -> None:
    """State of one model loads strictly into another of the same configuration, and buffers are not in it."""
    config: ModelConfig = load_config()
    state = make_model(config, seed=1).state_dict()
    make_model(config, seed=2).load_state_dict(state, strict=True)
    assert not [name for name in state if name.endswith(("lows", "offsets", "frequencies", "position"))]
