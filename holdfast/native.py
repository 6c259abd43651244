"""Loops over NumPy arrays that run as machine code where Numba is installed, and as Python where it is not.

It deliberately knows no loop. A request of a few customers costs NumPy a microsecond or more for every
operation, however little there is to do; a loop costs what it does. Either way the result has the same bits:
nothing is reordered, fused or approximated.
"""

import logging
from collections.abc import Callable, Iterator, Mapping
from hashlib import sha256
from inspect import get_annotations, unwrap
from types import FunctionType
from typing import Any, Generic, ParamSpec, TypeVar

import jaxtyping

P = ParamSpec("P")
R = TypeVar("R")

_log = logging.getLogger(__name__)


class Inner(Generic[P, R]):
    """A part of loops, compiled into each one that calls it."""

    def __init__(self, function: Callable[P, R]) -> None:
        """Keep the function; see :func:`inner`."""
        self.python: Callable[P, R] = unwrap(function)
        self.__doc__ = function.__doc__

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R:
        """Run it as Python."""
        return self.python(*args, **kwargs)


def inner(function: Callable[P, R]) -> Inner[P, R]:
    """Decorate a function that loops may call, those of other modules too.

    One that takes arrays costs as much as some of their elements: arrays are counted references.
    """
    return Inner(function)


class Native(Generic[P]):
    """A loop that is compiled when it is first called, for the types that its annotations name.

    Compiled code is kept beside the source, or in the user's cache folder where that cannot be written, so
    that only the first process on a machine waits for it.
    """

    def __init__(self, function: Callable[P, None], written: tuple[str, ...]) -> None:
        """Keep the function; see :func:`native`."""
        # Tests wrap every function in checks of its arguments, which no compiler understands.
        self.python: Callable[P, None] = unwrap(function)
        self.__doc__ = function.__doc__
        self._written = written
        self._run: Callable[P, None] | None = None

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> None:
        """Run the loop."""
        run = self._run or self._compiled()
        run(*args, **kwargs)

    def _compiled(self) -> Callable[P, None]:
        try:
            import numba
        except ImportError:
            _log.warning(
                "Numba is not installed: %s runs as Python, several hundred times slower",
                self.python.__qualname__,
            )
            self._run = self.python
            return self.python
        signature = numba.types.void(*_types(numba, self.python, self._written))
        function = _to_compile(numba, self.python)
        try:
            run = numba.njit(signature, cache=True, error_model="numpy")(function)
        except RuntimeError as error:
            if "cannot cache" not in str(error):
                raise
            _log.warning("compiled code is not kept, so that every start compiles anew: %s", error)
            run = numba.njit(signature, error_model="numpy")(function)
        self._run = run
        return self._run


def native(*written: str) -> Callable[[Callable[P, None]], Native[P]]:
    """Return a decorator that compiles a loop.

    Arguments are arrays, contiguous and annotated with jaxtyping, or ``int``, ``float`` or ``bool``; there
    is no result. A loop may call others, and functions of :func:`inner`: they become part of it. To call one
    that does the work of several costs a fraction: what turns Python's arrays into pointers is machine code
    too, and after a run of a graph none of it is in the processor's caches.

    Args:
        written: Names of the arrays that the loop writes to; it only reads the others.
    """

    def decorate(function: Callable[P, None]) -> Native[P]:
        return Native(function, written)

    return decorate


def _to_compile(numba: Any, function: Callable[..., R]) -> Callable[..., R]:
    """Return the function as Numba compiles it: calling compiled parts and loops instead of ours."""
    assert isinstance(function, FunctionType)
    compiled = {
        name: numba.njit(error_model="numpy", forceinline=True)(_to_compile(numba, found.python))
        for name, found in _named_in(function)
        if isinstance(found, Inner | Native)
    }
    copied = FunctionType(
        function.__code__, {**function.__globals__, **compiled}, function.__name__, function.__defaults__
    )
    # Numba keeps compiled code by this name and by the time of the function's own file: what was compiled
    # with an inner function or a constant of another file as they used to be must not be found.
    copied.__qualname__ = f"{function.__qualname__}-{_digest(function)}"
    return copied


def _named_in(function: FunctionType) -> Iterator[tuple[str, Any]]:
    """Yield everything of its module that a function names, by that name."""
    for name in function.__code__.co_names:
        if name in function.__globals__:
            yield name, function.__globals__[name]


def _digest(function: Callable[..., Any]) -> str:
    """Return what changes where a function does, a constant that it names, or an inner function."""
    assert isinstance(function, FunctionType)
    code = function.__code__
    named = [
        (name, _digest(found.python) if isinstance(found, Inner | Native) else found)
        for name, found in _named_in(function)
        if isinstance(found, Inner | Native | int | float)
    ]
    return sha256(repr((code.co_code, code.co_consts, code.co_names, named)).encode()).hexdigest()[:16]


_SCALARS: Mapping[Any, str] = {int: "int64", float: "float64", bool: "boolean"}


def _types(numba: Any, function: Callable[..., None], written: tuple[str, ...]) -> list[Any]:
    """Return Numba's types of the arguments: one per function, whatever the caller's arrays allow."""
    found = []
    for name, hint in get_annotations(function).items():
        if name == "return":
            continue
        if hint in _SCALARS:
            found.append(getattr(numba.types, _SCALARS[hint]))
            continue
        assert issubclass(hint, jaxtyping.AbstractArray), f"{name}: {hint} is no array"
        dtype = numba.types.boolean if hint.dtypes[0] == "bool" else getattr(numba.types, hint.dtypes[0])
        # What is only read may be writable or not; Numba would compile anew for either.
        found.append(numba.types.Array(dtype, len(hint.dims), "C", readonly=name not in written))
    return found
