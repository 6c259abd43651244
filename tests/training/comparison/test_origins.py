"""Backtests: the data set's own split, and the same one moved into the past."""

from pathlib import Path

import pytest
from data_set_builder import shop_config
from omegaconf import OmegaConf

from holdfast.errors import ConfigError
from training.comparison.origins import rolling_origins


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


@pytest.mark.parametrize(("num", "step_days", "key"), [(0, None, "num_origins"), (2, 0, "step_days")])
def test_no_origin_is_refused(tmp_path: Path, num: int, step_days: int | None, key: str) -> None:
    """And one that does not move."""
    with pytest.raises(ConfigError, match=key):
        rolling_origins(shop_config(tmp_path), num=num, step_days=step_days)
