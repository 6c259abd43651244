"""Small models with weights that hide nothing, and batches made by the real encoding, for tests."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
import yaml
from torch import Tensor

from builders import DAY, START_US, histories_of_lengths, small_spec
from holdfast.encoding import Cutoffs, EncodingSpec, encode
from holdfast.encoding.encode import Encoded
from holdfast.encoding.padding import INPUT_NAMES, pad_many
from holdfast.plain import from_plain
from holdfast.schema import Schema
from training.model import ModelConfig, SequenceModel, TargetScale, TargetScales
from training.model.scales import find_tie

CONFIG_FOLDER = Path(__file__).parents[1] / "conf" / "model"
CUTOFF_DAYS = (10, 90, 200, 300)
"""Days after the start at which :func:`encoded_histories` asks; the first comes before many events."""


def load_config(name: str = "tiny", **changes: object) -> ModelConfig:
    """Return the configuration of ``conf/model/<name>.yaml`` with some values changed."""
    plain = yaml.safe_load((CONFIG_FOLDER / f"{name}.yaml").read_text(encoding="utf-8"))
    return replace(from_plain(ModelConfig, plain), **changes)  # type: ignore[arg-type]


def scales_for(schema: Schema) -> TargetScales:
    """Return plausible scales; an amount is tied where its declaration allows it."""
    scales = {}
    for target in schema.targets:
        if target.kind == "time_to_event":
            scales[target.name] = TargetScale(hazards=(0.12,) * 12)
        elif target.kind == "amount":
            tied_to, tied_bin = find_tie(schema, target) or (None, 0)
            scales[target.name] = TargetScale(
                location=3.0, spread=1.2, base_rate=0.8, tied_to=tied_to, tied_bin=tied_bin
            )
        else:
            scales[target.name] = TargetScale(location=0.5, spread=0.7, base_rate=1.3)
    return TargetScales(targets=scales)


def make_model(config: ModelConfig, spec: EncodingSpec | None = None, *, seed: int = 0) -> SequenceModel:
    """Return a model in evaluation mode whose every weight is perturbed, those that start at zero too."""
    spec = spec or small_spec()
    torch.manual_seed(seed)
    model = SequenceModel(spec, config, scales_for(spec.schema))
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.1)
    return model.eval()


def encoded_histories(
    lengths: tuple[int, ...], spec: EncodingSpec | None = None, *, cutoff_days: tuple[int, ...] = CUTOFF_DAYS
) -> Encoded:
    """Return random histories of these lengths, encoded for the same cutoffs each: a segment per customer."""
    histories = histories_of_lengths(np.random.default_rng(7), np.array(lengths), span_days=290)
    num, per = len(lengths), len(cutoff_days)
    cutoffs = Cutoffs(
        customer=np.arange(num, dtype=np.int64),
        offsets=np.arange(0, num * per + 1, per, dtype=np.int64),
        time_us=np.tile(START_US + np.array(cutoff_days, dtype=np.int64) * DAY, num),
    )
    return encode(histories, cutoffs, spec or small_spec())


def to_batch(
    encoded: Encoded, segments: list[int], *, length: int | None = None, num_readouts: int | None = None
) -> dict[str, Tensor]:
    """Return segments as a padded batch of tensors; without a length, the shortest that has a position."""
    chosen = np.array(segments, dtype=np.int64)
    longest = int(encoded.lengths[chosen].max())
    most = int(np.diff(encoded.readout_offsets)[chosen].max())
    arrays = pad_many(
        encoded,
        chosen,
        length=max(1, longest) if length is None else length,
        num_readouts=num_readouts or most,
    )
    return {name: torch.from_numpy(array) for name, array in arrays.items()}


def scoring_inputs(batch: dict[str, Tensor], *, readout: int = -1) -> tuple[Tensor, ...]:
    """Return the inputs of the scoring graph: one readout of every row."""
    return tuple(x[:, readout] if name.startswith("readout") else x for name, x in named(batch))


def named(batch: dict[str, Tensor]) -> list[tuple[str, Tensor]]:
    """Return the inputs of the exported graph by name, in order."""
    return [(name, batch[name]) for name in INPUT_NAMES]
