"""Backtests: the data set's own split, and the same one moved into the past."""

from pathlib import Path
from typing import Any

import pytest
from data_set_builder import shop_config
from omegaconf import OmegaConf

from holdfast.errors import ConfigError
from training.comparison.origins import rolling_origins
from training.comparison.repeats import Repeats


def test_origins_keep_the_distance_of_validation_and_test(tmp_path: Path) -> None:
    """The first is the data set's own text; the others lie a horizon, or what is asked, before it."""
    config = shop_config(tmp_path)
    own, earlier = rolling_origins(config, num=2, step_days=None)
    assert (own.validation, own.test) == (("2024-03-01",), ("2024-05-01",))
    assert earlier.test == ("2024-03-02T00:00:00.000000Z",)
    assert earlier.validation == ("2024-01-01T00:00:00.000000Z",)
    assert rolling_origins(config, num=3, step_days=7)[2].test == ("2024-04-17T00:00:00.000000Z",)


def test_settings_are_moved_in_a_copy(tmp_path: Path) -> None:
    """The settings that were given stay as they are."""
    origin = rolling_origins(shop_config(tmp_path), num=2, step_days=10)[1]
    settings = OmegaConf.create({"data": {"cutoffs": {"validation": ["a"], "test": ["b"]}}})
    moved = origin.applied(settings)
    assert list(moved.data.cutoffs.test) == list(origin.test)
    assert settings.data.cutoffs.test == ["b"]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"seeds": []}, r"seeds: got \[\]"),
        ({"seeds": [1, 1]}, r"seeds: got \[1, 1\], .* each once"),
        ({"seeds": [1, -1]}, r"seeds\[1\]: got -1, .* 2\^32"),
        ({"seeds": ["a"]}, r"seeds\[0\]: got 'a', .* int"),
        ({"seeds": 3}, "seeds: got 3, .* list"),
        ({"num_origins": 0}, "num_origins: got 0, .* at least 1"),
        ({"num_origins": "a"}, "num_origins: got 'a', .* int"),
        ({"step_days": 0}, "step_days: got 0, .* at least 1"),
    ],
)
def test_what_cannot_be_repeated_is_named(changes: dict[str, Any], message: str) -> None:
    """Key, value and limit, whatever was written there."""
    settings = OmegaConf.create({"seeds": [1], "num_origins": 1, "step_days": None, "data": {}})
    with pytest.raises(ConfigError, match=f"^{message}"):
        Repeats.of(OmegaConf.merge(settings, changes))


def test_origins_before_all_time_are_refused(tmp_path: Path) -> None:
    """Before they are made: there is no year for the ten-thousandth."""
    with pytest.raises(ConfigError, match="num_origins: got 100000, but 60 days apart, at most"):
        rolling_origins(shop_config(tmp_path), num=100_000, step_days=None)
