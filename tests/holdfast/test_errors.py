"""Messages name field, value and limit, and carry no payload."""

import pickle
from pathlib import Path

import pytest

from holdfast.errors import ArtifactError, HoldfastError, InputError, RunError, shorten


def test_a_message_names_field_value_and_limit() -> None:
    """One line that says where, what and what is allowed; it is a ValueError too."""
    error = InputError("customers[3].amount", float("inf"), "it must be finite")
    assert str(error) == "customers[3].amount: got inf, but it must be finite"
    assert isinstance(error, ValueError)


def test_a_long_value_keeps_both_ends() -> None:
    """A path still ends with its file, and a megabyte of text does not fill a log."""
    path = "/a/" + "b" * 200 + "/events.parquet"
    assert shorten(path).endswith("/events.parquet'")
    assert shorten(path).startswith("'/a/bbb")
    assert {len(shorten("x" * num)) for num in (79, 1_000, 1_000_000)} == {80}
    assert shorten("x" * 78) == "'" + "x" * 78 + "'"


@pytest.mark.parametrize(
    "error",
    [InputError("field", 3, "less"), ArtifactError(Path("model.onnx"), "it is empty"), RunError("full")],
)
def test_an_error_crosses_processes_as_it_is(error: HoldfastError) -> None:
    """One that cannot be restored breaks the pool of processes that it was raised in."""
    again = pickle.loads(pickle.dumps(error))  # noqa: S301 - our own bytes
    assert type(again) is type(error)
    assert str(again) == str(error)
    assert vars(again) == vars(error)
