"""The trained artifact that the proofs across training and serving ask."""

import pytest
from trained import Trained, trained_once


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Trained:
    """Return a fitted model with its artifact; nobody changes it."""
    return trained_once(tmp_path_factory)
