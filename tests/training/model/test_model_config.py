"""Tests of the model's configuration: every file builds, and no impossible value gets through."""

import pytest
import torch
from model_cases import CONFIG_FOLDER, encoded_histories, load_config, scales_for, to_batch

from holdfast.encoding import EncodingSpec
from holdfast.errors import ConfigError
from training.model import ModelConfig, SequenceModel

NAMES = sorted(path.stem for path in CONFIG_FOLDER.glob("*.yaml"))


@pytest.mark.parametrize("name", NAMES)
def test_every_file_builds_and_runs(name: str, spec: EncodingSpec) -> None:
    """Each file of conf/model gives a model that answers all of its targets."""
    config = load_config(name)
    model = SequenceModel(spec, config, scales_for(spec.schema)).eval()
    with torch.no_grad():
        raw = model(to_batch(encoded_histories((0, 3)), [0, 1]), with_next_event=config.use_next_event)
    assert set(raw.survival) | set(raw.amounts) | set(raw.counts) == {"churn", "spend", "orders"}
    assert raw.embedding.shape == (2, 4, config.width)


def test_the_files_cover_every_encoder() -> None:
    """Transformer, GRU and none can each be chosen by naming a file."""
    assert {load_config(name).encoder for name in NAMES} == {"transformer", "gru", "none"}


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("width", 0),
        ("width", 18),
        ("num_layers", 0),
        ("num_heads", 5),
        ("feed_forward_multiple", 0),
        ("dropout", 1.0),
        ("dropout", -0.1),
        ("rotary_days", (1.0,)),
        ("rotary_days", (730.0, 1.0)),
        ("rotary_days", (0.0, 730.0)),
        ("attention_days", 0.0),
        ("time_bins", 1),
        ("time_bin_channels", 0),
        ("sigma_range", (0.0, 2.5)),
        ("sigma_range", (2.5, 0.1)),
        ("sigma_range", (0.1, 9.0)),
        ("quantile_levels", ()),
        ("quantile_levels", (0.5, 0.1)),
        ("quantile_levels", (0.5, 0.5)),
        ("quantile_levels", (0.0, 0.5)),
        ("quantile_levels", (0.5, 1.0)),
    ],
)
def test_impossible_values_are_refused_by_name(key: str, value: object) -> None:
    """The message names the key, so that a typing error in YAML is found at once."""
    with pytest.raises(ConfigError, match=f"model.{key if key != 'width' or value == 0 else 'num_heads'}"):
        load_config("tiny", **{key: value})


def test_next_event_needs_event_states() -> None:
    """Without an encoder there is nothing to predict the next event from."""
    with pytest.raises(ConfigError, match="use_next_event"):
        load_config("none", use_next_event=True)


def test_an_unknown_key_in_yaml_is_refused() -> None:
    """A misspelt lever must not be silently ignored."""
    from holdfast.plain import from_plain, to_plain

    plain = {**to_plain(load_config()), "num_layer": 3}
    with pytest.raises(ConfigError, match="num_layer"):
        from_plain(ModelConfig, plain)
