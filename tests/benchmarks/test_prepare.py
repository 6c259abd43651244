"""The benchmark of preparing asks for what it says, and leaves nobody's data changed."""

from pathlib import Path

from benchmarks.prepare import simulated_config
from training.data_config import DataConfig
from training.prepare import simulated_folder


def test_simulated_events_lie_under_the_folder_given(tmp_path: Path) -> None:
    """Not where a user's own simulation lies, which it would replace."""
    config = DataConfig.from_plain(simulated_config(5_600, tmp_path / "raw"))
    assert simulated_folder(config).is_relative_to(tmp_path / "raw")
    assert config.simulate is not None
    assert config.simulate["num_customers"] == 100
