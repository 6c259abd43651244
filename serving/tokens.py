"""Bearer tokens: which ones are accepted, and calls without one refused before they cost anything.

It deliberately keeps no token but digests, so that neither a log nor a traceback can show one.
"""

import hmac
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import partial
from hashlib import sha256
from pathlib import Path
from typing import Any

import grpc
from grpc_health.v1 import health

from holdfast.bearer import AUTHORIZATION, FORM_LIMIT, SCHEME, is_token
from holdfast.errors import ConfigError
from serving.errors import UnauthenticatedError
from serving.recording import Recorder
from serving.settings import flag_of
from serving.statuses import Context, abort, code_of
from serving.watching import Watched, read_setting

LEAST_CHARACTERS = 22
"""128 random bits in base64; nobody guesses them."""

LOOK_SECONDS = 1.0
"""How seldom the file is looked at."""

_OPEN = f"/{health.SERVICE_NAME}/"
"""Probes have no tokens, and health says nothing else."""


class Tokens:
    """The tokens of a file, read again when it has changed."""

    def __init__(self, path: Path, *, clock: Callable[[], float] = time.monotonic) -> None:
        """Read the file.

        Args:
            path: See :func:`read_tokens`.
            clock: Seconds that never run backwards.

        Raises:
            ConfigError: It cannot be read, or holds no token or an unfit one.
        """
        self._digests = Watched((path,), partial(read_tokens, path))
        self._clock = clock
        self._looked_at = clock()

    def accepts(self, token: str) -> bool:
        """Say whether a token stands in the file; that takes equally long for every one that does not."""
        now = self._clock()
        if now - self._looked_at >= LOOK_SECONDS:
            self._looked_at = now
            self._digests.is_new()
        digest, is_known = sha256(token.encode()).digest(), False
        for known in self._digests.value:
            is_known |= hmac.compare_digest(known, digest)
        return is_known


def read_tokens(path: Path) -> Sequence[bytes]:
    """Return the digests of the tokens in a file.

    Args:
        path: Of text with a token in each line; empty ones, and those that begin with ``#``, are none.

    Raises:
        ConfigError: It cannot be read, or holds no token or an unfit one; a line is named by its number.
    """

    def unfit(limit: str) -> ConfigError:
        return ConfigError(flag_of("token_file"), str(path), limit)

    try:
        text = read_setting("token_file", path).decode("utf-8-sig")
    except UnicodeDecodeError:
        # That error would carry the file's bytes along.
        raise unfit("it must be text in UTF-8") from None
    digests = []
    for number, line in enumerate(text.split("\n"), start=1):
        token = line.strip()
        if not token or token.startswith("#"):
            continue
        if not is_token(token):
            raise unfit(f"line {number} is no token: {FORM_LIMIT}")
        if len(token) < LEAST_CHARACTERS:
            raise unfit(f"the token in line {number} must have at least {LEAST_CHARACTERS} characters")
        digests.append(sha256(token.encode()).digest())
    if not digests:
        raise unfit("it must hold a token")
    return tuple(digests)


class TokenGuard(grpc.aio.ServerInterceptor):
    """Lets calls with an accepted token pass, and those of health."""

    def __init__(self, tokens: Tokens, recorder: Recorder, *, scored: Mapping[str, str]) -> None:
        """Keep what is accepted.

        Args:
            tokens: What is accepted.
            recorder: Counts refusals.
            scored: Services by the methods whose calls are counted.
        """
        self._tokens, self._recorder, self._scored = tokens, recorder, scored

    async def intercept_service(
        self,
        # What answers is generic to type checkers alone, and not at run time.
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[Any]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> Any:
        """Return what answers a call: what would anyway, or a refusal."""
        method = handler_call_details.method
        if method.startswith(_OPEN):
            return await continuation(handler_call_details)
        token = _token(handler_call_details.invocation_metadata)
        if token is not None and self._tokens.accepts(token):
            return await continuation(handler_call_details)
        # As a stream, whatever the method is: gRPC then waits for no message, and reads none.
        refuse = partial(self._refuse, method, is_missing=token is None)
        return grpc.stream_stream_rpc_method_handler(refuse)

    async def _refuse(self, method: str, _requests: Any, context: Context, *, is_missing: bool) -> None:
        wanted = f"metadata '{AUTHORIZATION}: {SCHEME} <token>'"
        error = UnauthenticatedError(
            f"a token is needed: send it as {wanted}" if is_missing else "the token is not accepted here"
        )
        self._recorder.refused(error.reason)
        if method in self._scored:
            self._recorder.called(self._scored[method], code_of(error).name, seconds=0.0)
        await abort(context, error)


def _token(metadata: Any) -> str | None:
    """Return the token that a call shows; None where it shows none, or more than one value."""
    values = [value for key, value in metadata if key == AUTHORIZATION]
    if len(values) != 1:
        return None
    scheme, _, token = values[0].partition(" ")
    return token.strip() if scheme.lower() == SCHEME.lower() and token else None
