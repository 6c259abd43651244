"""One small artifact and one authority for all tests of serving; nobody writes into either."""

from pathlib import Path

import pytest
import trustme
from artifact_builder import build_artifact
from linked_versions import point, with_version


@pytest.fixture(scope="session")
def artifact_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of a sound artifact."""
    return build_artifact(tmp_path_factory.mktemp("artifact") / "small")


@pytest.fixture(scope="session")
def authority() -> trustme.CA:
    """Return who vouches for certificates."""
    return trustme.CA()


@pytest.fixture
def link(artifact_folder: Path, tmp_path: Path) -> Path:
    """Return a link to version 1; version 2 lies beside it as ``second``."""
    with_version(tmp_path / "first", "1", like=artifact_folder)
    with_version(tmp_path / "second", "2", like=artifact_folder)
    point(tmp_path / "current", tmp_path / "first")
    return tmp_path / "current"
