"""Messages name field, value and limit, and carry no payload."""

from holdfast.errors import InputError, shorten


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
