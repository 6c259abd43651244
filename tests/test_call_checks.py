"""The tests check every call: a hook that silently stopped working would leave them half blind."""

from typing import Self

import numpy as np
import pytest
from beartype.roar import BeartypeDecorHintException
from call_checks import checked
from jaxtyping import Float32, TypeCheckError
from numpy import ndarray

from holdfast.histories import ragged_range


def test_a_wrong_shape_fails_the_call() -> None:
    """Two axes of one name must be equally long, in the product's own functions."""
    with pytest.raises(TypeCheckError, match="ragged_range"):
        ragged_range(np.zeros(3, dtype=np.int64), np.zeros(4, dtype=np.int64))


def test_a_wrong_dtype_fails_the_call() -> None:
    """An int32 offset is no int64 offset."""
    with pytest.raises(TypeCheckError, match="ragged_range"):
        ragged_range(np.zeros(3, dtype=np.int32), np.zeros(3, dtype=np.int64))


def test_a_hint_that_cannot_be_read_leaves_the_function_alone() -> None:
    """`Self` in a method decorated alone is left to mypy."""

    def same(self: Self) -> Self:
        return self

    assert checked(same) is same


def test_a_shape_is_never_left_unchecked() -> None:
    """Where such a hint stands beside a shape, the tests stop instead of checking nothing."""

    def same(self: Self, values: Float32[ndarray, " event"]) -> Self:
        del values
        return self

    with pytest.raises(BeartypeDecorHintException):
        checked(same)
