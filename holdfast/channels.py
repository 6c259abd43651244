"""Several channels to one server, and which of them takes the next request.

It deliberately does not know what is called over them.
"""

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

import grpc

from holdfast.arguments import check_text, check_whole
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

ChannelT = TypeVar("ChannelT")


def open_channels(
    target: str,
    num: int,
    *,
    credentials: object,
    insecure: Callable[..., ChannelT],
    secure: Callable[..., ChannelT],
) -> list[ChannelT]:
    """Open channels to one address, each with a connection of its own.

    Args:
        target: Address of the server.
        num: How many.
        credentials: For TLS; None for plain text.
        insecure: ``grpc.insecure_channel`` or that of ``grpc.aio``.
        secure: ``grpc.secure_channel`` likewise.

    Raises:
        ConfigError: There is no address, or the number is out of range.
    """
    limit = "it must be an address such as 'localhost:50051'"
    check_text("target", target, limit=limit)
    if not target:
        raise ConfigError("target", target, limit)
    check_whole("num_channels", num, least=1, most=MAX_CHANNELS)
    if not isinstance(credentials, grpc.ChannelCredentials | None):
        limit = "it must be what grpc.ssl_channel_credentials() or the like gives"
        raise ConfigError("credentials", type(credentials).__name__, limit)
    options = CHANNEL_OPTIONS if num == 1 else (*CHANNEL_OPTIONS, _OWN_CONNECTION)
    if credentials is None:
        return [insecure(target, options=options) for _ in range(num)]
    return [secure(target, credentials, options=options) for _ in range(num)]


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
