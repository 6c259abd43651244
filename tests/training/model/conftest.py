"""Fixtures of the model's tests: one spec for all of them."""

import pytest

from builders import small_spec
from holdfast.encoding import EncodingSpec


@pytest.fixture(scope="session")
def spec() -> EncodingSpec:
    """Return the spec of :mod:`builders`: every kind of field, attribute and target."""
    return small_spec()
