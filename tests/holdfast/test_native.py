"""Compiled loops give the bits that Python gives, and Python does where nothing can be compiled."""

import logging
import sys
from collections.abc import Iterator
from importlib import import_module

import numba
import numpy as np
import pytest
from jaxtyping import Bool, Float32, Float64, Int64
from numpy import ndarray

from builders import DAY, START_US, random_histories, small_spec
from holdfast import histories as flat
from holdfast.encoding import Cutoffs, aggregates, encode, events, padding, readouts, scaling, windows
from holdfast.encoding.padding import INPUT_NAMES, pad
from holdfast.native import Native, inner, native


@native("halved", "is_large")
def halve(
    values: Float32[ndarray, "row column"],
    limits: Int64[ndarray, " column"],
    scale: float,
    halved: Float32[ndarray, "row column"],
    is_large: Bool[ndarray, "row column"],
) -> None:
    """Halve values, and say which were large."""
    for row in range(values.shape[0]):
        for column in range(values.shape[1]):
            halved[row, column] = values[row, column] / scale
            is_large[row, column] = values[row, column] > limits[column]


LIMIT = 3


@inner
def held(value: float) -> float:
    """Return a number, LIMIT at most."""
    return min(value, LIMIT)


@native("found")
def hold(values: Float64[ndarray, " row"], found: Float64[ndarray, " row"]) -> None:
    """Hold numbers within LIMIT."""
    for row in range(len(values)):
        found[row] = held(values[row])


@native("found")
def hold_twice(values: Float64[ndarray, " row"], found: Float64[ndarray, "2 row"]) -> None:
    """Hold numbers, and what was held once more."""
    hold(values, found[0])
    hold(found[0], found[1])


def halved(values: ndarray) -> tuple[list[list[float]], list[list[bool]]]:
    """Call the loop."""
    found, is_large = np.empty(values.shape, dtype=np.float32), np.empty(values.shape, dtype=bool)
    halve(values, np.array([4, 8]), 2.0, found, is_large)
    return found.tolist(), is_large.tolist()


@pytest.fixture
def loop() -> Iterator[Native[...]]:
    """Give the loop as if nobody had called it."""
    halve._run = None
    yield halve
    halve._run = None


ENCODE = import_module("holdfast.encoding.encode")
"""The module, where the package has the function of its name."""

VALUES = np.array([[1, 9], [5, 8]], dtype=np.float32)
EXPECTED = ([[0.5, 4.5], [2.5, 4.0]], [[False, True], [True, False]])


def test_a_loop_is_compiled_once_for_arrays_that_may_be_written_or_not(loop: Native[...]) -> None:
    """Bytes of a request are read-only; that must not compile the loop anew."""
    assert halved(VALUES) == EXPECTED
    run = loop._run
    assert halved(np.frombuffer(VALUES.tobytes(), dtype=np.float32).reshape(2, 2)) == EXPECTED
    assert loop._run is run
    assert isinstance(run, numba.core.dispatcher.Dispatcher)
    assert len(run.signatures) == 1


@pytest.mark.parametrize("values", [VALUES.astype(np.float64), VALUES[0], np.asfortranarray(VALUES)])
def test_another_type_or_layout_is_refused(loop: Native[...], values: ndarray) -> None:
    """Nothing is converted, and nothing is compiled for it."""
    del loop
    with pytest.raises(TypeError, match="No matching definition"):
        halve(values, np.array([4, 8]), 2.0, VALUES.copy(), VALUES > 0)


def test_without_numba_the_loop_runs_as_python_and_says_so_once(
    loop: Native[...], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Slow, and right."""
    monkeypatch.setitem(sys.modules, "numba", None)
    with caplog.at_level(logging.WARNING):
        assert halved(VALUES) == halved(VALUES) == EXPECTED
    assert loop._run is loop.python
    assert [record.message for record in caplog.records] == [
        "Numba is not installed: halve runs as Python, several hundred times slower"
    ]


def test_where_nothing_can_be_kept_every_start_compiles(
    loop: Native[...], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A container without a writable folder still serves."""
    del loop
    compile_ = numba.njit

    def without_cache(*args: object, cache: bool = False, **options: object) -> object:
        if cache:
            raise RuntimeError("cannot cache function 'halve': no locator available for file 'x'")
        return compile_(*args, **options)

    monkeypatch.setattr(numba, "njit", without_cache)
    with caplog.at_level(logging.WARNING):
        assert halved(VALUES) == EXPECTED
    assert "every start compiles anew: cannot cache function" in caplog.text


def test_other_errors_of_the_compiler_are_not_hidden(
    loop: Native[...], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Only where code may be kept is guessed."""
    del loop

    def fail(*args: object, **options: object) -> object:
        raise RuntimeError("out of registers")

    monkeypatch.setattr(numba, "njit", fail)
    with pytest.raises(RuntimeError, match="out of registers"):
        halved(VALUES)


def test_a_loop_calls_an_inner_function_and_is_compiled_anew_where_that_changes(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Code that is kept must not outlive a constant, not even one that only the inner function names."""
    values, found = np.array([2.0, 5.0]), np.empty(2)
    for limit in (3, 4, 3):
        monkeypatch.setattr(sys.modules[__name__], "LIMIT", limit)
        monkeypatch.setattr(hold, "_run", None)
        hold(values, found)
        assert found.tolist() == [2.0, limit]
        assert held(5.0) == limit
    assert isinstance(hold._run, numba.core.dispatcher.Dispatcher)
    # The third time it is the first time's code again.
    assert sum(hold._run.stats.cache_hits.values()) == 1


def test_a_loop_calls_others_and_is_compiled_anew_where_one_of_them_changes(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """They become part of it, with the constants that they name."""
    for limit in (3, 4):
        monkeypatch.setattr(sys.modules[__name__], "LIMIT", limit)
        monkeypatch.setattr(hold, "_run", None)
        monkeypatch.setattr(hold_twice, "_run", None)
        found = np.empty((2, 2))
        hold_twice(np.array([2.0, 5.0]), found)
        assert found.tolist() == [[2.0, limit], [2.0, limit]]
        assert hold._run is None
        hold_twice.python(np.array([2.0, 5.0]), found)
        assert found.tolist() == [[2.0, limit], [2.0, limit]]


def test_the_encoding_has_the_same_bits_without_a_compiler(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a machine without Numba tells the model is what training told it."""
    rng = np.random.default_rng(1)
    histories, spec = random_histories(rng, 12), small_spec(max_events=24)
    customers = rng.integers(0, 12, 40)
    cutoffs = Cutoffs.one_each(customers, START_US + rng.integers(-24, 520 * 24, 40) * (DAY // 24))

    def inputs() -> dict[str, ndarray]:
        return dict(pad(encode(histories, cutoffs, spec), np.arange(40), length=24))

    compiled = inputs()
    loops = [
        (module, name)
        for module in (flat, aggregates, events, padding, readouts, scaling, windows, ENCODE)
        for name, found in vars(module).items()
        if isinstance(found, Native)
    ]
    assert len(loops) >= 9
    for module, name in loops:
        monkeypatch.setattr(module, name, getattr(module, name).python)
    plain = inputs()
    for name in INPUT_NAMES:
        np.testing.assert_array_equal(compiled[name], plain[name], err_msg=name)
