"""The type checker that every function of the product is wrapped in while tests run.

It deliberately knows no function: tests/conftest.py installs it for whole packages.
"""

import warnings
from collections.abc import Callable
from inspect import get_annotations
from typing import Any

import jaxtyping
from beartype import BeartypeConf, beartype
from beartype.roar import BeartypeDecorHintException, BeartypeDecorHintPep585DeprecationWarning

# As in mypy, an int passes as a float.
_CHECKED = beartype(conf=BeartypeConf(is_pep484_tower=True))


def checked(function: Callable[..., Any]) -> Callable[..., Any]:
    """Return a function that checks arguments and result against its annotations.

    Two hints are beyond beartype: ``Self`` in a method decorated alone, and Polars' data types in
    a union, which compare in their own way. Such a function stays as it is, and mypy alone
    reads it; a shape is never given up for that.
    """
    try:
        with warnings.catch_warnings():
            # Hydra's DictConfig is generic over types that a later Python deprecates.
            warnings.simplefilter("ignore", BeartypeDecorHintPep585DeprecationWarning)
            return _CHECKED(function)
    except BeartypeDecorHintException:
        hints = get_annotations(function).values()
        if any(isinstance(hint, type) and issubclass(hint, jaxtyping.AbstractArray) for hint in hints):
            raise
        return function
