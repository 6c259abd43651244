"""TLS of the port: certificate, key and the authority of its callers, taken anew when their files change.

It deliberately checks nothing that a handshake checks: neither names nor dates. A connection keeps what
it was opened with.
"""

import ssl
from functools import partial
from pathlib import Path

import grpc

from holdfast.errors import ConfigError
from serving.settings import Settings, flag_of
from serving.watching import Watched, read_setting


def tls_credentials(settings: Settings) -> grpc.ServerCredentials | None:
    """Return how the port speaks TLS; None for plain text.

    Raises:
        ConfigError: Settings do not belong together, or a file cannot be used.
    """
    certificate, key, client_ca = settings.tls_certificate, settings.tls_key, settings.tls_client_ca
    if certificate is None:
        for name, path in (("tls_key", key), ("tls_client_ca", client_ca)):
            if path is not None:
                raise ConfigError(flag_of("tls_certificate"), None, f"it is needed beside {flag_of(name)}")
        return None
    if key is None:
        raise ConfigError(flag_of("tls_key"), None, f"it is needed beside {flag_of('tls_certificate')}")
    paths = [certificate, key] if client_ca is None else [certificate, key, client_ca]
    watched = Watched(paths, partial(_read, certificate, key, client_ca))
    # gRPC asks before every handshake. What it cannot use itself it logs, and keeps what it had.
    return grpc.dynamic_ssl_server_credentials(
        watched.value,
        # None stands for no change, which its types do not know.
        lambda: watched.value if watched.is_new() else None,  # type: ignore[arg-type,return-value]
        client_ca is not None,
    )


def _read(certificate: Path, key: Path, client_ca: Path | None) -> grpc.ServerCertificateConfiguration:
    chain, secret = read_setting("tls_certificate", certificate), read_setting("tls_key", key)
    _check_certificates("tls_certificate", certificate, chain)
    _check_pair(certificate, key, secret)
    authorities = None
    if client_ca is not None:
        authorities = read_setting("tls_client_ca", client_ca)
        _check_certificates("tls_client_ca", client_ca, authorities)
    return grpc.ssl_server_certificate_configuration([(secret, chain)], root_certificates=authorities)


def _check_certificates(name: str, path: Path, data: bytes) -> None:
    """Refuse what is no series of certificates, or ends in the middle of one."""
    try:
        # Between certificates there may be remarks in any alphabet.
        _context().load_verify_locations(cadata=data.decode("ascii", "ignore"))
    except (ssl.SSLError, ValueError) as error:
        limit = "it must hold certificates in PEM, and whole ones"
        raise ConfigError(flag_of(name), str(path), limit) from error


def _check_pair(certificate: Path, key: Path, secret: bytes) -> None:
    """Refuse a key that is none, is locked, or is not the certificate's.

    Python reads both from their files alone. Should these change just now, gRPC refuses what does not fit,
    and they are read again at the next handshake.
    """
    try:
        # An empty password is wrong; without any OpenSSL would ask whoever sits at the terminal.
        _context().load_cert_chain(certificate, key, password="")
    except ssl.SSLError as error:
        if b"ENCRYPTED" in secret:
            limit = "it is locked by a password, which the server has no way to learn"
        elif error.reason == "KEY_VALUES_MISMATCH":
            limit = f"it is not the key of {certificate}"
        else:
            reason = error.reason or "none found"
            limit = f"it must hold a whole private key in PEM that is fit for TLS ({reason})"
        raise ConfigError(flag_of("tls_key"), str(key), limit) from error
    except OSError as error:
        raise ConfigError(flag_of("tls_key"), str(key), f"it cannot be read: {error.strerror}") from error


def _context() -> ssl.SSLContext:
    return ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
