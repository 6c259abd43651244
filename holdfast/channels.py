"""Several channels to one server, and which of them takes the next request.

It deliberately does not know what is called over them.
"""

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Protocol, TypeVar, runtime_checkable

import grpc

from holdfast.arguments import check_text, check_whole
from holdfast.bearer import check_token
from holdfast.errors import ConfigError

MAX_ANSWER_BYTES = 64 * 1_024 * 1_024
MAX_CHANNELS = 256

CHANNEL_OPTIONS: tuple[tuple[str, str | int], ...] = (
    # Without a retry policy: which error is worth another try is decided by holdfast.retries.
    ("grpc.service_config", json.dumps({"loadBalancingConfig": [{"round_robin": {}}]})),
    ("grpc.max_receive_message_length", MAX_ANSWER_BYTES),
    # A server that restarts is found again by the next try, not a second later.
    ("grpc.initial_reconnect_backoff_ms", 100),
)
# gRPC shares a connection between channels of equal arguments; each of these is to have its own.
_OWN_CONNECTION = ("grpc.use_local_subchannel_pool", 1)

# A plain channel with a token goes straight to this machine, whatever proxy the environment names.
_NO_PROXY = ("grpc.enable_http_proxy", 0)

ChannelT = TypeVar("ChannelT")
ChannelT_co = TypeVar("ChannelT_co", covariant=True)


@runtime_checkable
class Opens(Protocol[ChannelT_co]):
    """What opens channels: ``grpc`` or ``grpc.aio``."""

    @property
    def insecure_channel(self) -> Callable[..., ChannelT_co]:
        """Open one of plain text."""

    @property
    def secure_channel(self) -> Callable[..., ChannelT_co]:
        """Open one with credentials."""


def open_channels(
    target: str, num: int, *, credentials: object, token: object, of: Opens[ChannelT]
) -> list[ChannelT]:
    """Open channels to one address, each with a connection of its own.

    Args:
        target: Address of the server.
        num: How many.
        credentials: For TLS; None for plain text.
        token: What calls will carry, or what gives it; None for nothing.
        of: ``grpc`` or ``grpc.aio``.

    Raises:
        ConfigError: There is no address, the number is out of range, or a token would travel readable.
    """
    limit = "it must be an address such as 'localhost:50051'"
    check_text("target", target, limit=limit)
    if not target:
        raise ConfigError("target", target, limit)
    check_whole("num_channels", num, least=1, most=MAX_CHANNELS)
    if not isinstance(credentials, grpc.ChannelCredentials | None):
        limit = "it must be what grpc.ssl_channel_credentials() or the like gives"
        raise ConfigError("credentials", type(credentials).__name__, limit)
    if token is not None:
        check_token(token, target=target, is_encrypted=credentials is not None)
    options = CHANNEL_OPTIONS if num == 1 else (*CHANNEL_OPTIONS, _OWN_CONNECTION)
    if credentials is not None:
        return [of.secure_channel(target, credentials, options=options) for _ in range(num)]
    options = options if token is None else (*options, _NO_PROXY)
    return [of.insecure_channel(target, options=options) for _ in range(num)]


class Balance:
    """Gives every request the channel with the fewest in flight; safe to share between threads."""

    def __init__(self, num_channels: int) -> None:
        """Begin with all channels idle."""
        self._in_flight = [0] * num_channels
        self._last = -1
        self._lock = threading.Lock()

    @contextmanager
    def place(self) -> Iterator[int]:
        """Take a place on a channel; yields its index. Channels alike in load take turns."""
        with self._lock:
            num = len(self._in_flight)
            turns = (index % num for index in range(self._last + 1, self._last + 1 + num))
            index = self._last = min(turns, key=self._in_flight.__getitem__)
            self._in_flight[index] += 1
        try:
            yield index
        finally:
            with self._lock:
                self._in_flight[index] -= 1
