"""A token's form and the way it may take are checked, and no message shows one."""

from typing import Any

import grpc
import pytest

from holdfast.bearer import check_token, is_token, metadata_of
from holdfast.channels import open_channels
from holdfast.errors import ConfigError


@pytest.mark.parametrize("text", ["a", "aZ09-._~+/", "abc==", "ä", "", "a b", "a\n", "=", "a=b", "a,b"])
def test_a_token_is_of_the_form_of_rfc_6750(text: str) -> None:
    """What could end a line, or be two, is none."""
    assert is_token(text) == (text in {"a", "aZ09-._~+/", "abc=="})


def test_a_function_is_asked_every_time() -> None:
    """Tokens that are replaced reach the next call; no token is no metadata."""
    given = iter(["one", "two"])

    def token() -> str:
        return next(given)

    assert [metadata_of(token) for _ in range(2)] == [
        (("authorization", "Bearer one"),),
        (("authorization", "Bearer two"),),
    ]
    assert metadata_of("three") == (("authorization", "Bearer three"),)
    assert metadata_of(None) is None


@pytest.mark.parametrize(
    ("token", "message"),
    [
        ("", "token: got '0 characters', but it must be letters"),
        ("top secret\n", "token: got '11 characters', but it must be letters"),
        (b"secret", "token: got 'bytes', but it must be text, or a function that returns text"),
    ],
)
def test_what_is_no_token_is_named_and_not_shown(token: Any, message: str) -> None:
    """Given as it is when the client is made, given by a function when it calls."""
    with pytest.raises(ConfigError, match=f"^{message}") as caught:
        check_token(token, target="localhost:1", is_encrypted=False)
    assert "secret" not in str(caught.value)
    with pytest.raises(ConfigError, match=f"^{message}"):
        metadata_of(lambda: token)


@pytest.mark.parametrize("token", ["secret", lambda: "secret"])
def test_a_token_travels_encrypted_or_not_at_all(token: Any) -> None:
    """A plain channel carries one to this machine alone; the refusal says what would help."""
    with pytest.raises(ConfigError, match=r"^target: got 'scoring.example:1', .*credentials") as caught:
        open_channels("scoring.example:1", 1, credentials=None, token=token, of=grpc)
    assert "secret" not in str(caught.value)
    credentials = grpc.ssl_channel_credentials()
    (channel,) = open_channels("scoring.example:1", 1, credentials=credentials, token=token, of=grpc)
    channel.close()
    for channel in open_channels("localhost:1", 2, credentials=None, token=token, of=grpc):
        channel.close()
