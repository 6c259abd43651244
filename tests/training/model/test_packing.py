"""A batch without padding gives the outputs, losses and gradients of the same rows with it."""

import numpy as np
import pytest
import torch
from model_cases import encoded_histories, load_config, make_model, to_batch
from torch import Tensor

from holdfast.encoding.packing import ACTIVE_ROWS, pack_many
from training.losses import next_event_loss
from training.model import ModelConfig, RawOutputs, SequenceModel
from training.model.packing import Packing

LENGTHS = (32, 32, 17, 5, 2, 1, 0)
CONFIGS = {
    "one layer": load_config(encoder="gru", num_neighbours=0, num_layers=1),
    "two layers": load_config(encoder="gru", num_neighbours=0, num_layers=2),
    "no time bins": load_config(encoder="gru", num_neighbours=0, time_bins=0),
    "neighbours": load_config(encoder="gru", num_neighbours=3),
    "transformer": load_config(num_neighbours=0),
    "transformer with neighbours": load_config(num_neighbours=2),
    "transformer that looks back 60 days": load_config(attention_days=60.0),
    "transformer without angles": load_config(rotary_days=()),
    "transformer that foretells nothing": load_config(use_next_event=False),
    "transformer without time bins": load_config(time_bins=0),
    "no encoder": load_config(encoder="none", use_next_event=False, num_neighbours=1),
}


def packed_batch(lengths: tuple[int, ...]) -> dict[str, Tensor]:
    """Return random histories of these lengths, packed."""
    encoded = encoded_histories(lengths)
    most = int(np.diff(encoded.readout_offsets).max())
    arrays = pack_many(encoded, np.arange(len(lengths)), num_readouts=most)
    return {name: torch.from_numpy(array) for name, array in arrays.items()}


def padded_batch(lengths: tuple[int, ...]) -> dict[str, Tensor]:
    """Return the same histories, padded."""
    return to_batch(encoded_histories(lengths), list(range(len(lengths))))


def packing_of(lengths: tuple[int, ...]) -> Packing:
    """Return where the events of rows of these lengths lie, the longest first."""
    active = [sum(length > position for length in lengths) for position in range(max(lengths))] or [1]
    return Packing.of(torch.tensor(active))


def readouts_of(raw: RawOutputs) -> list[Tensor]:
    """Return every output of every readout."""
    kept: list[Tensor] = []

    def keep(values: Tensor) -> Tensor:
        kept.append(values)
        return values

    raw.map_readouts(keep)
    return kept


def loss_and_gradients(model: SequenceModel, batch: dict[str, Tensor]) -> list[Tensor]:
    """Return a sum over all outputs, the next event's loss and number of pairs, and every gradient."""
    raw = model(batch, with_next_event=model.config.use_next_event)
    next_event = num = torch.zeros(())
    if raw.next_event is not None:
        packing = Packing.of(batch[ACTIVE_ROWS]) if ACTIVE_ROWS in batch else None
        next_event, num = next_event_loss(raw.next_event, batch["event_ids"], batch["event_days"], packing)
    total = torch.stack([torch.tanh(values).sum() for values in readouts_of(raw)]).sum()
    return [total, next_event, num, *torch.autograd.grad(total + next_event, list(model.parameters()))]


@pytest.mark.parametrize("config", CONFIGS.values(), ids=CONFIGS.keys())
@pytest.mark.parametrize("lengths", [LENGTHS, (3,), (1, 0), (9, 9, 9), (28, 17, 11, 1)], ids=str)
def test_packed_is_padded(config: ModelConfig, lengths: tuple[int, ...]) -> None:
    """Outputs, the loss of the next event, and the gradient of every weight: equal to 1e-5."""
    model = make_model(config)
    packed, padded = packed_batch(lengths), padded_batch(lengths)
    for mine, other in zip(readouts_of(model(packed)), readouts_of(model(padded)), strict=True):
        torch.testing.assert_close(mine, other, atol=1e-5, rtol=1e-5)
    pairs = zip(loss_and_gradients(model, packed), loss_and_gradients(model, padded), strict=True)
    for mine, other in pairs:
        torch.testing.assert_close(mine, other, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("config", CONFIGS.values(), ids=CONFIGS.keys())
def test_histories_without_events_have_one_that_is_padding(config: ModelConfig) -> None:
    """Nobody has an event: outputs are those of padded rows, and there is no pair to learn from."""
    model, packed = make_model(config), packed_batch((0, 0))
    assert packed["event_ids"].tolist() == [[0] * packed["event_ids"].shape[1]]
    for mine, other in zip(readouts_of(model(packed)), readouts_of(model(padded_batch((0, 0)))), strict=True):
        torch.testing.assert_close(mine, other, atol=1e-5, rtol=1e-5)
    assert loss_and_gradients(model, packed)[2] == 0


@pytest.mark.parametrize("name", ["one layer", "transformer with neighbours"])
def test_mixed_precision_comes_near(name: str) -> None:
    """Under bfloat16 autocast, with the library's recurrent layer, outputs are near those without it."""
    model, batch = make_model(CONFIGS[name]), packed_batch(LENGTHS)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        mixed = readouts_of(model(batch))
    for mine, other in zip(mixed, readouts_of(model(batch)), strict=True):
        assert mine.dtype == torch.float32
        torch.testing.assert_close(mine, other, atol=0.3, rtol=0.1)


@pytest.mark.parametrize(
    "lengths", [(13, 12, 6, 6, 3, 1, 1, 0), (100, 26, 1), (100, 40, 22), (5, 0), (1,), (0, 0)], ids=str
)
def test_parts_hold_every_row_and_event_once(lengths: tuple[int, ...]) -> None:
    """Rows in order and of like length, the events of a row at its first positions, and back again."""
    packing = packing_of(lengths)
    layout = packing.layout(len(lengths))
    rows = iter(lengths)
    found: list[int] = []
    of_parts = layout.days_by_row(torch.arange(float(packing.num_events)))
    for places, (num, length) in zip(of_parts, layout.shapes, strict=True):
        of_part = [next(rows) for _ in range(num)]
        assert length == max(of_part[0], 1)
        assert all(3 * own > 2 * length for own in of_part) or length == 1
        for own, of_row in zip(of_part, places.tolist(), strict=True):
            found += map(int, of_row[:own])
    assert not list(rows)
    assert sorted(found) == list(range(sum(lengths)))
    if sum(lengths):
        assert layout.places[layout.back].tolist() == list(range(sum(lengths)))


def test_the_way_to_rows_and_back_has_the_gradient_of_every_event() -> None:
    """Against finite differences, where what stands behind the rows does not count."""
    lengths = (7, 4, 3, 1, 0)
    layout = packing_of(lengths).layout(len(lengths))

    def there_and_back(events: Tensor) -> Tensor:
        return layout.from_rows([part.cumsum(dim=1) ** 2 for part in layout.by_row(events)])

    events = torch.randn(sum(lengths), 2, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(there_and_back, (events,))


def test_rows_and_positions_of_packed_events() -> None:
    """Rows a, b, c of lengths 3, 2 and 1."""
    packing = packing_of((3, 2, 1))
    assert packing.rows.tolist() == [0, 1, 2, 0, 1, 0]
    assert packing.positions.tolist() == [0, 0, 0, 1, 1, 2]


def test_an_event_is_paired_with_the_next_one_of_its_row() -> None:
    """Rows a, b, c of lengths 3, 2 and 1."""
    packing = Packing.of(torch.tensor([3, 2, 1]))
    named = torch.tensor([10, 20, 30, 11, 21, 12])
    assert packing.before(named).tolist() == [10, 20, 11]
    assert packing.after(named).tolist() == [11, 21, 12]
