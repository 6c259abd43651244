"""The bearer token of a call: its form, where it may travel, and how it is sent.

It deliberately does not know which tokens a server accepts. No message shows a token.
"""

import re
from collections.abc import Callable
from typing import Any, TypeAlias

from holdfast.addresses import is_local
from holdfast.errors import ConfigError

Token: TypeAlias = str | Callable[[], str]
"""A token, or what gives the one of the moment."""

AUTHORIZATION = "authorization"
SCHEME = "Bearer"
_FORM = re.compile(r"[A-Za-z0-9._~+/-]+=*")
FORM_LIMIT = "it must be letters, digits and any of -._~+/ with = at the end alone"


def is_token(text: str) -> bool:
    """Say whether a text has the form of a bearer token (RFC 6750, section 2.1)."""
    return _FORM.fullmatch(text) is not None


def check_token(token: Any, *, target: str, is_encrypted: bool) -> None:
    """Refuse what is no token, or would be read on its way.

    Args:
        token: What a caller gave, other than None.
        target: Where it will be sent.
        is_encrypted: Whether the channel has credentials.

    Raises:
        ConfigError: Naming the argument, never the token.
    """
    if not callable(token):
        _checked(token)
    if not is_encrypted and not is_local(target):
        limit = "a token travels readable there: give credentials as well, or a loopback address"
        raise ConfigError("target", target, limit)


def metadata_of(token: Token | None) -> tuple[tuple[str, str], ...] | None:
    """Return the metadata that carries a token; None where there is none.

    Raises:
        ConfigError: What was asked for one gave none.
    """
    if token is None:
        return None
    return ((AUTHORIZATION, f"{SCHEME} {_checked(token() if callable(token) else token)}"),)


def _checked(token: Any) -> str:
    if not isinstance(token, str):
        raise ConfigError("token", type(token).__name__, "it must be text, or a function that returns text")
    if not is_token(token):
        # How long it is tells an empty variable and a line too many; what it is stays unsaid.
        raise ConfigError("token", f"{len(token)} characters", FORM_LIMIT)
    return token
