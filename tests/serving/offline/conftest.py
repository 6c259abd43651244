"""The artifact that scores, and the files that are scored."""

from pathlib import Path

import pytest
from offline_files import customers_table, events_table

from serving.artifact import Artifact


@pytest.fixture(scope="module")
def artifact(artifact_folder: Path) -> Artifact:
    """Return the small artifact, loaded."""
    return Artifact.load(artifact_folder)


@pytest.fixture
def files(tmp_path: Path) -> dict[str, Path]:
    """Return the inputs as Parquet files, and where the output goes."""
    paths = {name: tmp_path / f"{name}.parquet" for name in ("events", "customers", "out")}
    events_table().write_parquet(paths["events"])
    customers_table().write_parquet(paths["customers"])
    return paths
