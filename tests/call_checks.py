"""The type checker that every function of the product is wrapped in while tests run.

It deliberately knows no function: tests/conftest.py installs it for whole packages.
"""

import warnings
from collections.abc import Callable, Sequence
from importlib.util import cache_from_source
from inspect import get_annotations
from pathlib import Path
from typing import Any

import jaxtyping
import jaxtyping._import_hook
from beartype import BeartypeConf, beartype
from beartype.roar import BeartypeDecorHintException, BeartypeDecorHintPep585DeprecationWarning

# As in mypy, an int passes as a float.
_CHECKED = beartype(conf=BeartypeConf(is_pep484_tower=True))

_ROOT = Path(__file__).parents[1]


def check_calls(packages: Sequence[str]) -> None:
    """Wrap every function of packages that are imported from now on.

    While one of their modules is imported, jaxtyping looks for the bytecode of whatever that imports
    under a name of its own, PyTorch and all, and compiles 4,000 files anew where it finds none. That
    name is for the packages alone.
    """
    jaxtyping.install_import_hook(packages, f"{__name__}.{checked.__name__}")
    of_checked = jaxtyping._import_hook._optimized_cache_from_source
    folders = tuple(f"{_ROOT / package}/" for package in packages)

    def named(typechecker_hash: str, path: str, debug_override: bool | None = None) -> str:
        if path.startswith(folders):
            return of_checked(typechecker_hash, path, debug_override)
        return cache_from_source(path, debug_override)

    jaxtyping._import_hook._optimized_cache_from_source = named


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
