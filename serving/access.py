"""Who may call: plain text or TLS, and with a token or without, as the settings say.

It deliberately does not know what is served. Both are off by default, and cost nothing then.
"""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import grpc

from holdfast.addresses import is_loopback
from holdfast.errors import ConfigError, RunError
from serving.certificates import tls_credentials
from serving.open_inference.servicer import OPEN_INFERENCE_SERVICE
from serving.recording import Recorder
from serving.servicer import SCORING_SERVICE
from serving.settings import Settings, flag_of
from serving.tokens import TokenGuard, Tokens

SCORED = {
    f"/{SCORING_SERVICE}/Score": SCORING_SERVICE,
    f"/{OPEN_INFERENCE_SERVICE}/ModelInfer": OPEN_INFERENCE_SERVICE,
}
"""Services by the methods whose calls are counted."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Access:
    """Who may call.

    Attributes:
        credentials: For TLS; None for plain text.
        interceptors: What looks at calls before they are read.
    """

    credentials: grpc.ServerCredentials | None
    interceptors: Sequence[grpc.aio.ServerInterceptor]

    @classmethod
    def of(cls, settings: Settings, recorder: Recorder) -> Self:
        """Read what the settings name.

        Args:
            settings: What the server was told.
            recorder: Counts refusals.

        Raises:
            ConfigError: Settings do not belong together, or a file cannot be used.
        """
        credentials = tls_credentials(settings)
        if settings.token_file is None:
            return cls(credentials=credentials, interceptors=())
        if credentials is None and not is_loopback(settings.host):
            limit = (
                f"tokens would travel readable to {settings.host}: set {flag_of('tls_certificate')} as well, "
                "or listen on 127.0.0.1"
            )
            raise ConfigError(flag_of("token_file"), str(settings.token_file), limit)
        guard = TokenGuard(Tokens(settings.token_file), recorder, scored=SCORED)
        return cls(credentials=credentials, interceptors=(guard,))

    def open_port(self, server: grpc.aio.Server, address: str) -> int:
        """Have a server listen on an address, and return the port.

        Raises:
            RunError: It cannot be listened on.
        """
        doubts = "is the port taken, the address this machine's?"
        try:
            if self.credentials is None:
                return server.add_insecure_port(address)
            # OpenSSL, by which they were checked, knows more kinds; gRPC does not say what it minds.
            doubts = (
                f"{doubts} Or is the key of a kind that gRPC does not speak, none of RSA, P-256 and P-384?"
            )
            return server.add_secure_port(address, self.credentials)
        except RuntimeError as error:
            raise RunError(f"cannot listen on {address}: {doubts}") from error


def check_access(settings: Settings) -> None:
    """Refuse what no process could start with, and warn of a port that anybody may ask.

    Raises:
        ConfigError: Settings do not belong together, or a file cannot be used.
    """
    access = Access.of(settings, Recorder())
    if access.credentials is None and not is_loopback(settings.host):
        extra = {
            "host": settings.host,
            "reason": f"neither {flag_of('tls_certificate')} nor {flag_of('token_file')} is set: "
            "whoever reaches the port may ask, and calls can be read on their way",
        }
        _log.warning("open to the network", extra=extra)
