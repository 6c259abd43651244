"""Requests go to the channel with the fewest in flight."""

from contextlib import ExitStack

import grpc
import pytest

from holdfast.channels import Balance, open_channels
from holdfast.errors import ConfigError


def test_channels_alike_in_load_take_turns() -> None:
    """One request at a time still reaches all of them."""
    balance = Balance(3)
    used = []
    for _ in range(6):
        with balance.place() as index:
            used.append(index)
    assert used == [0, 1, 2, 0, 1, 2]


def test_a_busy_channel_is_passed_over() -> None:
    """One that a slow request holds gets nothing until the others hold as much."""
    balance = Balance(2)
    with balance.place() as slow, ExitStack() as stack:
        other = 1 - slow
        for _ in range(3):
            with balance.place() as index:
                assert index == other
        held = [stack.enter_context(balance.place()) for _ in range(3)]
        assert sorted(held) == [slow, other, other]
    with balance.place() as first, balance.place() as second:
        assert {first, second} == {0, 1}


def test_credentials_are_those_of_grpc() -> None:
    """Anything else is named before a channel is opened."""
    with pytest.raises(ConfigError, match=r"credentials: got 'int', .*ssl_channel_credentials"):
        open_channels("localhost:1", 1, credentials=3, token=None, of=grpc)
