"""One small artifact for all tests of serving; nobody writes into it."""

from pathlib import Path

import pytest
from artifact_builder import build_artifact


@pytest.fixture(scope="session")
def artifact_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of a sound artifact."""
    return build_artifact(tmp_path_factory.mktemp("artifact") / "small")
