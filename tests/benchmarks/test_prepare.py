"""The benchmark of preparing asks for what it says, and leaves nobody's data changed."""

from pathlib import Path

import pytest

from benchmarks.prepare import prepare_anew, simulate_anew, simulated_config, train_a_little
from training.data_config import DataConfig
from training.prepare import simulated_folder


def test_simulated_events_lie_under_the_folder_given(tmp_path: Path) -> None:
    """Not where a user's own simulation lies, which it would replace."""
    config = DataConfig.from_plain(simulated_config(5_600, tmp_path / "raw"))
    assert simulated_folder(config).is_relative_to(tmp_path / "raw")
    assert config.simulate is not None
    assert config.simulate["num_customers"] == 100


@pytest.mark.slow
def test_training_takes_the_store_that_was_prepared(tmp_path: Path) -> None:
    """All of it runs, from labels to artifact, and nothing is prepared a second time."""
    plain = simulated_config(40_000, tmp_path / "raw")
    simulate_anew(plain)
    events, _ = prepare_anew(plain, tmp_path / "store")
    before = (tmp_path / "store" / "index.json").stat().st_mtime_ns
    assert train_a_little(40_000, tmp_path / "raw", tmp_path / "store", tmp_path / "run") == events
    assert (tmp_path / "run" / "artifact" / "model.onnx").exists()
    assert (tmp_path / "store" / "index.json").stat().st_mtime_ns == before
