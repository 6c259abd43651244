"""One small artifact and one authority for all tests of serving; nobody writes into either."""

from pathlib import Path

import pytest
import trustme
from artifact_builder import build_artifact


@pytest.fixture(scope="session")
def artifact_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of a sound artifact."""
    return build_artifact(tmp_path_factory.mktemp("artifact") / "small")


@pytest.fixture(scope="session")
def authority() -> trustme.CA:
    """Return who vouches for certificates."""
    return trustme.CA()
